"""HTML report: numbers of the table, safe for any text, in any browser."""

import base64
import io
import json
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.hidden import ALL_NAMES, NAMES
from helpers.pages import EVIL, Reader
from helpers.score_tables import (
    add_details,
    make_curve,
    make_plan_with_sounds,
    make_retrieval_result,
    make_score_table,
)

from sk_b2s import score_similarities, summarize, write_report
from sk_b2s._utils._text import HIDDEN, make_text_visible
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary
from sk_b2s.events._stimuli import get_stimulus_digest
from sk_b2s.reporting._score_sections import show_score_comparison


def read_page(results, folder, **options):
    """Write a report and parse it."""
    return Reader(write_report(results, folder / "r.html", **options).read_text(encoding="utf-8"))


# --- content ---------------------------------------------------------------------------------------


def test_write_report_shows_numbers_of_summary(tmp_path, empty_figures):
    results = make_score_table()
    text = read_page(results, tmp_path).text
    for row in summarize(results).query("control == 'decoder'").to_dict("records"):
        for name in ("top_k", "top_1", "top_5", "match_mismatch"):
            assert f"{100 * row[name]:.1f} % ± {100 * row[f'{name}_sem']:.1f}" in text
        assert f"{100 * row['null_high']:.1f} %" in text
    for name in (
        "chance 10.0 %",
        "chance 20.0 %",
        "sk_b2s 0.1.0 torch 2.4",
        "4 subjects",
        "Decoding was tested on",
    ):
        assert name in text


def test_write_report_accepts_similarities(tmp_path, empty_figures):
    rng = np.random.default_rng(0)
    y = pd.DataFrame({"segment": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    for similarity, headline in (
        (np.eye(60), "similarity decodes speech better than its null"),
        (rng.normal(size=(60, 60)), "No decoder scored above its null"),
    ):
        text = read_page(score_similarities(similarity, y), tmp_path).text
        assert headline in text
        assert "a leak cannot be excluded" in text
        assert "unknown whether training stimuli were tested" in text


def test_write_report_shows_leak_before_scores(full_page):
    text = full_page.read_text(encoding="utf-8")
    body = text[text.index("<body>") :]
    assert body.index("There is a leak") < body.index("Leaks") < body.index('class="number"')
    assert "differences between recordings are enough" in body[: body.index('class="number"')]


def test_write_report_lists_folds(tmp_path, empty_figures):
    results = make_score_table(("ridge",)).assign(
        leakage="no leak: nothing is shared", leakage_verdict="no_leak"
    )
    leak = ["leak", "LEAK: 30 % of the test sound was in training"]
    results.loc[results["fold"] == 1, ["leakage_verdict", "leakage"]] = leak
    assert "Fold 0: no leak: nothing is shared" in read_page(results, tmp_path).text


def test_write_report_labels_conditions_and_k(tmp_path, empty_figures):
    results = make_score_table()
    is_encoder = results["estimator"] == "encoder"
    changed = results.assign(k=results["k"].mask(is_encoder, 5))
    text = read_page(changed, tmp_path).text
    for expected in ("ridge, k = 10", "encoder, k = 5", "top-5 accuracy among", "cannot be compared"):
        assert expected in text
    one = results[~is_encoder]
    both = pd.concat([one.assign(condition="attended"), one.assign(condition="ignored")], ignore_index=True)
    text = read_page(both, tmp_path).text
    assert "ridge (attended)" in text
    assert "ridge (ignored)" in text


def test_write_report_counts_subjects_with_null(tmp_path, empty_figures):
    results = make_score_table(("ridge",))
    short = (results["subject"] == "b") & (results["fold"] == 0)
    nulls = ("null_mean", "null_low", "null_high")
    results = results.assign(**{name: results[name].mask(short) for name in nulls})
    assert "ridge: 4 of 4 subjects" in read_page(results, tmp_path).text


def make_topography(rows):
    """Make encoding scores from (subject, fold, n_windows, values of r)."""
    place = np.random.default_rng(0).uniform(0.2, 0.8, (9, 2))
    return pd.DataFrame([
        {"subject": subject, "channel": f"C{i}", "x": x, "y": y, "r": r, "fold": fold, "n_windows": n}
        for subject, fold, n, values in rows for i, ((x, y), r) in enumerate(zip(place, values, strict=True))
    ])  # fmt: skip


@pytest.mark.parametrize(("rows", "null", "text"), [
    ([("a", 0, 10, 0.01 * np.arange(9)), ("b", 0, 10, 0.01 * np.arange(9) + 0.02)], 0.02,
     "mean of 2 subjects: 0.010 to 0.090, highest at C8; chance is 0, null up to 0.020"),
    ([("a", 0, 30, [np.nan, *[0.1] * 8]), ("a", 1, 10, [0.3] * 9)], np.nan,
     "mean of 1 subject: 0.150 to 0.300, highest at C0; chance is 0."),
], ids=["two subjects", "folds weighted by windows, constant channel"])  # fmt: skip
def test_write_report_draws_forward_model(rows, null, text, tmp_path):
    table = make_topography(rows).assign(null_high=null)
    read = read_page(make_score_table(("ridge",), subjects="ab"), tmp_path, curves={"Forward": table})
    assert text in read.all("svg")[-1]["aria-label"]


def test_write_report_rejects_invalid_input(tmp_path):
    with pytest.raises(ValueError, match="lacks the columns"):
        write_report(pd.DataFrame({"top_k": [1.0]}), tmp_path / "r.html")
    with pytest.raises(ValueError, match="all of fits that failed, the first with ValueError: x"):
        write_report(make_score_table().assign(error="ValueError: x"), tmp_path / "r.html")
    with pytest.raises(ValueError, match="alternative text"):
        write_report(
            make_score_table(("ridge",)),
            tmp_path / "r.html",
            figures={"x": (matplotlib.figure.Figure(), " ")},
        )
    assert not (tmp_path / "r.html").exists()


# --- form ------------------------------------------------------------------------------------------


def test_page_escapes_names(parsed_page):
    assert not parsed_page.all("script")
    assert not [a for _, a in parsed_page.elements if any(key.startswith("on") for key in a)]
    assert EVIL in parsed_page.within["h1"][0]
    assert EVIL in "".join(parsed_page.within["code"]), "the error is quoted"


def test_page_loads_nothing(parsed_page):
    for _, attributes in parsed_page.elements:
        for key in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(key, "#").startswith(("#", "data:image/", "data:text/csv;")), attributes
    style = "".join(parsed_page.within["style"])
    assert "@import" not in style
    assert "url(" not in style
    assert parsed_page.all("meta")[2]["content"].startswith("default-src 'none'")


def test_page_figures_have_alternative_texts(parsed_page):
    sections = {"subjects": 1, "comparison": 1, "controls": 1, "retrieval": 1 + 2 * 3, "curve": 1, "own": 1}
    sections |= {"ranks": 1, "training": 2, "sensors": 2 * 2}
    assert len(parsed_page.all("svg")) == sum(sections.values())
    for attributes in parsed_page.pictures:
        words = attributes.get("alt") or attributes.get("aria-label")
        assert re.search(r"\d", words), attributes
    alts = " ".join(attributes["aria-label"] for attributes in parsed_page.all("svg"))
    assert "chance 10.0" in alts
    assert "A line from 1 to 3." in alts
    assert "top-5 accuracy by Lag, mean over subjects. 0: 21.0\xa0%, 0.1: 31.0\xa0%" in alts


def test_page_ids_are_unique(parsed_page):
    assert len(parsed_page.ids) == len(set(parsed_page.ids)) > 100


def test_write_report_is_reproducible(tmp_path):
    before = dict(matplotlib.rcParams), matplotlib.pyplot.get_fignums()
    results = make_score_table(("ridge",), subjects="ab")
    first = write_report(results, tmp_path / "a.html").read_bytes()
    assert write_report(results, str(tmp_path / "b.html")).read_bytes() == first
    assert (dict(matplotlib.rcParams), matplotlib.pyplot.get_fignums()) == before


SLOW = ("lone surrogate", "override", "long")  # alone; ALL_NAMES contains the others


@pytest.mark.parametrize("text", [
    pytest.param(ALL_NAMES, id="all"),
    *(pytest.param(NAMES[name], marks=pytest.mark.slow, id=name) for name in SLOW),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Glyph", "ignore:.*layout", "ignore:.*(plan|complete)")
def test_write_report_accepts_any_text(text, tmp_path):
    results = make_score_table(("ridge", text), subjects=[f"a{text}", f"b{text}"])
    columns = ("study", "condition", "warnings", "versions", "cv", "leakage")
    results = results.assign(**dict.fromkeys(columns, text))
    results["control"] = results["control"].replace("phase_randomized", text)
    results.loc[(results["estimator"] == "ridge") & (results["fold"] == 1), "error"] = f"ValueError: {text}"
    options = {
        "results_by_decoder": {text: make_retrieval_result()},
        "curves": {text: make_curve("value", [0.0, 0.1])},
    }
    page = (
        write_report(results, tmp_path / "r.html", title=text, cv=text, **options)
        .read_bytes()
        .decode("utf-8")
    )
    assert not HIDDEN.search(page)
    read = Reader(page)
    assert not {"script", "img", "iframe", "object"} & {found for found, _ in read.elements}
    assert not any(key.startswith("on") for _, found in read.elements for key in found)
    assert re.sub(r"\s+", " ", make_text_visible(text)).strip() in read.text


def test_write_report_isolates_right_to_left_names(tmp_path):
    name = NAMES["Hebrew"]
    read = read_page(make_score_table((name,), subjects="ab"), tmp_path, title=name)
    assert set(read.within["bdi"]) == {name}
    assert name not in read.within.get("h1", [])


# --- in a browser ----------------------------------------------------------------------------------

CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => { v /= 255;
    return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 }); return .2126 * r + .7152 * g + .0722 * b };
  const paper = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!/rgba\\(.*, 0\\)/.test(c)) return c } return 'rgb(255, 255, 255)' };
  const out = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), ink = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const [a, b] = [light(ink), light(paper(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) out.push([e.tagName, e.textContent.slice(0, 40), ink, paper(e)]);
  } return out })()"""
BEYOND = """[...document.querySelectorAll('main *')].filter(e => {
  const box = e.getBoundingClientRect();
  if (!box.width || e.parentElement.closest('.scroll, pre, svg')) return false;
  return box.right > innerWidth + 1 || box.left < -1;
}).map(e => [e.tagName, e.className, e.textContent.slice(0, 40)])"""
CLIPPED = """[...document.querySelectorAll('.badge, .card, .verdict, h2, td, th, figure, svg')].filter(e => {
  const box = e.getBoundingClientRect(), around = e.parentElement.getBoundingClientRect();
  return box.width && (box.right > around.right + 1 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth);
}).map(e => [e.tagName, e.className.baseVal ?? e.className, e.textContent.slice(0, 40)])"""
UNNAMED = "[...document.querySelectorAll('img, svg, audio')].filter(e => !(e.alt || e.getAttribute('aria-label'))).length"
COLUMNS = "getComputedStyle(document.querySelector('.pair')).gridTemplateColumns.split(' ').length"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_opens_offline_in_browser(browser, full_page, scheme, width):
    browser.open(full_page.as_uri(), width, scheme)
    browser.wait_for("document.readyState === 'complete'")
    assert browser.evaluate("document.title").startswith("All of it <script>")
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.querySelectorAll('svg').length") > 10
    assert browser.evaluate(UNNAMED) == 0
    browser.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate(BEYOND) == []
    assert browser.evaluate(CLIPPED) == []
    empty = "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width < 100).length"
    assert browser.evaluate(empty) == 0
    assert browser.evaluate(CONTRAST) == []
    assert browser.evaluate(COLUMNS) == (2 if width == 1280 else 1)
    links = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(e => !document.getElementById(e.hash.slice(1))).length"
    assert browser.evaluate(links) == 0
    assert not browser.messages
    assert [url for url in browser.requests if not url.startswith("data:")] == [full_page.as_uri()]


@pytest.mark.parametrize("width", [390, 1280])
def test_page_of_long_names_fits_in_browser(browser, tmp_path, width):
    results = add_details(
        make_score_table((40 * "long", f"Ridge({20 * 'alpha=1, '})"), subjects=("a" * 50, "b"))
    )
    page = write_report(results, tmp_path / "report.html", title="word" * 60)
    browser.open(page.as_uri(), width, "light")
    browser.wait_for("document.readyState === 'complete'")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate(BEYOND) == []
    assert browser.evaluate(CLIPPED) == []


def test_page_is_printed_without_clipped_tables(browser, full_page):
    browser.open(full_page.as_uri(), 760, "light")  # a page of A4 with margins
    browser.wait_for("document.readyState === 'complete'")
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        beyond = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        assert browser.evaluate(f"{beyond}.map(e => e.tagName + e.textContent.slice(0, 40))") == []
        hints = "[...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e, '::after').display)"
        assert set(browser.evaluate(hints)) == {"none"}
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


# --- details ---------------------------------------------------------------------------------------


def test_report_draws_comparisons_of_best_decoder(empty_figures):
    results = make_score_table([f"decoder{place}" for place in range(8)], subjects="ab")
    figure, table = list(show_score_comparison(BenchmarkSummary(results)))[-1]["blocks"]
    caption, table = figure["blocks"][0]["caption"], table["blocks"][0]
    assert caption.startswith("decoder7 minus the 7 next decoders. The table has all 28 comparisons.")
    assert (len(table["rows"]), table["is_tall"]) == (28, True)


def test_report_draws_pairs_of_equal_decoders(empty_figures):
    """The decoder with the most pairs is drawn, whatever rounding adds."""
    results = make_score_table([f"decoder{place}" for place in range(7)], subjects="ab")
    own = results["control"] == "decoder"
    results.loc[own, "top_k"] = 0.4 + 1e-14 * (results["estimator"] == "decoder6")[own]
    figure, _ = list(show_score_comparison(BenchmarkSummary(results)))[-1]["blocks"]
    assert figure["blocks"][0]["caption"].startswith("decoder0 minus the 6 next decoders.")


def test_write_report_shows_details(tmp_path, empty_figures):
    results = add_details(make_score_table()).assign(study="simulated")
    results["plan"] = json.dumps(make_plan_with_sounds({}))
    read = read_page(results, tmp_path)
    for expected in (
        "Simulated data.", "sk-b2s benchmark she saw maps", "rank 3", "subject she saw maps , 80.0 s",
        "How many guesses are needed", "Training of ridge", "Sensors of encoder", "Sensors of encoder (inner)", "Download the table of scores",
        "The recordings had 12 channels with known sensor positions and were referenced to the average, were band-pass "
        "filtered from 1 to 15 Hz",
        "Windows had a duration of 0.3 to 2 s (median 0.5 s) and covered 1.5 hours of recordings.",
    ):  # fmt: skip
        assert expected.replace(" , ", ", ") in read.text.replace(" , ", ", "), expected
    (link,) = (found for found in read.all("a") if "download" in found)
    table = pd.read_csv(io.BytesIO(base64.b64decode(link["href"].partition("base64,")[2])))
    assert table["top_k"].tolist() == pytest.approx(results["top_k"].tolist())
    assert "details" not in table


def test_write_report_embeds_clips(tmp_path, empty_figures):
    name = tmp_path / "a.wav"
    soundfile.write(name, 0.1 * np.random.default_rng(0).standard_normal(40000), 8000)
    results = add_details(make_score_table(("ridge",)), "a.wav")
    sounds = {"a.wav": get_stimulus_digest(str(name))[:16]}
    results["plan"] = json.dumps(make_plan_with_sounds(sounds))
    players = read_page(results, tmp_path, stimuli=tmp_path).all("audio")
    assert len(players) == 3  # two targets, and one guess that is not the target
    assert all(player["src"].startswith("data:audio/") for player in players)
    assert not read_page(results, tmp_path).all("audio")


def test_write_report_states_what_envelope_beats(tmp_path, empty_figures):
    results = make_score_table()
    own = results["control"] == "phase_randomized"
    results.loc[own, "control"] = "envelope_only"
    results.loc[own & (results["estimator"] == "encoder"), "top_k"] = 0.4
    text = read_page(results, tmp_path).text
    assert "Loudness alone scores higher than ridge (32" in text
    assert "encoder with the envelope in place of its speech features scores 40.0" in text
    assert "The highest score is that of encoder" in text
