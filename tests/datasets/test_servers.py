"""Proxies that forbid, are wrong, or want a password, and certificates and names that cannot be trusted."""

import shutil
import socket
import ssl
import subprocess
import time

import pytest
import requests
from helpers.servers import Server, remove_proxies, start_proxies

from sk_b2s.datasets import _download as downloading
from sk_b2s.datasets import fetch_brennan2019, fetch_broderick2019, fetch_gwilliams2022
from sk_b2s.datasets._download import Remote, download, request_json
from sk_b2s.datasets._servers import final_error, proxy_of

CERTIFICATE_FOR = "localhost"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    remove_proxies(monkeypatch)
    monkeypatch.setattr(downloading, "WAIT", 0.01)


@pytest.fixture
def proxy():
    """Start local proxies that reply with a status."""
    with start_proxies() as start:
        yield start


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
        assert len(proxy.requests) == index
    assert proxy.requests[0] == "api.osf.io:443"


def test_a_proxy_that_forbids_a_file_tells_its_place(proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy(403))
    file = Remote("stimuli/a.wav", "https://files.osf.io/a", 3, None)
    told(lambda: download([file], tmp_path, progress=False), PermissionError, "forbids files.osf.io",
         "Open https://files.osf.io/a in a browser, save the file into the study's folder as",
         "a.wav")  # fmt: skip
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password(proxy, monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy(407, "Proxy Authentication Required"))
    told(lambda: request_json(f"{scheme}://api.osf.io/v2", "data"), PermissionError, "your proxy http://127.0.0.1",
         "wants you to log in", "api.osf.io", "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")  # fmt: skip
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_server_that_is_no_proxy(proxy, monkeypatch, status):
    monkeypatch.setenv("HTTPS_PROXY", proxy(status, "No"))
    told(lambda: request_json("https://api.osf.io/v2", "data"), PermissionError, f"({status} No)")
    assert len(proxy.requests) == 1


def test_a_plain_request_that_a_proxy_forbids(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy(403))
    told(
        lambda: request_json("http://api.osf.io/v2", "data"),
        PermissionError,
        "403 Forbidden by policy",
        "It came through the proxy",
    )
    assert len(proxy.requests) == 1


def test_a_proxy_in_trouble_is_asked_again(proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy(503, "Busy"))
    told(
        lambda: request_json("https://api.osf.io/v2", "data"),
        ConnectionError,
        "Tunnel connection failed: 503 Busy",
    )
    assert len(proxy.requests) == downloading.ATTEMPTS


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
    assert proxy.requests == []


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
    assert server.requests == []


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
