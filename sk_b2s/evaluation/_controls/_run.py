"""Control analyses of a decoder."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from sk_b2s._utils._estimators import find_decoder_in_estimator, find_estimator_speech
from sk_b2s._utils._logging import iterate_with_logged_progress
from sk_b2s._utils._validation import (
    get_validated_recordings,
    join_validated_tables,
    validate_count,
    validate_rows_in_step,
    validate_table,
)
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._retrieval._retrieve import find_table_to_retrieve
from sk_b2s.decoding._retrieval._row_candidates import check_row_candidate_columns, check_row_candidate_number
from sk_b2s.decoding._retrieval._row_result import RowRetrievalResult
from sk_b2s.evaluation._controls._fold import ControlFold
from sk_b2s.evaluation._controls._inputs import shift_control_inputs
from sk_b2s.evaluation._controls._leak_test import LeakTestOutcome, pool_leak_test_rows
from sk_b2s.evaluation._controls._order import has_order_trials
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_TESTS, find_control
from sk_b2s.evaluation._controls._timing import (
    add_timing_loudness,
    describe_unusable_timing_strata,
    has_timing_of_rows,
    score_timing_strata,
)
from sk_b2s.evaluation._controls._verdicts import (
    add_verdict_texts,
    control_verdicts,
    find_overlap_verdict_leaks,
)
from sk_b2s.events._stimuli import NOT_FILES
from sk_b2s.metrics._ranks_and_top_k import mark_top_k_hits
from sk_b2s.model_selection._leakage import check_leakage
from sk_b2s.model_selection._leakage_report import unite_leakage_report_sources
from sk_b2s.model_selection._split import StimulusKFold, list_split_folds

NEEDS = {
    "timing": "windows at words (y with a column 'word') or windows of unequal duration, with their times",
    "audio": "audio files in y and a decoder with speech=",
    "oracle": "oracle=, a callable with the truth",
    "trials": "windows that are trials of whole stimuli, such as images, in a table y with a column 'sound'. Neighboring "
    "windows of continuous speech are similar in any design",
}


def run_controls(
    estimator,
    X,
    y,
    cv=None,
    controls=None,
    oracle=None,
    k=None,
    n_shifts=1000,
    random_state=0,
    n_jobs=None,
    verbose=0,
    candidates_per_row=None,
):
    """Refit and score a decoder on control data that should not be decodable.

    Parameters
    ----------
    estimator : estimator
        A decoder of the package, a Pipeline that ends in one, or a search over
        either. It is cloned.
    X : DataFrame or Windows of shape (n_windows, ...)
        EEG/MEG windows, with ``recording``, ``onset`` and ``duration`` in the
        table (and ``subject`` if there are several). For an array use
        ``Windows.from_array(X, rows=table)``.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        Stimulus segments or features, one row per window.
    cv : None, splitter or iterable of (train, test), default=None
        Every fold is refitted for every control, and the scores of each
        subject are pooled over folds. If None, only the first fold of
        ``StimulusKFold(5)`` is used, a fifth of the cost.
    controls : None or sequence of str, default=None
        Names of controls, see Notes. If None, all that apply:
        "silence_truth", "silence_decoded" and "envelope_only" need audio files
        and a decoder with ``speech``, "oracle" needs ``oracle``, and
        "timing_only" and "timing_matched" need windows at words or of unequal
        duration. "recording_order" needs trials of whole stimuli, such as
        images. Where they apply, "timing_only" and "recording_order" always
        run, because they cost no fit.
    oracle : None or callable, default=None
        ``oracle(X_test, y_test)`` returns a :class:`~sk_b2s.RetrievalResult`,
        or similarities of shape (n_windows, n_candidates) to the distinct
        segments of ``y_test`` in order of appearance: the score with the truth
        of a simulation. Windows are passed as their tables. It must use the
        same lag as the decoder: for ``Epocher(lag=0.2)`` pass
        ``partial(oracle_scores, truth, lag=0.2)``.
    k : int or None, default=None
        Scores are top-k accuracies. If None, the ``k`` of the decoder.
    n_shifts : int, default=1000
        Number of circular shifts of each null.
    random_state : None, int or RandomState, default=0
        Draws noise, shifts and nulls.
    n_jobs : int or None, default=None
        Number of controls and folds run in parallel processes.
    verbose : int, default=0
        If above 0, one line is printed per control and fold.
    candidates_per_row : None, int or RowCandidates, default=None
        Candidates of each test window, as in :func:`~sk_b2s.retrieve`.
        "within_recording" and ``recording_identity_p`` are not available then,
        because windows of other recordings are not candidates.

    Returns
    -------
    table : DataFrame of shape (n_controls, ...)
        Indexed by ``control``:

        - ``top_1, top_k, top_k_sem, median_relative_rank``: means over
          subjects and the standard error of ``top_k``.
        - ``n_subjects, n_windows, n_candidates, chance``.
        - ``null_mean, null_low, null_high``: mean, 2.5 and 97.5 % quantile of
          :func:`~sk_b2s.circular_shift_null` in the similarities of this row.
        - ``leak_threshold`` and ``recording_identity_p``: a leak test whose
          ``top_k`` is above the threshold, or whose p value is at most
          0.83 %, reveals a leak, see Notes. NaN for other controls. The p
          value is also NaN with fewer than five recordings per fold.
        - ``inverted_below``: the mirrored limit. A leak test below both it and
          its null gets "below_null".
        - ``n_left_out``: training windows that "shifted_labels" excludes
          because a test window of the same recording is within a second.
        - ``share_of_oracle``: (top_k - chance) / (top_k of the oracle -
          chance), if there is an oracle. NaN for "within_recording" and
          "timing_matched", which have other candidates.
        - ``verdict``: "above_null", "at_null", "below_null" (the estimate is
          inverted: wrong labels, signs or pairs of X and y, two swapped codes
          of one trial, the wrong one of several triggers per stimulus, or
          folds that predict the opposite), "leak", "context" (no neural data
          are used) or "no_null" (recordings are too short).
        - ``leak_sources``: of a decoder with verdict "leak" the leak tests,
          or the data on both sides of the split, see
          :func:`~sk_b2s.check_leakage`. "overlap" if noise is decoded only
          while windows overlap.
        - ``verdict_text``: the verdict in words.

    Raises
    ------
    TypeError
        If ``estimator`` is not a decoder, or ``controls`` is a text.
    ValueError
        If ``X`` does not have the times of its windows, a control does not
        apply or does not exist, or a recording is too short.

    See Also
    --------
    retrieve : The similarities of one score.
    SurrogateRecordings : The noise.

    Notes
    -----
    **Leak tests.** "phase_randomized" and "white_noise" insert
    :class:`~sk_b2s.SurrogateRecordings` right after the Epocher (or first, if
    ``X`` is Windows), so every later step is unchanged. "shifted_labels"
    shifts stimuli circularly within each recording by 10 s or more. Folds are
    shifted as well, so no stimulus is on both sides. A decoder of neural data
    is at chance on all three. If not, it identifies recordings instead of
    stimuli. Then the control and the decoder get the verdict "leak". The
    threshold is computed from chance and not from the null, because
    differences between recordings raise the null too. The derivation is in
    ``sk_b2s.evaluation._controls._leak_test``.

    Both criteria, ``leak_threshold`` and ``recording_identity_p``, have a
    false positive rate of 2.5 % over the three tests. In small simulations
    without a leak (240 to 360 windows), one of them marked 1 to 4 % of single
    rows, for ridge (4 to 6 recordings, 180 rows each) and a network (6
    recordings, 120 rows). A score just above the threshold with little data
    may be sampling error: repeat it with more windows, not with another seed.
    If recordings have different stimuli, the preferences of a decoder may
    match them by chance. Five recordings or more separate this from a leak.
    With four or fewer, ``leak_threshold`` warns too often rather than too
    seldom.

    "phase_randomized" preserves everything that is constant over a recording.
    A sustained response to the voice of one recording is such a property and
    is marked as a leak.

    "white_noise" preserves the subject. A decoder that is fitted per subject
    can learn which stimuli a subject was presented, and exceeds chance if they
    differ between subjects.

    **Order.** "recording_order" predicts the features of a trial from those of
    training trials that were presented shortly before or after, or at the same
    position of other recordings, without neural data. It is at chance if
    trials have a random order. If like stimuli are presented in blocks, slow
    drifts of the recording are enough for a decoder, and its verdict is
    "leak". Its null permutes labels within recordings. With this fourth test,
    the false positive rate of all is 3.3 %.

    **Timing.** Overlapping windows share samples, so a decoder that processes
    several windows together can read the intervals between them, and intervals
    identify words. Whole surrogate recordings keep the overlap. If one of them
    is above chance, the fitted decoder is also tested on surrogates whose
    windows share no samples. If at least half of the excess over chance
    disappears, ``leak_sources`` of the decoder contains "overlap".
    "timing_only" ranks candidates by a classifier of intervals, durations and
    positions of words, and by the duration of windows if it varies.
    "timing_matched" ranks each window among candidates whose duration,
    interval to the next onset and loudness (if audio is known) are in the same
    cell of a grid with steps of a factor of 1.25 and 3 dB. ``n_windows``
    counts windows with at least six such candidates, and its null permutes
    labels among the windows of a cell and recording. Permuted windows are
    independent, and overlapping ones are not, so the null is widened by the
    correlations of the scores of overlapping windows. The row is NaN if less
    than a tenth of the windows has such candidates.

    **Other controls.** "within_recording" retrieves among the candidates of
    the same recording. "silence_truth" compares the true speech and silence
    masks of windows and candidates. "silence_decoded" and "envelope_only"
    decode that mask, or the envelope, and nothing else. All of them may exceed
    chance without a leak and show what contributes to a score. "oracle" is the
    upper bound in a simulation.

    **Limits.** Nulls and controls are computed from similarities. They do not
    detect the choice of an epoch, seed, parameter or estimator on the test
    data: the best of 60 decoders of noise is above its null. They do not
    detect state that a custom estimator keeps between folds, or preprocessing
    that was fitted on test windows before the folds were made.
    """
    validate_count("n_shifts", n_shifts, least=1)
    last, _ = find_decoder_in_estimator(estimator)
    validate_rows_in_step(X, y)
    rows = join_validated_tables(run_control_rows(X), find_table_to_retrieve(y))
    names = choose_run_controls(controls, last, y, oracle, rows)
    rows = add_timing_loudness(rows) if has_timing_of_rows(rows) else rows
    if (spec := check_row_candidate_number(candidates_per_row)) is not None:
        check_row_candidate_columns(spec, rows)
        if controls is not None and "within_recording" in names:
            raise ValueError(
                "controls: 'within_recording' is not available with candidates_per_row. Use "
                "RowCandidates(within='recording'), or remove it from controls."
            )
        if controls is not None and "timing_matched" in names:
            raise ValueError(
                "controls: 'timing_matched' is not available with candidates_per_row. Remove it from controls."
            )
        names = [name for name in names if name not in ("within_recording", "timing_matched")]
        k = k or (last.k if last.k < spec.n_candidates else 1)
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    folds = [next(StimulusKFold(5).split(X, y))] if cv is None else list_split_folds(cv, X, y)
    if "within_recording" in names:
        _check_control_pools(rows, find_distinct_candidates(y).target, folds, k or last.k)
    if "shifted_labels" in names:
        shift_control_inputs(rows, y, seed)  # raises now rather than after hours
    jobs = [(job, index) for job in _group_control_jobs(names) for index in range(len(folds))]
    results = joblib.Parallel(n_jobs, return_as="generator")(
        joblib.delayed(_run_controls_of_fold)(
            job,
            ControlFold(
                estimator, X, y, rows, *folds[index], seed + index, oracle, k=k, candidates_per_row=spec
            ),
            n_shifts,
        )
        for job, index in jobs
    )
    shown = iterate_with_logged_progress(
        results, "fits of controls", len(jobs), "ERROR" if verbose else None, n_ahead=1
    )
    outcomes: dict[str, list] = {name: [] for name in names}
    for (_, index), result in zip(jobs, shown, strict=True):
        for name, outcome in result.items():
            outcomes[name].append(outcome)
            if verbose:
                hits, n = (sum(record[column] for record in outcome.records) for column in ("top_k", "n"))
                print(f"{name}, fold {index + 1} of {len(folds)}: top-k {hits / n:.3f}")
    n_overlap = sum(outcome.n_train_overlap for outcome in outcomes.get("decoder", ()))
    reasons = unite_leakage_report_sources(check_leakage(X, y, folds)["leak_sources"], n_overlap)
    return _make_controls_table(outcomes, reasons, seed)


def _group_control_jobs(names):
    """Group controls that share a fit, and put those without a fit first."""
    together = [name for name in ("decoder", "within_recording", "timing_matched") if name in names]
    fast = [name for name in names if not CONTROLS[name].is_fitted]
    slow = [[name] for name in names if name not in (*fast, *together)]
    return [[name] for name in fast] + ([together] if together else []) + slow


def _run_controls_of_fold(names, task, n_shifts):
    """Run controls of one fold: {name: LeakTestOutcome}."""
    out = {}
    for name in names:
        with warnings.catch_warnings():
            if name != "decoder":  # a control without information does not converge
                warnings.simplefilter("ignore", ConvergenceWarning)
            parts, separate = CONTROLS[name].factory(task), None
            if task.separate is not None:
                separate = run_control_outcome([task.separate], n_shifts, task.seed)
            spec = CONTROLS[name]
            out[name] = run_control_outcome(
                parts, n_shifts, task.seed, task.n_left_out, spec.is_stratified, separate, spec.is_permuted
            )
        if name == "decoder":
            out[name].n_train_overlap = int(task.exposure().rows.sum())
    return out


def _make_controls_table(outcomes, reasons, seed):
    """Pool the outcomes of all folds and add verdicts."""
    rows = {name: pool_leak_test_rows(parts, seed) for name, parts in outcomes.items()}
    overlap = find_overlap_verdict_leaks(outcomes, rows)
    table = pd.DataFrame(rows).T
    table = table.rename_axis("control").astype({column: int for column in ("n_subjects", "n_windows")})
    of_leaks = ["leak_threshold", "recording_identity_p", "inverted_below"]
    table.loc[~table.index.isin(LEAK_TESTS), of_leaks] = np.nan
    table["reveals_overlap"] = table.index.isin(overlap)
    table["n_left_out"] = [sum(outcome.n_left_out for outcome in parts) for parts in outcomes.values()]
    if "oracle" in table.index:
        best = table.loc["oracle", "top_k"] - table["chance"]
        table["share_of_oracle"] = (table["top_k"] - table["chance"]) / best.where(best > 0)
        has_other = table.index.isin(["within_recording", "timing_matched"])
        table.loc[has_other, "share_of_oracle"] = np.nan
    table = add_verdict_texts(table.join(control_verdicts(table, reasons)))
    table.loc[table["n_subjects"] == 0, "verdict_text"] += f" ({describe_unusable_timing_strata()})"
    return table.drop(columns="reveals_overlap")


# --- outcomes of one fold ----------------------------------------------------------------------------


def run_control_outcome(
    parts,
    n_shifts=1000,
    random_state=None,
    n_left_out=0,
    is_stratified=False,
    separate=None,
    is_permuted=False,
):
    """Reduce the results of one control and fold to the input of a verdict.

    Parameters
    ----------
    parts : list of RetrievalResult
        Each with its own candidates and rows with ``subject, recording,
        onset, duration``.
    n_shifts : int, default=1000
    random_state : None, int or RandomState, default=None
    n_left_out : int, default=0
        Excluded training windows.
    is_stratified : bool, default=False
        Whether windows are ranked within strata of like timing.
    separate : None or LeakTestOutcome, default=None
        Of surrogates whose windows share no samples.
    is_permuted : bool, default=False
        Whether the null permutes labels within recordings.

    Returns
    -------
    outcome : LeakTestOutcome
    """
    random = check_random_state(random_state)
    if is_stratified:
        records = [record for part in parts for record in score_timing_strata(part, n_shifts, random)]
        return LeakTestOutcome(records, [], n_left_out)
    records = [
        record for part in parts for record in _iter_control_records(part, n_shifts, random, is_permuted)
    ]
    across = [
        _compute_hits_across_recordings(part) for part in parts if not isinstance(part, RowRetrievalResult)
    ]
    return LeakTestOutcome(records, across, n_left_out, separate=separate)


def _iter_control_records(result, n_shifts, random, is_permuted=False):
    """Yield the scores of each recording with their null."""
    recording = get_validated_recordings(result.rows)
    for name in pd.unique(recording):
        own = np.flatnonzero(recording == name)
        rows, ranks = result.rows.iloc[own], result.ranks[own]
        try:
            selected = result.select(own)
            null = (
                _draw_control_permutations(selected, n_shifts, random)
                if is_permuted
                else selected.draw_null(n_shifts, random)
            )
        except ValueError:  # too short for a null, but its scores are kept
            null = np.full(n_shifts, np.nan)
        yield {
            "subject": rows["subject"].iloc[0], "recording": name, "n": len(own),
            "top_1": np.sum(ranks < 1), "top_k": np.sum(ranks < result.k),
            "chance": len(own) * result.chance, "null": len(own) * null,
            "relative": ranks / (result.n_candidates - 1), "n_candidates": len(own) * result.n_candidates,
        }  # fmt: skip


def _draw_control_permutations(result, n_shifts, random):
    """Draw top-k accuracies of labels permuted over all windows."""
    hit, target = mark_top_k_hits(result.scores, result.k), np.asarray(result.target)
    return np.array([hit[np.arange(len(target)), random.permutation(target)].mean() for _ in range(n_shifts)])


def _compute_hits_across_recordings(result):
    """Compute hits of each recording with labels drawn from each recording.

    Names of the recordings, and an array of (n_recordings, n_recordings).
    """
    codes, names = pd.factorize(get_validated_recordings(result.rows), sort=True)
    hit = mark_top_k_hits(result.scores, result.k)
    hits = np.stack([hit[codes == code].sum(0) for code in range(len(names))])
    return tuple(names), np.stack(
        [hits[:, result.target[codes == code]].mean(1) for code in range(len(names))], axis=1
    )


# --- input -------------------------------------------------------------------------------------------


def run_control_rows(X):
    """Return subject, recording and time of each window."""
    table = validate_table(X)
    missing = ["recording", "onset", "duration"]
    missing = [column for column in missing if table is None or column not in table]
    if missing:
        raise ValueError(
            f"Controls shift windows in time within recordings, but X lacks {missing}. Pass the table of "
            f"make_segments, or Windows.from_array(X, rows=table) with these columns (s)."
        )
    rows = table if "subject" in table else table.assign(subject="")
    columns = [name for name in ("study", "subject", "recording", "onset", "duration") if name in rows]
    return rows[columns].reset_index(drop=True)


def choose_run_controls(controls, decoder, y, oracle, rows=None):
    """Check names of controls, or return all that apply if None.

    Controls that always run are added, if ``rows`` have times.
    """
    table = validate_table(y)
    has_audio = table is not None and "sound" in table and find_estimator_speech(decoder) is not None
    has_audio = has_audio and not any(isinstance(sound, NOT_FILES) for sound in pd.unique(table["sound"]))
    is_there = {"audio": has_audio, "oracle": oracle is not None, **_find_control_needs(rows)}
    missing = {need for need, is_met in is_there.items() if not is_met}
    if controls is None:
        return [name for name, spec in CONTROLS.items() if spec.needs not in missing]
    if isinstance(controls, str):
        raise TypeError(f"controls must be a list of names. Got the text {controls!r}. Use [{controls!r}].")
    if not len(controls := list(controls)):
        raise ValueError(f"controls is empty. Use names from {list(CONTROLS)}, or None for all that apply.")
    for name in controls:
        if (spec := find_control(name)).needs in missing:
            raise ValueError(f"controls: {name!r} needs {NEEDS[spec.needs]}.")
    return list(dict.fromkeys([*controls, *list_permanent_run_controls(rows)]))


def list_permanent_run_controls(rows):
    """Return the controls that always run where they apply."""
    is_there = _find_control_needs(rows)
    return [name for name, spec in CONTROLS.items() if spec.is_always and is_there[spec.needs]]


def _find_control_needs(rows):
    """Return whether windows are timed, and whether they are trials."""
    if rows is None:
        return {"timing": False, "trials": False}
    return {"timing": has_timing_of_rows(rows), "trials": has_order_trials(rows)}


def _check_control_pools(rows, segment, folds, k):
    """Raise if a recording has too few candidates in a fold."""
    for _, test in folds:
        recording = get_validated_recordings(rows.iloc[test])
        counts = pd.Series(segment[test]).groupby(recording).nunique()
        if (counts <= k).any():
            name = rows["recording"].to_numpy()[test][recording == counts.idxmin()][0]
            raise ValueError(
                f"Control 'within_recording': recording {name!r} has only {counts.min()} distinct "
                f"segments in a test fold, so top-{k} accuracy is always 1. Use a smaller k or fewer folds, or remove "
                f"the control from controls."
            )
