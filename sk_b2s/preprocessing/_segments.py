"""Tables of segments made from an events table."""

from __future__ import annotations

from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s.events._audio._copies import StimulusCopies
from sk_b2s.events._blocks import cut_stimuli_and_copies, merge_blocks
from sk_b2s.events._paper_blocks import PaperBlocks
from sk_b2s.events._stimuli import digest_stimuli, stable_id, stimulus_duration
from sk_b2s.events._streams import find_concurrent_stimuli
from sk_b2s.events._table import check_events
from sk_b2s.events._table_times import clock_rate
from sk_b2s.preprocessing._continuity import warn_of_acquisition_times, warn_of_gaps
from sk_b2s.preprocessing._fitting import find_fitting_windows

SAME_WORD = 0.05  # s; closer words of one name are one word
RECORDING_COLUMNS = ("recording", "subject", "session", "study", "task", "run")


def make_segments(
    events,
    anchor="word",
    tmin=-0.5,
    tmax=2.35,
    margin=0.5,
    block=20.0,
    stream=None,
    reject_by_annotation=True,
):
    """Cut recordings into segments: EEG/MEG windows (X) and what was heard in them (y), row by row.

    This function alone decides the windows; no later step drops a row. Windows that leave the recording, cross a gap
    (a pause, a removed stretch or a join, where time is not continuous), touch a bad stretch or contain a second sound
    of their stream are left out. A warning counts them and names recordings, subjects and sounds of which no window is
    left.

    Parameters
    ----------
    events : DataFrame
        An events table, see :func:`check_events`.
    anchor : "word" or float, default="word"
        Where windows are laid: at the onset of each word, or every so many seconds of *sound* time,
        so that the anchors are the same for everybody who heard the sound. The paper trains on a
        grid of 0.5 s and tests at words. Windows at words may reach into the silence around their
        sound, windows of a grid lie inside it.
    tmin, tmax : float, default=-0.5, 2.35
        The window around its anchor in seconds; 343 steps at 120 Hz, as in the paper.
    margin : float, default=0.5
        Seconds that every window keeps from the ends of the recording and from bad stretches, so
        that the rows are the same for every ``lag`` searched. A larger lag needs a larger margin.
    block : float or PaperBlocks, default=20.0
        Shortest stretch of sound, in seconds, that is split as one; see
        :func:`~sk_b2s.events._blocks.cut_blocks`. :class:`~sk_b2s.PaperBlocks` makes those of the paper
        instead, for comparisons with published figures.
    stream : str, default=None
        Take only what was heard in this stream ("attended", say); None takes all. What the talkers of other
        streams said meanwhile is kept beside, see below; :func:`~sk_b2s.concurrent_stream` makes a table of it.
    reject_by_annotation : bool, default=True
        Leave out windows that touch an event of type "bad" or an annotation of the recording that
        begins with "bad". Windows across a gap are left out in any case.

    Returns
    -------
    X : DataFrame of shape (n_segments, ...)
        ``recording, subject, session, study, onset, duration``: the window in the recording, its
        start and length in seconds; ``heard_start, heard_stop``: where in the recording sound is
        heard at all.
    y : DataFrame of shape (n_segments, ...)
        ``sound, sound_onset, duration``: the window in the sound; ``block`` (an integer, equal for
        blocks of equal sound or text, and for blocks of different sounds that share a sentence of
        five words or more) with ``block_start, block_stop`` in the sound, and ``block_before,
        block_after``, where the block before it starts and the one after it stops (its own start and
        stop where there is none); ``segment``, the integer
        identity of the candidate: equal for all who heard the same stretch of the same sound, cut
        by the same window, in any table (or of a copy of it in the same table, whose rows have the digest of the
        other sound in ``copy_of`` and the seconds to add to their times in ``copy_shift``); ``sequence, word,
        word_index, condition, stream`` of the word at the anchor; ``text``, the words that begin in the window;
        further columns of the events. With
        ``stream``, for each other stream, "ignored" say, ``ignored_sound, ignored_sound_onset,
        ignored_segment``: the same window in that talker's sound, None, NaN and -1 where it does not lie in
        one as a whole.

    Raises
    ------
    ValueError
        If the table is wrong (:func:`check_events`), a parameter is, or no window is left.

    Warns
    -----
    UserWarning
        If windows are left out, a sound plays over a gap or begins after one at a time that no trigger or annotation
        of the recording confirms, or different sound files hold the same recording.

    Notes
    -----
    Windows of neighboring words overlap by seconds, so a split by row or by sentence puts the same
    sound on both sides. Split by ``block`` with a gap instead: the splitters of
    :mod:`sk_b2s.model_selection._split` do.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5
    """
    _check_window(anchor, tmin, tmax, margin, block)
    events = everything = check_events(events)
    if stream is not None:
        if stream not in set(events["stream"]):
            raise ValueError(
                f"stream={stream!r} is none of the streams in events: {sorted(set(events['stream']))}."
            )
        events = events[(events["stream"] == stream) | (events["type"] == "bad")].reset_index(drop=True)
    anchors = _word_anchors(events) if anchor == "word" else _grid_anchors(events, float(anchor), tmin, tmax)
    if len(anchors) == 0:
        raise ValueError(f"anchor={anchor!r}: events has no {_wanted(events, anchor, tmin, tmax)}.")
    anchors["onset"] += tmin
    anchors["sound_onset"] = (anchors["sound_onset"] + tmin).round(6)
    anchors["duration"] = round(tmax - tmin, 6)
    keep = find_fitting_windows(events, anchors, margin, reject_by_annotation, anchor, everything)
    warn_of_gaps(events)
    warn_of_acquisition_times(events)
    anchors = anchors[keep].reset_index(drop=True)
    described = _describe_sounds(events, anchors, anchor, tmin, block)
    X, y = _two_tables(events, described)
    y = y if stream is None else _with_others(y, X, everything, stream)
    X.attrs["make_segments"] = y.attrs["make_segments"] = _digest_of_windows(X, y)  # for check_in_step
    return X, y


def _wanted(events, anchor, tmin, tmax):
    """Say what is missing where no window can be laid, with the numbers compared."""
    if anchor == "word":
        return f"rows of type 'word'; it has {events['type'].value_counts().to_dict()}"
    sounds = events.loc[events["type"] == "sound", "duration"]
    if len(sounds) and sounds.max() >= tmax - tmin:
        return (
            f"sound of {sounds.max():.3f} s or less in which a window fits at a multiple of {anchor:g} s. anchor is in "
            f"seconds"
        )
    longest = (
        f"the longest of {len(sounds)} lasts {sounds.max():.3f} s" if len(sounds) else "it has no sounds"
    )
    return (
        f"sounds as long as a window of {tmax - tmin:.3f} s, {longest}. Give shorter windows by tmin and tmax"
    )


def _check_window(anchor, tmin, tmax, margin, block):
    if isinstance(anchor, str) and anchor != "word":
        raise ValueError(f"anchor must be 'word' or a step in seconds, got {anchor!r}.")
    seconds = [("margin", margin, 0)]
    seconds += [] if isinstance(block, PaperBlocks) else [("block", block, 0)]
    seconds += [] if anchor == "word" else [("anchor", anchor, 1e-6)]
    for name, value, least in seconds:
        if not (isinstance(value, Real) and least <= value < np.inf):
            raise ValueError(f"{name} must be a number of seconds of {least:g} or more, got {value!r}.")
    if not (tmax > tmin and np.isfinite([tmin, tmax]).all()):
        raise ValueError(
            f"tmin and tmax must be finite seconds, and tmax later than tmin, got tmin={tmin!r} and tmax={tmax!r}."
        )


def _word_anchors(events):
    return events[events["type"] == "word"].copy()


def _grid_anchors(events, step, tmin, tmax):
    """Anchors at multiples of ``step`` in sound time whose windows lie inside their sound."""
    sounds = events[events["type"] == "sound"]
    begin = sounds["sound_onset"].to_numpy()
    first = np.ceil((begin - tmin) / step - 1e-6).astype(int)
    last = np.floor((begin + sounds["duration"].to_numpy() - tmax) / step + 1e-6).astype(int)
    count = np.maximum(last - first + 1, 0)
    row = np.repeat(np.arange(len(sounds)), count)
    index = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[row]
    anchors = sounds.iloc[row].copy()
    anchors["onset"] += (index * step - begin[row]) * clock_rate(anchors)
    anchors["sound_onset"] = index * step
    return anchors


def _heard_words(events):
    """The distinct words of every sound over all who heard it: {digest: words sorted by time}."""
    words = events[events["type"] == "word"]
    words = words.assign(digest=digest_stimuli(words["sound"]))
    same = words.groupby(["digest", "text", "sequence", "word_index"], dropna=False, sort=False).ngroup()
    order = np.lexsort([words["sound_onset"], same])
    same, onset = same.to_numpy()[order], words["sound_onset"].to_numpy()[order]
    again = np.zeros(len(words), bool)
    again[1:] = (same[1:] == same[:-1]) & (onset[1:] - onset[:-1] <= SAME_WORD)
    words = words.iloc[order[~again]].sort_values("sound_onset", kind="stable")
    return dict(iter(words.groupby("digest")))


def _describe_sounds(events, anchors, anchor, tmin, block):
    """Add block, segment and text to every window."""
    anchors["digest"] = digest_stimuli(anchors["sound"])
    words, empty = _heard_words(events), events.iloc[:0]
    published = isinstance(block, PaperBlocks)
    heard = anchors.drop_duplicates("digest").set_index("digest")["sound"]
    copies = StimulusCopies(heard)
    copies.warn(
        "A copy has the blocks and segments of the sound that it is a copy of, and sounds that share a part are split "
        "together.",
        stacklevel=4,
    )
    lengths = {} if published else heard.map(stimulus_duration).to_dict()
    blocks = cut_stimuli_and_copies(words, lengths, block, copies.place if lengths else {})
    parts = []
    for digest, rows in anchors.groupby("digest", sort=False):
        of_sound = words.get(digest, empty)
        if not published:
            rows = _blocks_of(rows, tmin, *blocks[digest])
        rows = _text_of(rows, of_sound)
        if anchor != "word":
            rows = _word_at(rows, of_sound, tmin)
        place = copies.place.get(digest, (digest, 0.0))
        rows["segment"] = _segment_ids(rows, of_sound, place, tmin, by_word=anchor == "word")
        parts.append(rows)
    rows = copies.mark(pd.concat(parts).sort_index())
    if published:
        rows = block.place(rows, events, words, tmin)
        return rows.assign(anchor="word" if anchor == "word" else "grid")
    return rows.assign(block=merge_blocks(rows, words, copies.partial))


def _blocks_of(rows, tmin, edges, ids):
    at = np.clip(np.searchsorted(edges, rows["sound_onset"] - tmin, side="right") - 1, 0, len(ids) - 1)
    return rows.assign(
        block=ids[at],
        block_start=edges[at],
        block_stop=edges[at + 1],
        block_before=edges[np.maximum(at - 1, 0)],
        block_after=edges[np.minimum(at + 2, len(ids))],
    )


def _text_of(rows, words):
    """Add the words that begin in each window."""
    words = words[words["text"].notna()]
    onset, text = words["sound_onset"].to_numpy(float), words["text"].map(str).to_numpy(object)
    start = rows["sound_onset"].to_numpy()
    first = np.searchsorted(onset, start)
    last = np.searchsorted(onset, start + rows["duration"].to_numpy())
    spoken = {span: " ".join(text[slice(*span)]) for span in set(zip(first, last, strict=True))}
    word = rows["text"].where(rows["type"] == "word")
    return rows.assign(word=word, text=[spoken[span] for span in zip(first, last, strict=True)])


def _word_at(rows, words, tmin):
    """Name the word that is being spoken at each anchor of a grid."""
    if len(words) == 0:
        return rows
    at = rows["sound_onset"].to_numpy() - tmin
    place = np.searchsorted(words["sound_onset"], at + 1e-6, side="right") - 1
    ends = (words["sound_onset"] + words["duration"]).to_numpy()
    inside = (place >= 0) & (at < ends[place])
    for column, source in [
        ("word", "text"),
        *((c, c) for c in ("sequence", "word_index", "condition")),
    ]:
        values = words[source].to_numpy()[place]
        rows[column] = pd.Series(values, index=rows.index).where(inside)
    return rows


def _segment_ids(rows, words, place, tmin, by_word):
    """Hash the identity of each window of one sound: its place, and what it takes in around it.

    ``place`` is the sound, and the seconds to add; of a copy those of the sound that it is a copy of.
    """
    digest, shift = place
    at = rows["sound_onset"] - tmin
    tick = ((at + shift) * 100).round().astype(int)
    window = f"{tmin:g}", f"{rows['duration'].iloc[0]:g}"
    begun = _times_of_names(words) if by_word else {}
    stretch = (
        rows.assign(tick=tick)
        .groupby(["sequence", "word_index", "tick"], dropna=False, sort=False)
        .ngroup()
        .to_numpy()
    )
    distinct = rows.assign(at=at, tick=tick).iloc[np.unique(stretch, return_index=True)[1]]
    ids = np.empty(len(distinct), np.int64)
    for place, row in enumerate(distinct.itertuples()):
        times = begun.get((row.sequence, row.word_index))
        if times is not None:
            nth = int(np.searchsorted(times, row.at + 1e-6, side="right"))
            ids[place] = stable_id("word", digest, row.sequence, f"{row.word_index:g}", nth, *window)
        else:
            ids[place] = stable_id("time", digest, row.tick, *window)
    return ids[stretch]


def _times_of_names(words):
    """When each named word of a sound begins: {(sequence, word_index): rising times}.

    Tables may time one word a little apart; a second word of that name (the pseudo-words of MEG-MASC
    take the place of a real one) stands further away. Numbering them among all words of the sound,
    whether or not their windows fit, gives them the same number in every table that has them all.
    """
    begun: dict = {}
    named = words.dropna(subset=["sequence", "word_index"]).sort_values("sound_onset")
    for row in named.itertuples():
        times = begun.setdefault((row.sequence, row.word_index), [])
        if not times or row.sound_onset - times[-1] > SAME_WORD:
            times.append(row.sound_onset)
    return begun


def _two_tables(events, rows):
    heard = events[events["type"] == "sound"].assign(
        stop=lambda e: e["onset"] + e["duration"] * clock_rate(e)
    )
    heard = heard.groupby("recording").agg(heard_start=("onset", "min"), heard_stop=("stop", "max"))
    if heard.empty:
        heard = heard.reindex(pd.unique(rows["recording"]))
    brain = [column for column in RECORDING_COLUMNS if column in rows]
    X = rows[[*brain, "onset", "duration"]].join(heard, on="recording")
    first = ["sound", "sound_onset", "duration", "block", "block_start", "block_stop", "block_before",
             "block_after", "segment", "sequence", "word", "word_index", "text", "condition", "stream"]  # fmt: skip
    hidden = {
        *RECORDING_COLUMNS,
        "type",
        "onset",
        "digest",
        "recording_duration",
        "drift_ppm",
        "residual_ms",
        *first,
    }
    y = rows[[*first, *(column for column in rows if column not in hidden)]]
    return X.reset_index(drop=True), y.reset_index(drop=True)


def _digest_of_windows(X, y):
    """Hash what X and y are row by row, so that tables of two calls are not taken for one pair."""
    times = np.ascontiguousarray(np.column_stack([X["onset"], y["sound_onset"], X["duration"]]), float)
    return stable_id(times.tobytes().hex(), *pd.unique(X["recording"]))


def _with_others(y, X, events, stream):
    """Keep beside every window what the talkers of other streams said meanwhile."""
    playing = pd.unique(events.loc[events["type"] == "sound", "stream"])
    beside = [
        find_concurrent_stimuli(events, X, name).add_prefix(f"{name}_") for name in playing if name != stream
    ]
    return pd.concat([y.drop(columns=[c for other in beside for c in other if c in y]), *beside], axis=1)
