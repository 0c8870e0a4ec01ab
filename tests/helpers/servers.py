"""Local HTTP servers and proxies that simulate failures."""

import hashlib
import io
import json
import re
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np

from sk_b2s.datasets import _servers
from sk_b2s.datasets._download import DownloadFile, download


class Server:
    """Server that drops the connection halfway, ``drops`` times.

    Parameters
    ----------
    secure : callable, default=None
        Returns the encrypted socket of a socket.
    """

    def __init__(self, secure=None):
        self.files, self.drops, self.ranges, self.requests, self.status = {}, 0, True, [], {}
        self.kinds: dict = {}
        self.special: dict = {}  # functions of the request, by path
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                server.respond(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        if secure is not None:  # before the thread waits for this socket
            self.http.socket = secure(self.http.socket)
        Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def respond(self, request):
        path, wanted = unquote(request.path), request.headers.get("Range")
        self.requests.append((path, wanted))
        if path in self.special:
            return self.special[path](request)
        if path not in self.files:
            return request.send_error(self.status.get(path, 404))
        body = self.files[path]
        begin = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if begin >= len(body) > 0:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            return request.end_headers()
        request.send_response(206 if begin else 200)
        request.send_header("Content-Type", self.kinds.get(path, "application/octet-stream"))
        request.send_header("Content-Length", str(len(body) - begin))
        request.end_headers()
        body = body[begin:]
        if self.drops and len(body) > 1:
            self.drops -= 1
            request.wfile.write(body[: len(body) // 2])
            request.wfile.flush()
            return request.connection.close()
        request.wfile.write(body)

    def json(self, path, value):
        self.files[path] = json.dumps(value).encode()


PROXY_VARIABLES = (
    "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
)  # fmt: skip


def remove_proxies(monkeypatch):
    """Remove the proxies of this machine from the environment."""
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def start_proxies():
    """Yield a function that starts a proxy and returns its address.

    The proxy replies to every request with a status. The attribute
    ``requests`` of the function lists the requested paths.
    """
    servers, requests = [], []

    def start(status, reason="Forbidden by policy"):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_CONNECT(self):
                requests.append(self.path)
                self.send_error(status, reason)

            do_GET = do_HEAD = do_CONNECT

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    start.requests = requests
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# --- content and downloads ---

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MOST_SENT = 10**8  # bytes of an endless response


def send_head(request, status=200, **headers):
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()


def send_chunks(request, chunks):
    """Send chunks until the client disconnects: number of bytes sent."""
    n_bytes = 0
    try:
        for chunk in chunks:
            request.wfile.write(chunk)
            request.wfile.flush()
            n_bytes += len(chunk)
    except OSError:
        pass
    return n_bytes


class SimulatedClock:
    """Module ``time`` whose clock advances by some seconds at each call."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def monotonic(self):
        self.now += self.seconds
        return self.now


@contextmanager
def stop_waiting_for_heads(monkeypatch):
    """Let the client wait for no head of a response: the list of waits.

    Also yields an event, until which the server can keep its heads back.
    """
    waits, is_over = [], Event()

    class Impatient(Thread):
        def join(self, timeout=None):
            waits.append(timeout)

    with monkeypatch.context() as patch:
        patch.setattr(_servers, "threading", SimpleNamespace(Thread=Impatient))
        try:
            yield waits, is_over
        finally:
            is_over.set()


def list_files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def iter_endless():
    """Yield chunks far beyond the size of any file of the tests."""
    for _ in range(MOST_SENT // 10_000):
        yield 10_000 * b"x"


def make_zip(members, kind=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as packed:
        for name, body in members.items():
            packed.writestr(name, body)
    return buffer.getvalue()


def read_files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def make_file(server, size=300_000, checksum=SHA, path="a/f.bin"):
    return DownloadFile(path, f"{server.url}/f.bin", size, checksum)


def download_file(file, root):
    return download([file], root, progress=False)
