"""HTML report of a results table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_all_text_visible
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary
from sk_b2s.evaluation._controls._verdicts import MEANINGS, TEXTS, Verdict, add_rival_scores
from sk_b2s.evaluation._results._table import ABOUT, COLUMNS, COST, MADE
from sk_b2s.reporting._appendix_sections import make_appendix_section
from sk_b2s.reporting._clips import StimulusClips, is_clip_simulated
from sk_b2s.reporting._detail_sections import (
    make_rank_curve_section,
    pair_detail_sections,
    show_guesses_detail_section,
)
from sk_b2s.reporting._findings import (
    LIMITS,
    describe_finding_counts,
    explain_findings_of_leaks,
    format_finding_count,
    list_finding_folds,
    write_findings_headline,
)
from sk_b2s.reporting._html import (
    group_html_blocks,
    make_html_badge,
    make_html_cell,
    make_html_details,
    make_html_heading,
    make_html_id,
    make_html_items,
    make_html_paragraph,
    make_html_table,
    pair_html_blocks,
    render_html_page,
    style_html_figures,
)
from sk_b2s.reporting._provenance_sections import show_provenance
from sk_b2s.reporting._score_sections import (
    make_score_section_card,
    show_calibration_scores,
    show_control_scores,
    show_score_comparison,
    show_score_tables,
    show_subject_scores,
)

OPTIONAL = ("study", *ABOUT, *MADE, *COST, "key", "plan", "details")  # columns that a table may lack
LONGEST_HEADER = 30  # characters of a column of numbers


def write_report(
    results, path="report.html", title=None, *, cv=None, results_by_decoder=None, encoders=None, positions=None,
    curves=None, figures=None, stimuli=None,
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
    stimuli : path-like or sequence of path-like, default=None
        Folders with the audio files of the stimuli, searched with their
        sub-folders, to embed short clips of what was presented and decoded.
        Files must have the names of the benchmark and, up to 20 stimuli, their
        contents. If None, only the speech of simulated data is embedded.

    Returns
    -------
    path : Path
        Output file.

    Raises
    ------
    ValueError
        If the table lacks columns or rows without errors, or a figure has no
        alternative text.
    FileNotFoundError
        If ``stimuli`` is not a folder.

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
    summary = BenchmarkSummary(make_all_text_visible(_check_results_to_report(results)))
    title, cv, results_by_decoder, encoders, curves = map(
        make_all_text_visible, (title, cv, results_by_decoder or {}, encoders or {}, curves or {})
    )
    clips = StimulusClips(summary.results, stimuli)
    with style_html_figures():
        blocks = [
            *_show_findings(summary), *_show_task(summary), *show_score_tables(summary.table), *show_calibration_scores(summary),
            *show_subject_scores(summary, make_rank_curve_section(summary.results)), *show_score_comparison(summary),
            *show_control_scores(summary), *show_guesses_detail_section(summary.results, clips), *pair_detail_sections(summary.results),
            *make_appendix_section(results_by_decoder, encoders, positions, curves, figures or {}),
            *_show_folds(summary), *show_provenance(summary.results, cv),
            pair_html_blocks(group_html_blocks(*_show_help(summary)), group_html_blocks(*_show_report_limits(summary))),
        ]  # fmt: skip
    text = render_html_page(title or _make_title(summary.results), describe_finding_counts(summary), blocks)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:  # without a file name if the disk is full
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def _check_results_to_report(results):
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


# --- findings ---------------------------------------------------------------------------


def _show_findings(summary):
    """Show the headline, leaks, and the main score of each decoder."""
    if is_clip_simulated(summary.results):
        note = "Scores show that the analysis works, and say nothing about people."
        yield {"kind": "banner", "text": "Simulated data.", "note": note}
    style, text, notes = write_findings_headline(summary)
    statement = {"kind": "statement", "code": False}
    yield {**statement, "label": "verdict", "style": style, "text": text, "notes": notes, "texts": []}
    if reasons := explain_findings_of_leaks(summary):
        yield {**statement, "label": "leaks", "style": "bad", "text": "Leaks", "notes": [], "texts": reasons}
    table = add_rival_scores(summary.table)
    scored = table.loc[summary.scored.index].to_dict("records")
    yield {"kind": "cards", "cards": [make_score_section_card(row) for row in scored]}


def _show_task(summary):
    """Show question, candidates and source of a task."""
    spec, results = summary.task, summary.results
    if spec is None:
        return
    yield make_html_heading(f"Task: {spec.name}")
    candidates = f" Candidates: {spec.candidates}." if spec.candidates else ""
    yield make_html_paragraph(
        f"{spec.question}{candidates} Score: {spec.label.format(k=int(results['k'].dropna().iloc[0]))}."
    )
    yield make_html_paragraph(f"Source: {spec.source}. Published, on other data: {spec.published}.")


def _show_report_limits(summary):
    compared = summary.task.compared if summary.task else "similarities"
    yield make_html_heading("What controls do not detect")
    yield make_html_paragraph(
        f"The null and the controls are computed from {compared}. They do not detect these problems:"
    )
    yield make_html_items(LIMITS)


# --- folds, help --------------------------------------------------------------------------


def _show_folds(summary):
    """Show failed fits, folds, leakage and warnings."""
    yield make_html_heading("Folds")
    if n := len(summary.failed):
        body = [
            [
                row.estimator,
                str(row.control),
                f"{row.seed}",
                f"{row.fold}",
                make_html_cell(row.error, is_code=True),
            ]
            for row in summary.failed.itertuples()
        ]
        count = make_html_badge(f"{format_finding_count(n, 'fit')} failed", "bad")
        yield make_html_paragraph(f"and {'is' if n == 1 else 'are'} not included in any mean.", badge=count)
        yield make_html_table(["decoder", "control", "seed", "fold", "error"], body, "Failed fits")
    columns, body = list_finding_folds(summary)
    for row in body:
        anchor = make_html_id("folds", row[0]["label"]) if row[0]["is_first"] else None
        row[0] = make_html_cell(row[0]["label"], anchor=anchor)
    caption, label = "Decoders, all candidates, one row for each fold", summary.score_label
    if len(label) > LONGEST_HEADER:
        columns = ["score" if name == label else name for name in columns]
        caption = f"{caption}. Score: {label}"
    yield make_html_table(columns, body, caption, is_tall=len(body) > 12)
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
            yield make_html_details(title, make_html_items(texts))


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
    yield make_html_heading("How to read this report")
    terms |= {} if spec else {
        "match-mismatch accuracy": "Proportion of other candidates that are less similar than the target, mean over windows. "
        "Among candidates of like timing, rhythm alone is at chance.",
        "median relative rank": "Median over windows of the proportion of other candidates that rank above the target.",
    }  # fmt: skip
    terms |= {
        "chance": chance,
        "null": f"Scores of the same decoder after circular shifts of the {moved} in time, within each recording. In contrast "
        "to chance, the null includes the similarity of neighboring windows. A score above its null is above "
        "the 97.5 % quantile, a score below its null is below the 2.5 % quantile.",
        "p": "In tables of scores, of a permutation test of windows. In the comparison of decoders, of a test of subjects.",
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
