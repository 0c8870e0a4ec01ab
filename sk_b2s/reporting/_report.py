"""HTML report of a results table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import visible_in
from sk_b2s.evaluation._controls._registry import CONTROLS
from sk_b2s.evaluation._controls._verdicts import MEANINGS, TEXTS, Verdict
from sk_b2s.evaluation._results._amounts import amounts_in
from sk_b2s.evaluation._results._table import ABOUT, COLUMNS, COST, MADE
from sk_b2s.evaluation._scores import SCORES
from sk_b2s.evaluation._statistics import compare_estimators, of_decoders
from sk_b2s.evaluation._summary import add_labels, average_scores, get_score_label
from sk_b2s.plotting._calibration import plot_adaptation
from sk_b2s.plotting._scores import (
    plot_comparison,
    plot_controls,
    plot_scores,
    plot_subjects,
)
from sk_b2s.reporting._findings import (
    LIMITS,
    card_of,
    fold_rows,
    headline,
    leak_reasons,
    null_of,
    pct,
    stimulus_facts,
    summary_rows,
    verdict_class,
    warnings_of,
)
from sk_b2s.reporting._html import Html, drawing, isolated, page, picture, table, tag
from sk_b2s.reporting._methods import generate_methods_text
from sk_b2s.reporting._sections import made_of, make_appendix

OPTIONAL = ("study", *ABOUT, *MADE, *COST, "key", "plan")  # said where it is known


def write_report(
    results, path="report.html", title=None, *, cv=None, answers=None, encoders=None, positions=None, curves=None,
    pictures=None,
):  # fmt: skip
    """Write a table of scores as one HTML page that a person would rather look at than the table.

    The page says first, in words, what the scores are evidence of; a leak is said before any score. It holds its
    pictures, loads nothing, runs no script, follows the reader's light or dark mode and can be printed.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Of :func:`~sk_b2s.benchmark`, :func:`~sk_b2s.read_results` or :func:`~sk_b2s.score_similarities`.
    path : str or Path, default="report.html"
        File to write; what is there is replaced, and folders that are not there are made.
    title : str, default=None
        Heading of the page; the studies by default.
    cv : None, splitter or str, default=None
        How windows were divided, for the methods paragraph, as in :func:`~sk_b2s.generate_methods_text`.
    answers : dict of str to RetrievalResult, default=None
        What decoders answered: ranks, a sentence's similarities and confusions of words are drawn of each.
    encoders : dict of str to estimator, default=None
        Fitted encoders, or Pipelines that end in one: the curves of their training are drawn.
    positions : array-like of shape (n_channels, 2), default=None
        Places of the sensors, ``windows.positions[0]``, to draw where ``encoders`` attend.
    curves : dict of str to DataFrame, default=None
        Of :func:`~sk_b2s.retrieval_learning_curve`, :func:`~sk_b2s.retrieval_validation_curve` or :func:`~sk_b2s.attention_decision_accuracy`, by the
        heading of each; or of :func:`~sk_b2s.cross_val_encoding`, which is drawn on the head.
    pictures : dict of str to (Figure or Axes, str), default=None
        Others of yours by heading, each with a text that says what it shows to those who do not see it.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    ValueError
        If the table lacks columns or has no rows but those of failed fits, or a picture has no text.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from sk_b2s import score_similarities
    >>> heard = pd.DataFrame({"segment": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    >>> write_report(score_similarities(np.eye(60), heard), Path(mkdtemp()) / "report.html").name
    'report.html'
    """
    cv = None if cv is None else str(cv)
    results, *given = map(visible_in, (_checked(results), title, cv, answers, encoders, curves))
    title, cv, answers, encoders, curves = given
    rows = summary_rows(results)
    with drawing():
        body = [
            *_top(rows, results, title), *_table(rows), *_calibrated(results), *_people(results), *_compared(results),
            *_controls(rows, results), *_limits(),
            *make_appendix(answers or {}, encoders or {}, positions, curves or {}, pictures or {}),
            *_folds(results), *_methods(results, cv), *_reading(results),
        ]  # fmt: skip
        text = page(title or _title(results), *body)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:  # which names no file where the disk is full
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def _checked(results):
    """Take a table that a benchmark could have made; people without a name get one."""
    known = set(getattr(results, "columns", ()))
    if missing := [name for name in COLUMNS if name not in known | set(OPTIONAL)]:
        raise ValueError(
            f"results must be a table of benchmark(), read_results() or audit(); it lacks the columns {missing}."
        )
    if not (results["error"].astype(object).fillna("") == "").any():
        first = f": {results['error'].iloc[0]}" if len(results) else ""
        raise ValueError(f"results has no rows{' but those of failed fits' + first if len(results) else ''}.")
    results = results.assign(**{name: np.nan for name in OPTIONAL if name not in known})
    return results.assign(subject=results["subject"].astype(str).replace("", "unnamed"))


def _title(results):
    studies = [str(name) for name in pd.unique(results["study"].dropna()) if name]
    return f"Heard speech read from the brain{': ' + ', '.join(studies) if studies else ''}"


# --- what it comes to ------------------------------------------------------------------------------


def _top(rows, results, title):
    kind, said, notes = headline(rows, results)
    yield tag("p", "sk_b2s report", class_="small")
    yield tag("h1", isolated(title or _title(results)))
    yield tag("p", stimulus_facts(results), class_="facts")
    yield tag(
        "section", tag("strong", said), *(tag("p", note) for note in notes), class_=f"verdict {kind}",
        aria_label="verdict",
    )  # fmt: skip
    if reasons := leak_reasons(rows, results):
        yield tag(
            "section", tag("strong", "What leaks"), tag("ul", *(tag("li", reason) for reason in reasons)),
            class_="verdict bad", aria_label="leaks",
        )  # fmt: skip
    mine = rows[(rows["control"] == "decoder") & (rows["pool"] == "all")]
    yield tag("div", *(_card(row) for row in mine.to_dict("records")), class_="cards")


def _card(row):
    number, beside, row = card_of(row)
    bar = tag(
        "div", tag("span", class_="score", style=f"width: {100 * row['top_k']:.2f}%"),
        tag("span", class_="chance", style=f"left: {100 * row['chance']:.2f}%"), class_="bar", role="img",
        aria_label=f"A bar of {number} with chance at {pct(row['chance'])}.",
    )  # fmt: skip
    return tag(
        "article", tag("h3", isolated(row["label"])), tag("div", number, class_="number"), bar,
        tag("div", beside, class_="small"), tag("p", _badge(row)), class_="card",
    )  # fmt: skip


def _badge(row):
    return tag("span", row["verdict_text"], class_=f"badge {verdict_class(row['verdict'])}")


def _table(rows):
    yield tag("h2", "Scores")
    yield tag("p", "Means ± standard errors over people, and below them what a guess would score.")
    for pool, own in rows[rows["control"] == "decoder"].groupby("pool", sort=False):
        n, k = own["n_candidates"], _k_of(own)
        among = f"{n.min():.0f}" if np.ptp(n) < 0.5 else f"{n.min():.0f} to {n.max():.0f}"
        among += " candidates" + (", the mean over all such pools" if pool != "all" else ", all there are")
        shown = {"top_k": f"top-{k}"} | {f"top_{i}": f"top-{i}" for i in (1, 5, 10) if i != k}
        shown |= {
            "match_mismatch": "match",
            "top_1_within_500ms": "within 0.5 s",
            "word_top_10": "top-10 words",
        }
        shown = {name: label for name, label in shown.items() if own[name].notna().any()}
        columns = [
            "decoder",
            shown.pop("top_k"),
            "null",
            "verdict",
            *shown.values(),
            "median rank",
            "people",
        ]
        body = [
            [row["label"], _cell(row, "top_k"), null_of(row), _badge(row),
             *(_cell(row, name) for name in shown), _under(f"{row['median_relative_rank']:.2f}", "chance 0.50"),
             _under(f"{row['n_subjects']}", f"{row['n_windows']} windows")]
            for row in own.to_dict("records")
        ]  # fmt: skip
        yield table([*columns], body, f"Among {among}")


def _k_of(rows):
    """Write what k stands for; of several it remains k."""
    found = rows["k"].dropna().unique()
    return int(found[0]) if len(found) == 1 else "k"


def _cell(row, name):
    """A score with its error, and chance below."""
    if not np.isfinite(row[name]):
        return "–"
    error = row[f"{name}_sem"]
    text = pct(row[name]) + (f" ± {100 * error:.1f}" if np.isfinite(error) else "")
    return _under(text, f"chance {pct(SCORES[name].chance(row))}")


def _under(text, below):
    return Html(tag("span", text) + tag("small", below))


# --- people, estimators, controls ------------------------------------------------------------------


def _said(scores):
    """Say a table of scores in words."""
    parts = []
    for name, row in scores.iterrows():
        name = " of ".join(map(str, name)) if isinstance(name, tuple) else name
        error = f" ± {pct(row['sem'])}" if np.isfinite(row["sem"]) else ""
        null = f", null {null_of(row)}" if np.isfinite(row["null_high"]) else ""
        parts.append(f"{name} {pct(row['score'])}{error} (chance {pct(row['chance'])}{null})")
    return "; ".join(parts)


def _calibrated(results):
    if not amounts_in(results):
        return
    mine = of_decoders(results[results["error"].astype(object).fillna("") == ""])
    scores = average_scores(add_labels(mine))
    name = get_score_label(mine)
    yield tag("h2", "Minutes of the person who is tested")
    yield picture(plot_adaptation(results).figure, f"{name} by minutes of calibration. {_said(scores)}.",
                  "All amounts are asked the same; what is calibrated with was recorded before.")  # fmt: skip


def _people(results):
    rows = add_labels(of_decoders(results))
    over, own = average_scores(rows), average_scores(rows, by=["label", "subject"])
    name = get_score_label(rows)
    yield tag("h2", "People")
    known = own[own["null_high"].notna()]
    above = (known["score"] > known["null_high"]).groupby("label", sort=False).agg(["sum", "size"])
    counts = [f"{label}: {n['sum']} of {n['size']} people" for label, n in above.iterrows()]
    if counts:
        yield tag("p", f"Above the null of their own, by themselves: {'; '.join(counts)}. Of 40 people who are at "
                  f"chance one is expected there.")  # fmt: skip
    low = (known["score"] < known["null_low"]).groupby("label", sort=False).agg(["sum", "size"])
    if counts := [
        f"{label}: {n['sum']} of {n['size']} people" for label, n in low[low["sum"] > 0].iterrows()
    ]:
        yield tag("p", f"Below the null of their own: {'; '.join(counts)}. Of 40 people who are at chance one is "
                  f"expected there; more of them mean that labels, signs or pairs are wrong.")  # fmt: skip
    parts = [picture(plot_scores(results).figure, f"{name} of each decoder, mean over people. {_said(over)}.",
                     "A point for each person, mean ± s.e.m.; the null is that of the mean.")]  # fmt: skip
    if own["score"].groupby("label").size().max() > 1:
        text = "; ".join(
            f"{label}: " + ", ".join(f"{who} {pct(score)}" for (_, who), score in part["score"].items())
            for label, part in own.groupby("label", sort=False)
        )
        parts.append(picture(plot_subjects(results).figure, f"{name} of each person. {text}.",
                             "Each person's score over that person's own null."))  # fmt: skip
    yield from parts
    body = [
        [
            who,
            label,
            pct(row["score"]),
            pct(row["chance"]),
            null_of(row),
        ]
        for (label, who), row in own.iterrows()
    ]
    yield tag("details", tag("summary", "The numbers of each person"),
              table(["person", "decoder", name, "chance", "95 % of the null"], body, name))  # fmt: skip


def _compared(results):
    rows = add_labels(of_decoders(results))
    if rows["estimator"].nunique() < 2:
        return
    yield tag("h2", "Decoders against each other")
    try:
        found = compare_estimators(rows, score="top_k")
    except ValueError as error:
        yield tag("p", f"They cannot be compared: {error}")
        return
    yield tag("p", "Wilcoxon's signed-rank test, paired over people, corrected for the number of comparisons by Holm's "
              "rule. Where the least p that so many people can give is 0.05 or above, nothing could have been "
              "significant.")  # fmt: skip
    said = "; ".join(
        f"{row.estimator} minus {row.reference} {100 * row.mean_difference:+.1f} points, better in {row.n_better} of "
        f"{row.n_subjects}, corrected p {row.p_holm:.2g}"
        for row in found.itertuples()
    )
    yield picture(plot_comparison(rows).figure, f"Differences in {get_score_label(rows)}: {said}.")
    columns = ["comparison", "difference", "better", "worse", "p", "p, corrected", "least possible"]
    body = [
        [f"{row.estimator} − {row.reference}",
         f"{100 * row.mean_difference:+.1f}".replace("-", "−") + (f" ± {100 * row.sem:.1f}" if row.sem >= 0 else ""),
         f"{row.n_better}", f"{row.n_worse}", f"{row.p:.2g}", f"{row.p_holm:.2g}", f"{row.smallest_p_holm:.2g}"]
        for row in found.itertuples()
    ]  # fmt: skip
    yield table(columns, body, f"Differences in {get_score_label(rows)}, percentage points")


def _controls(rows, results):
    names = [name for name in pd.unique(results["control"]) if name != "decoder"]
    yield tag("h2", "Controls")
    if not names:
        yield tag("p", "No control was run. A score above its null does not rule out a leak.")
        return
    drawn = add_labels(results)
    scores = average_scores(drawn[drawn["pool"] == "all"], by=["control", "label"])
    name = get_score_label(drawn)
    yield picture(plot_controls(results).figure, f"{name} of controls and decoders. {_said(scores)}.")
    cells = {
        (row["control"], row["label"]): Html(_cell(row, "top_k") + tag("small", _badge(row)))
        for row in rows[rows["pool"] == "all"].to_dict("records")
    }
    labels = list(dict.fromkeys(label for _, label in cells))
    body = [
        [
            control,
            *(cells.get((control, label), "–") for label in labels),
            CONTROLS[control].meaning if control in CONTROLS else "",
        ]
        for control in names
    ]
    yield table(["control", *labels, "what it is"], body, f"{name} of controls, under the same code")


def _limits():
    yield tag("h2", "What this is no evidence against")
    yield tag("p", "A null and controls are made of similarities. They do not see what was done before:")
    yield tag("ul", *(tag("li", limit) for limit in LIMITS))


# --- how it was made -------------------------------------------------------------------------------


def _folds(results):
    failed = results[results["error"].astype(object).fillna("") != ""]
    failed = failed.drop_duplicates(["estimator", "control", "seed", "fold"])
    yield tag("h2", "Folds")
    if len(failed):
        body = [
            [row.estimator, str(row.control), f"{row.seed}", f"{row.fold}", tag("code", row.error)]
            for row in failed.itertuples()
        ]
        yield tag(
            "p", tag("span", f"{len(failed)} fits failed", class_="badge bad"), " and are in no mean above."
        )
        yield table(["decoder", "control", "seed", "fold", "error"], body, "Fits that failed")
    columns, body = fold_rows(results)
    inner = table(columns, body, "Decoders, all candidates; a fold in each row")
    yield inner if len(body) <= 12 else tag("details", tag("summary", f"All {len(body)} rows"), inner)
    lists = {
        "What is on both sides of each fold": [
            f"Fold {row.fold}: {row.leakage}"
            for row in results.dropna(subset=["leakage"]).drop_duplicates("fold").itertuples()
        ],
        "Warnings of fits": [
            f"{said} ({n} {'fit' if n == 1 else 'fits'})" for said, n in warnings_of(results).items()
        ],
    }
    for heading, items in lists.items():
        if items:
            yield tag("details", tag("summary", heading), tag("ul", *(tag("li", item) for item in items)))


def _methods(results, cv):
    yield tag("h2", "Methods, to be copied")
    yield tag("blockquote", generate_methods_text(results.dropna(axis=1, how="all"), cv))
    yield from made_of(results)
    versions = [str(text) for text in pd.unique(results["versions"].dropna()) if text]
    if versions:
        yield tag("h2", "Versions")
        yield from (tag("p", tag("code", text)) for text in versions)


def _reading(results):
    yield tag("h2", "How to read this")
    k = _k_of(results)
    words = {
        f"top-{k} accuracy": f"How often the segment heard is among the {k} most similar of the candidates. It falls "
        "with their number, so scores compare only at equal numbers; ties count against the decoder.",
        "chance": "What a guess scores, the number of guesses over the number of candidates.",
        "null": "What the same decoder scores if the labels are moved in time within each recording. Unlike chance it "
        "knows that neighboring windows are alike. Above it means above its 97.5 % quantile, below it below its 2.5 % "
        "quantile.",
        TEXTS[Verdict.BELOW_NULL]: MEANINGS[Verdict.BELOW_NULL],
        "LEAK": "A control that cannot know what was heard is above chance, or sound of training was tested. The "
        "score beside it is then no evidence, however high.",
        "mean ± s.e.m.": "Over people. Folds and seeds of a person are averaged first; they are no further people.",
    }
    inner = [part for word, text in words.items() for part in (tag("dt", word), tag("dd", text))]
    yield tag("dl", *inner) if inner else Html("")
