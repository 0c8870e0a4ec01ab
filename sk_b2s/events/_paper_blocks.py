"""Blocks of the published split, made of consecutive sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sk_b2s.events._stimuli import digest_stimuli, make_stimulus_id, stimulus_duration, stimulus_name

UNNAMED_CONDITION = "pseudo_words"  # the published code excludes these words from names
HALF_STEP = 0.5 / 120  # s; at the rate of the paper the last sample begins before the end of the window


@dataclass(frozen=True)
class PaperBlocks:
    """Blocks of the published split, for ``make_segments(block=...)``.

    In the time of each recording, a sentence lasts from the onset of its
    first word to that of the next sentence. From 0 s on, sentences are joined
    until the end of the last one is more than ``min_duration`` seconds after
    the start of the first, so that blocks cover the recording. The name of a
    block is the text of its sentences. :class:`~sk_b2s.HashedBlockSplit`
    assigns the block to a part by its name.

    Use these blocks for comparisons with published results. Otherwise
    ``make_segments(block=20.0)`` is better. Its blocks end in silence and do
    not depend on the order of presentation, and fewer windows are lost at
    their edges.

    Parameters
    ----------
    min_duration : float, default=6.0
        Blocks last longer than this many seconds, except the last one of a
        recording. If 0, each sentence is a block, the published rule for
        studies that shuffle sentences for each participant.
    lag : float, default=0.15
        Seconds of EEG/MEG that are read after the window. A row is inside
        its block if the window and the lag are. In the paper, windows of 3 s
        are cut and then shifted.

    Notes
    -----
    ``y`` of :func:`~sk_b2s.make_segments` has three more columns:

    * ``block_text``, the name of the block. Equal names have equal ``block``.
    * ``block_inside``, whether window and lag are inside the block.
    * ``anchor``, "word" or "grid".

    A block may continue from one stimulus to the next. ``block_start`` and
    ``block_stop`` are the limits of its part of the stimulus of the row,
    which speech features read at a time. If recordings present sentences
    differently, a stimulus is cut at the edges of all of them, so that its
    features do not depend on the recording. In the studies of Gwilliams and
    Brennan all recordings have the same edges.

    As in the published code:

    * A sentence begins at a word whose ``word_index`` is 0. If forced
      alignment lost that word, as in 44 of 246 sentences of a story of
      MEG-MASC, the sentence is part of the one before. ``sequence`` separates
      sentences only if no word of a recording has a ``word_index``.
    * The name of a sentence is its ``sequence_uid``, if the events have this
      column and it is equal for all words, otherwise its words, joined by
      spaces. Words that end after the next sentence begins, and words of the
      condition "pseudo_words", are not part of the name.
    * Time before the first sentence belongs to the first block.

    A sentence without such words is named by its stimulus and onset, rounded
    to 0.01 s. The published code uses the path, which depends on the
    computer.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s import PaperBlocks, StimulusArray, make_segments
    >>> story = StimulusArray(np.zeros(64 * 40), sfreq=64, name="story")
    >>> words = pd.DataFrame({"type": "word", "onset": np.arange(3.0, 38.0),
    ...                       "duration": 0.5, "text": list("abcde") * 7,
    ...                       "word_index": [0, 1, 2, 3, 4] * 7})
    >>> sound = pd.DataFrame({"type": "sound", "onset": [2.0],
    ...                       "duration": 0.0, "sound": [story]})
    >>> events = pd.concat([sound, words]).assign(
    ...     subject="01", recording="a.fif", recording_duration=60.0)
    >>> X, y = make_segments(events, block=PaperBlocks())
    >>> y[["block_start", "block_stop", "block_text"]].drop_duplicates()
        block_start  block_stop           block_text
    0           0.0         6.0            a b c d e
    5           6.0        16.0  a b c d e,a b c d e
    15         16.0        26.0  a b c d e,a b c d e
    25         26.0        40.0  a b c d e,a b c d e
    >>> int(y["block_inside"].sum())
    26
    """

    min_duration: float = 6.0
    lag: float = 0.15

    def __post_init__(self):
        for name, value in [("min_duration", self.min_duration), ("lag", self.lag)]:
            if not value >= 0:
                raise ValueError(
                    f"{name} of PaperBlocks must be a number of seconds of at least 0. Got {value!r}."
                )

    def place(self, rows, events, words_of, tmin):
        """Add the block of each window.

        Parameters
        ----------
        rows : DataFrame of shape (n_segments, ...)
            ``recording, stream, sound, digest, onset, sound_onset,
            duration``.
        events : DataFrame
            A checked events table.
        words_of : dict of str to DataFrame
            Distinct words of each stimulus in all recordings, by digest.
        tmin : float
            Start of a window from its anchor, in seconds.

        Returns
        -------
        rows : DataFrame of shape (n_segments, ...)
        """
        words = events[events["type"] == "word"]
        words = words.assign(digest=digest_stimuli(words["sound"]))
        blocks = {
            key: self._make_blocks(key, group)
            for key, group in words.groupby(["recording", "stream"], sort=False)
        }
        rows = self._place_in_recordings(rows, blocks, tmin)
        return _place_in_stimuli(rows, blocks, words_of, tmin)

    def _make_blocks(self, key, words):
        """Return the blocks of a recording and their starts in stimuli."""
        words = words.sort_values("onset", kind="stable")
        sentences = find_paper_block_sentences(words, name=key[0])
        first = words.drop_duplicates("onset").set_index("onset")
        blocks = merge_paper_block_sentences(sentences, self.min_duration)
        where = first.reindex(blocks["start"])[
            ["digest", "sound_onset"]
        ]  # missing if no word begins there, as at 0 s
        return blocks.assign(digest=where["digest"].to_numpy(), edge=where["sound_onset"].to_numpy())

    def _place_in_recordings(self, rows, blocks, tmin):
        """Add the block of each window, and whether the window is inside."""
        text, inside = np.empty(len(rows), object), np.zeros(len(rows), bool)
        for key, index in rows.groupby(["recording", "stream"], sort=False).indices.items():
            if key not in blocks:
                raise ValueError(
                    f"PaperBlocks needs words, but {key[0]!r} has no words in its stream {key[1]!r}. Add them, remove "
                    f"the recording or select another stream with stream=..."
                )
            onset = rows["onset"].to_numpy()[index]
            stop = onset + rows["duration"].to_numpy()[index] + self.lag
            own = blocks[key]
            at = np.searchsorted(own["start"], onset - tmin + 1e-6, side="right") - 1
            at = np.maximum(at, 0)
            text[index] = own["text"].to_numpy(object)[at]
            after, before = own["start"].to_numpy()[at], own["stop"].to_numpy()[at]
            inside[index] = (onset >= after - 1e-6) & (stop - HALF_STEP < before)
        codes, names = pd.factorize(text)
        ids = np.array([make_stimulus_id("published", name) for name in names], np.int64)
        return rows.assign(
            block=ids[codes], block_text=pd.Series(text, index=rows.index, dtype=object), block_inside=inside
        )


def find_paper_block_sentences(words, name=""):
    """Find the sentences of one recording and their names.

    Parameters
    ----------
    words : DataFrame of shape (n_words, ...)
        Words of a recording in temporal order, with ``onset, duration, text,
        condition, sound, sound_onset``, and ``word_index`` or ``sequence``.
        ``sequence_uid`` is optional.
    name : str, default=""
        Name of the recording in messages.

    Returns
    -------
    sentences : DataFrame of shape (n_sentences, ...)
        ``text``, and ``start`` and ``stop`` in seconds of the recording. The
        last one stops at infinity.

    Raises
    ------
    ValueError
        If sentences are unknown, or a word has no text.
    """
    if (is_empty := words["text"].isna().to_numpy()).any():
        raise ValueError(
            f"PaperBlocks names blocks by their words, but {is_empty.sum()} words of {name!r} have no text, the "
            f"first at {words['onset'][is_empty].iloc[0]:.3f} s. Fill in the column 'text'."
        )
    onset = words["onset"].to_numpy(float)
    end = onset + words["duration"].to_numpy(float)
    start = np.unique(onset[_find_first_words(words, name)])
    stop = np.r_[start[1:], np.inf]
    begin, beyond = np.searchsorted(onset, start), np.searchsorted(onset, stop)
    is_named = (words["condition"] != UNNAMED_CONDITION).to_numpy(bool)
    uids = words["sequence_uid"].to_numpy(object) if "sequence_uid" in words else None
    spoken, texts = words["text"].map(str).to_numpy(object), []
    for a, b, limit in zip(begin, beyond, stop, strict=True):
        whole = end[a:b] < limit
        text = None if uids is None else _find_only_value(uids[a:b][whole])
        if text is None:
            named = spoken[a:b][whole & is_named[a:b]]
            text = " ".join(named) if len(named) else _name_by_onset(words.iloc[a])
        texts.append(text)
    return pd.DataFrame({"start": start, "stop": stop, "text": pd.Series(texts, dtype=object)})


def _find_first_words(words, name):
    """Return which words begin a sentence."""
    index, sequence = pd.to_numeric(words["word_index"]), words["sequence"]
    if index.notna().any():
        if not (index == 0).any():
            raise ValueError(
                f"PaperBlocks requires a word_index of 0 at the first word of a sentence. The smallest one of {name!r} "
                f"is {index.min():g}. Number the words of each sentence from 0."
            )
        return (index == 0).to_numpy()
    if sequence.isna().all():
        raise ValueError(
            f"The words of {name!r} have no sentences, which PaperBlocks requires. Fill in the column 'word_index', 0 "
            f"at the first word of a sentence, or 'sequence'."
        )
    known = sequence.ffill().to_numpy(object)
    return np.r_[True, known[1:] != known[:-1]] & sequence.notna().to_numpy()


def _find_only_value(values):
    """Return the value that all have as text, None if they differ."""
    given = pd.unique(values)
    return str(given[0]) if len(given) == 1 and not pd.isna(given[0]) else None


def _name_by_onset(word):
    """Name a sentence by its stimulus and its first word's onset there."""
    return f"{stimulus_name(word['sound'])} {word['sound_onset']:.2f}"


def merge_paper_block_sentences(sentences, min_duration=6.0):
    """Merge sentences to blocks that last longer than ``min_duration``.

    Parameters
    ----------
    sentences : DataFrame of shape (n_sentences, ...)
        ``start, stop, text`` in temporal order.
    min_duration : float, default=6.0
        A block ends with the first sentence that stops later than this many
        seconds after the start of the block. If 0, nothing is merged.

    Returns
    -------
    blocks : DataFrame of shape (n_blocks, ...)
        ``start``, ``stop`` and ``text``, joined by commas. The first block
        starts at 0 if ``min_duration`` is positive.

    Examples
    --------
    >>> sentences = pd.DataFrame({"start": [2.0, 7.0, 9.0],
    ...                           "stop": [7.0, 9.0, np.inf],
    ...                           "text": list("abc")})
    >>> merge_paper_block_sentences(sentences)
       start  stop text
    0    0.0   7.0    a
    1    7.0   inf  b,c
    """
    if min_duration == 0:
        return sentences
    blocks, texts, start = [], [], 0.0
    for index, sentence in enumerate(sentences.itertuples()):
        texts.append(sentence.text)
        if sentence.stop > start + min_duration or index == len(sentences) - 1:
            blocks.append((start, sentence.stop, ",".join(texts)))
            texts, start = [], sentence.stop
    return pd.DataFrame(blocks, columns=["start", "stop", "text"])


def _place_in_stimuli(rows, blocks, words_of, tmin):
    """Convert the edges of blocks of all recordings to stimulus time."""
    starts = pd.concat(blocks.values())[["digest", "edge"]].dropna()
    edges_of = {digest: group["edge"].to_numpy() for digest, group in starts.groupby("digest")}
    names = ["block_before", "block_start", "block_stop", "block_after"]
    placed = np.empty((len(rows), 4))
    for digest, index in rows.groupby("digest", sort=False).indices.items():
        duration = stimulus_duration(rows["sound"].iloc[index[0]])
        edges = _align_edges(edges_of.get(digest, np.empty(0)), words_of.get(digest))
        edges = np.r_[0.0, edges[(edges > 1e-6) & (edges < duration - 1e-6)], duration]
        at = np.searchsorted(edges, rows["sound_onset"].to_numpy()[index] - tmin + 1e-6, side="right") - 1
        at = np.clip(at, 0, len(edges) - 2)
        around = np.clip(at[:, None] + np.arange(-1, 3), 0, len(edges) - 1)
        placed[index] = edges[around]
    return rows.assign(**dict(zip(names, placed.T, strict=True)))


def _align_edges(edges, words):
    """Move edges to the onsets of distinct words.

    The onset of a word may differ slightly between recordings.
    """
    if len(edges) == 0:
        return edges
    onset = words["sound_onset"].to_numpy(float)
    right = np.clip(np.searchsorted(onset, edges), 1, len(onset) - 1) if len(onset) > 1 else np.zeros(1, int)
    left = np.maximum(right - 1, 0)
    nearest = np.where(edges - onset[left] <= onset[right] - edges, left, right)
    return np.unique(onset[nearest])
