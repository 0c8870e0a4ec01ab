"""Blocks and sentences of stimuli."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sk_b2s._utils._text import make_plain_text
from sk_b2s.events._stimuli import make_stimulus_id

MIN_WORDS = 5  # of a sentence; a shorter one ("Oh dear!") may occur anywhere
MIN_OVERLAP = 0.1  # s; blocks that share less are separate


def cut_blocks(words, duration, block=20.0, pause=0.3):
    """Cut a stimulus into blocks that end at a sentence or a silence.

    Each cut is the first sentence end, or silence of ``pause`` seconds, that
    is at least ``block`` seconds after the cut before it. It lies in the
    middle of the gap between two words. A shorter rest at the end joins the
    last block. Without words the cuts are ``block`` seconds apart.

    Parameters
    ----------
    words : DataFrame of shape (n_words, ...)
        Columns ``sound_onset`` and ``duration`` in seconds, and ``sequence``,
        the sentence of each word (missing if unknown).
    duration : float
        Duration of the stimulus in seconds.
    block : float, default=20.0
        Minimum duration of a block in seconds.
    pause : float, default=0.3
        Shortest silence between two words that may end a block, in seconds.

    Returns
    -------
    edges : ndarray of shape (n_blocks + 1,)
        Seconds from the start of the stimulus, from 0 to ``duration``.

    Examples
    --------
    >>> import pandas as pd
    >>> onset = [0.0, 9.0, 21.0, 30.0, 44.0]
    >>> words = pd.DataFrame({"sound_onset": onset, "duration": 1.0,
    ...                       "sequence": ["a", "a", "b", "b", "c"]})
    >>> cut_blocks(words, duration=50.0).tolist()
    [0.0, 26.0, 50.0]
    """
    if len(words):
        words = words.sort_values("sound_onset")
        onset = words["sound_onset"].to_numpy(float)
        ends = np.maximum.accumulate(onset + words["duration"].to_numpy(float))[:-1]
        gap = onset[1:] - ends
        sequence = pd.factorize(words["sequence"])[0]  # -1 where unknown
        new_sentence = (sequence[1:] != sequence[:-1]) & (sequence[1:] >= 0)
        candidates = onset[1:] - np.maximum(gap, 0) / 2
        candidates = candidates[new_sentence | (gap >= pause)]
    else:
        candidates = np.arange(block, duration, block)
    edges = [0.0]
    for candidate in candidates:
        if candidate - edges[-1] >= block:
            edges.append(float(candidate))
    if len(edges) > 1 and duration - edges[-1] < block:
        edges.pop()
    return np.array([*edges, float(duration)])


def list_block_sentences(words):
    """List the sentences of a stimulus that have five words or more.

    Parameters
    ----------
    words : DataFrame of shape (n_words, ...)
        ``sound_onset``, ``text`` and ``sequence``.

    Returns
    -------
    sentences : DataFrame of shape (n_sentences, 3)
        ``text`` (plain), ``start`` and ``last``, the onsets of its first and
        last word in seconds.
    """
    found = []
    for _, sentence in words.groupby("sequence", sort=False):
        text = make_plain_text(sentence["text"])
        if text.count(" ") + 1 >= MIN_WORDS:
            found.append((text, sentence["sound_onset"].min(), sentence["sound_onset"].max()))
    return pd.DataFrame(found, columns=["text", "start", "last"]).sort_values("start", ignore_index=True)


def cut_stimuli_into_blocks(words, durations, block=20.0):
    """Cut stimuli into blocks, versions of one story at the same sentences.

    A stimulus that shares no sentence with another is cut by
    :func:`cut_blocks`. If several stimuli share sentences, for example a
    story read by two voices, the first is cut at sentences only and the
    others at the same sentences. A block then has the same text in every
    voice. A stretch between two shared sentences that is as long as two
    blocks is cut again.

    Parameters
    ----------
    words : dict of str to DataFrame
        Words of each stimulus: ``sound_onset, duration, text, sequence``.
    durations : dict of str to float
        Duration in seconds of each stimulus, including those without words.
    block : float, default=20.0
        Minimum duration of a block in seconds. In another voice the block
        may be shorter, because it has the same words.

    Returns
    -------
    edges : dict of str to ndarray of shape (n_blocks + 1,)
    """
    no_words = pd.DataFrame(columns=["sound_onset", "duration", "text", "sequence"])
    sentences = {digest: list_block_sentences(words[digest]) for digest in durations if digest in words}
    texts = pd.Series([text for found in sentences.values() for text in found["text"].unique()], dtype=object)
    shared = set(texts[texts.duplicated()])
    edges, cut_before = {}, set()
    for digest in sorted(durations):  # the result does not depend on their order
        own, known = words.get(digest, no_words), sentences.get(digest)
        if known is None or not known["text"].isin(shared).any():
            edges[digest] = cut_blocks(own, durations[digest], block)
            continue
        own = own.sort_values("sound_onset")
        same = known.loc[known["text"].isin(cut_before), "start"]
        edges[digest] = _cut_blocks_at(same, own, durations[digest], block)
        after = np.searchsorted(known["start"], edges[digest][1:-1])
        cut_before |= set(known["text"].iloc[after[after < len(known)]]) & shared
    return edges


def _cut_blocks_at(starts, words, duration, block):
    """Cut before given sentences, and at others in stretches of two blocks."""
    onset = words["sound_onset"].to_numpy(float)
    ends = np.r_[0.0, np.maximum.accumulate(onset + words["duration"].to_numpy(float))]
    starts = np.array([start for start in starts if start > 0], float)
    gap = np.maximum(starts - ends[np.searchsorted(onset, starts)], 0)
    edges = np.r_[0.0, starts - gap / 2, duration]
    cuts: list[float] = []
    for begin, stop in zip(edges[:-1], edges[1:], strict=True):
        inner = words[(onset >= begin) & (onset < stop)]
        cuts.append(begin)
        if stop - begin >= 2 * block and len(inner):
            inner = inner.assign(sound_onset=inner["sound_onset"] - begin)
            cuts += (begin + cut_blocks(inner, stop - begin, block, pause=np.inf)[1:-1]).tolist()
    return np.array([*cuts, duration], float)


def cut_copies_into_blocks(words, lengths, block, place):
    """Cut stimuli into blocks, and copies at the same places as originals.

    Parameters
    ----------
    words : dict of str to DataFrame
        Words of each stimulus, as for :func:`cut_stimuli_into_blocks`.
    lengths : dict of str to float
        Seconds.
    block : float
        Minimum duration of a block in seconds.
    place : dict of str to (str, float)
        Attribute of :class:`~sk_b2s.events._audio._copies.StimulusCopies`.

    Returns
    -------
    blocks : dict of str to (ndarray, ndarray of int)
        Edges in seconds, of shape (n_blocks + 1,), and an integer per block:
        a hash of its text or, without words, of stimulus and position.
    """
    edges = cut_stimuli_into_blocks(
        words, {d: seconds for d, seconds in lengths.items() if d not in place}, block
    )
    blocks = {digest: (cuts, _block_ids(words.get(digest), digest, cuts)) for digest, cuts in edges.items()}
    for digest, (root, shift) in place.items():
        cuts, ids = blocks[root]
        inner = cuts[(cuts > shift + MIN_OVERLAP) & (cuts < shift + lengths[digest] - MIN_OVERLAP)]
        first = max(np.searchsorted(cuts, shift + MIN_OVERLAP, side="right") - 1, 0)
        inner = inner[: len(ids) - first - 1] - shift
        blocks[digest] = np.r_[0.0, inner, lengths[digest]], ids[first : first + len(inner) + 1]
    return blocks


def _block_ids(words, digest, edges):
    """Compute the integer of each block of a stimulus."""
    if words is None:
        return np.array([make_stimulus_id("sound", digest, i) for i in range(len(edges) - 1)])
    onset = words["sound_onset"].to_numpy(float)
    texts = [
        make_plain_text(words["text"][(onset >= a) & (onset < b)])
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    return np.array(
        [
            make_stimulus_id("text", text) if text else make_stimulus_id("sound", digest, i)
            for i, text in enumerate(texts)
        ]
    )


def merge_blocks(rows, words, shared):
    """Merge blocks of different stimuli that share a sentence or a recording.

    Parameters
    ----------
    rows : DataFrame of shape (n_rows, ...)
        ``digest, block, block_start, block_stop``.
    words : dict of str to DataFrame
        Words of each stimulus by digest.
    shared : list of (str, str, FingerprintMatch)
        Digests of two stimuli and the stretch that they share.

    Returns
    -------
    block : ndarray of int of shape (n_rows,)
    """
    content = []
    of_block = rows.drop_duplicates(["digest", "block"]).groupby("digest")
    for digest, blocks in of_block:
        if digest not in words:
            continue
        begin, end, ids = (blocks[name].to_numpy() for name in ("block_start", "block_stop", "block"))
        for text, start, last in list_block_sentences(words[digest]).itertuples(index=False):
            content.extend((text, digest, block) for block in ids[(begin <= last) & (start < end)])
    for index, (first, second, match) in enumerate(shared):
        for digest, shift in ((first, 0.0), (second, match.shift)):
            blocks = rows[rows["digest"] == digest].drop_duplicates("block")
            inside = (blocks["block_start"] + shift < match.stop - MIN_OVERLAP) & (
                match.start + MIN_OVERLAP < blocks["block_stop"] + shift
            )
            content.extend((f"\0{index}", digest, block) for block in blocks.loc[inside, "block"])
    content = pd.DataFrame(content, columns=["text", "digest", "block"])
    content = content[content.groupby("text")["digest"].transform("nunique") > 1]
    blocks, block_codes = np.unique(rows["block"].to_numpy(), return_inverse=True)
    sentence = content.groupby("text").ngroup().to_numpy()
    place = np.searchsorted(blocks, content["block"].to_numpy(np.int64))
    n_blocks, n_nodes = len(blocks), len(blocks) + (sentence.max() + 1 if len(sentence) else 0)
    edges = coo_array((np.ones(len(place)), (place, n_blocks + sentence)), shape=(n_nodes, n_nodes))
    component = connected_components(edges, directed=False)[1][:n_blocks]
    first = np.unique(component, return_index=True)[1]
    return blocks[first[component]][block_codes]
