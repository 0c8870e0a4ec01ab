"""Headless Chromium or Chrome, driven through its debugging pipe."""

import base64
import json
import os
import select
import shlex
import shutil
import subprocess
import sys
import time

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 600.0  # s, which only a failure needs
START = """import os, sys
from fcntl import F_DUPFD, fcntl
copies = [fcntl(int(text), F_DUPFD, 10) for text in sys.argv[1:3]]
for copy, number in zip(copies, (3, 4)):  # the browser reads from 3 and writes to 4
    os.dup2(copy, number)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def find_browser():
    """Return the command of a browser, or skip the test.

    ``SK_B2S_CHROME`` is a path and further flags, such as
    "/opt/chromium --single-process --no-zygote".
    """
    if sys.platform == "win32":
        pytest.skip("the debugging pipe of a browser requires POSIX")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    command = shlex.split(os.environ.get("SK_B2S_CHROME", "")) or ([found] if found else [])
    if not command:
        pytest.skip("Chromium or Chrome is not installed, and SK_B2S_CHROME does not name one")
    return command


class Browser:
    """Browser with one page.

    ``requests`` has the addresses of all requests of the page, ``messages``
    its errors and what it writes to the console.
    """

    def __init__(self, command, profile):
        (theirs_in, self._to), (self._from, theirs_out) = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs_in), str(theirs_out), *command, *FLAGS,
             f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._text, self._n_sent, self._session = b"", 0, None
        self.requests, self.messages = [], []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """Send a command, and return its result."""
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for received in self._receive(until - time.monotonic()):
                if received.get("id") == self._n_sent:
                    assert "error" not in received, received["error"]
                    return received["result"]
        raise TimeoutError(f"{method} has no result after {PATIENCE} s")

    def _receive(self, wait):
        """Return all messages of the browser, and note those of the page."""
        if not select.select([self._from], [], [], max(0.0, wait))[0]:
            return []
        if not (data := os.read(self._from, 2**20)):
            raise RuntimeError("the browser has closed its pipe")
        *texts, self._text = (self._text + data).split(b"\0")
        received = [json.loads(text) for text in texts]
        for message in received:
            params = message.get("params", {})
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            elif message.get("method") in (
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
            ):
                self.messages.append(json.dumps(params))
        return received

    def open(self, url, width, scheme):
        """Open an address in a window of a width and a color scheme."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.requests.clear()
        self.messages.clear()
        self.send("Page.navigate", url=url)

    def evaluate(self, expression):
        """Return the value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression):
        """Wait until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.evaluate(expression):
            assert time.monotonic() < until, f"{expression} is not true after {PATIENCE} s: {self.messages}"
            time.sleep(0.05)

    def shoot(self):
        """Return the page as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def close(self):
        """End the browser."""
        os.close(self._to)  # the browser ends with its pipe
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
