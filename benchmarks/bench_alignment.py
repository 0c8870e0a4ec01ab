"""What ``check_alignment`` says of recordings whose truth is known: aligned, shifted, of another sound, and noise.

``python benchmarks/bench_alignment.py`` prints the table of this folder's README. Listeners are simulated at the
levels of real ones (MEG -18 dB, EEG -22 dB) with all usual artefacts, and looked at in parts of five minutes and as
a whole.
"""

import argparse
import time
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from _machine import machine, markdown
from threadpoolctl import threadpool_limits

from sk_b2s import check_alignment
from sk_b2s.datasets import make_listening

SHIFT = 0.3  # s
CASES = {
    "aligned": {},
    "table 0.3 s early": {"shift": -SHIFT},
    "table 0.3 s late": {"shift": SHIFT},
    "sounds swapped": {"swap": True},
    "no response": {"snr_db": -np.inf},
    "no response, earphones leak": {"snr_db": -np.inf, "earphones": True},
    "earphones leak": {"earphones": True},
}
USUAL = ["blinks", "jumps", "bursts", "shift", "gain", "attention", "line", "drift", "clock", "jitter"]


def swapped(sounds):
    """Say that each sound was the next of its voice's list, as long as both last."""
    names = sounds.groupby("sound")["duration"].max()
    other = dict(zip(names.index, np.roll(names.index, 1), strict=True))
    heard = sounds["sound"].map(other)
    length = np.minimum(sounds["duration"], heard.map(names))
    return sounds.assign(sound=heard, duration=length)


def look(modality, case, seeds, options):
    """All that is said of one case: DataFrame."""
    shift, swap = case.get("shift", 0.0), case.get("swap", False)
    artefacts = USUAL + ["earphones"] * case.get("earphones", False)
    found = []
    for seed in seeds:
        with TemporaryDirectory() as root:
            events = make_listening(
                options.subjects, options.minutes, modality=modality, artefacts=artefacts, n_channels=64, sfreq=64,
                snr_db=case.get("snr_db"), random_state=seed, root=root,
            )  # fmt: skip
            sounds = events[events["type"] == "sound"]
            sounds = swapped(sounds) if swap else sounds.assign(onset=sounds["onset"] + shift)
            found.append(check_alignment(sounds).assign(seed=seed))
    return pd.concat(found, ignore_index=True)


def summary(found, truth):
    """Count verdicts: of parts of five minutes, and of whole recordings."""
    for name, rows in (("parts", found[found["part"] > 0]), ("whole", found[found["part"] == 0])):
        kind = rows["verdict"].str.split(" by ").str[0]
        named = rows["offset"].dropna()
        error = np.abs(named - truth)
        yield [
            name, len(rows), *(int((kind == k).sum()) for k in ("aligned", "off", "cannot tell")),
            f"{named.median():+.2f}" if len(named) else "", int((error > 0.1).sum()),
            int(rows["note"].str.contains("isolated peak").sum()),
        ]  # fmt: skip


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--modalities", nargs="+", default=["meg", "eeg"])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    options = parser.parse_args()
    began = time.perf_counter()
    print(machine())
    rows = []
    with threadpool_limits(1):
        for modality in options.modalities:
            for name in options.cases:
                found = look(modality, CASES[name], range(options.seeds), options)
                truth = -CASES[name].get("shift", 0.0)
                rows += [[modality, name, *row] for row in summary(found, truth)]
                print(rows[-2:], flush=True)
    columns = ["modality", "truth", "of", "n", "aligned", "off", "cannot tell", "median offset, s",
               "further than 0.1 s from the truth", "peak at 0 named"]  # fmt: skip
    print(markdown(columns, rows))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
