"""The page says what the table says, in any browser, to everybody, whatever names are in it."""

import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers.pages import EVIL, Reader

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pytest.importorskip("matplotlib.pyplot")

from helpers.score_tables import make_curve, make_retrieval_result, make_score_table  # noqa: E402

from sk_b2s import score_similarities, summarize, write_report  # noqa: E402
from sk_b2s.reporting._findings import headline, leak_reasons, summary_rows, warnings_of  # noqa: E402
from sk_b2s.reporting._html import Html, page, picture, table, tag  # noqa: E402


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A page with all that there can be, its path and table."""
    results = make_score_table(("ridge", "encoder"), leak="ridge")
    results.loc[(results["estimator"] == "encoder") & (results["control"] == "phase_randomized") & (results["fold"] == 1),
                "error"] = f"ValueError: {EVIL}"  # fmt: skip
    figure = matplotlib.figure.Figure()
    figure.subplots().plot([1, 2, 3])
    path = write_report(
        results, tmp_path_factory.mktemp("report") / "report.html", title=f"All of it {EVIL}", cv="StimulusKFold(2)",
        answers={"ridge": make_retrieval_result(), EVIL: make_retrieval_result(seed=1)}, curves={"Lag": make_curve("value", [0.0, 0.1])},
        pictures={"Mine": (figure, "A line from 1 to 3.")},
    )  # fmt: skip
    return path, results


@pytest.fixture(scope="module")
def read(full):
    return Reader(full[0].read_text(encoding="utf-8"))


# --- what it says ------------------------------------------------------------------------------------


def test_numbers_of_the_page_are_those_of_the_summary(tmp_path):
    results = make_score_table()
    seen = Reader(write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")).text
    for row in summarize(results).query("control == 'decoder'").to_dict("records"):
        for name in ("top_k", "top_1", "top_5", "match_mismatch"):
            assert f"{100 * row[name]:.1f}\xa0% ± {100 * row[f'{name}_sem']:.1f}".replace("\xa0", " ") in seen
        assert f"{100 * row['null_high']:.1f} %" in seen
    for name in (
        "chance 10.0 %",
        "chance 20.0 %",
        "sk_b2s 0.1.0 torch 2.4",
        "4 people",
        "Decoding was tested on",
    ):
        assert name in seen


def test_an_audit_has_a_page(tmp_path):
    rng = np.random.default_rng(0)
    heard = pd.DataFrame({"segment": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    for similarity, said in (
        (np.eye(60), "similarity reads heard speech better than its null"),
        (rng.normal(size=(60, 60)), "No decoder reads heard speech better than its null"),
    ):
        seen = Reader(
            write_report(score_similarities(similarity, heard), tmp_path / "r.html").read_text(
                encoding="utf-8"
            )
        )
        assert said in seen.text
        assert "a leak is not ruled out" in seen.text
        assert "not known whether sound of training was tested" in seen.text


@pytest.mark.parametrize(("verdicts", "kind", "said"), [
    (("above_null", "above_null"), "good", "read heard speech better than their nulls"),
    (("above_null", "at_null"), "so", "encoder cannot be said to"),
    (("at_null", "at_null"), "so", "No decoder reads"),
    (("no_null", "no_null"), "so", "no null could be made"),
    (("leak", "above_null"), "bad", "There is a leak: what ridge scored is no evidence"),
])  # fmt: skip
def test_the_headline_follows_the_verdicts(verdicts, kind, said):
    results = make_score_table()
    rows = summary_rows(results)
    for name, verdict in zip(("ridge", "encoder"), verdicts, strict=True):
        rows.loc[(rows["estimator"] == name) & (rows["control"] == "decoder"), "verdict"] = verdict
    found = headline(rows, results)
    assert found[0] == kind
    assert said in found[1]


def test_a_control_that_was_not_judged_is_not_said_to_be_at_chance():
    results = make_score_table(("ridge",))
    notes = headline(summary_rows(results), results)[2]
    assert notes[0] == "What must be at chance is at chance: phase_randomized."
    control = results["control"] == "phase_randomized"
    nulls = ["null_mean", "null_low", "null_high"]
    for changed in (
        results.assign(**{name: results[name].mask(control) for name in nulls}),
        results.assign(error=np.where(control, "ValueError: no", "")),
    ):
        notes = headline(summary_rows(changed), changed)[2]
        assert not any("What must be at chance is at chance" in note for note in notes)
        assert notes[0].startswith("Whether all of phase_randomized is at chance cannot be said")


def test_a_leak_is_said_before_any_score(full):
    text = full[0].read_text(encoding="utf-8")
    body = text[text.index("<body>") :]
    assert body.index("There is a leak") < body.index("What leaks") < body.index('class="number"')
    assert "differences between recordings are enough" in body[: body.index('class="number"')]


def test_sound_of_training_is_said():
    results = make_score_table()
    results.loc[results["estimator"] == "ridge", "n_train_overlap"] = 12.0
    reasons = leak_reasons(summary_rows(results), results)
    assert len(reasons) == 1
    assert reasons[0].startswith("ridge: 24 windows tested contain sound of training, in 2 of 2 folds")


def test_a_fold_that_leaks_is_said_whatever_was_scored(tmp_path):
    results = make_score_table(("ridge",)).assign(leakage="nothing is shared")
    assert headline(summary_rows(results), results)[0] == "good"
    results.loc[results["fold"] == 1, "leakage"] = "LEAK: 30 % of the test sound was in training"
    rows = summary_rows(results)
    assert headline(rows, results)[:2] == (
        "bad",
        "Training and test are not apart: what was scored is no evidence.",
    )
    assert leak_reasons(rows, results) == [
        "In 1 of 2 folds; fold 1: LEAK: 30 % of the test sound was in training"
    ]
    seen = Reader(write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "Fold 0: nothing is shared" in seen


def test_a_forward_model_is_drawn_on_the_head(tmp_path):
    place = np.random.default_rng(0).uniform(0.2, 0.8, (9, 2))
    heads = pd.DataFrame([
        {"subject": who, "channel": f"C{i}", "x": x, "y": y, "r": 0.01 * i + shift, "null_high": 0.02, "fold": 0}
        for who, shift in (("a", 0.0), ("b", 0.02)) for i, (x, y) in enumerate(place)
    ])  # fmt: skip
    path = write_report(make_score_table(("ridge",)), tmp_path / "r.html", curves={"Forward": heads})
    alt = Reader(path.read_text(encoding="utf-8")).all("svg")[-1]["aria-label"]
    assert "mean of 2 people: 0.010 to 0.090, highest at C8; chance is 0, null up to 0.020" in alt


def test_folds_of_a_head_weigh_by_their_windows(tmp_path):
    place = np.random.default_rng(0).uniform(0.2, 0.8, (9, 2))
    heads = pd.DataFrame([
        {"subject": "a", "channel": f"C{i}", "x": x, "y": y, "r": r, "null_high": np.nan, "fold": fold, "n_windows": n}
        for fold, (r, n) in enumerate([(0.1, 30), (0.3, 10)]) for i, (x, y) in enumerate(place)
    ])  # fmt: skip
    heads.loc[0, "r"] = np.nan  # constant in one fold
    path = write_report(make_score_table(("ridge",)), tmp_path / "r.html", curves={"Forward": heads})
    alt = Reader(path.read_text(encoding="utf-8")).all("svg")[-1]["aria-label"]
    assert "mean of 1 person: 0.150 to 0.300, highest at C0; chance is 0." in alt


def test_a_person_without_a_null_is_said_and_the_others_are_judged(tmp_path):
    results = make_score_table(("ridge",))
    nulls = ["null_mean", "null_low", "null_high"]
    short = (results["subject"] == "b") & (results["fold"] == 0)
    results = results.assign(**{name: results[name].mask(short) for name in nulls})
    kind, said, notes = headline(summary_rows(results), results)
    assert (kind, said) == ("good", "ridge reads heard speech better than its null.")
    assert any(note.startswith("Of 1 fold of single people there is no null") for note in notes)
    seen = Reader(write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "ridge: 4 of 4 people" in seen


def test_several_k_are_told_apart(tmp_path):
    results = make_score_table()
    results["k"] = results["k"].mask(results["estimator"] == "encoder", 5)
    seen = Reader(write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")).text
    for text in ("ridge, k = 10", "encoder, k = 5", "top-5 accuracy among", "They cannot be compared"):
        assert text in seen


def test_a_warning_is_counted_once_for_each_fit():
    results = make_score_table(("ridge",)).assign(warnings="")
    results.loc[results["fold"] == 1, "warnings"] = "a\nb\na"
    results.loc[
        (results["fold"] == 0) & (results["seed"] == 0) & (results["control"] == "decoder"), "warnings"
    ] = "a"
    assert warnings_of(results) == {"a": 5, "b": 4}  # two seeds of decoder and control, and one more


def test_conditions_are_told_apart(tmp_path):
    results = make_score_table(("ridge",))
    both = pd.concat(
        [results.assign(condition="attended"), results.assign(condition="ignored")], ignore_index=True
    )
    seen = Reader(write_report(both, tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "ridge, attended" in seen
    assert "ridge, ignored" in seen


def test_what_is_no_table_of_scores_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lacks the columns"):
        write_report(pd.DataFrame({"top_k": [1.0]}), tmp_path / "r.html")
    with pytest.raises(ValueError, match="no rows but those of failed fits: ValueError: x"):
        write_report(make_score_table().assign(error="ValueError: x"), tmp_path / "r.html")
    with pytest.raises(ValueError, match="alternative text"):
        write_report(
            make_score_table(), tmp_path / "r.html", pictures={"x": (matplotlib.figure.Figure(), " ")}
        )
    assert not (tmp_path / "r.html").exists()


# --- what it is made of ------------------------------------------------------------------------------


def test_names_are_text_and_nothing_else(read):
    assert not read.all("script")
    assert not [a for _, a in read.elements if any(key.startswith("on") for key in a)]
    assert EVIL in read.within["h1"][0]
    assert EVIL in "".join(read.within["code"])  # the error, word for word


def test_the_page_needs_no_other(read):
    for _, attributes in read.elements:
        for key in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(key, "#").startswith(("#", "data:image/")), attributes
    style = "".join(read.within["style"])
    assert "@import" not in style
    assert "url(" not in style
    assert read.all("meta")[2]["content"].startswith("default-src 'none'")


def test_every_picture_says_what_it_shows_in_numbers(read):
    pictures = read.pictures
    assert (
        len(read.all("svg")) == 2 + 1 + 1 + (1 + 2 * 3) + 1 + 1
    )  # people, comparison, controls, answers, curve, mine
    for attributes in pictures:
        words = attributes.get("alt") or attributes.get("aria-label")
        assert re.search(r"\d", words), attributes
    alts = " ".join(attributes["aria-label"] for attributes in read.all("svg"))
    assert "chance 10.0" in alts
    assert "A line from 1 to 3." in alts
    assert "top-5 accuracy by Lag, mean over people. 0: 21.0\xa0%, 0.1: 31.0\xa0%" in alts


def test_names_of_parts_are_unique(read):
    assert len(read.ids) == len(set(read.ids)) > 100


def test_pictures_follow_the_colours_of_the_page(full):
    svgs = re.findall(r"<figure>(<svg.*?</svg>)", full[0].read_text(encoding="utf-8"), flags=re.DOTALL)
    for svg in svgs:
        assert "var(--ink)" in svg
        assert "#1c2127" not in svg
        assert "DejaVu" not in svg


def test_elements_escape_what_is_no_html():
    assert (
        tag("p", "<b>", tag("b", 1 < 2), class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;<b>True</b></p>'
    )
    assert "&lt;i&gt;" in table(["a"], [["<i>"]], "c")
    assert "<i>" in table(["a", "b"], [["x", Html("<i>")]], "c")
    assert page("<t>").count("&lt;t&gt;") == 1


def test_equal_tables_give_equal_pages_and_leave_no_figure(tmp_path):
    before = dict(matplotlib.rcParams), matplotlib.pyplot.get_fignums()
    results = make_score_table(("ridge",))
    first = write_report(results, tmp_path / "a.html").read_bytes()
    assert write_report(results, str(tmp_path / "b.html")).read_bytes() == first
    assert (dict(matplotlib.rcParams), matplotlib.pyplot.get_fignums()) == before


def test_a_fixed_picture_keeps_its_colours():
    figure = matplotlib.figure.Figure()
    figure.subplots().plot([0, 1], color="#0072b2")
    assert "var(--c0)" in picture(figure, "0 to 1")
    assert "var(--c0)" not in picture(figure, "0 to 1", fixed=True)


# --- in a browser ------------------------------------------------------------------------------------

CONTRAST = """() => {
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
  } return out }"""


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of this machine, driven by playwright."""
    drive = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "chrome")]
    program = next((path for path in found if path), None)
    with drive.sync_playwright() as driver:
        program = program or driver.chromium.executable_path
        if not os.path.exists(program):
            pytest.skip("no Chromium or Chrome on this machine")
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_opens_it_offline_without_complaint(browser, full, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    sheet, said, asked = context.new_page(), [], []
    sheet.on("console", lambda message: said.append(message.text))
    sheet.on("pageerror", lambda error: said.append(str(error)))
    sheet.on("dialog", lambda dialog: said.append(dialog.message))
    sheet.on("request", lambda request: asked.append(request.url))
    sheet.goto(full[0].as_uri())
    assert not said
    assert [url for url in asked if not url.startswith("data:")] == [full[0].as_uri()]
    assert sheet.title().startswith("All of it <script>")
    unnamed = "[...document.querySelectorAll('img, svg')].filter(e => !(e.alt || e.getAttribute('aria-label'))).length"
    assert sheet.evaluate("document.querySelectorAll('svg').length") > 10
    assert sheet.evaluate(unnamed) == 0
    assert sheet.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "only tables and figures scroll"
    )
    empty = "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width < 100).length"
    assert sheet.evaluate(empty) == 0
    sheet.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert sheet.evaluate(CONTRAST) == []
    context.close()
