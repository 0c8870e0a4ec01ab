"""Page of live predictions: requests, events, script and names."""

import json
import math
import shutil
import subprocess

import pytest
from helpers.hidden import ALL_NAMES
from helpers.live_page import PAGE, make_line, read_event, request
from helpers.pages import EVIL, Reader

from sk_b2s.streaming import _page
from sk_b2s.streaming._page import N_CLIENTS, LivePage

NAMES = [EVIL, ALL_NAMES]


@pytest.fixture
def page(monkeypatch):
    """Page that sends a message when ``_sent`` is set to -infinity only."""
    monkeypatch.setattr(_page, "SEND_EVERY", 1e9)
    page = LivePage(NAMES)
    yield page
    page.close(wait=0.1)


def test_page_loads_nothing_from_elsewhere(page):
    response = request(page)
    assert "default-src 'none'" in response.getheader("Content-Security-Policy")
    reader = Reader(response.read().decode())
    assert [a["src"] for a in reader.all("script")] == ["live.js"]
    assert {a["href"] for a in reader.all("link")} == {"live.css", "data:,"}
    assert len(set(reader.ids)) == len(reader.ids)
    for name in ("live.js", "live.css"):
        text = request(page, f"/{name}").read().decode()
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "innerHTML" not in text
    assert request(page, "/../_page.py").status == 404


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "127.0.0.1"}, {"Origin": "http://evil.example"}], ids=str
)
@pytest.mark.parametrize("path", ["/", "/events"])
def test_page_refuses_foreign_hosts(page, path, headers):
    response = request(page, path, **headers)
    assert response.status == 403
    assert b"Use the address" in response.read()


def test_page_sends_history_updates_and_end(page):
    page.show(make_line(1))
    page.show_status(2.0, 3)
    response = request(page, "/events")
    kind, state = read_event(response)
    assert (kind, state["history"], state["n_lost"]) == ("state", [[1, 0.25, 0.75]], 3)
    assert state["age"] == 1.0  # of the stream, also without new predictions
    assert state["names"][0] == EVIL
    assert not set(state["names"][1]) & set("\0\x1b\u202e\u2066\ud800")
    page.show(make_line(2, trial=1))
    page._sent = -math.inf
    page.show_status(3.0, 3)
    kind, update = read_event(response)
    assert (kind, update["trial"], update["rows"]) == ("update", 1, [[2, 0.25, 0.75]])
    page.close("interrupted")
    assert read_event(response)[1]["ended"] == "interrupted"
    assert response.fp.read() == b""


def test_page_sends_predictions_of_a_long_chunk(page):
    client = page.add_client()
    client.get()  # the state
    page.show(make_line(1))
    assert client.empty()
    page._sent = -math.inf
    page.show(make_line(2))
    assert b'"rows": [[1, 0.25, 0.75], [2, 0.25, 0.75]]' in client.get(timeout=300)


def test_page_limits_pages_and_waiting_messages(page):
    kept = [page.add_client() for _ in range(N_CLIENTS)]
    assert page.add_client() is None
    assert request(page, "/events").status == 503
    for number in range(300):
        page.show(make_line(number))
        page._sent = -math.inf
        page.show_status(number, 0)
    assert kept[0].qsize() == 1
    assert kept[0].get() is None
    assert page.add_client() is not None


def test_page_names_a_used_port(page):
    with pytest.raises(OSError, match="--port 0"):
        LivePage(NAMES, page.port)


def test_script_computes_points():
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    code = (
        f"const s = require({json.dumps(str(PAGE / 'live.js'))});"
        "console.log(JSON.stringify([s.makePoints([[0, 0, 1], [5, 1, 0], [10, .5, .5]], 0, [0, 10], 100, 50),"
        "s.makePoints(Array.from({length: 5000}, (_, i) => [i, .5]), 0, [0, 4999], 100, 50).split(' ').length,"
        "s.formatNumber(null, 1), s.formatNumber(.256, 2), s.extendRange(3, 3), s.styleOf(9)]))"
    )
    printed = subprocess.run(
        [node, "-e", code], capture_output=True, text=True, check=True, timeout=1200
    ).stdout
    assert json.loads(printed) == ["40.0,62.0 90.0,12.0 140.0,37.0", 101, "-", "0.26", [3, 4], "s1 d1"]
