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
    r"""Choose sentences for a new listener to hear first, so that few minutes tell much.

    Sentences differ in how much they have of what the brain answers to: some are slow and full of pauses, and some
    repeat what others said. Greedily that sentence is taken next that adds most per second to

    .. math:: f(S) = \sum_p \sqrt{n_p(S)}

    with :math:`n_p` how often phoneme p is heard in the sentences S [1]_: it grows with what is said, and less with
    what was said before.

    Parameters
    ----------
    y : DataFrame of shape (n_rows, ...)
        What could be heard: ``sound, sound_onset, duration`` and ``sequence``, the sentence; where a row has none its
        ``block`` stands for it. Leave out what is to be tested.
    minutes : float
        Of sound, at most; sentences are counted with all that their windows reach into. Infinity is all of them.
    phonemes : DataFrame of shape (n_events, ...)
        An events table, such as that which ``y`` was made of: its rows of type "phoneme" say ``sound, sound_onset``
        and ``text``.

    Returns
    -------
    rows : ndarray of int of shape (n_chosen_rows,)
        Rows of the sentences, in the order of choice: ``encoder.adapt(X[rows], y.iloc[rows])`` if they were
        heard already; what to play is in ``y.iloc[rows].drop_duplicates("sequence")``.

    Raises
    ------
    TypeError
        If ``y`` or ``phonemes`` is no table.
    ValueError
        If a table has no rows, lacks a column or says nothing in one, a duration is not above 0, no sentence fits into
        the minutes, or phonemes are of other sounds.

    Warns
    -----
    UserWarning
        If all sentences together have fewer minutes.

    See Also
    --------
    LeaveOneSubjectOut : Calibration as it comes, the first minutes that were recorded.

    Notes
    -----
    On sixteen simulated people ridge learned a seventh to a quarter more above chance from one, two and four minutes
    so chosen than from as many minutes of sentences drawn at random; of half a minute they do not tell
    (``benchmarks/bench_calibration.py``).

    References
    ----------
    .. [1] Wei, Liu, Kirchhoff, Bartels, Bilmes (2014). Submodular subset selection for large-scale speech training
       data. ICASSP, 3311. https://doi.org/10.1109/ICASSP.2014.6854213

    Examples
    --------
    >>> from sk_b2s import StimulusArray, select_calibration_sentences
    >>> story = StimulusArray(np.zeros((64 * 30, 1)), 64, "story")
    >>> y = pd.DataFrame({"sound": [story] * 3, "sound_onset": [0.0, 10.0, 20.0], "duration": 6.0,
    ...                   "sequence": ["poor", "rich", "richer"]})
    >>> phonemes = pd.DataFrame({"type": "phoneme", "sound": story, "text": list("aaaaptkptka"),
    ...                          "sound_onset": [0, 1, 2, 3, 10, 11, 12, 20, 21, 22, 23]})
    >>> select_calibration_sentences(y, minutes=0.2, phonemes=phonemes)
    array([2, 1])
    """
    _check_heard(y)
    if not (isinstance(minutes, Real) and minutes > 0):
        raise ValueError(f"minutes must be a number above 0, got {minutes!r}.")
    unit = _sentences(y)
    parts = [np.flatnonzero(unit == index) for index in range(unit.max() + 1)]
    heard = [StimulusIntervals.from_table(y.iloc[rows]) for rows in parts]
    seconds = np.array([one.seconds for one in heard])
    if seconds.min() > 60 * minutes:
        raise ValueError(
            f"minutes={minutes:g}: the shortest of {len(parts)} sentences, with all that its windows reach into, has "
            f"{seconds.min():.1f} s; give more minutes."
        )
    counts = _phoneme_counts(heard, phonemes)
    if minutes < np.inf and seconds.sum() < 60 * minutes * (1 - SPARE):
        warnings.warn(
            f"minutes={minutes:g}, but all {len(parts)} sentences of y have {seconds.sum() / 60:.2f} minutes: all of "
            f"them are chosen, and only their order is. Ask for fewer minutes, or give more sentences.",
            stacklevel=2,
        )
    order = greedy_cover(lambda chosen: np.sqrt(counts[chosen].sum(0) + counts).sum(1), seconds, 60 * minutes)
    return np.concatenate([parts[index] for index in order])


def greedy_cover(worth, cost, budget):
    """Choose one thing after the other, that which adds most to a worth per cost, while the budget allows any.

    Parameters
    ----------
    worth : callable
        ``worth(chosen)`` returns what the chosen are worth together with each of all things: (n_things,). Nothing
        is worth 0.
    cost : ndarray of shape (n_things,)
    budget : float

    Returns
    -------
    chosen : list of int

    Examples
    --------
    >>> greedy_cover(lambda chosen: np.array([3.0, 2.0, 1.0]), np.array([2.0, 1.0, 1.0]), 3.0)
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


def _check_heard(y):
    """Raise unless y says what was heard, and for how long."""
    if not isinstance(y, pd.DataFrame):
        raise TypeError(
            f"y must be the table of what was heard, as make_segments returns it; got {type(y).__name__}."
        )
    if missing := [column for column in ("sound", "sound_onset", "duration") if column not in y]:
        raise ValueError(f"y must say what was heard in the columns {missing}, as make_segments returns it.")
    if not len(y):
        raise ValueError(
            "y has no rows, so there is no sentence to choose; was everything left out for the test?"
        )
    if (wrong := ~(y["duration"] > 0).to_numpy()).any():
        raise ValueError(
            f"y row {y.index[wrong].tolist()[0]!r} has a duration of {y['duration'][wrong].iloc[0]} s ({wrong.sum()} "
            f"such rows), and a window has more than 0: leave it out, y[y['duration'] > 0]."
        )


def _check_spoken(phonemes):
    """Rows of phonemes, which must say what they are and where."""
    if not isinstance(phonemes, pd.DataFrame):
        raise TypeError(
            f"phonemes must be an events table with rows of type 'phoneme', got {type(phonemes).__name__}; give the "
            f"events that y was made of."
        )
    columns = ["sound", "sound_onset", "text"]
    if missing := [column for column in columns if column not in phonemes]:
        raise ValueError(
            f"phonemes must say in the columns {missing} which are heard where, as an events table does."
        )
    rows = phonemes[phonemes["type"] == "phoneme"] if "type" in phonemes else phonemes
    if (lost := rows[columns].isna().to_numpy()).any():
        row, column = np.argwhere(lost)[0]
        raise ValueError(
            f"phonemes row {rows.index[[row]].tolist()[0]!r} says nothing in {columns[column]!r} ({lost.any(1).sum()} "
            f"such rows): fill it in, or leave such rows out, phonemes.dropna(subset={columns})."
        )
    return rows


def _sentences(y):
    """Number the sentences of each sound, or the blocks where there are none: (n_rows,) array of int."""
    sequence = y["sequence"] if "sequence" in y else pd.Series(np.nan, index=y.index)
    block = y["block"] if "block" in y else pd.Series(np.nan, index=y.index)
    if (lost := (sequence.isna() & block.isna()).to_numpy()).any():
        raise ValueError(
            f"y row {y.index[lost].tolist()[0]!r} says neither in 'sequence' nor in 'block' what it is part of "
            f"({lost.sum()} such rows); see make_segments."
        )
    names = pd.DataFrame({"sound": digest_stimuli(y["sound"]), "sequence": sequence.to_numpy()})
    names["block"] = block.where(sequence.isna(), -1).to_numpy()
    return names.groupby(["sound", "sequence", "block"], sort=False, dropna=False).ngroup().to_numpy()


def _phoneme_counts(heard, phonemes):
    """How often each phoneme begins in what is heard of each sentence: (n_sentences, n_phonemes)."""
    rows = _check_spoken(phonemes)
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
    counts = np.zeros((len(heard), len(names)))
    for index, one in enumerate(heard):
        for sound, spans in one.intervals.items():
            own = of_sound.get(sound, np.zeros(0, int))
            onset = rows["onset"].to_numpy()[own]
            for first, last in np.searchsorted(onset, spans):
                counts[index] += np.bincount(code[own[first:last]], minlength=len(names))
    if not counts.any():
        raise ValueError(
            "phonemes: none of its rows of type 'phoneme' is heard in y; give the events table that y was made of."
        )
    return counts
