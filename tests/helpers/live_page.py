"""Requests to the page of live predictions, and its events."""

import http.client
import json
from importlib.resources import files

from helpers.hidden import ALL_NAMES
from helpers.pages import EVIL

PAGE = files("sk_b2s.streaming") / "page"


def make_line(number, trial=0):
    probabilities = {EVIL: 0.25, ALL_NAMES: 0.75}
    return {
        "time": number + 0.1, "stimulus_time": number, "trial": trial, "age": 0.1, "n_lost": 3,
        "probabilities": probabilities,
    }  # fmt: skip


def request(page, path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=300)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def read_event(response):
    lines = []
    while (line := response.fp.readline()) not in (b"\n", b""):
        lines.append(line.decode("ascii").rstrip("\n").partition(": ")[2])
    return lines[0], json.loads(lines[1])
