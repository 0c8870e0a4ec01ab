"""Local page that shows live predictions, as server-sent events."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import deque
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files

from sk_b2s._utils._text import make_text_visible

N_HISTORY, N_CLIENTS, N_WAITING = 3000, 16, 200
SEND_EVERY = 0.1  # seconds between two messages to a page
FILES = {
    "/": ("live.html", "text/html"), "/live.css": ("live.css", "text/css"), "/live.js": ("live.js", "text/javascript"),
}  # fmt: skip
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class LivePage:
    """Serve a page of live predictions on the loopback interface.

    Parameters
    ----------
    names : sequence of str
        Names of the candidates.
    port : int, default=0
        Port, 0 for a free one.
    spectrograms : bytes, default=None
        Of the candidates, see ``make_page_spectrograms``. If None, the page
        has none.
    images : bytes, default=None
        Of the candidates, see ``make_page_images``. If given, each prediction
        is a trial of its own, and all are shown by the time of the stream.

    Attributes
    ----------
    url : str
    """

    def __init__(self, names, port=0, spectrograms=None, images=None):
        self.spectrograms, self.images = spectrograms, images
        self.names = [make_text_visible(str(name)) for name in names]
        self._lock, self._clients = threading.Lock(), []
        self._history: deque[list] = deque(maxlen=N_HISTORY)
        self._facts = {"trial": 0, "count": 0, "n_lost": 0, "now": 0.0, "age": None, "ended": None}
        self._facts |= {
            "has_spectrograms": spectrograms is not None,
            "twin": None,
            "has_images": images is not None,
        }
        self._rows, self._sent, self._played = [], -SEND_EVERY, None
        try:
            self._server = _PageServer(("127.0.0.1", port), partial(_PageHandler, self))
        except (OSError, OverflowError) as error:
            raise OSError(
                f"Port {port} of 127.0.0.1 cannot be used for the page ({error}). Use another --port, --port 0 for a free "
                f"one, or --no-page."
            ) from error
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.hosts = {f"{host}:{self.port}" for host in ("127.0.0.1", "localhost")}
        if self.port == 80:
            self.hosts |= {"127.0.0.1", "localhost"}
        self._thread = threading.Thread(target=partial(self._server.serve_forever, 0.1), daemon=True)
        self._thread.start()

    def show(self, line):
        """Show a prediction of :func:`decode_live`."""
        time_shown = line["stimulus_time" if self.images is None else "time"]
        row = [round(time_shown, 3), *(round(p, 5) for p in line["probabilities"].values())]
        with self._lock:
            if line["trial"] != self._facts["trial"] and self.images is None:
                self._history.clear()
                self._rows = []
            self._history.append(row)
            self._rows.append(row)
            self._played = line["time"] - line["age"]  # when the end of the evidence was played
            self._facts.update(
                trial=line["trial"], count=self._facts["count"] + 1, age=round(line["age"], 3),
                n_lost=line["n_lost"],
            )  # fmt: skip
            self._send_if_due()  # a chunk can have many predictions, if the decoder falls behind

    def show_twin(self, probabilities):
        """Show the probabilities of a decoder with permuted channels."""
        with self._lock:
            self._facts["twin"] = [round(float(value), 5) for value in probabilities]

    def show_status(self, now, n_lost):
        """Show the seconds of the stream, and send what is new."""
        with self._lock:
            self._facts.update(now=round(now, 3), n_lost=n_lost)
            if self._played is not None:  # the evidence ages until the next prediction
                self._facts["age"] = round(max(self._facts["age"], now - self._played), 3)
            self._send_if_due()

    def _send_if_due(self):
        if time.monotonic() - self._sent >= SEND_EVERY:
            self._send()

    def _send(self):
        message = _format_page_event("update", {**self._facts, "rows": self._rows})
        self._rows, self._sent = [], time.monotonic()
        for client in list(self._clients):
            try:
                client.put_nowait(message)
            except queue.Full:  # it connects again and gets the whole state
                self._clients.remove(client)
                _replace_waiting_page_event(client, None)

    def add_client(self):
        """Return the queue of messages of a page, None if there are many."""
        with self._lock:
            if len(self._clients) >= N_CLIENTS:
                return None
            client: queue.Queue = queue.Queue(N_WAITING)
            if not self._facts["ended"]:
                self._send()  # rows that wait go to the other pages, and are in the history of this one
            state = {**self._facts, "names": self.names, "history": list(self._history)}
            client.put_nowait(_format_page_event("state", state))
            if self._facts["ended"]:
                client.put_nowait(None)
            else:
                self._clients.append(client)
            return client

    def remove_client(self, client):
        """Forget a page that has closed its connection."""
        with self._lock:
            if client in self._clients:
                self._clients.remove(client)

    def close(self, reason="end of stream", wait=2.0):
        """Send the reason of the end to all pages, and stop the server."""
        with self._lock:
            if self._facts["ended"]:
                return
            self._facts["ended"] = reason
            self._send()
            clients = list(self._clients)
            for client in clients:
                client.put(None) if not client.full() else _replace_waiting_page_event(client, None)
        until = time.monotonic() + wait
        while self._clients and time.monotonic() < until:
            time.sleep(0.02)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(wait)


def _replace_waiting_page_event(client, message):
    """Replace all waiting messages of a queue."""
    while not client.empty():
        client.get_nowait()
    client.put_nowait(message)


def _format_page_event(name, data):
    """Format a server-sent event of one line of ASCII JSON."""
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode("ascii")


class _PageServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """Ignore pages that close their connection."""


class _PageHandler(BaseHTTPRequestHandler):
    """Respond to the requests of the page, from this machine only."""

    timeout = 30
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sk-b2s", ""

    def __init__(self, page, *args):
        self.page = page
        super().__init__(*args)

    def log_message(self, *args):
        """Write nothing."""

    def end_headers(self):
        """Add the headers of each response."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def do_GET(self):  # noqa: N802
        """Send a file or the events."""
        own = {f"http://{host}" for host in self.page.hosts}
        is_foreign = self.headers.get("Host") not in self.page.hosts
        if is_foreign or self.headers.get("Origin", next(iter(own))) not in own:
            return self._send(403, b"Use the address that sk-b2s live printed.", "text/plain")
        if self.path == "/events":
            return self._send_events()
        if self.path == "/spectrograms" and self.page.spectrograms is not None:
            return self._send(200, self.page.spectrograms, "application/json")
        if self.path == "/images" and self.page.images is not None:
            return self._send(200, self.page.images, "application/json")
        if self.path not in FILES:
            return self._send(404, b"not found", "text/plain")
        name, kind = FILES[self.path]
        return self._send(200, (files("sk_b2s.streaming") / "page" / name).read_bytes(), kind)

    def _send(self, status, content, kind):
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_events(self):
        client = self.page.add_client()
        if client is None:
            return self._send(503, b"too many pages are open", "text/plain")
        self.close_connection = True
        try:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            while True:
                try:
                    message = client.get(timeout=5)
                except queue.Empty:
                    message = b": waiting\n\n"
                if message is None:
                    return None
                self.wfile.write(message)
                self.wfile.flush()
        finally:
            self.page.remove_client(client)
