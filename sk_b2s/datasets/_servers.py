"""Connections to servers, and errors of proxies, certificates and networks."""

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

CHUNK = 2**16  # bytes read at a time, the most that are lost with a connection
CONNECT_TIMEOUT = 15  # s until a server or proxy accepts a connection
MIN_RATE = 1000  # bytes per second, below which a server has stalled
TRANSIENT = (408, 425, 429)  # status codes from 400 to 499 worth another attempt
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
UNREACHABLE = {"ENETUNREACH", "EHOSTUNREACH", "ENETDOWN"}


class StalledServerError(requests.Timeout):
    """Error of a server that sends too slowly."""


def describe_server_proxy(url):
    """Return the proxy of an address without its password, or ""."""
    proxy = _find_proxy(url)
    if not proxy:
        return ""
    names = [name for name in PROXY_VARIABLES if os.environ.get(name) == proxy]
    shown = shorten_text(re.sub(r"//[^/@]*@", "//...@", proxy), 80)[1:-1]
    return f"{shown} (set by {names[0]})" if names else f"{shown} (set by your system)"


def _find_proxy(url):
    try:
        return requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)) or ""
    except (ValueError, OSError):
        return ""


def open_server_response(url, headers, timeout):
    """Send a request, and return the response without reading its body.

    Parameters
    ----------
    url : str
        Address.
    headers : dict
        Headers of the request.
    timeout : float
        Longest wait in seconds for a byte. The header of the response must
        arrive within three times as long.

    Returns
    -------
    response : requests.Response
        Response whose body can be read with :func:`iter_server_body`.
    """
    results: list = []

    def send():
        try:
            limits = (min(CONNECT_TIMEOUT, timeout), timeout)
            results.append(requests.get(url, headers=headers, stream=True, timeout=limits))
        except (ValueError, urllib3.exceptions.HTTPError, HTTPException) as error:
            wrapped = isinstance(error, requests.RequestException)
            results.append(error if wrapped else requests.exceptions.InvalidURL(str(error)))
        except BaseException as error:  # raised by the waiting thread
            results.append(error)

    # The timeout applies to each byte, so a slow header would never exceed it.
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(3 * timeout)
    if not results:
        raise StalledServerError(f"{url} did not respond within {3 * timeout:g} s")
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


def iter_server_body(response, timeout, decode=False):
    """Iterate over the body of a response as it arrives.

    Parameters
    ----------
    response : requests.Response
        Response of :func:`open_server_response`.
    timeout : float
        Duration in seconds over which the rate is measured. The time between
        two chunks, in which they are written, does not count.
    decode : bool, default=False
        If True, decompress the body.

    Yields
    ------
    chunk : bytes
        Next bytes of the body.

    Raises
    ------
    StalledServerError
        If fewer than 1000 bytes per second arrive.
    requests.ConnectionError
        If the connection is lost.
    """
    raw = response.raw
    # read1 returns the available bytes, while read waits for all requested bytes.
    read = getattr(raw, "read1", None)
    elapsed, n_bytes = 0.0, 0
    while True:
        began = time.monotonic()
        try:
            chunk = (
                raw.read(1024, decode_content=decode) if read is None else read(CHUNK, decode_content=decode)
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise requests.ConnectionError(f"{type(error).__name__}: {error}") from error
        if not chunk:
            return
        elapsed += time.monotonic() - began
        yield chunk
        n_bytes += len(chunk)
        if elapsed > timeout:
            if n_bytes < MIN_RATE * elapsed:
                raise StalledServerError(f"received only {n_bytes:,} bytes in {elapsed:.0f} s")
            elapsed, n_bytes = 0.0, 0


def read_server_content_length(response):
    """Return the announced size of a body, or None."""
    text = response.headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def check_server_response(response, url, manual):
    """Raise for an error status, an HTTPError if another attempt may succeed.

    Parameters
    ----------
    response : requests.Response
        Response of a server or proxy.
    url : str
        Address for the message.
    manual : str
        Sentence for errors on how to download the files manually.
    """
    code, status = response.status_code, f"{response.status_code} {response.reason}"
    proxy = describe_server_proxy(url)
    if code == 407:
        raise _make_password_error(url, proxy, manual)
    if code in (401, 403, 451, 511):
        hint = f" The request used the proxy {proxy}, which may have refused it." if proxy else ""
        raise PermissionError(
            f"{url} returned {status}: the server requires a login, or blocks programs.{hint} {manual}"
        )
    if code in (404, 410):
        raise FileNotFoundError(
            f"{url} returned {status}: the file has moved. See the page of the study. {manual}"
        )
    if 400 <= code < 500 and code not in TRANSIENT or code == 501:
        raise FinalServerError(f"{url} returned {status}, which another attempt would not change. {manual}")
    if code not in (200, 206):
        raise requests.HTTPError(f"{status} for url: {url}", response=response)


def _make_password_error(url, proxy, manual):
    return PermissionError(
        f"The proxy {proxy} requires a login for {urlsplit(url).hostname} (407 Proxy Authentication Required). Set "
        f"HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT, or add the server to NO_PROXY. {manual}"
    )


def make_final_server_error(error, url, manual, has_begun=False):
    """Make the error for a permanent failure, or None if it may be temporary.

    Parameters
    ----------
    error : Exception
        Error of requests.
    url : str
        Address for the message.
    manual : str
        Sentence for errors on how to download the files manually.
    has_begun : bool, default=False
        Whether the server has sent bytes, so its name and the network are
        correct.

    Returns
    -------
    error : PermissionError, ConnectionError or None
        The error to raise.
    """
    causes = list(_iter_request_causes(error))
    proxy, host = describe_server_proxy(url), urlsplit(url).hostname
    if isinstance(error, requests.exceptions.InvalidProxyURL) or (
        isinstance(error, ValueError) and proxy and _is_unusable(_find_proxy(url))
    ):
        return FinalServerError(
            f"The proxy {proxy or 'of your system'} cannot be used: {_shorten_server_error(error)}. Set it as "
            f"http://HOST:PORT, or remove it. {manual}"
        )
    if isinstance(
        error, (ValueError, requests.TooManyRedirects)
    ):  # requests' errors of addresses are ValueErrors
        return FinalServerError(
            f"{url} is, or redirects to, an address that cannot be used, because it is not http or https, is "
            f"malformed, or redirects in a loop: {_shorten_server_error(error)}. {manual}"
        )
    for cause in causes:
        if tunnel := re.search(r"Tunnel connection failed: (\d+) ?(.*)", str(cause)):
            code, reason = int(tunnel[1]), tunnel[2].strip("')\" ")
            if code == 407:
                return _make_password_error(url, proxy, manual)
            if code < 500 or code == 501:
                return PermissionError(f"The proxy {proxy} blocks {host} ({code} {reason[:80]}). {manual}")
            return None
    if isinstance(error, requests.exceptions.ProxyError) or (
        proxy and isinstance(error, requests.ConnectTimeout)
    ):
        return ConnectionError(
            f"The proxy {proxy} does not respond: {_shorten_server_error(causes[-1])}. Correct or remove it, or add {host} "
            f"to NO_PROXY. {manual}"
        )
    text = " ".join(map(str, causes))
    if isinstance(error, requests.exceptions.SSLError) and re.search(
        r"CERTIFICATE|certificate|WRONG_VERSION|doesn't match", text
    ):
        return ConnectionError(
            f"The certificate of {host} is not trusted: {_shorten_server_error(causes[-1])}. Check the date of this "
            f"computer. If your network inspects encrypted connections, set REQUESTS_CA_BUNDLE to its certificate. "
            f"{manual}"
        )
    is_unknown = any(isinstance(cause, socket.gaierror) for cause in causes) or "NameResolution" in text
    if not has_begun and (is_unknown or any(_is_unreachable(cause) for cause in causes)):
        return ConnectionError(
            f"{url} does not respond: {host} cannot be reached ({_shorten_server_error(causes[-1])}). Check the network "
            f"connection. {manual}"
        )
    return None


def _is_unusable(proxy):
    """Return whether the address of a proxy cannot be used by requests."""
    try:
        parsed = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
    except urllib3.exceptions.LocationParseError:
        return True
    return parsed.scheme not in ("http", "https") or not parsed.host


def _is_unreachable(cause):
    return isinstance(cause, OSError) and errno.errorcode.get(cause.errno or 0) in UNREACHABLE


def _iter_request_causes(error):
    """Iterate over an error and its causes, the first cause last."""
    seen: set = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = [getattr(error, "reason", None), *error.args, error.__cause__, error.__context__]
        error = next((one for one in inner if isinstance(one, BaseException)), None)


def _shorten_server_error(error):
    return shorten_text(" ".join(str(error).split()), 200)


class FinalServerError(ConnectionError, ValueError):
    """Error of an address or its content that another attempt cannot fix."""
