"""Connections to servers: proxies, certificates, stalls and errors."""

from __future__ import annotations

import errno
import os
import re
import socket
import threading
import time
from http.client import HTTPException
from urllib.parse import urlsplit

import requests
import urllib3

from sk_b2s._utils._text import shorten_text
from sk_b2s.datasets._file_names import UnusableAddress

CHUNK = 2**16  # bytes read at a time; no more are lost when a connection drops
CONNECT = 15  # s at most until a server or proxy takes a connection
FLOOR = 1000  # bytes/s; a server that sends fewer has stalled
TRANSIENT = (408, 425, 429)  # of the statuses from 400 to 499
SET_BY = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
UNREACHABLE = {"ENETUNREACH", "EHOSTUNREACH", "ENETDOWN"}


class Stalled(requests.Timeout):
    """A server that sends next to nothing."""


def proxy_of(url):
    """Describe the proxy that an address is reached through, without its password: str, empty without a proxy."""
    proxy = _proxy(url)
    if not proxy:
        return ""
    names = [name for name in SET_BY if os.environ.get(name) == proxy]
    shown = shorten_text(re.sub(r"//[^/@]*@", "//...@", proxy), 80)[1:-1]
    return f"{shown} (set by {names[0]})" if names else f"{shown} (set by your system)"


def _proxy(url):
    try:
        return requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) or ""
    except (ValueError, OSError):
        return ""


def open_answer(url, headers, timeout):
    """Ask a server, and return when the head of its answer is there.

    Parameters
    ----------
    url : str
    headers : dict
    timeout : float
        Seconds without a byte. The whole head must come within three times as long.

    Returns
    -------
    answer : requests.Response
        Its body is not read yet.
    """
    answers: list = []

    def ask():
        try:
            limits = (min(CONNECT, timeout), timeout)
            answers.append(requests.get(url, headers=headers, stream=True, timeout=limits))
        except (ValueError, urllib3.exceptions.HTTPError, HTTPException) as error:
            wrapped = isinstance(error, requests.RequestException)
            answers.append(error if wrapped else requests.exceptions.InvalidURL(str(error)))
        except BaseException as error:  # handed to the thread that waits
            answers.append(error)

    # A head that comes byte by byte never runs into the timeout, which is for each byte.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(3 * timeout)
    if not answers:
        raise Stalled(f"{url} has not begun to answer in {3 * timeout:g} s")
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]


def pieces_of(answer, timeout, decode=False):
    """Yield the body of an answer as it comes.

    Parameters
    ----------
    answer : requests.Response
    timeout : float
        Seconds over which the least rate is measured.
    decode : bool, default=False
        Unpack what the server has packed.

    Yields
    ------
    piece : bytes

    Raises
    ------
    Stalled
        If fewer than 1000 bytes a second come.
    requests.ConnectionError
        If the connection drops.
    """
    raw = answer.raw
    # read1 returns what is there; read waits until all that was asked for has come, however slowly.
    read = getattr(raw, "read1", None)
    since, come = time.monotonic(), 0
    while True:
        try:
            piece = (
                raw.read(1024, decode_content=decode) if read is None else read(CHUNK, decode_content=decode)
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise requests.ConnectionError(f"{type(error).__name__}: {error}") from error
        if not piece:
            return
        yield piece
        come += len(piece)
        elapsed = time.monotonic() - since
        if elapsed > timeout:
            if come < FLOOR * elapsed:
                raise Stalled(f"only {come:,} bytes came in {elapsed:.0f} s")
            since, come = time.monotonic(), 0


def length_of(answer):
    """Return the bytes of the body that an answer announces: int, or None if it names no proper number."""
    text = answer.headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def check_answer(answer, url, manual):
    """Raise for an answer that asking again would not change, and an HTTPError for others that are not the file.

    Parameters
    ----------
    answer : requests.Response
    url : str
    manual : str
        What can be done by hand, a sentence for the message.
    """
    code, said = answer.status_code, f"{answer.status_code} {answer.reason}"
    proxy = proxy_of(url)
    if code == 407:
        raise _needs_password(url, proxy, manual)
    if code in (401, 403, 451, 511):
        by = f" It came through the proxy {proxy}, which may be what refuses." if proxy else ""
        raise PermissionError(
            f"{url} answered {said}: the server wants you to log in, or blocks programs.{by} {manual}"
        )
    if code in (404, 410):
        raise FileNotFoundError(f"{url} answered {said}: it has moved; see the study's page. {manual}")
    if 400 <= code < 500 and code not in TRANSIENT or code == 501:
        raise UnusableAddress(f"{url} answered {said}, which asking again would not change. {manual}")
    if code not in (200, 206):
        raise requests.HTTPError(f"{said} for url: {url}", response=answer)


def _needs_password(url, proxy, manual):
    return PermissionError(
        f"your proxy {proxy} wants you to log in before it lets you to {urlsplit(url).hostname} (407 Proxy "
        f"Authentication Required). Set HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT, or add the server to "
        f"NO_PROXY. {manual}"
    )


def final_error(error, url, manual, begun=False):
    """Return the error to raise at once, or None if the failure may pass.

    Parameters
    ----------
    error : Exception
        Of requests.
    url : str
    manual : str
        What can be done by hand, a sentence for the message.
    begun : bool, default=False
        Bytes have come from this server, so that its name and the network were right.

    Returns
    -------
    error : PermissionError, ConnectionError or None
    """
    causes = list(_causes(error))
    proxy, host = proxy_of(url), urlsplit(url).hostname
    if isinstance(error, requests.exceptions.InvalidProxyURL) or (
        isinstance(error, ValueError) and proxy and _is_unusable(_proxy(url))
    ):
        return UnusableAddress(
            f"the proxy {proxy or 'of your system'} cannot be used: {_brief(error)}. Give it as "
            f"http://HOST:PORT, or remove it. {manual}"
        )
    if isinstance(
        error, (ValueError, requests.TooManyRedirects)
    ):  # requests' errors of addresses are ValueErrors
        return UnusableAddress(
            f"{url} is, or leads to, an address that is not fetched, because it is not http or https, is "
            f"malformed, or leads in a circle: {_brief(error)}. {manual}"
        )
    for cause in causes:
        if tunnel := re.search(r"Tunnel connection failed: (\d+) ?(.*)", str(cause)):
            code, reason = int(tunnel[1]), tunnel[2].strip("')\" ")
            if code == 407:
                return _needs_password(url, proxy, manual)
            if code < 500 or code == 501:
                return PermissionError(f"your proxy {proxy} forbids {host} ({code} {reason[:80]}). {manual}")
            return None
    if isinstance(error, requests.exceptions.ProxyError) or (
        proxy and isinstance(error, requests.ConnectTimeout)
    ):
        return ConnectionError(
            f"no proxy answers at {proxy}: {_brief(causes[-1])}. Correct or remove it, or add {host} to "
            f"NO_PROXY. {manual}"
        )
    text = " ".join(map(str, causes))
    if isinstance(error, requests.exceptions.SSLError) and re.search(
        r"CERTIFICATE|certificate|WRONG_VERSION|doesn't match", text
    ):
        return ConnectionError(
            f"the certificate of {host} is not trusted: {_brief(causes[-1])}. Is the date of this computer "
            f"right? In a network that opens encrypted connections, set REQUESTS_CA_BUNDLE to its "
            f"certificate. {manual}"
        )
    unknown = any(isinstance(cause, socket.gaierror) for cause in causes) or "NameResolution" in text
    if not begun and (unknown or any(_is_unreachable(cause) for cause in causes)):
        return ConnectionError(
            f"{url} does not answer: {host} cannot be reached ({_brief(causes[-1])}). Are you online? "
            f"{manual}"
        )
    return None


def _is_unusable(proxy):
    """Tell whether a proxy has no address that requests can use."""
    try:
        parsed = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
    except urllib3.exceptions.LocationParseError:
        return True
    return parsed.scheme not in ("http", "https") or not parsed.host


def _is_unreachable(cause):
    return isinstance(cause, OSError) and errno.errorcode.get(cause.errno or 0) in UNREACHABLE


def _causes(error):
    """Yield an error and what it came from, the first cause last."""
    seen: set = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = [getattr(error, "reason", None), *error.args, error.__cause__, error.__context__]
        error = next((one for one in inner if isinstance(one, BaseException)), None)


def _brief(error):
    return shorten_text(" ".join(str(error).split()), 200)
