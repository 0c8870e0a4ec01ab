"""Findings of a results table in words: headline, notes, leaks and counts."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from sk_b2s._utils._text import format_percent_text, join_text_items
from sk_b2s.decoding._stimulus_artifacts import HOLD_SOUND
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_TESTS
from sk_b2s.evaluation._controls._verdicts import (
    BELOW_MEANS,
    OVERLAP,
    OVERLAP_MEANS,
    RIVALS,
    Verdict,
    add_rival_scores,
    find_rival_verdict_scores,
)
from sk_b2s.evaluation._results._amounts import select_amount
from sk_b2s.evaluation._results._plan import read_plan
from sk_b2s.evaluation._results._rank_curves import select_rank_curve_fits
from sk_b2s.evaluation._statistics._comparison import describe_comparison_counts
from sk_b2s.evaluation._statistics._subject_means import select_subject_rows_for_statistics

LIMITS = (  # problems that nulls and controls do not detect
    "Selection on test data: an epoch, seed, parameter, channel, frequency band or estimator was chosen because it "
    "scored best on the test windows. The best of 60 decoders of noise is above its null. Select on validation windows "
    "of the training set, and report everything that was tried.",
    "State that is kept between folds: a custom estimator whose fit continues from earlier weights, or that clone does "
    "not copy, has learned from test windows.",
    "Preprocessing of all windows before the split, such as components, scaling or rejection that were fitted on test "
    "windows.",
    "Pretraining on the same subjects or stimuli. A model file does not have to list its training data.",
    "Artifacts that follow the stimulus, such as crosstalk of earphone cables or a channel that records the audio. They "
    "are decoded like a response, and controls of the recordings do not detect them.",
)
AUDIO_CHANNELS = f"UserWarning: {HOLD_SOUND}"  # beginning of a warning
MAX_NAMES = 6  # of decoders in a sentence
MAX_NOTES = 5  # warnings of one decoder that are shown as notes
STYLES = {
    Verdict.ABOVE_NULL: "good", Verdict.LEAK: "bad", Verdict.ERROR: "bad", Verdict.BELOW_NULL: "bad",
}  # fmt: skip


# --- numbers in text -------------------------------------------------------------------------------


def format_finding_share(share, is_correlation=False):
    """Format a share in percent with a no-break space, NaN as a dash.

    Correlations are formatted as numbers.

    Examples
    --------
    >>> missing = format_finding_share(float("nan"))
    >>> format_finding_share(0.3333).split(), missing
    (['33.3', '%'], '–')
    >>> format_finding_share(-0.0512, is_correlation=True)
    '−0.051'
    """
    if is_correlation and np.isfinite(share):
        return f"{share:.3f}".replace("-", "−")
    return format_percent_text(share).replace(" ", "\N{NO-BREAK SPACE}") if np.isfinite(share) else "–"


def format_finding_error(error, is_correlation=False):
    """Format a standard error as " ± 1.2", "" if it is NaN.

    Examples
    --------
    >>> format_finding_error(0.012), format_finding_error(0.012, True)
    (' ± 1.2', ' ± 0.012')
    """
    if not np.isfinite(error):
        return ""
    return f" ± {error:.3f}" if is_correlation else f" ± {100 * error:.1f}"


def format_finding_null(row, is_correlation=False):
    """Format both limits of the null of a row, a missing null as a dash.

    Examples
    --------
    >>> format_finding_null({"null_low": 0.016, "null_high": 0.043}).split()
    ['1.6', '%', 'to', '4.3', '%']
    """
    if not np.isfinite(row["null_high"]):
        return "–"
    low, high = (format_finding_share(row[name], is_correlation) for name in ("null_low", "null_high"))
    return f"{low} to {high}"


def format_finding_count(n, noun):
    """Format a number and its noun.

    Examples
    --------
    >>> format_finding_count(1, "fit"), format_finding_count(2000, "fit")
    ('1 fit', '2000 fits')
    """
    return f"{n if n < 10_000 else f'{n:,}'} {noun}{'s' * int(n != 1)}".replace(",", "\N{NO-BREAK SPACE}")


def join_finding_names(names):
    """Join names into an English list, the first ones if there are many.

    Examples
    --------
    >>> join_finding_names(["ridge", "clip"])
    'ridge and clip'
    >>> join_finding_names(range(30))
    '0, 1, 2, 3 and 26 others'
    """
    names = list(dict.fromkeys(map(str, names)))
    many = len(names) > MAX_NAMES
    return join_text_items(
        [*names[: MAX_NAMES - 2], f"{len(names) - MAX_NAMES + 2} others"] if many else names
    )


def get_finding_style(verdict):
    """Return the style of a verdict: "good", "bad" or "neutral"."""
    return STYLES.get(verdict, "neutral")


def describe_finding_counts(summary):
    """Describe in one line how much data was tested."""
    mine = summary.decoders
    tested = select_amount(mine).drop_duplicates(["subject", "fold", "condition"])
    counts = [(tested["subject"].nunique(), "subject"), (int(tested["n_windows"].sum()), "window")]
    counts += [(mine[f"{name}"].nunique(), noun) for name, noun in
               (("estimator", "decoder"), ("fold", "fold"), ("seed", "seed"))]  # fmt: skip
    return " · ".join(format_finding_count(n, noun) for n, noun in counts)


# --- headline --------------------------------------------------------------------------------------


def write_findings_headline(summary):
    """Write what the scores are evidence of.

    Parameters
    ----------
    summary : BenchmarkSummary

    Returns
    -------
    style : {"good", "bad", "neutral"}
    text : str
        Headline.
    notes : list of str
        Restrictions of the headline.
    """
    style, text = _judge_headline(summary)
    if summary.unfinished:
        style = "neutral" if style == "good" else style
        missing = "; ".join(summary.unfinished)
        n = len(summary.unfinished)
        text = f"Not complete: {missing if n <= 2 else f'parts of {n} decoders and controls are missing'}. {text}"
    if style != "bad" and (rivals := _list_rivals(summary)):
        style, text = "neutral", f"{text} But {join_text_items(rivals)}."
    notes = [
        *compare_findings_with_envelope(summary), *_note_timing(summary), *_note_ranking(summary), *_note_truth(summary),
        *_note_leak_tests(summary), *_note_overlap(summary.results), *_note_missing(summary.scored),
        *_note_word_timing(summary), *_note_convergence(summary),
    ]  # fmt: skip
    if len(summary.unfinished) > 2:
        notes.append(f"Missing: {'; '.join(summary.unfinished)}.")
    if not summary.is_plan_known:
        notes.append(
            "The results do not contain their plan, so missing subjects or folds cannot be detected."
        )
    if differ := summary.plan_differences:
        notes.insert(0, f"These results are of several plans, and their scores cannot be compared: {differ}.")
    return style, text, notes


def _judge_headline(summary):
    """Return style and text of the headline of a complete benchmark."""
    above, below = summary.labels_with(Verdict.ABOVE_NULL), summary.labels_with(Verdict.BELOW_NULL)
    stimuli = _name_stimuli(summary)
    others = [label for label in summary.scored["label"] if label not in [*above, *below]]
    if len(summary.leaking_folds):
        return "bad", "Training and test sets overlap, so the scores are not evidence of decoding."
    if leaks := summary.labels_with(Verdict.LEAK):
        return (
            "bad",
            f"There is a leak. The score of {join_finding_names(leaks)} is not evidence of decoding.",
        )
    if names := summary.warnings_of_decoders(AUDIO_CHANNELS):
        return "bad", (
            f"Channels of the recordings contain the stimulus audio. The score of {join_finding_names(names)} may come from "
            f"these channels and not from a neural response."
        )
    no_evidence = f"For {join_finding_names(others)}, there is no evidence of decoding."
    if below:
        texts = [f"{join_finding_names(below)} scored below {_format_null_owner(below)}: {BELOW_MEANS}."]
        texts += [f"{_format_decoders_verb(above)} {stimuli} better than the null."] if above else []
        return "bad", " ".join([*texts, no_evidence] if others else texts)
    if above and not others:
        return "good", f"{_format_decoders_verb(above)} {stimuli} better than {_format_null_owner(above)}."
    if above:
        return "neutral", f"{_format_decoders_verb(above)} {stimuli} better than the null. {no_evidence}"
    if (summary.scored["verdict"] == Verdict.NO_NULL).all():
        return "neutral", f"There is no verdict, because there is no null. {_explain_missing_null(summary)}"
    return "neutral", "No decoder scored above its null."


def _name_stimuli(summary):
    """Return what was decoded, "speech" if the results do not have it."""
    kinds = {
        guess["target"].get("kind", "sound")
        for details in select_rank_curve_fits(summary.results)["details"]
        for guess in details.get("guesses", ())
    }
    if not kinds or "sound" in kinds:
        return "speech"
    return "images" if kinds == {"image"} else "stimuli"


def _explain_missing_null(summary):
    """Explain a missing null."""
    plans = (
        [read_plan(plan) for plan in pd.unique(summary.results["plan"])] if "plan" in summary.results else []
    )
    if plans and all(((plan or {}).get("settings") or {}).get("n_shifts") == 0 for plan in plans):
        return "It was not requested (n_shifts=0)."
    return "Recordings are too short, or the times of windows are unknown."


def _format_decoders_verb(labels):
    return f"{join_finding_names(labels)} decode{'s' * int(len(labels) == 1)}"


def _format_null_owner(labels):
    return "its null" if len(labels) == 1 else "their nulls"


# --- what scores higher -----------------------------------------------------------------------------


def compare_findings_with_envelope(summary):
    """Describe the decoders that do not score above the envelope alone.

    Returns a list with one text for each condition.
    """
    scored, is_correlation = add_rival_scores(summary.table), summary.is_correlation()
    scored = scored[scored["pool"] == "all"]
    notes = []
    for score, lower in scored[scored["loudness_alone"] >= scored["top_k"]].groupby(
        "loudness_alone", sort=False
    ):
        own = scored[(scored["control"] == "envelope_only") & (scored["top_k"] == score)].iloc[0]
        notes.append(
            f"Loudness alone scores {_compare_with_rival(lower, score)} {_list_finding_scores(lower, is_correlation)}: {own['label']} with the "
            f"envelope in place of its speech features scores {format_finding_share(score, is_correlation)}. "
            f"{'This score is' if len(lower) == 1 else 'These scores are'} not evidence of decoding more than loudness."
        )
    return notes


def _list_rivals(summary):
    """List what scores at least as high as decoders above their null."""
    table = add_rival_scores(summary.table)
    own = table[(table["control"] == "decoder") & (table["pool"] == "all")]
    own, rivals = own[own["verdict"] == Verdict.ABOVE_NULL], []
    for name in RIVALS:
        lower = own[own[f"{name}_alone"] >= own["top_k"]]
        if len(lower):
            named = "" if len(lower) == len(own) else f" {join_finding_names(list(lower['label']))}"
            comparison = _compare_with_rival(lower, lower[f"{name}_alone"])
            rivals.append(
                (f"{name} alone", f"{comparison if named else comparison.rpartition(' ')[0]}{named}")
            )
    if len(rivals) == 2 and rivals[0][1] == rivals[1][1]:
        return [f"{rivals[0][0]} and {rivals[1][0]} score {rivals[0][1]}"]
    return [f"{name} scores {text}" for name, text in rivals]


def _compare_with_rival(lower, score):
    return "higher than" if (lower["top_k"] < score).all() else "at least as high as"


def _list_finding_scores(rows, is_correlation):
    return join_finding_names([
        f"{row['label']} ({format_finding_share(row['top_k'], is_correlation)})" for row in rows.to_dict("records")
    ])  # fmt: skip


def _note_ranking(summary):
    """Compare the best decoder with the next one."""
    scored, is_correlation = summary.scored.sort_values("top_k", ascending=False), summary.is_correlation()
    if len(scored) < 2 or scored["k"].nunique() > 1:
        return []
    text = f"The highest score is that of {_list_finding_scores(scored.head(1), is_correlation)}, followed by {_list_finding_scores(scored.iloc[1:], is_correlation)}."
    if summary.decoders["subject"].nunique() < 2:
        return [f"{text} The difference cannot be tested with one subject."]
    try:
        found = summary.compare()
    except ValueError:
        return [text]
    names = list(scored["estimator"])[:2]
    row = next((row for row in found.itertuples() if {row.estimator, row.reference} == set(names)), None)
    if row is None:
        return [text]
    verdict = "is significant" if row.p_holm < 0.05 else "is not significant"
    smallest = f", smallest possible {row.smallest_p_holm:.2g}" if row.smallest_p_holm >= 0.05 else ""
    return [
        f"{text} The difference between {row.estimator} and {row.reference} {verdict}: {row.estimator} is "
        f"{describe_comparison_counts(row)} {'subject' if row.n_subjects == 1 else 'subjects'}, corrected p "
        f"{row.p_holm:.2g}{smallest}."
    ]


def _note_truth(summary):
    """Note the score of exact speech and silence, and of the oracle."""
    is_correlation, notes = summary.is_correlation(), []
    for control, text in (
        ("silence_truth", "A decoder of nothing but the exact times of speech and silence would score"),
        ("oracle", "The simulated truth, an upper bound, scores"),
    ):
        own = summary.controls[summary.controls["control"] == control]
        if len(own) and own["top_k"].notna().any():
            notes.append(f"{text} {format_finding_share(own['top_k'].max(), is_correlation)}.")
    return notes


# --- notes -----------------------------------------------------------------------------------------


def _note_leak_tests(summary):
    """List the results of controls that must be at chance."""
    run = [name for name in pd.unique(summary.results["control"]) if name in LEAK_TESTS]
    if not run:
        return ["No control for leaks was run, so a leak cannot be excluded."]
    if summary.controls_with(Verdict.LEAK):
        return []
    inverted = summary.controls_with(Verdict.BELOW_NULL)
    others = summary.controls_with(*(verdict for verdict in Verdict if verdict != Verdict.AT_NULL))
    at_chance = [name for name in summary.controls_with(Verdict.AT_NULL) if name not in others]
    notes = []
    if at_chance:
        notes.append(f"Controls that must be at chance are at chance: {join_text_items(at_chance)}.")
    if inverted:
        notes.append(f"{join_text_items(inverted)} scored further below chance than sampling error explains. This is not a "
                     f"leak. Either training folds predict the opposite of the test folds, or a leak is decoded with "
                     f"the wrong sign.")  # fmt: skip
    if unknown := [name for name in run if name not in [*at_chance, *inverted]]:
        notes.append(f"For {join_text_items(unknown)}, it is unknown whether the score is at chance. Fits failed, or "
                     f"there is no null. {_explain_missing_null(summary)}")  # fmt: skip
    return notes


def _note_timing(summary):
    """Compare decoders with the timing of windows alone."""
    table, is_correlation = add_rival_scores(summary.table), summary.is_correlation()
    timing = table["timing_alone"].fillna(find_rival_verdict_scores(table))  # of a control within its null
    own, notes = table.assign(timing=timing), []
    own = own[(own["pool"] == "all") & own["timing"].notna()]
    for timing, rows in own.groupby(own["timing"].round(6), sort=False):
        start = f"The timing of windows alone, without neural data, scores {format_finding_share(timing, is_correlation)}, "
        if rows["timing_alone"].isna().all():
            notes.append(f"{start}within its null.")
            continue
        is_lower = rows["top_k"] <= rows["timing"]
        lower, higher = rows[is_lower], rows[~is_lower]
        if len(higher):
            notes.append(f"{start}lower than {_list_finding_scores(higher, is_correlation)}.")
        if len(lower):
            notes.append(
                f"{start}{_compare_with_rival(lower, lower['timing'])} {_list_finding_scores(lower, is_correlation)}. "
                f"It uses the exact times of the test segments. {'This score' if len(lower) == 1 else 'These scores'} may come from rhythm alone."
            )
    return notes


def _note_word_timing(summary):
    """Compare scores of words with the timing of words alone."""
    known = summary.scored[["word_top_10", "word_top_10_timing"]].notna().all(axis=1)  # not in tasks of words
    words, notes = summary.scored[known], []
    keys = [words[name].round(6) for name in ("word_top_10_timing", "word_timing_chance")]
    for (timing, chance), rows in words.groupby(keys, sort=False, dropna=False):
        own = zip(rows["label"], rows["word_top_10"], strict=True)
        scores = join_finding_names([f"{label} {format_finding_share(score)}" for label, score in own])
        lower = list(rows.loc[~(rows["word_top_10"] > rows["word_top_10_timing"]), "label"])
        rhythm = f" The score of {join_finding_names(lower)} may come from rhythm alone." if lower else ""
        notes.append(
            f"Top-10 accuracy of words: {scores}. The timing of words alone, without neural data, scores "
            f"{format_finding_share(timing)} (chance {format_finding_share(chance)}).{rhythm}"
        )
    return notes


def _note_overlap(results):
    """Note whether stimuli of the training set were tested."""
    if results["n_train_overlap"].isna().any():
        return ["It is unknown whether training stimuli were tested."]
    if not (results["n_train_overlap"] > 0).any():
        return ["No test window contained a training stimulus."]
    return []


def _note_missing(mine):
    """Note missing nulls and failed fits of decoders."""
    notes = []
    with_null = mine[mine["null_high"].notna()]
    if n := int(with_null["n_without_null"].max() if len(with_null) else 0):
        notes.append(
            f"{format_finding_count(n, 'fold')} of single subjects {_conjugate_be(n)} without a null, because recordings are too short. "
            f"Verdicts do not include them."
        )
    if n := int(mine["n_failed"].sum()):
        notes.append(
            f"{format_finding_count(n, 'fit')} of decoders failed and {_conjugate_be(n)} not included."
        )
    return notes


def _conjugate_be(n):
    return "is" if n == 1 else "are"


def _note_convergence(summary):
    """List convergence warnings of decoders, similar ones once."""
    notes = []
    for name, (texts, n, n_fits) in summary.warnings_of_decoders("ConvergenceWarning: ").items():
        kinds: dict[str, list[str]] = {}
        for text in texts:
            kinds.setdefault(re.sub(r"\d+(\.\d+)?", "0", text), []).append(text)
        for similar in list(kinds.values())[:MAX_NOTES]:
            other = (
                f" {len(similar) - 1} similar {'warning' if len(similar) == 2 else 'warnings'}."
                if len(similar) > 1
                else ""
            )
            notes.append(f"{name}: {similar[0].removeprefix('ConvergenceWarning: ')}{other}")
        if len(kinds) > MAX_NOTES:
            notes.append(f"{name}: {n} of {n_fits} fits have such warnings. See 'Warnings of fits' for all.")
    return notes


# --- leaks and folds -------------------------------------------------------------------------------


def explain_findings_of_leaks(summary):
    """Explain what leaks, and how much, in one text for each leak."""
    tests, is_correlation = summary.leak_tests, summary.is_correlation()
    reasons = [
        f"{row['label']}, {row['control']}: {format_finding_share(row['top_k'], is_correlation)} with a chance level "
        f"of {format_finding_share(row['chance'], is_correlation)}; {_get_leak_meaning(row)}."
        for row in tests[tests["verdict"] == Verdict.LEAK].to_dict("records")
    ]
    folds, n_folds = summary.leaking_folds, summary.results["fold"].nunique()
    if len(folds):
        first = folds.iloc[0]
        reasons.append(f"In {len(folds)} of {n_folds} folds; fold {first['fold']}: {first['leakage']}")
    for name, (texts, n, n_fits) in summary.warnings_of_decoders(AUDIO_CHANNELS).items():
        reasons.append(f"{name}, in {n} of {n_fits} fits: {texts[0].removeprefix('UserWarning: ')}")
    mine = select_subject_rows_for_statistics(summary.results)
    overlapping = mine[mine["n_train_overlap"] > 0].drop_duplicates(["estimator", "fold"])
    for name, own in overlapping.groupby("estimator", sort=False):
        reasons.append(
            f"{name}: {own['n_train_overlap'].sum():.0f} test windows contain training stimuli, in "
            f"{own['fold'].nunique()} of {n_folds} folds. They may be remembered instead of decoded. "
            f"Split whole stimulus blocks with a gap, as StimulusKFold and LeaveOneSubjectOut do."
        )
    return reasons


def _get_leak_meaning(row):
    """Return what a positive leak test reveals."""
    if OVERLAP in row["leak_sources"]:
        return f"{OVERLAP_MEANS}, and the score disappears if windows share no samples"
    return CONTROLS[row["control"]].leak_meaning


def list_finding_folds(summary):
    """List the folds of decoders as columns and rows of texts.

    The first cell of a row is a dict of the decoder and whether it is its
    first row.
    """
    columns = ["decoder", "seed", "fold", "subjects", "training windows", "test windows", "candidates",
               summary.score_label, "chance", "fit, s", "score, s", "memory, MB"]  # fmt: skip
    rows, is_correlation = [], summary.is_correlation()
    for (name, seed, fold), own in summary.decoders.groupby(
        ["estimator", "seed", "fold"], sort=False, dropna=False
    ):
        weight = own["n_windows"] / own["n_windows"].sum()
        subjects = pd.unique(own["subject"])
        cost = [own[column].iloc[0] for column in ("seconds_fit", "seconds_score", "peak_memory_mb")]
        rows.append([
            {"label": str(name), "is_first": name not in {row[0]["label"] for row in rows}}, f"{seed}", f"{fold}",
            ", ".join(subjects) if len(subjects) <= 3 else f"{len(subjects)} subjects",
            _format_finding_number(own["n_train"].iloc[0]), _format_finding_number(own["n_windows"].sum()),
            _format_finding_number(own["n_candidates"].iloc[0]), format_finding_share((weight * own["top_k"]).sum(), is_correlation),
            format_finding_share((weight * own["chance"]).sum(), is_correlation), *(_format_finding_number(number, 1) for number in cost),
        ])  # fmt: skip
    return columns, rows


def _format_finding_number(number, digits=0):
    return f"{number:.{digits}f}" if np.isfinite(number) else "–"
