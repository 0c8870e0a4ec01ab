"""Selection of calibration sentences rich in phonemes."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.events._silence import is_silence
from sk_b2s.events._stimuli import digest_stimuli

SPARE = 0.01  # share of the minutes that may be left without a warning


def select_calibration_sentences(y, minutes, phonemes):
    r"""Select calibration sentences that are rich in phonemes.

    Sentences differ in speech rate, silences and phonemes. The greedy
    selection adds the sentence with the largest gain per second of

    .. math:: f(S) = \sum_p \sqrt{n_p(S)}

    where :math:`n_p` is the count of phoneme p in the selected sentences S
    [1]_. The gain is smaller for phonemes that were selected often.

    Parameters
    ----------
    y : DataFrame of shape (n_rows, ...)
        Candidate segments with ``sound``, ``sound_onset``, ``duration`` and
        ``sequence``, the sentence. Rows without a sentence use their
        ``block``. Exclude segments to be tested.
    minutes : float
        Largest total duration of the stimuli that the windows of the sentences
        cover. Infinity selects all sentences.
    phonemes : DataFrame of shape (n_events, ...)
        Events table of the same stimuli. Rows of type "phoneme" have
        ``sound``, ``sound_onset`` and ``text``.

    Returns
    -------
    rows : ndarray of int of shape (n_selected_rows,)
        Rows of the selected sentences, in the order of selection. To adapt to
        recorded sentences, call ``encoder.adapt(X[rows], y.iloc[rows])``. To
        present them, see ``y.iloc[rows].drop_duplicates("sequence")``.

    Raises
    ------
    TypeError
        If ``y`` or ``phonemes`` is not a DataFrame.
    ValueError
        If a table has no rows, a column or value is missing, a duration is not
        positive, no sentence is short enough, or no phoneme is in the stimuli
        of ``y``.

    Warns
    -----
    UserWarning
        If all sentences together have fewer minutes.

    See Also
    --------
    LeaveOneSubjectOut : Calibration with the first recorded minutes.

    Notes
    -----
    With sixteen simulated subjects, the ridge decoder gained 1/7 to 1/4 more
    above chance from one, two and four selected minutes than from random
    sentences of the same duration. For half a minute the difference is not
    clear (``benchmarks/bench_calibration.py``).

    References
    ----------
    .. [1] Wei, Liu, Kirchhoff, Bartels, Bilmes (2014). Submodular subset
       selection for large-scale speech training data. ICASSP, 3311.
       https://doi.org/10.1109/ICASSP.2014.6854213

    Examples
    --------
    >>> from sk_b2s import StimulusArray, select_calibration_sentences
    >>> story = StimulusArray(np.zeros((64 * 30, 1)), 64, "story")
    >>> y = pd.DataFrame({
    ...     "sound": [story] * 3, "sound_onset": [0.0, 10.0, 20.0],
    ...     "duration": 6.0, "sequence": ["poor", "rich", "richer"],
    ... })
    >>> phonemes = pd.DataFrame({
    ...     "type": "phoneme", "sound": story, "text": list("aaaaptkptka"),
    ...     "sound_onset": [0, 1, 2, 3, 10, 11, 12, 20, 21, 22, 23],
    ... })
    >>> select_calibration_sentences(y, minutes=0.2, phonemes=phonemes)
    array([2, 1])
    """
    _check_calibration_segments(y)
    if not (isinstance(minutes, Real) and minutes > 0):
        raise ValueError(f"minutes must be a number above 0. Got {minutes!r} instead.")
    unit = _number_calibration_sentences(y)
    parts = [np.flatnonzero(unit == index) for index in range(unit.max() + 1)]
    intervals = [StimulusIntervals.from_table(y.iloc[rows]) for rows in parts]
    seconds = np.array([one.seconds for one in intervals])
    if seconds.min() > 60 * minutes:
        raise ValueError(
            f"minutes={minutes:g} must be at least the {seconds.min():.1f} s that the windows of the shortest of "
            f"{len(parts)} sentences cover."
        )
    counts = _count_phonemes_of_sentences(intervals, phonemes)
    if minutes < np.inf and seconds.sum() < 60 * minutes * (1 - SPARE):
        warnings.warn(
            f"minutes={minutes:g}, but the {len(parts)} sentences of y have only {seconds.sum() / 60:.2f} minutes. All "
            f"sentences are returned, in the order of selection. Use fewer minutes or more sentences.",
            stacklevel=2,
        )
    order = select_calibration_sentences_greedily(
        lambda chosen: np.sqrt(counts[chosen].sum(0) + counts).sum(1), seconds, 60 * minutes
    )
    return np.concatenate([parts[index] for index in order])


def select_calibration_sentences_greedily(worth, cost, budget):
    """Select items one by one by largest gain per cost: list of int.

    Parameters
    ----------
    worth : callable
        ``worth(chosen)`` returns the worth of the chosen items with each other
        item added: (n_items,). An empty selection has worth 0.
    cost : ndarray of shape (n_items,)
    budget : float
        Largest total cost.

    Examples
    --------
    >>> worth, cost = np.array([3.0, 2.0, 1.0]), np.array([2.0, 1.0, 1.0])
    >>> select_calibration_sentences_greedily(lambda chosen: worth, cost, 3.0)
    [1, 0]
    """
    chosen: list[int] = []
    left = np.asarray(cost, float) <= budget
    now = 0.0
    while left.any():
        value = worth(chosen)
        best = int(np.argmax(np.where(left, (value - now) / cost, -np.inf)))
        now, budget = value[best], budget - cost[best]
        chosen.append(best)
        left[best] = False
        left &= cost <= budget + 1e-9
    return chosen


def _check_calibration_segments(y):
    """Raise if y is not a table of segments with positive durations."""
    if not isinstance(y, pd.DataFrame):
        raise TypeError(
            f"y must be the DataFrame of segments that make_segments returns. Got {type(y).__name__} instead."
        )
    if missing := [column for column in ("sound", "sound_onset", "duration") if column not in y]:
        raise ValueError(f"y must have the columns {missing}, as make_segments returns it.")
    if not len(y):
        raise ValueError("y must have rows, got an empty table. Check how the test segments were excluded.")
    if (wrong := ~(y["duration"] > 0).to_numpy()).any():
        raise ValueError(
            f"y row {y.index[wrong].tolist()[0]!r}, column 'duration' must be above 0, got "
            f"{y['duration'][wrong].iloc[0]} s ({wrong.sum()} such rows). Remove them: y[y['duration'] > 0]."
        )


def _check_calibration_phonemes(phonemes):
    """Return the rows of phonemes, or raise if values are missing."""
    if not isinstance(phonemes, pd.DataFrame):
        raise TypeError(
            f"phonemes must be an events table with rows of type 'phoneme'. Got {type(phonemes).__name__} instead. "
            f"Pass the events of y."
        )
    columns = ["sound", "sound_onset", "text"]
    if missing := [column for column in columns if column not in phonemes]:
        raise ValueError(f"phonemes must have the columns {missing}, like an events table.")
    rows = phonemes[phonemes["type"] == "phoneme"] if "type" in phonemes else phonemes
    if (lost := rows[columns].isna().to_numpy()).any():
        row, column = np.argwhere(lost)[0]
        raise ValueError(
            f"phonemes row {rows.index[[row]].tolist()[0]!r} must have a value in {columns[column]!r} ({lost.any(1).sum()} "
            f"such rows). Fill them in, or remove them: phonemes.dropna(subset={columns})."
        )
    return rows


def _number_calibration_sentences(y):
    """Return the number of each row's sentence, or block without one."""
    sequence = y["sequence"] if "sequence" in y else pd.Series(np.nan, index=y.index)
    block = y["block"] if "block" in y else pd.Series(np.nan, index=y.index)
    if (lost := (sequence.isna() & block.isna()).to_numpy()).any():
        raise ValueError(
            f"y row {y.index[lost].tolist()[0]!r} must have a value in 'sequence' or 'block' ({lost.sum()} such rows). "
            f"See make_segments."
        )
    names = pd.DataFrame({"sound": digest_stimuli(y["sound"]), "sequence": sequence.to_numpy()})
    names["block"] = block.where(sequence.isna(), -1).to_numpy()
    return names.groupby(["sound", "sequence", "block"], sort=False, dropna=False).ngroup().to_numpy()


def _count_phonemes_of_sentences(sentences, phonemes):
    """Count the phoneme onsets in each sentence: (n_sentences, n_phonemes)."""
    rows = _check_calibration_phonemes(phonemes)
    text = rows["text"].astype(str).str.lower().str.rstrip("012")
    rows = pd.DataFrame(
        {
            "sound": digest_stimuli(rows["sound"]),
            "onset": rows["sound_onset"].to_numpy(float),
            "text": text.to_numpy(),
        }
    )
    rows = rows[~is_silence(rows["text"])].drop_duplicates().sort_values("onset")
    code, names = pd.factorize(rows["text"])
    of_sound = rows.groupby("sound").indices
    counts = np.zeros((len(sentences), len(names)))
    for index, one in enumerate(sentences):
        for sound, spans in one.intervals.items():
            own = of_sound.get(sound, np.zeros(0, int))
            onset = rows["onset"].to_numpy()[own]
            for first, last in np.searchsorted(onset, spans):
                counts[index] += np.bincount(code[own[first:last]], minlength=len(names))
    if not counts.any():
        raise ValueError(
            "phonemes must have rows of type 'phoneme' in the stimuli of y, got none. Pass the events table of y."
        )
    return counts
