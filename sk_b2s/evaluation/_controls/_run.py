"""Control analyses of a decoder."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing, check_random_state

from sk_b2s._utils._estimators import find_decoder, make_calibration_params, was_interrupted
from sk_b2s._utils._validation import check_in_step, is_segment_table, recordings_of, table_of
from sk_b2s.decoding._candidates import find_distinct_segments
from sk_b2s.decoding._retrieval_result import RetrievalResult, split_pools
from sk_b2s.decoding._scoring import retrieve
from sk_b2s.evaluation._controls._inputs import (
    exclude_shared_samples,
    reorder_rows,
    replacement_features,
    shift_pairs,
    with_noise,
    with_speech,
)
from sk_b2s.evaluation._controls._surrogates import SurrogateRecordings
from sk_b2s.evaluation._controls._verdicts import LEAKS, ControlOutcome, pooled_row, verdicts
from sk_b2s.events._stimuli import StimulusArray
from sk_b2s.features._activity import SpeechActivity
from sk_b2s.features._spectral import Envelope
from sk_b2s.metrics._null import circular_shift_null, count_hits
from sk_b2s.model_selection._exposure import exposure_of
from sk_b2s.model_selection._leakage import check_leakage, leaks_in
from sk_b2s.model_selection._split import StimulusKFold, folds_of

# --- the controls ------------------------------------------------------------------------------------


@dataclass
class FoldTask:
    """One fold, and all that a control needs to answer it."""

    estimator: Any
    X: Any
    y: Any
    rows: pd.DataFrame
    train: np.ndarray
    test: np.ndarray
    seed: int
    oracle: Any = None
    n_left_out: int = 0
    k: int | None = None
    seconds_fit: float = 0.0
    seconds_score: float = 0.0
    fitted: Any = None  # the estimator that was fitted last

    def refit(self, estimator=None, X=None, y=None, train=None, test=None):
        """Fit a clone on the training rows and let it answer the test rows."""
        X, y = self.X if X is None else X, self.y if y is None else y
        train, test = self.train if train is None else train, self.test if test is None else test
        estimator = clone(self.estimator if estimator is None else estimator)
        subject = self.rows["subject"].to_numpy()
        params = make_calibration_params(estimator, np.isin(subject[train], subject[test]))
        start = perf_counter()
        estimator.fit(_safe_indexing(X, train), _safe_indexing(y, train), **params)
        if was_interrupted(estimator):  # half a training is no result
            raise KeyboardInterrupt
        done, self.fitted = perf_counter(), estimator
        answers = retrieve(estimator, _safe_indexing(X, test), _safe_indexing(y, test))
        self.seconds_fit += done - start
        self.seconds_score += perf_counter() - done
        return self.with_rows(answers, test)

    def exposure(self):
        """Test rows that the fitted estimator was trained on, whatever the training rows of the fold are."""
        return exposure_of(self.fitted, _safe_indexing(self.y, self.test))

    def with_rows(self, answers, test):
        """Answers whose rows are those of the task, and whose k is its."""
        return replace(answers, rows=self.rows.iloc[test], k=self.k or answers.k)

    @cached_property
    def answers(self):
        """Answers of the decoder itself."""
        return self.refit()

    def of_scores(self, scores):
        """Make answers of similarities to the distinct segments of the test rows."""
        heard = _safe_indexing(self.y, self.test)
        found, table = find_distinct_segments(heard), table_of(heard)
        k = self.k or find_decoder(self.estimator)[0].k
        known = table is not None and "segment" in table
        names = table.iloc[found.first] if known else pd.DataFrame({"segment": found.ids})
        return RetrievalResult(np.asarray(scores), found.target, names, self.rows.iloc[self.test], k)


def _decoder(task):
    """Decode, as it is."""
    return [task.answers]


def _noise(task, kind):
    noise = SurrogateRecordings(kind, random_state=task.seed)
    if is_segment_table(task.X):
        return [task.refit(with_noise(task.estimator, noise))]
    return [task.refit(X=noise.fit_transform(task.X))]


def _phase(task):
    """Refit and score on phase-randomised recordings: spectra and covariance are kept."""
    return _noise(task, "phase")


def _white(task):
    """Refit and score on white noise, which keeps nothing of a recording."""
    return _noise(task, "white")


def _shifted(task):
    """Refit and score with what was heard moved along each recording by 10 s or more."""
    order = shift_pairs(task.rows, task.y, task.seed)
    # What was heard keeps its side of the split: it takes the label "train" or "test" along.
    side = np.zeros(len(order), int)
    side[task.train], side[task.test] = 1, 2
    train, test = np.flatnonzero(side[order] == 1), np.flatnonzero(side[order] == 2)
    kept = exclude_shared_samples(task.rows, train, test)
    task.n_left_out = len(train) - len(kept)
    if not len(kept):
        raise ValueError(
            "shifted pairing: every training window lies beside a test window of its recording once the sound is "
            "moved; take longer recordings or longer blocks."
        )
    return [task.refit(y=reorder_rows(task.y, order), train=kept, test=test)]


def _within(task):
    """Ask the decoder among the candidates of the same recording only."""
    return split_pools(task.answers)


def _silence(task):
    """Retrieve by the true pauses of each window: what perfect knowledge of them gives."""
    speech = find_decoder(task.estimator)[0].speech
    heard = _safe_indexing(task.y, task.test)
    feature = replacement_features(speech, SpeechActivity()).steps[0][1].set_params(sfreq=50)
    mask = np.asarray(feature.fit_transform(table_of(heard)))[:, 0]
    own = mask[find_distinct_segments(heard).first]
    # Minus the number of frames in which two masks differ: whole numbers, so that equal masks tie.
    return [task.of_scores(mask @ own.T + (1 - mask) @ (1 - own).T - mask.shape[1])]


def _silence_from_brain(task):
    """Refit with the pauses as the only thing to decode."""
    return [task.refit(_other_speech(task, SpeechActivity()))]


def _acoustics(task):
    """Refit with loudness as the only thing to decode."""
    return [task.refit(_other_speech(task, Envelope()))]


def _other_speech(task, feature):
    return with_speech(task.estimator, replacement_features(find_decoder(task.estimator)[0].speech, feature))


def _oracle(task):
    """Ask whoever knows the truth."""
    answers = task.oracle(*(_table_or_all(_safe_indexing(data, task.test)) for data in (task.X, task.y)))
    return [
        task.with_rows(answers, task.test)
        if isinstance(answers, RetrievalResult)
        else task.of_scores(answers)
    ]


def _table_or_all(data):
    """Return the table that rides with data, or the data where none does."""
    table = table_of(data)
    return data if table is None else table


# Name -> what answers it: a list of RetrievalResult, each with candidates of its own.
CONTROLS = {
    "decoder": _decoder,
    "surrogate": _phase,
    "white noise": _white,
    "shifted pairing": _shifted,
    "within recording": _within,
    "silence only": _silence,
    "silence from the brain": _silence_from_brain,
    "acoustics only": _acoustics,
    "oracle": _oracle,
}
CHEAP = ("oracle", "silence only")  # nothing is fitted, and what cannot be asked raises
OF_SOUND = ("silence only", "silence from the brain", "acoustics only")  # need audio files


def _run(names, task, n_shifts):
    """Run some controls of one fold: {name: Outcome}."""
    out = {}
    for name in names:
        with warnings.catch_warnings():
            if name != "decoder":  # a control that learns nothing is as it should be
                warnings.simplefilter("ignore", ConvergenceWarning)
            out[name] = outcome_of(CONTROLS[name](task), n_shifts, task.seed, task.n_left_out)
        if name == "decoder":
            out[name].n_heard = int(task.exposure().rows.sum())
    return out


def outcome_of(parts, n_shifts=1000, random_state=None, n_left_out=0):
    """Reduce the answers of one control and fold to what a verdict over folds needs.

    Parameters
    ----------
    parts : list of RetrievalResult
        Each with candidates of its own; rows with ``subject, recording, onset, duration``.
    n_shifts : int, default=1000
        Shifts of which each null is made.
    random_state : None, int or RandomState, default=None
        Draws the shifts.
    n_left_out : int, default=0
        Training windows dropped.

    Returns
    -------
    outcome : Outcome
    """
    random = check_random_state(random_state)
    records = [record for part in parts for record in _records(part, n_shifts, random)]
    return ControlOutcome(records, [_across(part) for part in parts], n_left_out)


def _records(answers, n_shifts, random):
    """Scores of each recording, with the null of each."""
    recording = recordings_of(answers.rows)
    for name in pd.unique(recording):
        own = np.flatnonzero(recording == name)
        rows, ranks = answers.rows.iloc[own], answers.ranks[own]
        try:
            null = circular_shift_null(
                answers.scores[own], answers.target[own], rows["recording"], rows["onset"],
                rows["duration"].max(), answers.k, n_shifts, random,
            )  # fmt: skip
        except ValueError:  # too short to move its labels; the fits are not thrown away for that
            null = np.full(n_shifts, np.nan)
        yield {
            "subject": rows["subject"].iloc[0], "recording": name, "n": len(own),
            "top_1": np.sum(ranks < 1), "top_k": np.sum(ranks < answers.k),
            "chance": len(own) * answers.chance, "null": len(own) * null,
            "relative": ranks / (answers.n_candidates - 1), "n_candidates": len(own) * answers.n_candidates,
        }  # fmt: skip


def _across(answers):
    """Hits that each recording would have with labels drawn from each: names, (n_recordings, n_recordings)."""
    codes, names = pd.factorize(recordings_of(answers.rows), sort=True)
    hit = count_hits(answers.scores, answers.k)
    mine = np.stack([hit[codes == code].sum(0) for code in range(len(names))])
    return tuple(names), np.stack(
        [mine[:, answers.target[codes == code]].mean(1) for code in range(len(names))], axis=1
    )


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
):
    """Refit and score a decoder on all that it should not be able to decode, beside its own score.

    Parameters
    ----------
    estimator : estimator
        A decoder of the package, a Pipeline that ends in one, or a search over either. It is cloned,
        never changed or used as fitted.
    X : DataFrame or Windows of shape (n_windows, ...)
        What the brain did, with ``recording``, ``onset`` and ``duration`` in its table (and ``subject``,
        where there are several): an array needs ``Windows.from_array(X, rows=table)``.
    y : DataFrame, Windows or array-like of shape (n_windows, ...)
        What was heard.
    cv : None, splitter or iterable of (train, test), default=None
        Every fold is refitted for every control and the scores of each subject are pooled over folds.
        None takes the first fold of ``StimulusKFold(5)``, a fifth of the cost.
    controls : None or sequence of str, default=None
        Names in ``CONTROLS``. None takes all that apply: "silence only", "silence from the brain" and
        "acoustics only" need audio files and a decoder with ``speech``, "oracle" needs ``oracle``.
    oracle : None or callable, default=None
        ``oracle(X_test, y_test)`` returns a :class:`~sk_b2s.RetrievalResult`, or similarities of shape
        (n_windows, n_candidates) to the distinct segments of ``y_test`` in order of appearance: what
        one who knows the truth of a simulation would score. Windows are given to it as their tables.
        It must read the brain as much later than the sound as the decoder does: with
        ``Epocher(lag=0.2)`` write ``partial(oracle_scores, truth, lag=0.2)``.
    k : int or None, default=None
        Scores are top-k; the decoder's ``k`` by default.
    n_shifts : int, default=1000
        Shifts of which each null is made.
    random_state : None, int or RandomState, default=0
        Draws noise, shifts and nulls, once. A control is never drawn again because of how it came out.
    n_jobs : int or None, default=None
        Controls and folds that are run at once, in processes.
    verbose : int, default=0
        Above 0 a line is printed for each control and fold that is done.

    Returns
    -------
    table : DataFrame of shape (n_controls, ...)
        Indexed by ``control``; columns ``top_1, top_k, sem, median_relative_rank`` (means over subjects;
        the standard error is that of ``top_k``), ``n_subjects, n_windows, n_candidates, chance``,
        ``null_mean, null_low, null_high`` (mean, 2.5 and 97.5 % quantile of :func:`~sk_b2s.circular_shift_null` in
        this row's own similarities), ``leak_above`` and ``fingerprint`` (``top_k`` above the one, or 0.83 % or
        less of the other, is a leak, see Notes; NaN where none is looked for, and the other also where fewer
        than five recordings are scored together), ``inverted_below`` (the mirrored limit: such a control below both it
        and its null is "below its null"),
        ``n_left_out`` (training windows that "shifted pairing" drops because the brain of a test window
        lies within a second), ``share_of_oracle`` ((top_k - chance) / (the oracle's - chance), with an
        oracle; NaN for "within recording", which chooses among other candidates),
        and ``verdict``: "LEAK" (of the decoder with what leaks: controls, or sound, segments, text or samples of
        recordings that are in training and in the test, see :func:`~sk_b2s.check_leakage`), "above its null", "below
        its null" (the answer is inverted: labels, signs or pairs of X and y are wrong, two codes are swapped, or folds
        predict the opposite), "at chance", "context" (no brain was asked), or that recordings are too short for a
        null.

    Raises
    ------
    TypeError
        If the estimator is none that retrieves, or a control is no name.
    ValueError
        If X does not say when its windows were, a control does not apply, or a recording is too short.

    See Also
    --------
    retrieve : The similarities behind one score.
    SurrogateRecordings : The noise.

    Notes
    -----
    ``surrogate`` and ``white noise`` put :class:`~sk_b2s.SurrogateRecordings` right after the Epocher (before
    everything, if X is Windows), so every later step is the same code. ``shifted pairing`` moves what was
    heard along each recording by 10 s or more; folds move with it, so no sound comes to both sides. A
    decoder that learns from the brain is at chance on all three. If it is not, it knows recordings, not
    speech: the row says LEAK, and so does the decoder's. The limit is counted from chance and not from
    the row's null, because a recording's fingerprint lifts that null too; the derivation is in the source
    of ``sk_b2s.evaluation._controls._verdicts``.

    Either mark, that of ``leak_above`` and that of ``fingerprint``, leaves 2.5 % to luck over the three. On small
    simulations without any leak (240 to 360 windows) we found 1 to 4 % of single rows marked by one of them,
    with ridge (4 to 6 recordings, 180 rows each) and a network (6 recordings, 120 rows) alike, so a mark just
    above ``leak_above`` on little data may be luck: more windows tell, another seed does not. Recordings that hold
    different sounds may score by luck with what a decoder prefers in each; five or more of them tell that
    from a fingerprint, four or fewer do not, and ``leak_above`` then warns too often rather than too seldom.

    "phase" keeps all that is constant over a recording. A sustained response to a voice that speaks
    throughout one recording and not in others is such, and is marked too.

    ``white noise`` keeps the subject's name: a decoder that learns each subject by itself knows which
    sounds a subject hears, and exceeds chance where subjects heard different ones.

    The null and the controls are made of similarities and do not see how these came about. A choice of epoch, seed,
    parameter or estimator by the test is not seen: the best of 60 decoders of noise is above its null. Neither is state
    that an estimator of one's own keeps from fold to fold, nor preprocessing that was fitted on test windows before
    the folds were made.

    ``silence only`` compares the true mask of speech and pause of a window with those of the candidates;
    ``silence from the brain`` and ``acoustics only`` decode that mask, and loudness, and nothing else. All
    three may exceed chance honestly; they say what a score may be made of.
    """
    last, _ = find_decoder(estimator)
    check_in_step(X, y)
    rows = sample_rows(X)
    names = select_controls(controls, last, y, oracle)
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    folds = [next(StimulusKFold(5).split(X, y))] if cv is None else folds_of(cv, X, y)
    if "within recording" in names:
        _check_pools(rows, find_distinct_segments(y).target, folds, k or last.k)
    if "shifted pairing" in names:
        shift_pairs(rows, y, seed)  # raises now rather than after hours
    together = [name for name in ("decoder", "within recording") if name in names]
    jobs = [[name] for name in CHEAP if name in names]  # they raise now rather than after hours
    jobs += [together] if together else []
    jobs += [[name] for name in names if name not in (*CHEAP, *together)]
    jobs = [(job, index) for job in jobs for index in range(len(folds))]
    results = joblib.Parallel(n_jobs, return_as="generator")(
        joblib.delayed(_run)(
            job, FoldTask(estimator, X, y, rows, *folds[index], seed + index, oracle, k=k), n_shifts
        )
        for job, index in jobs
    )
    outcomes: dict[str, list] = {name: [] for name in names}
    for (_, index), result in zip(jobs, results, strict=True):
        for name, outcome in result.items():
            outcomes[name].append(outcome)
            if verbose:
                hits, n = (sum(record[column] for record in outcome.records) for column in ("top_k", "n"))
                print(f"{name}, fold {index + 1} of {len(folds)}: top-k {hits / n:.3f}")
    table = pd.DataFrame({name: pooled_row(outcomes[name], seed) for name in names}).T.rename_axis("control")
    table = table.astype({column: int for column in ("n_subjects", "n_windows")})
    of_leaks = ["leak_above", "fingerprint", "inverted_below"]
    table.loc[~table.index.isin(LEAKS), of_leaks] = np.nan
    table["n_left_out"] = [sum(o.n_left_out for o in outcomes[name]) for name in names]
    if "oracle" in table.index:
        best = table.loc["oracle", "top_k"] - table["chance"]
        table["share_of_oracle"] = (table["top_k"] - table["chance"]) / best.where(best > 0)
        table.loc[table.index == "within recording", "share_of_oracle"] = np.nan
    n_heard = sum(outcome.n_heard for outcome in outcomes.get("decoder", ()))
    reasons = leaks_in(check_leakage(X, y, folds)["verdict"], n_heard)
    return table.assign(verdict=verdicts(table, reasons))


def sample_rows(X):
    """Recording, subject and time of each window."""
    table = table_of(X)
    missing = ["recording", "onset", "duration"]
    missing = [column for column in missing if table is None or column not in table]
    if missing:
        raise ValueError(
            f"controls move windows in time within recordings, but X lacks {missing}: give the table of "
            f"make_segments, or Windows.from_array(X, rows=table) with these columns (s)."
        )
    rows = table if "subject" in table else table.assign(subject="")
    return rows[["subject", "recording", "onset", "duration"]].reset_index(drop=True)


def select_controls(controls, decoder, y, oracle):
    """Names of the controls to run, in the order of CONTROLS where none are named."""
    table = table_of(y)
    spoken = table is not None and "sound" in table and getattr(decoder, "speech", None) is not None
    spoken = spoken and not any(isinstance(sound, StimulusArray) for sound in pd.unique(table["sound"]))
    missing = {} if spoken else dict.fromkeys(OF_SOUND, "audio files in y and a decoder with speech=")
    missing |= {} if oracle is not None else {"oracle": "oracle=, one who knows the truth"}
    if controls is None:
        return [name for name in CONTROLS if name not in missing]
    if isinstance(controls, str):
        raise TypeError(f"controls must be a list of names, got the text {controls!r}; write [{controls!r}].")
    if not len(controls := list(controls)):
        raise ValueError(f"controls is empty; name one or more of {list(CONTROLS)}, or leave it out for all.")
    for name in controls:
        if name not in CONTROLS:
            raise ValueError(f"controls: {name!r} is none of {list(CONTROLS)}.")
        if name in missing:
            raise ValueError(f"controls: {name!r} needs {missing[name]}.")
    return list(dict.fromkeys(controls))


def _check_pools(rows, segment, folds, k):
    """Raise where a recording has too few candidates in a fold, before anything is fitted."""
    for _, test in folds:
        who, where = (rows[column].to_numpy()[test] for column in ("subject", "recording"))
        counts = pd.Series(segment[test]).groupby([who, where]).nunique()
        if (counts <= k).any():
            raise ValueError(
                f"within recording: {counts.idxmin()[1]!r} has {counts.min()} distinct segments in a test fold, and "
                f"k={k} of them are no question; use a smaller k or fewer folds, or leave it out of controls."
            )
