"""Findings of a results table in words: headline, notes, leaks and counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import format_percent, join_words
from sk_b2s.decoding._stimulus_artifacts import HOLD_SOUND
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_TESTS
from sk_b2s.evaluation._controls._verdicts import BELOW_MEANS, Verdict
from sk_b2s.evaluation._results._amounts import amounts_in, select_amount
from sk_b2s.evaluation._results._plan import UNKNOWN, lacking, plans_that_differ
from sk_b2s.evaluation._results._table import summarize
from sk_b2s.evaluation._statistics import select_decoder_rows
from sk_b2s.evaluation._summary import add_labels, get_score_label
from sk_b2s.model_selection._leakage import leaks_in

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
    "Timing: if words begin at characteristic intervals, the times of the windows alone identify words.",
)
MAX_NOTES = 5  # warnings of one decoder that are shown as notes
STYLES = {
    Verdict.ABOVE_NULL: "good", Verdict.LEAK: "bad", Verdict.ERROR: "bad", Verdict.BELOW_NULL: "bad",
}  # fmt: skip


# --- numbers in text -------------------------------------------------------------------------------


def format_share(share):
    """Format a share in percent with a no-break space, NaN as a dash.

    Examples
    --------
    >>> format_share(0.3333).split(), format_share(float("nan"))
    (['33.3', '%'], '–')
    """
    return format_percent(share).replace(" ", "\N{NO-BREAK SPACE}") if np.isfinite(share) else "–"


def format_null(row):
    """Format both limits of the null of a row, a missing null as a dash.

    Examples
    --------
    >>> format_null({"null_low": 0.016, "null_high": 0.043}).split()
    ['1.6', '%', 'to', '4.3', '%']
    """
    if not np.isfinite(row["null_high"]):
        return "–"
    return f"{format_share(row['null_low'])} to {format_share(row['null_high'])}"


def format_count(n, noun):
    """Format a number and its noun.

    Examples
    --------
    >>> format_count(1, "fit"), format_count(2000, "fit")
    ('1 fit', '2 000 fits')
    """
    return f"{n:,} {noun}{'s' * int(n != 1)}".replace(",", " ")


def get_style(verdict):
    """Return the style of a verdict: "good", "bad" or "neutral"."""
    return STYLES.get(verdict, "neutral")


def describe_counts(results):
    """Describe in one line how much data was tested."""
    mine = select_decoder_rows(_select_successful(results))
    tested = select_amount(mine).drop_duplicates(["subject", "fold", "condition"])
    counts = [(tested["subject"].nunique(), "subject"), (int(tested["n_windows"].sum()), "window")]
    counts += [(mine[f"{name}"].nunique(), noun) for name, noun in
               (("estimator", "decoder"), ("fold", "fold"), ("seed", "seed"))]  # fmt: skip
    return " · ".join(format_count(n, noun) for n, noun in counts)


def label_summary(results):
    """Return the rows of :func:`~sk_b2s.summarize` with a ``label``."""
    return add_labels(summarize(results))


def select_decoders(rows):
    """Select the rows of decoders with all candidates."""
    return rows[(rows["pool"] == "all") & (rows["control"] == "decoder")]


def _select_successful(results):
    return results[results["error"].astype(object).fillna("") == ""]


# --- headline --------------------------------------------------------------------------------------


def write_headline(rows, results):
    """Write what the scores are evidence of.

    Parameters
    ----------
    rows : DataFrame
        Table of :func:`label_summary`.
    results : DataFrame of shape (n_rows, ...)
        Results of which ``rows`` are the summary.

    Returns
    -------
    style : {"good", "bad", "neutral"}
    text : str
        Headline.
    notes : list of str
        Restrictions of the headline.
    """
    mine = select_decoders(rows)
    style, text = _judge(mine, results)
    lacks = lacking(results, ["estimator", "control", *amounts_in(results)])
    if unfinished := [lack for lack in lacks if not lack.endswith(UNKNOWN)]:
        style = "neutral" if style == "good" else style
        text = f"Not complete: {'; '.join(unfinished)}. {text}"
    notes = [
        *_note_leak_tests(rows, results), *_note_overlap(results), *_note_missing(mine), *_note_convergence(results),
    ]  # fmt: skip
    if len(unfinished) < len(lacks):
        notes.append(
            "The results do not contain their plan, so missing subjects or folds cannot be detected."
        )
    if differ := plans_that_differ(results):
        notes.insert(0, f"These results are of several plans, and their scores cannot be compared: {differ}.")
    return style, text, notes


def _judge(mine, results):
    """Return style and text of the headline of a complete benchmark."""
    labels = {verdict: list(rows["label"]) for verdict, rows in mine.groupby("verdict", sort=False)}
    leaks, above, below = (
        labels.get(verdict, []) for verdict in (Verdict.LEAK, Verdict.ABOVE_NULL, Verdict.BELOW_NULL)
    )
    others = [label for label in mine["label"] if label not in [*above, *below]]
    if len(_select_leaking_folds(results)):
        return "bad", "Training and test sets overlap, so the scores are not evidence of decoding."
    if leaks:
        return "bad", f"There is a leak. The score of {join_words(leaks)} is not evidence of decoding."
    if names := list(_collect_warnings(results, f"UserWarning: {HOLD_SOUND}")):
        return "bad", (
            f"Channels of the recordings contain the stimulus audio. The score of {join_words(names)} may come from "
            f"these channels and not from a neural response."
        )
    if below:
        return "bad", " ".join([
            f"{join_words(below)} scored below {_format_null_owner(below)}: {BELOW_MEANS}.",
            *([f"{_decode(above)} speech better than the null."] if above else []),
            *([f"For {join_words(others)}, there is no evidence of decoding."] if others else []),
        ])  # fmt: skip
    if len(above) == len(mine):
        return "good", f"{_decode(above)} speech better than {_format_null_owner(above)}."
    if above:
        text = f"{_decode(above)} speech better than the null."
        return "neutral", f"{text} For {join_words(others)}, there is no evidence of decoding."
    if (mine["verdict"] == Verdict.NO_NULL).all():
        return "neutral", (
            "There is no verdict, because there is no null. Recordings are too short, or the times of windows are "
            "unknown."
        )
    return "neutral", "No decoder scored above its null."


def _decode(labels):
    return f"{join_words(labels)} decode{'s' * int(len(set(labels)) == 1)}"


def _format_null_owner(labels):
    return "its null" if len(set(labels)) == 1 else "their nulls"


# --- notes -----------------------------------------------------------------------------------------


def _note_leak_tests(rows, results):
    """List the results of controls that must be at chance."""
    controls = rows[rows["control"].isin(LEAK_TESTS) & (rows["pool"] == "all")]
    run = [name for name in pd.unique(results["control"]) if name in LEAK_TESTS]
    if not run:
        return ["No control for leaks was run, so a leak cannot be excluded."]
    if (controls["verdict"] == Verdict.LEAK).any():
        return []
    verdicts = {name: own["verdict"] for name, own in controls.groupby("control", sort=False)}
    at_chance = [name for name in run if name in verdicts and verdicts[name].eq(Verdict.AT_NULL).all()]
    inverted = [name for name, own in verdicts.items() if own.eq(Verdict.BELOW_NULL).any()]
    notes = []
    if at_chance:
        notes.append(f"Controls that must be at chance are at chance: {join_words(at_chance)}.")
    if inverted:
        notes.append(f"{join_words(inverted)} scored further below chance than sampling error explains. This is not a "
                     f"leak. Either training folds predict the opposite of the test folds, or a leak is decoded with "
                     f"the wrong sign.")  # fmt: skip
    if unknown := [name for name in run if name not in [*at_chance, *inverted]]:
        notes.append(f"For {join_words(unknown)}, it is unknown whether the score is at chance. Fits failed, or "
                     f"recordings are too short for a null.")  # fmt: skip
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
            f"{format_count(n, 'fold')} of single subjects {_be(n)} without a null, because recordings are too short. "
            f"Verdicts do not include them."
        )
    if n := int(mine["n_failed"].sum()):
        notes.append(f"{format_count(n, 'fit')} of decoders failed and {_be(n)} not included.")
    return notes


def _be(n):
    return "is" if n == 1 else "are"


def _note_convergence(results):
    """List convergence warnings of decoders."""
    notes = []
    for name, (texts, n, n_fits) in _collect_warnings(results, "ConvergenceWarning: ").items():
        notes += [f"{name}: {text.removeprefix('ConvergenceWarning: ')}" for text in texts[:MAX_NOTES]]
        if len(texts) > MAX_NOTES:
            notes.append(f"{name}: {n} of {n_fits} fits have such warnings. See 'Warnings of fits' for all.")
    return notes


def _collect_warnings(results, beginning):
    """Return distinct warnings of decoders: {name: (texts, n, n_fits)}."""
    if "warnings" not in results:
        return {}
    found = {}
    fits = results[results["control"] == "decoder"].drop_duplicates(["estimator", "seed", "fold"])
    for name, own in fits.groupby("estimator", sort=False):
        lines = [
            [line for line in text.splitlines() if line.startswith(beginning)]
            for text in own["warnings"].astype(object).fillna("").astype(str)
        ]
        if texts := list(dict.fromkeys(line for each in lines for line in each)):
            found[name] = texts, sum(map(bool, lines)), len(own)
    return found


# --- leaks, warnings, folds ------------------------------------------------------------------------


def explain_leaks(rows, results):
    """Explain each leak: what leaks, and how much.

    Parameters
    ----------
    rows, results
        As in :func:`write_headline`.

    Returns
    -------
    reasons : list of str
    """
    leaks = rows[
        (rows["verdict"] == Verdict.LEAK) & rows["control"].isin(LEAK_TESTS) & (rows["pool"] == "all")
    ]
    reasons = [
        f"{row['label']}, {row['control']}: {format_share(row['top_k'])} with a chance level of "
        f"{format_share(row['chance'])}; {CONTROLS[row['control']].leak_meaning}."
        for row in leaks.to_dict("records")
    ]
    folds, n_folds = _select_leaking_folds(results), results["fold"].nunique()
    if len(folds):
        first = folds.iloc[0]
        reasons.append(f"In {len(folds)} of {n_folds} folds; fold {first['fold']}: {first['leakage']}")
    for name, (texts, n, n_fits) in _collect_warnings(results, f"UserWarning: {HOLD_SOUND}").items():
        reasons.append(f"{name}, in {n} of {n_fits} fits: {texts[0].removeprefix('UserWarning: ')}")
    mine = select_decoder_rows(results)
    overlapping = mine[mine["n_train_overlap"] > 0].drop_duplicates(["estimator", "fold"])
    for name, own in overlapping.groupby("estimator", sort=False):
        reasons.append(
            f"{name}: {own['n_train_overlap'].sum():.0f} test windows contain training stimuli, in "
            f"{own['fold'].nunique()} of {n_folds} folds. They may be remembered instead of decoded. "
            f"Split whole stimulus blocks with a gap, as StimulusKFold and LeaveOneSubjectOut do."
        )
    return reasons


def _select_leaking_folds(results):
    """Select one row for each fold in which check_leakage found a leak."""
    if "leakage" not in results:
        return results.iloc[:0]
    return results[[bool(leaks_in([text])) for text in results["leakage"]]].drop_duplicates("fold")


def count_warnings(results):
    """Count the fits with each warning.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        With ``warnings``, one per line.

    Returns
    -------
    counts : dict of str to int
        Most frequent first.
    """
    fits = results.dropna(subset=["warnings"]).drop_duplicates(["estimator", "control", "seed", "fold"])
    lines = (
        fits["warnings"].astype(str).map(lambda text: sorted({line for line in text.splitlines() if line}))
    )
    return lines.explode().value_counts().to_dict()


def list_folds(results):
    """List the folds of decoders as columns and rows of texts."""
    mine = select_decoder_rows(_select_successful(results))
    columns = ["decoder", "seed", "fold", "subjects", "training windows", "test windows", "candidates",
               get_score_label(mine), "chance", "fit, s", "score, s", "memory, MB"]  # fmt: skip
    rows = []
    for (name, seed, fold), own in mine.groupby(["estimator", "seed", "fold"], sort=False, dropna=False):
        weight = own["n_windows"] / own["n_windows"].sum()
        subjects = pd.unique(own["subject"])
        cost = [own[column].iloc[0] for column in ("seconds_fit", "seconds_score", "peak_memory_mb")]
        rows.append([
            str(name), f"{seed}", f"{fold}",
            ", ".join(subjects) if len(subjects) <= 3 else f"{len(subjects)} subjects",
            _format_number(own["n_train"].iloc[0]), _format_number(own["n_windows"].sum()),
            _format_number(own["n_candidates"].iloc[0]), format_share((weight * own["top_k"]).sum()),
            format_share((weight * own["chance"]).sum()), *(_format_number(number, 1) for number in cost),
        ])  # fmt: skip
    return columns, rows


def _format_number(number, digits=0):
    return f"{number:.{digits}f}" if np.isfinite(number) else "–"
