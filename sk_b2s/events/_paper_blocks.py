"""Blocks of the published split: sentences in order of presentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sk_b2s.events._stimuli import digest_stimuli, stable_id, stimulus_duration, stimulus_name

NAMELESS = "pseudo_words"  # the condition whose words are in no name
HALF_STEP = 0.5 / 120  # s; the last of a window's samples at the paper's rate begins before its end


@dataclass(frozen=True)
class PaperBlocks:
    """The blocks that the paper's split is made of, given to ``make_segments(block=...)``.

    In each recording by itself, and in *its* time, a sentence lasts from the onset of its first word to
    that of the next sentence. From 0 s on, sentences are joined until the end of the last one is more than
    ``min_duration`` seconds after the start of the first, so that the blocks tile the recording; a block is named
    by the texts of its sentences. :class:`~sk_b2s.HashedBlockSplit` draws its part from this name.

    Meant for comparisons with published figures. The blocks of ``make_segments(block=20.0)`` are the better
    ones: they end in pauses, depend on the sound alone instead of the order and time of its presentation,
    and are as many seconds longer as there are fewer words that no window may be laid at.

    Parameters
    ----------
    min_duration : float, default=6.0
        Blocks last longer than this many seconds (the last of a recording need not). 0 leaves every
        sentence by itself, which is the rule for studies that shuffle their sentences for each person.
    lag : float, default=0.15
        Seconds after its window for which the brain is read. A row counts as inside its block if the window
        and the lag are; in the paper, 3 s were cut and then shifted.

    Notes
    -----
    With it ``y`` of :func:`~sk_b2s.make_segments` has these columns more: ``block_text``, the name of the
    block (the same text is the same ``block`` for everybody); ``block_inside``, whether window and lag lie
    inside the block; ``anchor``, "word" or "grid". A block may go on from one sound to the next;
    ``block_start`` and ``block_stop`` are where its part of the row's sound starts and stops, which is what
    speech features see at a time. If recordings present their sentences differently, a sound is cut at the
    edges of all of them, so that its features are the same for everybody; in MEG-MASC and in Brennan's
    study all have the same.

    As in the published code:

    * A sentence begins at a word whose ``word_index`` is 0. Where forced alignment lost that word, as in 44
      of 246 sentences of a story of MEG-MASC, it is part of the sentence before. Only where no word of a
      recording has a ``word_index`` does ``sequence`` tell the sentences apart.
    * Its name is its ``sequence_uid``, if the events have that column and its words agree, or else its words,
      joined by spaces. Only words count that end before the next sentence begins, and none of
      condition "pseudo_words".
    * What is before the first sentence is part of the first block.

    A sentence none of whose words count is named by its sound and time in it, rounded to 0.01 s (the
    published code uses the path, which is another on each machine).

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive brain recordings.
       Nature Machine Intelligence 5:1097. https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s import PaperBlocks, StimulusArray, make_segments
    >>> story = StimulusArray(np.zeros(64 * 40), sfreq=64, name="story")
    >>> words = pd.DataFrame({"type": "word", "onset": np.arange(3.0, 38.0), "duration": 0.5,
    ...                       "text": list("abcde") * 7, "word_index": [0, 1, 2, 3, 4] * 7})
    >>> sound = pd.DataFrame({"type": "sound", "onset": [2.0], "duration": 0.0, "sound": [story]})
    >>> events = pd.concat([sound, words]).assign(subject="01", recording="a.fif", recording_duration=60.0)
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
                raise ValueError(f"PaperBlocks({name}=...) must be seconds of 0 or more, got {value!r}.")

    def place(self, rows, events, heard, tmin):
        """Add to every window its block.

        Parameters
        ----------
        rows : DataFrame of shape (n_segments, ...)
            Windows: ``recording, stream, sound, digest, onset, sound_onset, duration``.
        events : DataFrame
            A checked events table.
        heard : dict of str to DataFrame
            For the digest of each sound its distinct words, whoever heard them.
        tmin : float
            Start of a window from its anchor, in seconds.

        Returns
        -------
        rows : DataFrame of shape (n_segments, ...)
        """
        words = events[events["type"] == "word"]
        words = words.assign(digest=digest_stimuli(words["sound"]))
        blocks = {
            key: self._blocks(key, group) for key, group in words.groupby(["recording", "stream"], sort=False)
        }
        rows = self._in_recordings(rows, blocks, tmin)
        return _in_sounds(rows, blocks, heard, tmin)

    def _blocks(self, key, words):
        """Blocks of one recording: ``start, stop, text`` and the place in a sound where it starts."""
        words = words.sort_values("onset", kind="stable")
        sentences = find_sentences(words, name=key[0])
        first = words.drop_duplicates("onset").set_index("onset")
        blocks = merge_sentences(sentences, self.min_duration)
        where = first.reindex(blocks["start"])[["digest", "sound_onset"]]  # missing where none starts, at 0 s
        return blocks.assign(digest=where["digest"].to_numpy(), edge=where["sound_onset"].to_numpy())

    def _in_recordings(self, rows, blocks, tmin):
        """Name the block of each anchor, and tell whether the window is inside it."""
        text, inside = np.empty(len(rows), object), np.zeros(len(rows), bool)
        for key, index in rows.groupby(["recording", "stream"], sort=False).indices.items():
            if key not in blocks:
                raise ValueError(
                    f"PaperBlocks: {key[0]!r} has no words in its stream {key[1]!r}, and blocks are made of "
                    f"sentences; give its words or leave it out (stream=... takes one stream)."
                )
            onset = rows["onset"].to_numpy()[index]
            stop = onset + rows["duration"].to_numpy()[index] + self.lag
            of_it = blocks[key]
            at = np.searchsorted(of_it["start"], onset - tmin + 1e-6, side="right") - 1
            at = np.maximum(at, 0)
            text[index] = of_it["text"].to_numpy(object)[at]
            after, before = of_it["start"].to_numpy()[at], of_it["stop"].to_numpy()[at]
            inside[index] = (onset >= after - 1e-6) & (stop - HALF_STEP < before)
        codes, names = pd.factorize(text)
        ids = np.array([stable_id("published", name) for name in names], np.int64)
        return rows.assign(
            block=ids[codes], block_text=pd.Series(text, index=rows.index, dtype=object), block_inside=inside
        )


def find_sentences(words, name=""):
    """Find the sentences of one recording and their names.

    Parameters
    ----------
    words : DataFrame of shape (n_words, ...)
        The words of a recording in their order, with ``onset, duration, text, condition, sound,
        sound_onset``, and ``word_index`` or ``sequence``; may have ``sequence_uid``.
    name : str, default=""
        What messages call the recording.

    Returns
    -------
    sentences : DataFrame of shape (n_sentences, ...)
        ``start, stop`` (s, in the recording; the last stops at infinity) and ``text``.

    Raises
    ------
    ValueError
        If there is no telling where a sentence begins, or a word has no text.
    """
    if (silent := words["text"].isna().to_numpy()).any():
        raise ValueError(
            f"PaperBlocks names blocks by their words, and {silent.sum()} words of {name!r} have no text, the "
            f"first at {words['onset'][silent].iloc[0]:.3f} s."
        )
    onset = words["onset"].to_numpy(float)
    end = onset + words["duration"].to_numpy(float)
    start = np.unique(onset[_first_words(words, name)])
    stop = np.r_[start[1:], np.inf]
    begin, beyond = np.searchsorted(onset, start), np.searchsorted(onset, stop)
    spoken = (words["condition"] != NAMELESS).to_numpy(bool)
    texts = []
    for a, b, limit in zip(begin, beyond, stop, strict=True):
        whole = end[a:b] < limit
        texts.append(_name(words.iloc[a:b], whole, whole & spoken[a:b]))
    return pd.DataFrame({"start": start, "stop": stop, "text": pd.Series(texts, dtype=object)})


def _first_words(words, name):
    """Mark the words at which a sentence begins."""
    index, sequence = pd.to_numeric(words["word_index"]), words["sequence"]
    if index.notna().any():
        if not (index == 0).any():
            raise ValueError(
                f"PaperBlocks: a sentence begins at a word with word_index 0, and {name!r} has none; the least "
                f"is {index.min():g}. Count the words of a sentence from 0."
            )
        return (index == 0).to_numpy()
    if sequence.isna().all():
        raise ValueError(
            f"PaperBlocks needs to know the sentences of {name!r}: give its words a word_index that is 0 at the "
            f"first word of each, or a sequence."
        )
    known = sequence.ffill().to_numpy(object)
    return np.r_[True, known[1:] != known[:-1]] & sequence.notna().to_numpy()


def _name(words, whole, spoken):
    """Name a sentence by its one ``sequence_uid``, else by its words, else by its place."""
    if "sequence_uid" in words:
        given = words["sequence_uid"][whole].unique()
        if len(given) == 1 and not pd.isna(given[0]):
            return str(given[0])
    if spoken.any():
        return " ".join(words["text"][spoken].map(str))
    return f"{stimulus_name(words['sound'].iloc[0])} {words['sound_onset'].iloc[0]:.2f}"


def merge_sentences(sentences, min_duration=6.0):
    """Join sentences to blocks that last longer than ``min_duration`` seconds.

    Parameters
    ----------
    sentences : DataFrame of shape (n_sentences, ...)
        ``start, stop, text``, in their order.
    min_duration : float, default=6.0
        A block ends with the first sentence that stops later than so many seconds after the block's start;
        0 joins nothing.

    Returns
    -------
    blocks : DataFrame of shape (n_blocks, ...)
        ``start, stop, text``, the texts joined by commas; the first starts at 0, unless nothing was joined.

    Examples
    --------
    >>> sentences = pd.DataFrame({"start": [2.0, 7.0, 9.0], "stop": [7.0, 9.0, np.inf], "text": list("abc")})
    >>> merge_sentences(sentences)
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


def _in_sounds(rows, blocks, heard, tmin):
    """Lay the blocks of all recordings on their sounds."""
    starts = pd.concat(blocks.values())[["digest", "edge"]].dropna()
    edges_of = {digest: group["edge"].to_numpy() for digest, group in starts.groupby("digest")}
    names = ["block_before", "block_start", "block_stop", "block_after"]
    placed = np.empty((len(rows), 4))
    for digest, index in rows.groupby("digest", sort=False).indices.items():
        duration = stimulus_duration(rows["sound"].iloc[index[0]])
        edges = _same_for_all(edges_of.get(digest, np.empty(0)), heard.get(digest))
        edges = np.r_[0.0, edges[(edges > 1e-6) & (edges < duration - 1e-6)], duration]
        at = np.searchsorted(edges, rows["sound_onset"].to_numpy()[index] - tmin + 1e-6, side="right") - 1
        at = np.clip(at, 0, len(edges) - 2)
        around = np.clip(at[:, None] + np.arange(-1, 3), 0, len(edges) - 1)
        placed[index] = edges[around]
    return rows.assign(**dict(zip(names, placed.T, strict=True)))


def _same_for_all(edges, words):
    """Move edges to the one time that a word has for all who heard it: tables may time it a little apart."""
    if len(edges) == 0:
        return edges
    onset = words["sound_onset"].to_numpy(float)
    right = np.clip(np.searchsorted(onset, edges), 1, len(onset) - 1) if len(onset) > 1 else np.zeros(1, int)
    left = np.maximum(right - 1, 0)
    nearest = np.where(edges - onset[left] <= onset[right] - edges, left, right)
    return np.unique(onset[nearest])
