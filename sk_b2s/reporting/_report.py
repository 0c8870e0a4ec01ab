"""HTML report of a results table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_texts_visible
from sk_b2s.evaluation._controls._registry import CONTROLS
from sk_b2s.evaluation._controls._verdicts import MEANINGS, TEXTS, Verdict
from sk_b2s.evaluation._results._amounts import amounts_in
from sk_b2s.evaluation._results._table import ABOUT, COLUMNS, COST, MADE
from sk_b2s.evaluation._scores import SCORES, is_score_correlation
from sk_b2s.evaluation._summary import BenchmarkSummary, get_summary_score_label
from sk_b2s.plotting._calibration import plot_adaptation
from sk_b2s.plotting._scores import (
    plot_comparison,
    plot_controls,
    plot_scores,
    plot_subjects,
)
from sk_b2s.reporting._findings import (
    LIMITS,
    describe_finding_counts,
    explain_leak_findings,
    format_finding_count,
    format_finding_error,
    format_finding_null,
    format_finding_share,
    get_finding_style,
    list_finding_folds,
    write_findings_headline,
)
from sk_b2s.reporting._html import (
    badge,
    cell,
    details,
    figure,
    heading,
    items,
    paragraph,
    render_page,
    style_html_figures,
    table,
)
from sk_b2s.reporting._methods import generate_methods_text
from sk_b2s.reporting._sections import make_appendix_section, show_parameters_section

OPTIONAL = ("study", *ABOUT, *MADE, *COST, "key", "plan")  # columns that a table may lack


def write_report(
    results, path="report.html", title=None, *, cv=None, results_by_decoder=None, encoders=None, positions=None,
    curves=None, figures=None,
):  # fmt: skip
    """Write benchmark results to a self-contained HTML report.

    The page begins with a headline of what the scores are evidence of, and
    reports leaks before any score. It contains its figures, loads nothing,
    runs no script, follows the light or dark mode of the reader, and can be
    printed.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of :func:`~sk_b2s.benchmark`, :func:`~sk_b2s.read_results` or
        :func:`~sk_b2s.score_similarities`.
    path : str or Path, default="report.html"
        Output file. It is replaced if it exists, and missing folders are made.
    title : str, default=None
        Title of the page. If None, the names of the studies.
    cv : None, splitter or str, default=None
        Splitter, for the methods text, as in
        :func:`~sk_b2s.generate_methods_text`.
    results_by_decoder : dict of str to RetrievalResult, default=None
        Retrieval results by name of the decoder. Ranks, similarities in one
        sentence, and word confusions are drawn for each.
    encoders : dict of str to estimator, default=None
        Fitted encoders, or Pipelines that end in one, by name. Their training
        curves are drawn.
    positions : array-like of shape (n_channels, 2), default=None
        Sensor positions, ``windows.positions[0]``, to draw the spatial
        attention of ``encoders``.
    curves : dict of str to DataFrame, default=None
        Tables by heading, returned by
        :func:`~sk_b2s.retrieval_learning_curve`,
        :func:`~sk_b2s.retrieval_validation_curve`,
        :func:`~sk_b2s.attention_decision_accuracy`, or
        :func:`~sk_b2s.cross_val_encoding`, which is drawn on the head.
    figures : dict of str to (Figure or Axes, str), default=None
        Other matplotlib figures by heading, each with an alternative text that
        describes it.

    Returns
    -------
    path : Path
        Output file.

    Raises
    ------
    ValueError
        If the table lacks columns or rows without errors, or a figure has no
        alternative text.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from sk_b2s import score_similarities
    >>> y = pd.DataFrame({
    ...     "segment": range(60), "onset": np.arange(60) * 3.0, "duration": 3,
    ... })
    >>> results = score_similarities(np.eye(60), y)
    >>> write_report(results, Path(mkdtemp()) / "report.html").name
    'report.html'
    """
    cv = None if cv is None else str(cv)
    summary = BenchmarkSummary(make_texts_visible(_check_results(results)))
    title, cv, results_by_decoder, encoders, curves = map(
        make_texts_visible, (title, cv, results_by_decoder or {}, encoders or {}, curves or {})
    )
    with style_html_figures():
        blocks = [
            *_show_findings(summary), *_show_task(summary), *_show_scores(summary.table), *_show_calibration(summary),
            *_show_subjects(summary), *_show_comparison(summary), *_show_controls(summary), *_show_limits(summary),
            *make_appendix_section(results_by_decoder, encoders, positions, curves, figures or {}),
            *_show_folds(summary), *_show_methods(summary.results, cv), *_show_help(summary),
        ]  # fmt: skip
    text = render_page(title or _make_title(summary.results), describe_finding_counts(summary), blocks)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:  # without a file name if the disk is full
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def _check_results(results):
    """Check columns and rows of results. Subjects without a name get one."""
    known = set(getattr(results, "columns", ()))
    if missing := [name for name in COLUMNS if name not in known | set(OPTIONAL)]:
        raise ValueError(
            f"The 'results' parameter of write_report must be a table of benchmark, read_results or "
            f"score_similarities. It lacks the columns {missing}."
        )
    if "task" in results and results["task"].nunique() > 1:
        raise ValueError(
            f"The 'results' parameter of write_report must have one task. Got {list(results['task'].unique())} instead. "
            f"Write a report of each, results[results['task'] == ...]."
        )
    if not (results["error"].astype(object).fillna("") == "").any():
        first = (
            f", all of fits that failed, the first with {results['error'].iloc[0]}" if len(results) else ""
        )
        raise ValueError(
            f"results must have at least one row without an error. Got {len(results)} rows{first}."
        )
    results = results.assign(**{name: np.nan for name in OPTIONAL if name not in known})
    return results.assign(subject=results["subject"].astype(str).replace("", "unnamed"))


def _make_title(results):
    studies = [str(name) for name in pd.unique(results["study"].dropna()) if name]
    return f"Speech decoding{': ' + ', '.join(studies) if studies else ''}"


# --- findings and scores ---------------------------------------------------------------------------


def _show_findings(summary):
    """Show the headline, leaks, and the main score of each decoder."""
    style, text, notes = write_findings_headline(summary)
    statement = {"kind": "statement", "code": False}
    yield {**statement, "label": "verdict", "style": style, "text": text, "notes": notes, "texts": []}
    if reasons := explain_leak_findings(summary):
        yield {**statement, "label": "leaks", "style": "bad", "text": "Leaks", "notes": [], "texts": reasons}
    yield {"kind": "cards", "cards": [_make_card(row) for row in summary.scored.to_dict("records")]}


def _make_card(row):
    """Make a card with the main score of one decoder."""
    is_correlation = is_score_correlation(row)
    number, chance = (format_finding_share(row[name], is_correlation) for name in ("top_k", "chance"))
    sem = format_finding_error(row["top_k_sem"], is_correlation)
    sem = f"{sem.strip()} s.e.m., " if sem else ""
    null = f", null {format_finding_null(row, is_correlation)}" if np.isfinite(row["null_high"]) else ""
    label = get_summary_score_label(pd.DataFrame([row]))
    among = f" among {row['n_candidates']:.0f} candidates" if row["n_candidates"] else ""
    return {
        "label": row["label"], "number": number, "badge": _make_badge(row),
        "score": f"{100 * max(row['top_k'], 0):.2f}", "chance": f"{100 * row['chance']:.2f}",
        "bar_text": f"A bar of {number} with chance at {chance}.",
        "details": f"{label}{among}, {sem}chance {chance}{null}",
    }  # fmt: skip


def _make_badge(row):
    return badge(row["verdict_text"], get_finding_style(row["verdict"]))


def _show_task(summary):
    """Show question, candidates and source of a task."""
    spec, results = summary.task, summary.results
    if spec is None:
        return
    yield heading(f"Task: {spec.name}")
    candidates = f" Candidates: {spec.candidates}." if spec.candidates else ""
    yield paragraph(
        f"{spec.question}{candidates} Score: {spec.label.format(k=int(results['k'].dropna().iloc[0]))}."
    )
    yield paragraph(f"Source: {spec.source}. Published, on other data: {spec.published}.")


def _show_scores(means):
    """Show tables of all scores, one for each pool of candidates."""
    yield heading("Scores")
    yield paragraph("Means ± standard errors over subjects, with the chance level below.")
    for pool, own in means[means["control"] == "decoder"].groupby("pool", sort=False):
        k = own["k"].dropna().unique()
        names = [
            name
            for name, spec in SCORES.items()
            if spec.higher_is_better and name in own and own[name].notna().any()
        ]
        main = own["main_score"].iloc[0] if "main_score" in own else "top_k"  # is in the column top_k
        has_ranks = bool(own["median_relative_rank"].notna().any())
        names = [
            "top_k",
            *(
                name
                for name in names
                if name not in ("top_k", main, *(f"top_{n}" for n in k[:1] if len(k) == 1))
            ),
        ]
        labels = {name: get_summary_score_label(own, name).replace(" accuracy", "") for name in names}
        columns = [
            "decoder",
            labels.pop("top_k"),
            "null",
            "verdict",
            *labels.values(),
            *["median rank"] * has_ranks,
            "subjects",
        ]
        body = [
            [row["label"], _make_score_cell(row, "top_k"), format_finding_null(row, is_score_correlation(row)), cell(badge=_make_badge(row)),
             *(_make_score_cell(row, name) for name in labels),
             *[_make_rank_cell(row["median_relative_rank"])] * has_ranks,
             cell(f"{row['n_subjects']}", f"{row['n_windows']} windows")]
            for row in own.to_dict("records")
        ]  # fmt: skip
        yield table(columns, body, _describe_pool(pool, own["n_candidates"]))


def _make_rank_cell(rank):
    return cell(f"{rank:.2f}", "chance 0.50") if np.isfinite(rank) else cell("–")


def _describe_pool(pool, n):
    """Describe the candidates of a table of scores."""
    if not n.max():
        return "Without candidates"
    among = f"{n.min():.0f}" if np.ptp(n) < 0.5 else f"{n.min():.0f} to {n.max():.0f}"
    return f"Among {among} candidates, " + (
        "all that exist" if pool == "all" else "the mean over all such pools"
    )


def _make_score_cell(row, name, badge=None):
    """Make a cell with a score, its standard error and chance level."""
    if not np.isfinite(row[name]):
        return cell("–", badge=badge)
    is_correlation = is_score_correlation(row, name)
    text = format_finding_share(row[name], is_correlation) + format_finding_error(
        row[f"{name}_sem"], is_correlation
    )
    small = f"chance {format_finding_share(SCORES[name].chance(row), is_correlation)}"
    p_column = SCORES[name].p_column
    if p_column in row and np.isfinite(row[p_column]):
        small += f", p {row[p_column]:.2g}"
    return cell(text, small, badge)


# --- subjects, decoders, controls ------------------------------------------------------------------


def _describe_scores(scores, is_correlation):
    """Describe a table of scores in words, for an alternative text."""
    parts = []
    for name, row in scores.iterrows():
        name = " of ".join(map(str, name)) if isinstance(name, tuple) else name
        error = f" ± {format_finding_share(row['sem'], is_correlation)}" if np.isfinite(row["sem"]) else ""
        null = f", null {format_finding_null(row, is_correlation)}" if np.isfinite(row["null_high"]) else ""
        score, chance = (format_finding_share(row[column], is_correlation) for column in ("score", "chance"))
        parts.append(f"{name} {score}{error} (chance {chance}{null})")
    return "; ".join(parts)


def _show_calibration(summary):
    """Show scores by calibration minutes, if there are several."""
    if not amounts_in(summary.results):
        return
    yield heading("Calibration to the test subject")
    alt = f"{summary.score_label} by minutes of calibration. {_describe_scores(summary.means(), summary.is_correlation())}."
    caption = "All durations are tested on the same windows. Calibration data were recorded before them."
    yield figure(plot_adaptation(summary.results).figure, alt, caption)


def _show_subjects(summary):
    """Show scores, chance and null of each subject."""
    means, own, name = summary.means(), summary.means(by=("label", "subject")), summary.score_label
    is_correlation = summary.is_correlation()
    yield heading("Subjects")
    yield from _count_significant(own[own["null_high"].notna()])
    yield figure(
        plot_scores(summary).figure, f"{name} of each decoder, mean over subjects. {_describe_scores(means, is_correlation)}.",
        "A point for each subject, mean ± s.e.m. The null is the null of the mean.",
    )  # fmt: skip
    if own["score"].groupby("label").size().max() > 1:
        text = "; ".join(
            f"{label}: "
            + ", ".join(
                f"{who} {format_finding_share(score, is_correlation)}"
                for (_, who), score in part["score"].items()
            )
            for label, part in own.groupby("label", sort=False)
        )
        alt = f"{name} of each subject. {text}."
        yield figure(plot_subjects(summary).figure, alt, "Score of each subject over its own null.")
    body = [
        [
            subject,
            label,
            format_finding_share(row["score"], is_correlation),
            format_finding_share(row["chance"], is_correlation),
            format_finding_null(row, is_correlation),
        ]
        for (label, subject), row in own.iterrows()
    ]
    columns = ["subject", "decoder", name, "chance", "95 % of the null"]
    yield details("Scores of each subject", table(columns, body, name))


def _count_significant(known):
    """Count the subjects above and below their own null."""

    def count(is_outside, all_labels=True):
        table = is_outside.groupby("label", sort=False).agg(["sum", "size"])
        return "; ".join(
            f"{label}: {n['sum']} of {format_finding_count(n['size'], 'subject')}"
            for label, n in table.iterrows() if all_labels or n["sum"]
        )  # fmt: skip

    if above := count(known["score"] > known["null_high"]):
        yield paragraph(
            f"Subjects above their own null: {above}. At chance level, 1 in 40 subjects is expected."
        )
    if below := count(known["score"] < known["null_low"], all_labels=False):
        yield paragraph(
            f"Subjects below their own null: {below}. At chance level, 1 in 40 subjects is expected. More of them "
            f"indicate wrong labels, signs or pairs."
        )


def _show_comparison(summary):
    """Show differences between decoders with signed-rank tests."""
    if summary.decoders["estimator"].nunique() < 2:
        return
    yield heading("Comparison of decoders")
    try:
        found = summary.compare()
    except ValueError as error:
        yield paragraph(f"The decoders cannot be compared: {error}")
        return
    yield paragraph(
        "Wilcoxon signed-rank tests, paired over subjects, Holm-corrected for the number of comparisons. If the "
        "smallest possible p of so many subjects is 0.05 or above, no difference can be significant."
    )
    name, is_correlation = summary.score_label, summary.is_correlation()
    text = "; ".join(
        f"{row.estimator} minus {row.reference} {_format_difference(row.mean_difference, is_correlation)}"
        f"{'' if is_correlation else ' points'}, better in {row.n_better} of "
        f"{row.n_subjects}, corrected p {row.p_holm:.2g}"
        for row in found.itertuples()
    )
    yield figure(plot_comparison(summary).figure, f"Differences in {name}: {text}.")
    columns = ["comparison", "difference", "better", "worse", "p", "p, corrected", "smallest possible"]
    body = [
        [f"{row.estimator} − {row.reference}",
         _format_difference(row.mean_difference, is_correlation) + format_finding_error(row.sem, is_correlation),
         f"{row.n_better}", f"{row.n_worse}", f"{row.p:.2g}", f"{row.p_holm:.2g}", f"{row.smallest_p_holm:.2g}"]
        for row in found.itertuples()
    ]  # fmt: skip
    yield table(columns, body, f"Differences in {name}{'' if is_correlation else ', percentage points'}")


def _format_difference(difference, is_correlation):
    """Format a difference of scores, in percentage points or as a number."""
    text = f"{difference:+.3f}" if is_correlation else f"{100 * difference:+.1f}"
    return text.replace("-", "−")


def _show_controls(summary):
    """Show the scores of all controls and what they mean."""
    names = [name for name in pd.unique(summary.results["control"]) if name != "decoder"]
    yield heading("Controls")
    if not names:
        yield paragraph("No control was run. A score above its null does not exclude a leak.")
        return
    name, scores = summary.score_label, summary.means(by=("control", "label"), decoders_only=False)
    alt = f"{name} of controls and decoders. {_describe_scores(scores, summary.is_correlation())}."
    yield figure(plot_controls(summary).figure, alt)
    cells = {
        (row["control"], row["label"]): _make_score_cell(row, "top_k", _make_badge(row))
        for row in pd.concat([summary.scored, summary.controls]).to_dict("records")
    }
    labels = list(dict.fromkeys(label for _, label in cells))
    body = [
        [control, *(cells.get((control, label), "–") for label in labels),
         CONTROLS[control].meaning if control in CONTROLS else ""]
        for control in names
    ]  # fmt: skip
    yield table(["control", *labels, "meaning"], body, f"{name} of controls, computed with the same code")


def _show_limits(summary):
    compared = summary.task.compared if summary.task else "similarities"
    yield heading("What controls do not detect")
    yield paragraph(
        f"The null and the controls are computed from {compared}. They do not detect these problems:"
    )
    yield items(LIMITS)


# --- folds, methods, help --------------------------------------------------------------------------


def _show_folds(summary):
    """Show failed fits, folds, leakage and warnings."""
    yield heading("Folds")
    if n := len(summary.failed):
        body = [
            [row.estimator, str(row.control), f"{row.seed}", f"{row.fold}", cell(row.error, is_code=True)]
            for row in summary.failed.itertuples()
        ]
        count = badge(f"{format_finding_count(n, 'fit')} failed", "bad")
        yield paragraph(f"and {'is' if n == 1 else 'are'} not included in any mean.", badge=count)
        yield table(["decoder", "control", "seed", "fold", "error"], body, "Failed fits")
    columns, body = list_finding_folds(summary)
    folds = table(columns, body, "Decoders, all candidates, one row for each fold")
    yield folds if len(body) <= 12 else details(f"All {len(body)} rows", folds)
    overlap = summary.results.dropna(subset=["leakage"]).drop_duplicates("fold")
    lists = {
        "What training and test sets share": [
            f"Fold {row.fold}: {row.leakage}" for row in overlap.itertuples()
        ],
        "Warnings of fits": [
            f"{text} ({format_finding_count(n, 'fit')})" for text, n in summary.count_warnings().items()
        ],
    }
    for title, texts in lists.items():
        if texts:
            yield details(title, items(texts))


def _show_methods(results, cv):
    """Show the methods text, parameters and versions."""
    yield heading("Methods text")
    yield {"kind": "quote", "text": generate_methods_text(results.dropna(axis=1, how="all"), cv)}
    yield from show_parameters_section(results)
    versions = [str(text) for text in pd.unique(results["versions"].dropna()) if text]
    if versions:
        yield heading("Versions")
        yield items(versions, code=True)


def _show_help(summary):
    """Show the meaning of the terms of the report."""
    spec = summary.task
    terms = {} if spec else _explain_top_k("k" if summary.k is None else summary.k)
    chance = (
        f"Expected score without information: {spec.chance}."
        if spec
        else "Expected score of random guesses: the number of guesses divided by the number of candidates."
    )
    moved = spec.shifted if spec else "labels"
    yield heading("How to read this report")
    terms |= {
        "chance": chance,
        "null": f"Scores of the same decoder after circular shifts of the {moved} in time, within each recording. In contrast "
        "to chance, the null includes the similarity of neighboring windows. A score above its null is above "
        "the 97.5 % quantile, a score below its null is below the 2.5 % quantile.",
        TEXTS[Verdict.BELOW_NULL]: MEANINGS[Verdict.BELOW_NULL],
        TEXTS[Verdict.LEAK]: MEANINGS[Verdict.LEAK],
        "mean ± s.e.m.": "Mean and standard error over subjects. Folds and seeds of a subject are averaged first and do "
        "not increase the number of subjects.",
    }
    yield {"kind": "terms", "terms": terms}


def _explain_top_k(k):
    """Explain the score of segments."""
    return {
        f"top-{k} accuracy": f"Proportion of windows whose target segment is among the {k} most similar candidates. It "
        "decreases with the number of candidates, so only scores with the same number can be compared. Ties count "
        "against the decoder.",
    }
