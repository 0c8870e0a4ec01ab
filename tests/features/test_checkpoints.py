"""Proxies that forbid, are wrong, or want a password, and certificates and names that cannot be trusted."""

import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import requests
from helpers.servers import Server

from sk_b2s.datasets import _download as downloading
from sk_b2s.datasets import fetch_brennan2019, fetch_broderick2019, fetch_gwilliams2022
from sk_b2s.datasets._download import Remote, download, request_json
from sk_b2s.datasets._servers import final_error, proxy_of
from sk_b2s.features import _checkpoints as checkpoints
from sk_b2s.features._checkpoints import find_file

NAMES = (
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
)
CERTIFICATE_FOR = "localhost"


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloading, "WAIT", 0.01)


@pytest.fixture
def proxy():
    """Proxies that answer with a status: function of it, returning the address. ``asked`` lists what came."""
    servers, asked = [], []

    def start(status, reason="Forbidden by policy"):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_CONNECT(self):
                asked.append(self.path)
                self.send_error(status, reason)

            do_GET = do_HEAD = do_CONNECT

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    start.asked = asked
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def unused_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def told(call, error, *texts):
    """Call what must fail at once with an error that holds the texts."""
    began = time.monotonic()
    with pytest.raises(error) as caught:
        call()
    assert time.monotonic() - began < 20, "not after waits of a minute"
    for text in texts:
        assert text in str(caught.value)
    return caught.value


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_that_forbids_is_asked_once(proxy, tmp_path, monkeypatch, variable):
    address = proxy(403)
    monkeypatch.setenv(variable, address)
    fetchers = [
        (lambda: fetch_gwilliams2022(tmp_path, progress=False), "api.osf.io", "https://osf.io/ag3kj"),
        (
            lambda: fetch_brennan2019(tmp_path, progress=False),
            "deepblue.lib.umich.edu",
            "/concern/data_sets/bg257f92t",
        ),
        (
            lambda: fetch_broderick2019(tmp_path, edition="dryad", progress=False),
            "datadryad.org",
            "/dataset/doi:10.5061/dryad.070jc",
        ),
    ]
    for index, (fetch, host, page) in enumerate(fetchers, 1):
        texts = (f"your proxy {address} (set by ", f"forbids {host} (403 Forbidden by policy)")
        told(fetch, PermissionError, *texts, f"{page} in a browser", repr(str(tmp_path)))
        assert len(proxy.asked) == index
    assert proxy.asked[0] == "api.osf.io:443"


def test_a_proxy_that_forbids_a_file_tells_its_place(proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy(403))
    file = Remote("stimuli/a.wav", "https://files.osf.io/a", 3, None)
    told(lambda: download([file], tmp_path, progress=False), PermissionError, "forbids files.osf.io",
         "Open https://files.osf.io/a in a browser, save the file into the study's folder as",
         "a.wav")  # fmt: skip
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password(proxy, monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy(407, "Proxy Authentication Required"))
    told(lambda: request_json(f"{scheme}://api.osf.io/v2", "data"), PermissionError, "your proxy http://127.0.0.1",
         "wants you to log in", "api.osf.io", "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")  # fmt: skip
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_server_that_is_no_proxy(proxy, monkeypatch, status):
    monkeypatch.setenv("HTTPS_PROXY", proxy(status, "No"))
    told(lambda: request_json("https://api.osf.io/v2", "data"), PermissionError, f"({status} No)")
    assert len(proxy.asked) == 1


def test_a_plain_request_that_a_proxy_forbids(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy(403))
    told(
        lambda: request_json("http://api.osf.io/v2", "data"),
        PermissionError,
        "403 Forbidden by policy",
        "It came through the proxy",
    )
    assert len(proxy.asked) == 1


def test_a_proxy_in_trouble_is_asked_again(proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy(503, "Busy"))
    told(
        lambda: request_json("https://api.osf.io/v2", "data"),
        ConnectionError,
        "Tunnel connection failed: 503 Busy",
    )
    assert len(proxy.asked) == downloading.ATTEMPTS


@pytest.mark.parametrize(("address", "text"), [
    ("http://127.0.0.1:{port}", "no proxy answers at http://127.0.0.1:{port} (set by HTTPS_PROXY)"),
    ("127.0.0.1:{port}", "no proxy answers at 127.0.0.1:{port} (set by HTTPS_PROXY)"),
    ("http://me:secret@127.0.0.1:{port}", "no proxy answers at http://...@127.0.0.1:{port}"),
    ("http://proxy.invalid:80", "no proxy answers at http://proxy.invalid:80"),
    ("htp://127.0.0.1:9", "the proxy htp://127.0.0.1:9 (set by HTTPS_PROXY) cannot be used"),
    ("http://[bad", "the proxy http://[bad (set by HTTPS_PROXY) cannot be used"),
    ("http://127.0.0.1:abc", "the proxy http://127.0.0.1:abc (set by HTTPS_PROXY) cannot be used"),
    ("http://", "the proxy http:// (set by HTTPS_PROXY) cannot be used"),
])  # fmt: skip
def test_a_wrong_proxy_is_told_at_once(monkeypatch, tmp_path, address, text):
    port = unused_port()
    monkeypatch.setattr(downloading, "_attempts", lambda: iter([0]))  # a second one is a failure
    monkeypatch.setenv("HTTPS_PROXY", address.format(port=port))
    said = [
        told(lambda: request_json("https://api.osf.io/v2", "data"), ConnectionError, text.format(port=port)),
        told(lambda: download([Remote("f", "https://files.osf.io/f", 3, None)], tmp_path, progress=False),
             ConnectionError, text.format(port=port)),
    ]  # fmt: skip
    assert not any(
        "secret" in str(one) or "attempts in all" in str(one) or "Are you online" in str(one) for one in said
    )


def test_no_proxy_is_obeyed(proxy, monkeypatch):
    server = Server()
    try:
        server.json("/list", {"data": []})
        monkeypatch.setenv("HTTP_PROXY", proxy(403))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert request_json(f"{server.url}/list", "data") == {"data": []}
        assert proxy_of(server.url) == ""
        assert proxy_of("http://api.osf.io") != ""
    finally:
        server.http.shutdown()
        server.http.server_close()
    assert proxy.asked == []


def test_a_name_that_nobody_knows_is_final(monkeypatch):
    asked = []

    def unknown(*args, **kwargs):
        asked.append(args[0])
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    told(lambda: request_json("https://api.osf.io/v2", "data"), ConnectionError, "https://api.osf.io/v2 does not answer",
         "api.osf.io cannot be reached", "Are you online?", "in a browser")  # fmt: skip
    assert asked == ["api.osf.io"]


def test_a_name_that_is_lost_on_the_way_is_asked_again():
    error = requests.ConnectionError(
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    )
    assert isinstance(final_error(error, "https://h/x", ""), ConnectionError)
    assert final_error(error, "https://h/x", "", begun=True) is None


@pytest.fixture
def secure_server(tmp_path):
    """A server with a certificate that it signed itself: its address."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out",
         tmp_path / "cert",
         "-subj", f"/CN={CERTIFICATE_FOR}", "-addext", f"subjectAltName=DNS:{CERTIFICATE_FOR}", "-days", "1"],
        capture_output=True,
    ) if shutil.which("openssl") else None  # fmt: skip
    if made is None or made.returncode:
        pytest.skip("needs openssl, to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = Server()
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    yield server, f"https://localhost:{server.http.server_port}"
    server.http.shutdown()
    server.http.server_close()


def test_a_certificate_that_is_not_trusted_is_final(secure_server):
    server, url = secure_server
    told(lambda: request_json(f"{url}/list", "data"), ConnectionError, "the certificate of localhost is not trusted",
         "REQUESTS_CA_BUNDLE", "in a browser")  # fmt: skip
    assert server.asked == []


def test_plain_http_in_the_place_of_https_is_final():
    server = Server()
    try:
        told(
            lambda: request_json(server.url.replace("http", "https") + "/list", "data"),
            ConnectionError,
            "is not trusted",
        )
    finally:
        server.http.shutdown()
        server.http.server_close()


# --- weights -------------------------------------------------------------------------------------------


def hub_errors():
    """Errors that the client of the hub raises, in the versions at hand, and some that it might."""
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
def test_find_file_raises_oserror_for_every_failure_of_the_hub(monkeypatch, tmp_path, revision):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    failures = list(hub_errors())
    assert len(failures) > 15
    for failure in failures:

        def fail(*args, local_files_only=False, failure=failure, **kwargs):
            raise LocalEntryNotFoundError("not in the cache") if local_files_only else failure

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
        option = f" --revision {revision}" if revision else ""
        with pytest.raises(OSError, match=rf"cannot be fetched \({type(failure).__name__}.*") as caught:
            find_file("some/model", "config.json", revision)
        assert f"hf download some/model{option} --local-dir FOLDER" in str(caught.value)


def test_find_file_names_a_proxy_and_hides_its_password(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*args, local_files_only=False, **kwargs):
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        raise RuntimeError("no proxy at http://me:secret@proxy:80")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy:80")
    with pytest.raises(OSError, match="A proxy is set by https_proxy") as caught:
        find_file("some/model", "config.json")
    assert "secret" not in str(caught.value)


def test_find_file_returns_none_for_a_file_that_a_model_lacks(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def fail(*args, local_files_only=False, **kwargs):
        raise (
            LocalEntryNotFoundError("not here")
            if local_files_only
            else EntryNotFoundError.__new__(EntryNotFoundError)
        )

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    assert find_file("some/model", "model.safetensors") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 5}', '{"weight_map": {"a": "../x"}}', "[" * 10**5,
                                  '{"weight_map": {"a": null}}'])  # fmt: skip
def test_an_index_of_weights_that_is_none_names_its_file(tmp_path, text):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(OSError, match=r"model\.safetensors\.index\.json'.*Fetch it again"):
        checkpoints.identity(str(tmp_path))


ASK = """
import sys, time, pandas as pd
from sk_b2s import Wav2Vec2Features
y = pd.DataFrame({"sound": ["a.wav"], "sound_onset": [0.1], "duration": 0.5})
began = time.monotonic()
try:
    Wav2Vec2Features("some/network").fit(y)
except OSError as error:
    print(time.monotonic() - began, str(error))
"""


@pytest.mark.slow
@pytest.mark.parametrize("status", [403, 407])
def test_weights_behind_a_proxy_that_forbids(proxy, tmp_path, status):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HTTPS_PROXY": proxy(status), "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, timeout=120
    )
    assert f"{status} Forbidden by policy" in done.stdout, done.stderr
    assert "hf download some/network --local-dir FOLDER" in done.stdout
    assert "A proxy is set by HTTPS_PROXY" in done.stdout
    assert proxy.asked[0] == "huggingface.co:443"
