"""Tests of connections, proxies, certificates and host names."""

import shutil
import socket
import ssl
import subprocess
from functools import partial
from types import SimpleNamespace

import pytest
import requests
from helpers.servers import Server, remove_proxies, start_proxies

from sk_b2s.datasets import _download as downloading
from sk_b2s.datasets import fetch_brennan2019, fetch_broderick2019, fetch_gwilliams2022
from sk_b2s.datasets._download import DownloadFile, download
from sk_b2s.datasets._listings import request_file_listing
from sk_b2s.datasets._servers import describe_server_proxy, make_final_server_error

CERTIFICATE_HOST = "localhost"
MANUAL = "Open the page in a browser."


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    remove_proxies(monkeypatch)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds before further attempts, which do not pass."""
    waits = []
    monkeypatch.setattr(downloading, "time", SimpleNamespace(sleep=waits.append))
    return waits


@pytest.fixture
def proxy():
    """Start local proxies that reply with a status."""
    with start_proxies() as start:
        yield start


@pytest.fixture
def closed_port():
    """A port that is taken, so that no other program responds there."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


def check_error(call, error, *texts):
    """Check that a call fails, with texts in its error."""
    with pytest.raises(error) as caught:
        call()
    for text in texts:
        assert text in str(caught.value)
    return caught.value


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_fetch_stops_at_blocking_proxy(proxy, waits, tmp_path, monkeypatch, variable):
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
        texts = (f"The proxy {address} (set by ", f"blocks {host} (403 Forbidden by policy)")
        check_error(fetch, PermissionError, *texts, f"{page} in a browser", repr(str(tmp_path)))
        assert len(proxy.requests) == index
    assert proxy.requests[0] == "api.osf.io:443"
    assert not waits


def test_download_behind_blocking_proxy(proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy(403))
    file = DownloadFile("stimuli/a.wav", "https://files.osf.io/a", 3, None)
    check_error(lambda: download([file], tmp_path, progress=False), PermissionError, "blocks files.osf.io",
         "Open https://files.osf.io/a in a browser, save the file as",
         "a.wav")  # fmt: skip
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_request_listing_describes_proxy_login(proxy, monkeypatch, scheme):
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy(407, "Proxy Authentication Required"))
    check_error(lambda: request_file_listing(f"{scheme}://api.osf.io/v2", "data", manual=MANUAL), PermissionError, "The proxy http://127.0.0.1",
         "requires a login", "api.osf.io", "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT")  # fmt: skip
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_request_listing_describes_proxy_error(proxy, monkeypatch, status):
    monkeypatch.setenv("HTTPS_PROXY", proxy(status, "No"))
    check_error(
        lambda: request_file_listing("https://api.osf.io/v2", "data", manual=MANUAL),
        PermissionError,
        f"({status} No)",
    )
    assert len(proxy.requests) == 1


def test_request_listing_of_http_is_blocked(proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy(403))
    check_error(
        lambda: request_file_listing("http://api.osf.io/v2", "data", manual=MANUAL),
        PermissionError,
        "403 Forbidden by policy",
        "The request used the proxy",
    )
    assert len(proxy.requests) == 1


def test_request_listing_repeats_after_proxy_error(proxy, waits, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy(503, "Busy"))
    check_error(
        lambda: request_file_listing("https://api.osf.io/v2", "data", manual=MANUAL),
        ConnectionError,
        "Tunnel connection failed: 503 Busy",
    )
    assert len(proxy.requests) == downloading.ATTEMPTS
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0]


@pytest.mark.parametrize(("address", "text"), [
    ("http://127.0.0.1:{port}", "The proxy http://127.0.0.1:{port} (set by HTTPS_PROXY) does not respond"),
    ("127.0.0.1:{port}", "The proxy 127.0.0.1:{port} (set by HTTPS_PROXY) does not respond"),
    ("http://me:secret@127.0.0.1:{port}", "The proxy http://...@127.0.0.1:{port}"),
    ("http://proxy.invalid:80", "The proxy http://proxy.invalid:80"),
    ("htp://127.0.0.1:9", "The proxy htp://127.0.0.1:9 (set by HTTPS_PROXY) cannot be used"),
    ("http://[bad", "The proxy http://[bad (set by HTTPS_PROXY) cannot be used"),
    ("http://127.0.0.1:abc", "The proxy http://127.0.0.1:abc (set by HTTPS_PROXY) cannot be used"),
    ("http://", "The proxy http:// (set by HTTPS_PROXY) cannot be used"),
])  # fmt: skip
def test_make_final_server_error_of_invalid_proxy(monkeypatch, closed_port, tmp_path, address, text):
    port, find = closed_port, socket.getaddrinfo

    def find_local(host, *args, **kwargs):
        """Find no other hosts, for which some networks take long."""
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return find(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", find_local)
    monkeypatch.setattr(downloading, "iter_download_attempts", lambda: iter([0]))  # a second attempt fails
    monkeypatch.setenv("HTTPS_PROXY", address.format(port=port))
    errors = [
        check_error(lambda: request_file_listing("https://api.osf.io/v2", "data", manual=MANUAL), ConnectionError, text.format(port=port)),
        check_error(lambda: download([DownloadFile("f", "https://files.osf.io/f", 3, None)], tmp_path, progress=False),
             ConnectionError, text.format(port=port)),
    ]  # fmt: skip
    assert not any(
        "secret" in str(one)
        or f"{downloading.ATTEMPTS} attempts" in str(one)
        or "network connection" in str(one)
        for one in errors
    )


def test_describe_proxy_respects_no_proxy(proxy, monkeypatch):
    server = Server()
    try:
        server.json("/list", {"data": []})
        monkeypatch.setenv("HTTP_PROXY", proxy(403))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert request_file_listing(f"{server.url}/list", "data", manual=MANUAL) == {"data": []}
        assert describe_server_proxy(server.url) == ""
        assert describe_server_proxy("http://api.osf.io") != ""
    finally:
        server.close()
    assert proxy.requests == []


def test_make_final_server_error_of_unknown_host(monkeypatch):
    hosts = []

    def unknown(*args, **kwargs):
        hosts.append(args[0])
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    check_error(lambda: request_file_listing("https://api.osf.io/v2", "data", manual=MANUAL), ConnectionError, "https://api.osf.io/v2 does not respond",
         "api.osf.io cannot be reached", "Check the network connection", "in a browser")  # fmt: skip
    assert hosts == ["api.osf.io"]


def test_make_final_server_error_after_begin():
    error = requests.ConnectionError(
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    )
    assert isinstance(make_final_server_error(error, "https://h/x", ""), ConnectionError)
    assert make_final_server_error(error, "https://h/x", "", has_begun=True) is None


@pytest.fixture
def secure_server(tmp_path):
    """Server with a self-signed certificate, and its address."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out",
         tmp_path / "cert",
         "-subj", f"/CN={CERTIFICATE_HOST}", "-addext", f"subjectAltName=DNS:{CERTIFICATE_HOST}", "-days", "1"],
        capture_output=True,
    ) if shutil.which("openssl") else None  # fmt: skip
    if made is None or made.returncode:
        pytest.skip("requires openssl to make a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = Server(partial(context.wrap_socket, server_side=True))
    yield server, f"https://localhost:{server.http.server_port}"
    server.close()


def test_make_final_server_error_of_certificate(secure_server):
    server, url = secure_server
    check_error(lambda: request_file_listing(f"{url}/list", "data", manual=MANUAL), ConnectionError, "The certificate of localhost is not trusted",
         "REQUESTS_CA_BUNDLE", "in a browser")  # fmt: skip
    assert server.requests == []


def test_make_final_server_error_of_http_for_https():
    server = Server()
    try:
        check_error(
            lambda: request_file_listing(
                server.url.replace("http", "https") + "/list", "data", manual=MANUAL
            ),
            ConnectionError,
            "is not trusted",
        )
    finally:
        server.close()
