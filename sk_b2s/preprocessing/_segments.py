"""Tables of segments made from an events table."""

from __future__ import annotations

from numbers import Real

import numpy as np
import pandas as pd

from sk_b2s._utils._logging import log
from sk_b2s.events._audio._copies import StimulusCopies
from sk_b2s.events._blocks import cut_copies_into_blocks, merge_blocks
from sk_b2s.events._check_events import check_events
from sk_b2s.events._concurrent_streams import find_concurrent_stream_stimuli
from sk_b2s.events._images import list_image_types
from sk_b2s.events._paper_blocks import PaperBlocks
from sk_b2s.events._silence import is_silence
from sk_b2s.events._stimuli import digest_stimuli, make_stimulus_id, stimulus_duration
from sk_b2s.events._table_times import get_table_times_clock_rate
from sk_b2s.preprocessing._continuity import warn_of_broken_continuity, warn_of_continuity_origin
from sk_b2s.preprocessing._fitting_windows import find_fitting_windows
from sk_b2s.preprocessing._images import describe_image_segments
from sk_b2s.preprocessing._sentences import make_sentence_anchors

SAME_WORD = 0.05  # s; closer words of one name are one word
KINDS = ("word", "phoneme")  # of events in a stimulus that windows may begin at
BY_WORD = ("word", "sentence")  # whose windows begin at a word
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
    verbose=None,
):
    """Cut recordings into segments: EEG/MEG windows X and stimulus segments y.

    Only this function selects windows. Later steps keep all rows. Windows are
    excluded if they leave the recording, cross a gap (a pause, a removed
    stretch or a join, where time is not continuous), touch a bad stretch or
    contain a second stimulus of their stream. A warning reports their number,
    and recordings, subjects and stimuli without any window.

    Parameters
    ----------
    events : DataFrame
        An events table, see :func:`check_events`.
    anchor : str or float, default="word"
        Positions of windows: the onset of each "word", "phoneme", "image",
        stimulus of another type in ``events`` (such as "video") or "sentence"
        (a run of words with one ``sequence``), or a grid with this step in
        seconds. The grid is in stimulus time, so that it is the same for all
        recordings of a stimulus. The paper trains on a grid of 0.5 s and tests
        at words. Windows at onsets may extend beyond the
        stimulus, windows of a grid do not.
    tmin, tmax : float, default=-0.5, 2.35
        Limits of the window relative to its anchor in seconds. The default
        has 343 samples at 120 Hz, as in the paper. With ``anchor="sentence"``,
        ``tmax`` can also be several numbers. Each window then ends at the
        largest one that its sentence contains, and windows have unequal
        lengths, see Notes. None means all multiples of 0.5 s.
    margin : float, default=0.5
        Minimum distance in seconds of windows from the ends of the recording
        and from bad stretches. The rows are then equal for all values of
        ``lag`` up to the margin.
    block : float or PaperBlocks, default=20.0
        Minimum duration in seconds of a block, the unit that splitters keep
        on one side, see :func:`~sk_b2s.events._blocks.cut_blocks`.
        :class:`~sk_b2s.PaperBlocks` makes those of the paper, for comparisons
        with published results. With ``anchor="image"`` or another type, it
        is not used, and the blocks are the concepts of the column
        ``category``.
    stream : str, default=None
        Select segments of this stream, for example "attended". If None, all
        streams are used. Segments of concurrent streams are added to ``y``,
        see below and :func:`~sk_b2s.concurrent_stream`.
    reject_by_annotation : bool, default=True
        If True, exclude windows that touch an event of type "bad" or an
        annotation that begins with "bad". Windows across a gap are always
        excluded.
    verbose : bool, str, int or None, default=None
        Level of messages, see :func:`~sk_b2s.set_log_level`. If
        None, the level that it has set.

    Returns
    -------
    X : DataFrame of shape (n_segments, ...)
        * ``recording, subject, session, study``;
        * ``onset, duration``, the window in seconds of the recording;
        * ``heard_start, heard_stop``, between which stimuli play in the
          recording, in seconds.
    y : DataFrame of shape (n_segments, ...)
        * ``sound, sound_onset, duration``, the segment of the stimulus;
        * ``block``, an integer that is equal for blocks of the same stimulus,
          of equal text, or of different stimuli that share a sentence of five
          words or more;
        * ``block_start, block_stop``, the block in seconds of the stimulus,
          and ``block_before, block_after``, the start of the previous and the
          stop of the next block (or its own);
        * ``segment``, the integer identity of the candidate. It is equal for
          all subjects with the same stretch of the same stimulus and the same
          window, in all tables;
        * ``copy_of, copy_shift``, the digest of the original and the seconds
          to add to times, if the audio file is a copy of another;
        * ``sequence, word, word_index, condition, stream`` of the word at the
          anchor, and ``phoneme``, its text, if the anchors are phonemes. In
          silence, ``condition`` is that of the last word, or of the first;
        * ``word_onset, word_duration`` of windows at words, the word in
          seconds of the stimulus;
        * ``text``, the words that begin in the window;
        * ``image, category, repetition`` of windows at images (the column of
          the type instead of ``image`` at others), and other columns of the
          events;
        * with ``stream``, for each concurrent stream, for example "ignored",
          ``ignored_sound, ignored_sound_onset, ignored_segment`` of the same
          window. The values are ``None``, NaN and -1 if the window is not
          completely inside one of its stimuli.

    Raises
    ------
    ValueError
        If the table (see :func:`check_events`) or a parameter is invalid, or
        no window remains.

    Warns
    -----
    UserWarning
        If windows are excluded, a stimulus plays over a gap or begins after
        one without a trigger or annotation, or different audio files contain
        the same recording.

    Notes
    -----
    **Sentences.** With ``anchor="sentence"`` and several ``tmax``, sentences
    shorter than all of them are left out with a warning. Both tables have the
    column ``padded_duration``, the longest duration. All windows have this
    length, and zeros beyond their ``duration``. With ``tmax=None`` it depends
    on the sentences, and must be equal in the tables of ``fit`` and
    ``predict``. The length of a window reveals its target: Gaussian noise
    reached 66.3 % top-1 accuracy when lengths varied [2]_. Therefore use
    windows of equal length (``tmax=2.0``), or candidates of equal length
    (``RowCandidates(n, match="duration")``).

    Select rows of both tables by position, ``X.iloc[rows]`` and
    ``y.iloc[rows]``. ``X[rows]`` selects columns.

    Windows of neighboring words overlap by seconds, so a split by row or by
    sentence has the same audio on both sides. Split by ``block`` with a gap
    instead, as :class:`~sk_b2s.StimulusKFold` does.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5
    .. [2] arXiv:2605.24524.
    """
    is_word_or_grid = not isinstance(anchor, str) or anchor in (*KINDS, "sentence")
    if is_word_or_grid or anchor == "image":
        _check_segment_window(anchor, tmin, tmax, margin, block)
    events = everything = check_events(events)
    if not is_word_or_grid:
        _check_type(anchor, events)
        _check_segment_window(anchor, tmin, tmax, margin, block)
    if stream is not None:
        if stream not in set(events["stream"]):
            raise ValueError(
                f"events has no stream {stream!r}. It has the streams {sorted(set(events['stream']))}."
            )
        events = events[(events["stream"] == stream) | (events["type"] == "bad")].reset_index(drop=True)
    if anchor == "sentence":
        anchors = make_sentence_anchors(events, tmin, tmax)
    elif isinstance(anchor, str):
        anchors = _make_event_anchors(events, anchor)
    else:
        anchors = _make_grid_anchors(events, float(anchor), tmin, tmax)
    if len(anchors) == 0:
        raise ValueError(
            f"make_segments(anchor={anchor!r}) requires {_describe_missing_anchors(events, anchor, tmin, tmax)}."
        )
    if anchor == "word":
        anchors["word_onset"], anchors["word_duration"] = anchors["sound_onset"], anchors["duration"]
    anchors["onset"] += tmin
    anchors["sound_onset"] = (anchors["sound_onset"] + tmin).round(6)
    if isinstance(tmax, Real):
        anchors["duration"] = round(tmax - tmin, 6)
    keep = find_fitting_windows(events, anchors, margin, reject_by_annotation, anchor, everything)
    warn_of_broken_continuity(events)
    warn_of_continuity_origin(events)
    anchors = anchors[keep].reset_index(drop=True)
    if is_word_or_grid:
        described = _describe_stimuli_of_segments(events, anchors, anchor, tmin, block)
    else:
        described = describe_image_segments(anchors, tmin)
    X, y = _make_segment_tables(events, described)
    y = y if stream is None else _add_concurrent_streams(y, X, everything, stream)
    X.attrs["make_segments"] = y.attrs["make_segments"] = _digest_windows(X, y)  # checked by check_in_step
    log(
        f"make_segments: {len(X)} windows of {X['subject'].nunique()} subjects, {y['segment'].nunique()} distinct "
        f"segments in {y['block'].nunique()} blocks, {(~keep).sum()} windows left out",
        verbose,
    )
    return X, y


def _describe_missing_anchors(events, anchor, tmin, tmax):
    """Describe what is missing for a window."""
    if anchor == "sentence":
        n_words = (events["type"] == "word").sum()
        return f"words with a sentence in the column 'sequence'. events has {n_words} words without one"
    if isinstance(anchor, str):
        return f"rows of type {anchor!r}. events has {events['type'].value_counts().to_dict()}"
    sounds = events.loc[events["type"] == "sound", "duration"]
    if len(sounds) and sounds.max() >= tmax - tmin:
        return (
            f"a stimulus in which a window fits at a multiple of {anchor:g} s. The longest one has {sounds.max():.3f} s. "
            f"anchor is in seconds"
        )
    if not len(sounds) and (types := list_image_types(events)):
        return f"rows of type 'sound'. events has rows of type {types[0]!r}, which have no time axis. Use anchor={types[0]!r}"
    longest = (
        f"The longest of {len(sounds)} has {sounds.max():.3f} s" if len(sounds) else "events has no stimuli"
    )
    return f"stimuli as long as a window of {tmax - tmin:.3f} s. {longest}. Make windows shorter with tmin and tmax"


def _check_type(anchor, events):
    """Raise unless the anchor is a type of stimuli without a time axis."""
    types = list_image_types(events)
    if anchor != "image" and anchor not in types:
        more = f", another type of these events ({', '.join(map(repr, types))})" if types else ""
        raise ValueError(
            f"anchor must be 'word', 'phoneme', 'sentence', 'image'{more} or a step in seconds. Got {anchor!r}."
        )


def _check_segment_window(anchor, tmin, tmax, margin, block):
    seconds = [("margin", margin, 0)]
    seconds += [] if isinstance(block, PaperBlocks) else [("block", block, 0)]
    seconds += [] if isinstance(anchor, str) else [("anchor", anchor, 1e-6)]
    for name, value, minimum in seconds:
        if not (isinstance(value, Real) and minimum <= value < np.inf):
            raise ValueError(f"{name} must be a number of seconds of at least {minimum:g}. Got {value!r}.")
    if isinstance(anchor, str) and anchor not in (*KINDS, "sentence") and isinstance(block, PaperBlocks):
        raise ValueError(
            f"PaperBlocks are made of words and require other anchors than {anchor!r}. Leave out block, since "
            f"the blocks of such stimuli are their categories."
        )
    if isinstance(tmax, str):
        raise ValueError(
            f"tmax must be a number of seconds. With anchor='sentence', it can also be several numbers, or None for whole "
            f"sentences. Got {tmax!r}."
        )
    if not isinstance(tmax, Real) and anchor != "sentence":
        raise ValueError(
            f"tmax={tmax!r} requires anchor='sentence'. Got anchor={anchor!r}. Set tmax in seconds."
        )
    ends = np.atleast_1d(tmin + 1.0 if tmax is None else np.asarray(tmax, float))
    if not (len(ends) and np.isfinite([tmin, *ends]).all() and ends.min() > tmin):
        raise ValueError(
            f"tmin and tmax must be finite seconds, and tmax later than tmin. Got tmin={tmin!r} and tmax={tmax!r}."
        )


def _make_event_anchors(events, kind):
    """Make anchors at the onsets of words or phonemes, without silences."""
    anchors = events[events["type"] == kind]
    if kind != "phoneme":
        return anchors.copy()
    return anchors[~is_silence(anchors["text"])].assign(phoneme=lambda rows: rows["text"])


def _make_grid_anchors(events, step, tmin, tmax):
    """Make anchors at multiples of ``step`` whose windows fit into stimuli."""
    sounds = events[events["type"] == "sound"]
    begin = sounds["sound_onset"].to_numpy()
    first = np.ceil((begin - tmin) / step - 1e-6).astype(int)
    last = np.floor((begin + sounds["duration"].to_numpy() - tmax) / step + 1e-6).astype(int)
    count = np.maximum(last - first + 1, 0)
    row = np.repeat(np.arange(len(sounds)), count)
    index = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[row]
    anchors = sounds.iloc[row].copy()
    anchors["onset"] += (index * step - begin[row]) * get_table_times_clock_rate(anchors)
    anchors["sound_onset"] = index * step
    return anchors


def _find_distinct_words(events):
    """Return the distinct words of each stimulus, by digest."""
    words = events[events["type"] == "word"]
    words = words.assign(digest=digest_stimuli(words["sound"]))
    same = words.groupby(["digest", "text", "sequence", "word_index"], dropna=False, sort=False).ngroup()
    order = np.lexsort([words["sound_onset"], same])
    same, onset = same.to_numpy()[order], words["sound_onset"].to_numpy()[order]
    again = np.zeros(len(words), bool)
    again[1:] = (same[1:] == same[:-1]) & (onset[1:] - onset[:-1] <= SAME_WORD)
    words = words.iloc[order[~again]].sort_values("sound_onset", kind="stable")
    return dict(iter(words.groupby("digest")))


def _describe_stimuli_of_segments(events, anchors, anchor, tmin, block):
    """Add block, segment and text to every window."""
    anchors["digest"] = digest_stimuli(anchors["sound"])
    words, empty = _find_distinct_words(events), events.iloc[:0]
    has_paper_blocks = isinstance(block, PaperBlocks)
    stimuli = anchors.drop_duplicates("digest").set_index("digest")["sound"]
    copies = StimulusCopies(stimuli)
    copies.warn(
        "A copy has the blocks and segments of its original, and stimuli that share a part are split together.",
        stacklevel=4,
    )
    lengths = {} if has_paper_blocks else stimuli.map(stimulus_duration).to_dict()
    blocks = cut_copies_into_blocks(words, lengths, block, copies.place if lengths else {})
    parts = []
    for digest, rows in anchors.groupby("digest", sort=False):
        own_words = words.get(digest, empty)
        if not has_paper_blocks:
            rows = _add_blocks_to_segments(rows, tmin, *blocks[digest])
        rows = _add_text_to_segments(rows, own_words)
        if anchor not in BY_WORD:
            rows = _add_words_to_segments(rows, own_words, tmin)
        place = copies.place.get(digest, (digest, 0.0))
        rows["segment"] = _compute_segment_ids(rows, own_words, place, tmin, by_word=anchor in BY_WORD)
        parts.append(rows)
    rows = copies.mark(pd.concat(parts).sort_index())
    if has_paper_blocks:
        rows = block.place(rows, events, words, tmin)
        return rows.assign(anchor="word" if anchor in BY_WORD else "grid")
    return rows.assign(block=merge_blocks(rows, words, copies.partial))


def _add_blocks_to_segments(rows, tmin, edges, ids):
    at = np.clip(np.searchsorted(edges, rows["sound_onset"] - tmin, side="right") - 1, 0, len(ids) - 1)
    return rows.assign(
        block=ids[at],
        block_start=edges[at],
        block_stop=edges[at + 1],
        block_before=edges[np.maximum(at - 1, 0)],
        block_after=edges[np.minimum(at + 2, len(ids))],
    )


def _add_text_to_segments(rows, words):
    """Add the words that begin in each window."""
    words = words[words["text"].notna()]
    onset, text = words["sound_onset"].to_numpy(float), words["text"].map(str).to_numpy(object)
    start = rows["sound_onset"].to_numpy()
    first = np.searchsorted(onset, start)
    last = np.searchsorted(onset, start + rows["duration"].to_numpy())
    texts = {span: " ".join(text[slice(*span)]) for span in set(zip(first, last, strict=True))}
    word = rows["text"].where(rows["type"] == "word")
    return rows.assign(word=word, text=[texts[span] for span in zip(first, last, strict=True)])


def _add_words_to_segments(rows, words, tmin):
    """Add the word at each anchor of a grid."""
    if len(words) == 0:
        return rows
    at = rows["sound_onset"].to_numpy() - tmin
    place = np.searchsorted(words["sound_onset"], at + 1e-6, side="right") - 1
    ends = (words["sound_onset"] + words["duration"]).to_numpy()
    inside = (place >= 0) & (at < ends[place])
    for column, source in [
        ("word", "text"),
        *((c, c) for c in ("sequence", "word_index")),
    ]:
        values = words[source].to_numpy()[place]
        rows[column] = pd.Series(values, index=rows.index).where(inside)
    return rows.assign(condition=words["condition"].to_numpy()[np.maximum(place, 0)])  # also in silence


def _compute_segment_ids(rows, words, place, tmin, by_word):
    """Hash the identity of each window of one stimulus.

    ``place`` is the digest of the original and the seconds to add.
    """
    digest, shift = place
    at = rows["sound_onset"] - tmin
    tick = ((at + shift) * 100).round().astype(int)
    begun = _find_word_times(words) if by_word else {}
    stretch = (
        rows.assign(tick=tick)
        .groupby(["sequence", "word_index", "tick", "duration"], dropna=False, sort=False)
        .ngroup()
        .to_numpy()
    )
    named = rows[["sequence", "word_index", "duration"]].assign(at=at, tick=tick)
    distinct = named.iloc[np.unique(stretch, return_index=True)[1]]
    ids = np.empty(len(distinct), np.int64)
    for place, row in enumerate(distinct.itertuples()):
        window = f"{tmin:g}", f"{row.duration:g}"
        times = begun.get((row.sequence, row.word_index))
        if times is not None:
            nth = int(np.searchsorted(times, row.at + 1e-6, side="right"))
            ids[place] = make_stimulus_id("word", digest, row.sequence, f"{row.word_index:g}", nth, *window)
        else:
            ids[place] = make_stimulus_id("time", digest, row.tick, *window)
    return ids[stretch]


def _find_word_times(words):
    """Return the onsets of each word of a stimulus, by sequence and index.

    Tables may differ slightly in the onset of a word. Another word with the
    same name, such as a pseudo-word of MEG-MASC, has a larger distance. Words
    without a window count as well, so that the number of a word does not
    depend on the table.
    """
    begun: dict = {}
    columns = ["sequence", "word_index", "sound_onset"]
    named = words[columns].dropna(subset=columns[:2]).sort_values("sound_onset")
    for sequence, index, onset in zip(*(named[name].tolist() for name in columns), strict=True):
        times = begun.setdefault((sequence, index), [])
        if not times or onset - times[-1] > SAME_WORD:
            times.append(onset)
    return begun


def find_segment_extents(events):
    """Return the times between which stimuli play in each recording."""
    played = events[events["type"].isin(("sound", *list_image_types(events)))].assign(
        stop=lambda e: e["onset"] + e["duration"] * get_table_times_clock_rate(e)
    )
    return played.groupby("recording").agg(heard_start=("onset", "min"), heard_stop=("stop", "max"))


def _make_segment_tables(events, rows):
    """Divide rows into a table of recordings and a table of stimuli."""
    played = find_segment_extents(events)
    if played.empty:
        played = played.reindex(pd.unique(rows["recording"]))
    columns = [column for column in RECORDING_COLUMNS if column in rows]
    padded = ["padded_duration"] if "padded_duration" in rows else []
    X = rows[[*columns, "onset", "duration", *padded]].join(played, on="recording")
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


def _digest_windows(X, y):
    """Hash the rows of X and y, to detect tables of different calls."""
    times = np.ascontiguousarray(np.column_stack([X["onset"], y["sound_onset"], X["duration"]]), float)
    return make_stimulus_id(times.tobytes().hex(), *pd.unique(X["recording"]))


def _add_concurrent_streams(y, X, events, stream):
    """Add the segments of concurrent streams."""
    playing = pd.unique(events.loc[events["type"] == "sound", "stream"])
    others = [
        find_concurrent_stream_stimuli(events, X, name).add_prefix(f"{name}_")
        for name in playing
        if name != stream
    ]
    return pd.concat([y.drop(columns=[c for other in others for c in other if c in y]), *others], axis=1)
