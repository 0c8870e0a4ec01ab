"""LSL outlet of the posterior, read on this machine in another process."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from sk_b2s.streaming import PosteriorOutlet

LOOPBACK = "[ports]\nIPv6 = disable\n[multicast]\nResolveScope = machine\n[lab]\nKnownPeers = {127.0.0.1}\n[log]\nlevel = -3\n"


def send_and_read():
    """Send predictions of both forms, and print what an inlet received."""
    from mne_lsl.lsl import StreamInlet, resolve_streams

    patience = 300  # s, which only a failure needs
    name = f"posterior-{os.getpid()}"
    with PosteriorOutlet({"a": None, "b": None}, name) as outlet:
        inlet = StreamInlet(resolve_streams(timeout=patience, name=name)[0])
        inlet.open_stream(timeout=patience)
        table = pd.DataFrame(
            {"a": [0.25, 0.5], "b": [0.75, 0.5], "stimulus_time": [3.0, 3.5], "age": [0.1, 0.1]}
        )
        outlet(table)
        outlet({"probabilities": {"a": 1.0, "b": 0.0}, "stimulus_time": 4.0, "age": 0.2})
        received = [inlet.pull_sample(timeout=patience)[0].tolist() for _ in range(3)]
        print(inlet.get_sinfo().get_channel_names(), received)
        del inlet


@pytest.mark.slow
def test_posterior_outlet_sends_each_prediction(tmp_path):
    pytest.importorskip("mne_lsl", reason="requires the extra live", exc_type=Exception)
    (tmp_path / "lsl.cfg").write_text(LOOPBACK)
    environment = {**os.environ, "LSLAPICFG": str(tmp_path / "lsl.cfg"), "MNE_LSL_LOG_LEVEL": "ERROR"}
    code = "from tests.streaming.test_outlet import send_and_read; send_and_read()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=1200
    )
    expected = [[0.25, 0.75, 3.0, 0.1], [0.5, 0.5, 3.5, 0.1], [1.0, 0.0, 4.0, 0.2]]
    assert done.stdout.strip() == f"{['a', 'b', 'stimulus_time', 'age']} {expected}", done.stderr


def test_posterior_outlet_requires_mne_lsl(monkeypatch):
    monkeypatch.setitem(sys.modules, "mne_lsl.lsl", None)
    with pytest.raises(ImportError, match=r"^PosteriorOutlet requires mne-lsl\. .*sk_b2s\[live\]"):
        PosteriorOutlet(["a", "b"])
