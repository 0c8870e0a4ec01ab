"""Tests of finding the files of pretrained models."""

import json
import ssl

import pandas as pd
import pytest
import requests
from helpers.hub import connect_client
from helpers.servers import remove_proxies, start_proxies

from sk_b2s import Wav2Vec2Features
from sk_b2s.features._model_files import find_model_file, identify_model_files


@pytest.fixture
def proxy():
    """Start local proxies that reply with a status."""
    with start_proxies() as start:
        yield start


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    remove_proxies(monkeypatch)


def iter_hub_errors():
    """Yield errors of the installed hub client, and some of other versions."""
    import huggingface_hub.errors as hub

    try:
        import httpx2 as web
    except ImportError:
        import httpx as web
    request = web.Request("GET", "https://huggingface.co/m")
    answer = web.Response(403, request=request)
    yield from (web.ProxyError("403 Forbidden by policy"), web.ConnectError("refused"), web.ReadTimeout("slow"),
                web.InvalidURL("bad proxy"), web.RemoteProtocolError("broken"))  # fmt: skip
    for name in ("HfHubHTTPError", "RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError",
                 "DisabledRepoError"):  # fmt: skip
        if hasattr(hub, name):
            yield getattr(hub, name)("no", response=answer)
    yield from (hub.LocalEntryNotFoundError("not here"), hub.OfflineModeIsEnabled("offline"),
                json.JSONDecodeError("Expecting value", "<html>", 0), requests.ConnectionError("x"), OSError("x"),
                ssl.SSLError("certificate"), TimeoutError(), RuntimeError("closed"), KeyError("x"),
                ValueError("Unknown scheme for proxy URL"), AssertionError())  # fmt: skip


@pytest.mark.parametrize("revision", [None, "v2"])
def test_find_model_file_converts_hub_errors(monkeypatch, tmp_path, revision):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    failures = list(iter_hub_errors())
    assert len(failures) > 15
    for failure in failures:

        def fail(*args, local_files_only=False, failure=failure, **kwargs):
            raise LocalEntryNotFoundError("not in the cache") if local_files_only else failure

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        option = f" --revision {revision}" if revision else ""
        with pytest.raises(OSError, match=rf"cannot be downloaded \({type(failure).__name__}.*") as caught:
            find_model_file("some/model", "config.json", revision)
        assert f"hf download some/model{option} --local-dir FOLDER" in str(caught.value)


def test_find_model_file_hides_proxy_password(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*args, local_files_only=False, **kwargs):
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        raise RuntimeError("no proxy at http://me:secret@proxy:80")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:80")
    with pytest.raises(OSError, match="A proxy is set by https_proxy") as caught:
        find_model_file("some/model", "config.json")
    assert "secret" not in str(caught.value)


def test_find_model_file_of_missing_file(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def fail(*args, local_files_only=False, **kwargs):
        raise (
            LocalEntryNotFoundError("not here")
            if local_files_only
            else EntryNotFoundError.__new__(EntryNotFoundError)
        )

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    assert find_model_file("some/model", "model.safetensors") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 5}', '{"weight_map": {"a": "../x"}}', "[" * 10**5,
                                  '{"weight_map": {"a": null}}'])  # fmt: skip
def test_identify_model_files_rejects_invalid_index(tmp_path, text):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(OSError, match=r"model\.safetensors\.index\.json'.*Download it again"):
        identify_model_files(str(tmp_path))


def test_fit_behind_blocking_proxy(proxy, tmp_path, monkeypatch):
    import huggingface_hub

    y = pd.DataFrame({"sound": ["a.wav"], "sound_onset": [0.1], "duration": 0.5})
    connect_client(monkeypatch, "https://huggingface.co", tmp_path)
    for status in (403, 407):
        monkeypatch.setenv("HTTPS_PROXY", proxy(status))
        with pytest.raises(OSError, match=f"{status} Forbidden by policy") as error:
            Wav2Vec2Features("some/network").fit(y)
        assert "hf download some/network --local-dir FOLDER" in str(error.value)
        assert "A proxy is set by HTTPS_PROXY" in str(error.value)
        getattr(huggingface_hub, "close_session", int)()  # a new client reads the new proxy
    assert proxy.requests[0] == "huggingface.co:443"
