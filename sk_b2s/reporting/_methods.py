"""Methods text of a results table."""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby

import pandas as pd

from sk_b2s._utils._text import format_percent_text, join_text_items, with_visible_text
from sk_b2s.decoding._retrieval._row_candidates import RowCandidates, describe_row_candidates
from sk_b2s.decoding._retrieval._row_scores import GROUP
from sk_b2s.decoding._stimulus_artifacts import HOLD_SOUND
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary
from sk_b2s.evaluation._controls._registry import label_of_control
from sk_b2s.evaluation._controls._verdicts import (
    BELOW_MEANS,
    TEXTS,
    Verdict,
    decide_verdict_against_null,
    find_rival_verdict_scores,
)
from sk_b2s.evaluation._results._amounts import amounts_in, format_calibration_amounts, select_amount
from sk_b2s.evaluation._results._plan import read_plan
from sk_b2s.evaluation._results._rank_curves import select_rank_curve_fits
from sk_b2s.evaluation._scores import is_score_correlation
from sk_b2s.evaluation._statistics._subject_means import (
    compute_subject_null_statistics,
    compute_subject_score_statistics,
    mean_and_sem,
)
from sk_b2s.evaluation._tasks._registry import TASKS
from sk_b2s.reporting._findings import format_finding_count
from sk_b2s.reporting._methods_details import (
    describe_comparison,
    describe_features,
    describe_window_duration,
    list_selection_sentences,
    list_training_sentences,
)
from sk_b2s.reporting._templates import load_report_template

END = "---"  # line of the template that ends a paragraph
# What pretraining has seen, by its name in the column transductive_steps.
SEEN = {
    "test windows": "test windows",
    "unseen subjects": "recordings of unseen subjects",
    "test stimuli": "recordings with the test stimuli",
    "unknown recordings": "recordings that are not known",
}


@with_visible_text
def generate_methods_text(results, cv=None):
    """Generate the text of a methods section from a results table.

    Short paragraphs describe subjects and recordings (duration of windows,
    filters, sampling rate), stimuli and features, decoders (training,
    hyperparameters chosen within the training set), evaluation (windows,
    folds, candidates), statistics (null, controls), scores with paired tests,
    and versions. Facts that the table does not contain are listed in a last
    sentence in brackets, and a paragraph without facts is left out.
    Other parameters of estimators, which are in the column ``parameters``, and
    preprocessing before the windows must be added by the author.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of :func:`~sk_b2s.benchmark`. Required columns: ``estimator,
        subject``. Optional columns: ``study, control, seed, fold, condition,
        pool, n_train, n_windows, n_candidates, k, chance, top_1, top_5,
        top_10, top_k, null_low, null_mean, null_high, n_train_overlap,
        verdict, verdict_text, versions, error, details``.
    cv : None, splitter or str, default=None
        Splitter, or a description of the split. If None, the column ``cv`` of
        the results.

    Returns
    -------
    text : str
        Paragraphs with an empty line between them. If there are several tasks,
        those of each.

    Raises
    ------
    ValueError
        If the table is empty, all fits failed, or a required column is
        missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import generate_methods_text
    >>> results = pd.DataFrame({
    ...     "estimator": "ridge", "subject": ["a", "b"], "fold": [0, 1],
    ...     "n_windows": [80, 90], "k": 10, "chance": 0.2, "top_k": [0.5, 0.7],
    ... })
    >>> text = generate_methods_text(results, cv="LeaveOneSubjectOut(None)")
    >>> print(text.split(".")[0])
    Decoding was tested in 2 subjects
    """
    if missing := [column for column in ("estimator", "subject") if column not in results]:
        raise ValueError(
            f"The 'results' parameter of generate_methods_text must have the columns {missing}. Got "
            f"{list(results.columns)} instead. Pass the table returned by benchmark."
        )
    if "task" in results and results["task"].nunique() > 1:
        texts = [generate_methods_text(own, cv) for _, own in results.groupby("task", sort=False)]
        return "\n\n".join(texts)
    summary = BenchmarkSummary(results)
    if not len(summary.rows):
        raise ValueError(
            f"results must have at least one row without an error. Got {len(results)} rows"
            f"{', all of fits that failed' if len(results) else ''}."
        )
    has_plan = {"control", "fold", "seed", "error", "plan"} <= set(results)
    facts = _describe_data_for_methods(summary, cv)
    facts |= {"missing": summary.unfinished if has_plan else [], "n_failed": len(summary.failed)}
    lines = [line.strip() for line in _load_methods_template().render(facts).split("\n")]
    paragraphs = [" ".join(filter(None, group)) for is_end, group in groupby(lines, END.__eq__) if not is_end]
    return "\n\n".join(filter(None, paragraphs))


@cache
def _load_methods_template():
    """Compile the template once for all texts of a process."""
    filters = {"join_words": join_text_items, "count_of": format_finding_count}
    return load_report_template("methods.txt.j2", filters, autoescape=False)


def _describe_data_for_methods(summary, cv):
    """Collect what the template needs from rows without errors."""
    good, mine = summary.rows, summary.decoders
    fits = (
        select_rank_curve_fits(good)
        if {"details", "control"} <= set(good)
        else good.iloc[:0].assign(details=None, label="")
    )
    return {
        "task": _describe_task(mine),
        "own_candidates": _describe_own_candidates(mine),
        **_describe_tests_for_methods(mine, cv), "hours": _describe_hours(fits), "recordings": _describe_recordings_for_methods(fits),
        "window": describe_window_duration(fits), "features": describe_features(mine),
        "training": [*list_selection_sentences(fits), *list_training_sentences(fits)],
        "comparison": describe_comparison(mine), "n_shifts": _find_n_shifts(mine),
        "estimators": [str(name) for name in pd.unique(mine["estimator"])],
        "n_train": _format_methods_range(mine, "n_train"),
        "n_seeds": mine["seed"].nunique() if "seed" in mine else 1,
        "n_candidates": _format_methods_range(mine, "n_candidates"),
        "overlap": _describe_overlap(mine),
        "with_audio_channels": _find_audio_channels(mine),
        **_describe_transductive(mine),
        "averaged": [
            name for name, column in (("folds", "fold"), ("conditions", "condition"), ("seeds", "seed"))
            if column in mine and mine[column].nunique() > 1
        ],
        "null": _describe_null(mine),
        "controls": [label_of_control(name) for name in _list_texts_of_column(good, "control") if name != "decoder"],
        "scores": list(_describe_scores_for_methods(mine, good)),
        "versions": _list_texts_of_column(good, "versions"),
        "unknown": _list_unknown(good, cv),
    }  # fmt: skip


def _describe_transductive(mine):
    """Divide steps that saw test recordings from pretraining."""
    steps = _list_texts_of_column(mine, "transductive_steps", ", ")
    seen = {f"MaskedEncoder ({name})": text for name, text in SEEN.items()}
    return {
        "transductive": [step for step in steps if step not in seen],
        "pretrained": [text for name, text in seen.items() if name in steps],
    }


def _describe_tests_for_methods(mine, cv):
    """Describe windows, subjects and folds that were tested."""
    mine = select_amount(mine)
    keys = [column for column in ("subject", "fold", "condition") if column in mine]
    tested = mine.drop_duplicates(keys)  # one estimator and seed
    n_subjects, has_folds = tested["subject"].nunique(), "fold" in tested
    cv = str(cv) if cv is not None else join_text_items(_list_texts_of_column(tested, "cv"))
    facts = {
        "n_subjects": n_subjects, "n_windows": None, "windows_each": None, "studies": _list_texts_of_column(tested, "study"),
        "n_folds": tested["fold"].nunique() if has_folds else None, "cv": cv, "guarantee": _find_guarantee_of_splitter(cv),
        "is_one_subject_per_fold": has_folds
        and n_subjects > 1
        and bool((tested.groupby("fold")["subject"].nunique() == 1).all()),
    }  # fmt: skip
    if "n_windows" in tested:
        n = tested.groupby("subject", as_index=False)["n_windows"].sum()
        facts |= {
            "n_windows": int(n["n_windows"].sum()),
            "windows_each": _format_methods_range(n, "n_windows"),
        }
    return facts


def _find_guarantee_of_splitter(cv):
    """Return the guarantee in the description of a splitter, or ""."""
    found = re.fullmatch(r"\w+\(.*?\)\s+(?:\((?P<old>.*)\)|# (?P<repr>.*))", cv, re.DOTALL)
    return (found["old"] or found["repr"] or "").strip() if found else ""


def _describe_hours(fits):
    """Describe the duration of all recordings, None if it is unknown."""
    hours = [details["hours"] for details in fits["details"] if "hours" in details]
    if not hours:
        return None
    return f"{max(hours):.1f} hours" if max(hours) >= 1 else f"{60 * max(hours):.0f} minutes"


def _describe_recordings_for_methods(fits):
    """Describe channels, filters and rate, one sentence for each kind."""
    kinds: dict[str, list[str]] = {}
    for label, details in zip(fits["label"], fits["details"], strict=True):
        if found := details.get("recordings"):
            names = kinds.setdefault(_describe_preprocessing(found), [])
            names += [label] * (label not in names)
    if len(kinds) == 1:
        return [f"The recordings had {text}." for text in kinds]
    return [f"For {join_text_items(names)}, the recordings had {text}." for text, names in kinds.items()]


def _describe_preprocessing(found):
    """Describe the preprocessing of recordings, from the details of a fit."""
    text = f"{found['n_channels']:.0f} channels"
    if "montage" in found:
        text += f" (montage {found['montage']})"
    elif n := found.get("n_positions"):
        text += (
            " with known sensor positions" if n == found["n_channels"] else f", {n:.0f} with known positions"
        )
    parts = []
    if "reference" in found:
        is_average = found["reference"] == "average"
        parts.append(f"were referenced to {'the average' if is_average else found['reference']}")
    low, high = found.get("l_freq"), found.get("h_freq")
    if low is not None and high is not None:
        parts.append(f"were band-pass filtered from {low:g} to {high:g} Hz")
    elif low is not None or high is not None:
        kind = "high" if high is None else "low"
        parts.append(f"were {kind}-pass filtered at {low if high is None else high:g} Hz")
    if "notch" in found:
        parts.append(
            f"had line noise removed at {join_text_items([f'{value:g}' for value in found['notch']])} Hz"
        )
    if "sfreq" in found:
        parts.append(f"were sampled at {found['sfreq']:g} Hz")
    text = f"{text} and {join_text_items(parts)}" if parts else text
    return (
        f"{text}; windows began {1000 * found['lag']:.0f} ms after those of the stimulus"
        if found.get("lag")
        else text
    )


def _describe_task(mine):
    """Describe the question, rows, candidates and score of a task, or None."""
    spec = TASKS.get(mine["task"].iloc[0]) if "task" in mine and len(mine) else None
    if spec is None:
        return None
    plan = read_plan(mine["plan"].iloc[0]) if "plan" in mine else None
    k = int(mine["k"].iloc[0]) if "k" in mine and mine["k"].notna().all() else "k"
    settings = (plan or {}).get("settings", {})
    own = _describe_own_candidates(mine)
    return {
        "name": spec.name, "question": spec.question, "source": spec.source, "rows": settings.get("rows", ""),
        "candidates": own["text"] if own else spec.candidates, "label": spec.label.format(k=k),
        "chance": re.sub(r"^k\b", str(k), spec.chance),
        "shifted": spec.shifted, "compared": spec.compared, "averaged": spec.averaged,
    }  # fmt: skip


def _describe_own_candidates(mine):
    """Describe the rule of candidates per window, or None without one."""
    plan = read_plan(mine["plan"].iloc[0]) if "plan" in mine and len(mine) else None
    rule = (plan or {}).get("settings", {}).get("candidates_per_row")
    if not isinstance(rule, dict):
        return None
    rule, n_left_out = RowCandidates(**rule), 0
    if "n_without_candidates" in mine:
        folds = mine.drop_duplicates("fold") if "fold" in mine else mine.head(1)
        n_left_out = int(folds["n_without_candidates"].fillna(0).sum())
    return {
        "text": describe_row_candidates(rule), "is_balanced": rule.rule == "balanced", "n_left_out": n_left_out,
        "stretch": GROUP,
    }  # fmt: skip


def _describe_overlap(mine):
    """Describe where training stimuli were tested, None if unknown."""
    if "n_train_overlap" not in mine or mine["n_train_overlap"].isna().any():
        return None
    leaking = mine[mine["n_train_overlap"] > 0]
    if not len(leaking):
        return "none"
    if "fold" not in mine:
        return "in some rows"
    return f"in {leaking['fold'].nunique()} of {mine['fold'].nunique()} folds"


def _find_audio_channels(mine):
    """List estimators with a warning of channels that contain the stimulus."""
    if "warnings" not in mine:
        return []
    has_warning = mine["warnings"].astype(object).fillna("").astype(str).str.contains(HOLD_SOUND, regex=False)
    return [str(name) for name in pd.unique(mine.loc[has_warning, "estimator"])]


def _describe_null(mine):
    """Return "complete", the proportion of rows without a null, or None."""
    if "null_mean" not in mine or mine["null_mean"].isna().all():
        return None
    missing = mine["null_mean"].isna().mean()
    return f"{missing:.0%}" if missing else "complete"


def _find_n_shifts(mine):
    """Return the number of shifts of the null, None if unknown."""
    plan = read_plan(mine["plan"].iloc[0]) if "plan" in mine and len(mine) else None
    n_shifts = (plan or {}).get("settings", {}).get("n_shifts")
    return f"{n_shifts:,}" if isinstance(n_shifts, int) and n_shifts > 0 else None


def _describe_scores_for_methods(mine, good):
    """Describe the main score of each estimator, and that of timing alone."""
    if {"control", "top_k", "subject"} <= set(good) and good.index.is_unique:
        mine = mine.assign(timing=find_rival_verdict_scores(good).reindex(mine.index))
    known = [
        name
        for name in (*_list_texts_of_column(mine, "main_score"), "top_k", "top_10", "top_5", "top_1")
        if name in mine and mine[name].notna().all()
    ]
    if not known:
        return
    task, score, k = _describe_task(mine), known[0], known[0].removeprefix("top_")
    if k == "k" and "k" in mine and mine["k"].nunique() == 1:
        k = int(mine["k"].iloc[0])
    chance = (
        "chance" if task or score == "top_k" or "k" not in mine else ""
    )  # the column is the chance level of the main score
    label = mine["estimator"].astype(str)
    for column in amounts_in(mine):
        label = label + format_calibration_amounts(mine[column])
    mine = mine.assign(estimator=label)
    below, null = _find_below_null(mine)
    show = "{:.3f}".format if is_score_correlation(mine, score) else format_percent_text
    for label, row in mean_and_sem(mine, score, "estimator", chance=chance).iterrows():
        problem = join_text_items(_list_leaks_for_methods(mine[mine["estimator"] == label]))
        if not problem and label in below:
            problem = f"{TEXTS[Verdict.BELOW_NULL]}: {BELOW_MEANS}"
        yield {
            "label": label, "score": task["label"] if task else f"top-{k} accuracy", "mean": show(row["mean"]),
            "sem": show(row["sem"]) if row["n_subjects"] > 1 else None,
            "chance": show(row["chance"]) if "chance" in row else None, "problem": problem,
            "null": show(null[label]) if label in null else None,
            "timing": _format_timing(mine[mine["estimator"] == label], show),
            "envelope": _format_envelope(good, label, score, show),
        }  # fmt: skip


def _format_timing(own, show):
    """Format the mean score of timing alone over subjects, None if unknown."""
    return _format_methods_mean(own, "timing", show) if "timing" in own else None


def _format_envelope(good, label, score, show):
    """Format the mean score of the control "envelope_only", or return None."""
    if "control" not in good or score not in good:
        return None
    own = good[(good["control"] == "envelope_only") & (good["estimator"].astype(str) == label)]
    return _format_methods_mean(own[own["pool"] == "all"] if "pool" in own else own, score, show)


def _format_methods_mean(rows, score, show):
    """Format the mean over subjects of all known scores, or return None."""
    rows = rows[rows[score].notna()]
    if not len(rows):
        return None
    return show(compute_subject_score_statistics(rows, [score], ["subject"])[score].mean())


def _list_leaks_for_methods(own):
    """List the texts of leaks of an estimator."""
    if not {"verdict", "verdict_text"} <= set(own):
        return []
    return list(pd.unique(own.loc[own["verdict"] == Verdict.LEAK, "verdict_text"]))


def _find_below_null(mine):
    """Return estimators below their null, and the upper limits of nulls."""
    if not {"top_k", "null_low", "null_mean", "null_high"} <= set(mine):
        return set(), {}
    null = compute_subject_null_statistics(mine, ["estimator"])
    verdict = decide_verdict_against_null(null.assign(top_k=null["top_k_judged"]))
    return set(verdict.index[verdict == Verdict.BELOW_NULL]), null["null_high"].dropna().to_dict()


def _list_unknown(good, cv):
    """List facts that the table does not contain."""

    def is_missing(column, any_row=True):
        return column not in good or (good[column].isna().any() if any_row else good[column].isna().all())

    unknown = {
        "how folds were made": cv is None and is_missing("cv"),
        "whether subjects or folds are missing": is_missing("plan"),
        "numbers of windows": "n_windows" not in good or is_missing("n_train"),
        "the number of candidates": "n_candidates" not in good,
        "whether training stimuli were tested": is_missing("n_train_overlap"),
        "a null": is_missing("null_mean", any_row=False),
        "controls": "control" not in good or (good["control"] == "decoder").all(),
        "versions": is_missing("versions", any_row=False),
    }
    return [name for name, is_unknown in unknown.items() if is_unknown]


def _list_texts_of_column(rows, column, separator=None):
    """List distinct texts of a column that are not empty."""
    if column not in rows:
        return []
    texts = [str(text) for text in pd.unique(rows[column].dropna())]
    if separator is not None:
        texts = [part for text in texts for part in text.split(separator)]
    return [text for text in dict.fromkeys(texts) if text]


def _format_methods_range(rows, column):
    """Format the range of whole numbers, None if any is unknown."""
    if column not in rows or rows[column].isna().any():
        return None
    low, high = (int(round(number)) for number in (rows[column].min(), rows[column].max()))
    return str(low) if low == high else f"{low} to {high}"
