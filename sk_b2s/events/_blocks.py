"""Blocks and sentences that a stimulus is cut into."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sk_b2s._utils._text import plain_text
from sk_b2s.events._stimuli import stable_id

SENTENCE = 5  # words; shorter sentences ("Oh dear!") may be said anywhere


def cut_blocks(words, duration, block=20.0, pause=0.3):
    """Cut a sound into blocks that end at a sentence or a pause.

    Going through the sound, the next cut is the first place at least ``block`` seconds after the last
    one where a sentence ends or nobody speaks for ``pause`` seconds; the cut lies in the middle of the
    gap between two words. What is left at the end joins the last block, so every block of a sound
    longer than ``block`` has at least that length. Without words the cuts are ``block`` apart.

    Parameters
    ----------
    words : DataFrame of shape (n_words, ...)
        Columns ``sound_onset`` and ``duration`` in seconds, and ``sequence``, the sentence of each
        word (missing where unknown).
    duration : float
        Length of the sound in seconds.
    block : float, default=20.0
        Shortest block in seconds.
    pause : float, default=0.3
        Shortest silence between two words, in seconds, at which a block may end.

    Returns
    -------
    edges : ndarray of shape (n_blocks + 1,)
        Edges in seconds from the start of the sound; the first is 0, the last ``duration``.

    Examples
    --------
    >>> import pandas as pd
    >>> words = pd.DataFrame({"sound_onset": [0.0, 9.0, 21.0, 30.0, 44.0], "duration": 1.0,
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


def list_sentences(words):
    """List the sentences of a sound that are told apart from all others by their words.

    Parameters
    ----------
    words : DataFrame of shape (n_words, ...)
        ``sound_onset``, ``text`` and ``sequence``.

    Returns
    -------
    sentences : DataFrame of shape (n_sentences, 3)
        ``text`` (plain), ``start`` and ``last`` (s, the onsets of its first and last word) of those of five words or
        more; "Oh dear!" may be said anywhere.
    """
    found = []
    for _, sentence in words.groupby("sequence", sort=False):
        text = plain_text(sentence["text"])
        if text.count(" ") + 1 >= SENTENCE:
            found.append((text, sentence["sound_onset"].min(), sentence["sound_onset"].max()))
    return pd.DataFrame(found, columns=["text", "start", "last"]).sort_values("start", ignore_index=True)


def cut_stimuli(words, durations, block=20.0):
    """Cut sounds into blocks, those that tell one story at the same sentences.

    A sound that shares no sentence with another is cut by :func:`cut_blocks`. Of those that do, say a story read by
    two voices, the first is cut at sentences alone and the others at the same ones, so that its blocks have the same
    text in every voice; a stretch in between that is as long as two blocks is cut further.

    Parameters
    ----------
    words : dict of str to DataFrame
        The words of each sound: ``sound_onset, duration, text, sequence``.
    durations : dict of str to float
        Length of each sound, in seconds; those without words too.
    block : float, default=20.0
        Shortest block in seconds; of the further voices of a story, in the pace of the first.

    Returns
    -------
    edges : dict of str to ndarray of shape (n_blocks + 1,)
    """
    nothing = pd.DataFrame(columns=["sound_onset", "duration", "text", "sequence"])
    sentences = {sound: list_sentences(words[sound]) for sound in durations if sound in words}
    told = pd.Series([text for found in sentences.values() for text in found["text"].unique()], dtype=object)
    shared = set(told[told.duplicated()])
    edges, marks = {}, set()
    for sound in sorted(durations):  # whatever order they come in
        spoken, known = words.get(sound, nothing), sentences.get(sound)
        if known is None or not known["text"].isin(shared).any():
            edges[sound] = cut_blocks(spoken, durations[sound], block)
            continue
        spoken = spoken.sort_values("sound_onset")
        same = known.loc[known["text"].isin(marks), "start"]
        edges[sound] = _cut_at(same, spoken, durations[sound], block)
        after = np.searchsorted(known["start"], edges[sound][1:-1])
        marks |= set(known["text"].iloc[after[after < len(known)]]) & shared
    return edges


def _cut_at(starts, words, duration, block):
    """Cut a sound before some of its sentences, and further, at sentences, where that leaves two blocks' length."""
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


MEET = 0.1  # s by which blocks may reach into each other and only meet


def cut_stimuli_and_copies(words, lengths, block, place):
    """Cut sounds into blocks, and copies where the sounds that they are copies of are cut.

    Parameters
    ----------
    words : dict of str to DataFrame
        The words of each sound, as for :func:`~sk_b2s.events._blocks.cut_stimuli`.
    lengths : dict of str to float
        Seconds.
    block : float
        Shortest block in seconds.
    place : dict of str to (str, float)
        Of :class:`~sk_b2s.events._audio._copies.StimulusCopies`.

    Returns
    -------
    blocks : dict of str to (ndarray of shape (n_blocks + 1,), ndarray of int of shape (n_blocks,))
        Edges in seconds, and identities: a hash of the text, or of sound and place.
    """
    edges = cut_stimuli(words, {d: seconds for d, seconds in lengths.items() if d not in place}, block)
    blocks = {digest: (cuts, _block_ids(words.get(digest), digest, cuts)) for digest, cuts in edges.items()}
    for digest, (root, shift) in place.items():
        cuts, ids = blocks[root]
        inner = cuts[(cuts > shift + MEET) & (cuts < shift + lengths[digest] - MEET)]
        first = max(np.searchsorted(cuts, shift + MEET, side="right") - 1, 0)
        inner = inner[: len(ids) - first - 1] - shift
        blocks[digest] = np.r_[0.0, inner, lengths[digest]], ids[first : first + len(inner) + 1]
    return blocks


def _block_ids(words, digest, edges):
    """Identities of the blocks of a sound: their text, else their place."""
    if words is None:
        return np.array([stable_id("sound", digest, i) for i in range(len(edges) - 1)])
    onset = words["sound_onset"].to_numpy(float)
    texts = [
        plain_text(words["text"][(onset >= a) & (onset < b)])
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    return np.array(
        [stable_id("text", text) if text else stable_id("sound", digest, i) for i, text in enumerate(texts)]
    )


def merge_blocks(rows, words, shared):
    """Make blocks one whose sounds say the same sentence, or share a stretch of recording.

    Another voice reads a sentence at another pace.

    Parameters
    ----------
    rows : DataFrame of shape (n_rows, ...)
        ``digest, block, block_start, block_stop``.
    words : dict of str to DataFrame
        The words of each sound by digest.
    shared : list of (str, str, Match)
        Digests of two sounds, and the stretch that they share.

    Returns
    -------
    block : ndarray of int of shape (n_rows,)
    """
    spoken = []
    of_block = rows.drop_duplicates(["digest", "block"]).groupby("digest")
    for digest, blocks in of_block:
        if digest not in words:
            continue
        for text, start, last in list_sentences(words[digest]).itertuples(index=False):
            inside = blocks[(blocks["block_start"] <= last) & (start < blocks["block_stop"])]
            spoken.extend((text, digest, block) for block in inside["block"])
    for index, (first, second, match) in enumerate(shared):
        for digest, shift in ((first, 0.0), (second, match.shift)):
            blocks = rows[rows["digest"] == digest].drop_duplicates("block")
            inside = (blocks["block_start"] + shift < match.stop - MEET) & (
                match.start + MEET < blocks["block_stop"] + shift
            )
            spoken.extend((f"\0{index}", digest, block) for block in blocks.loc[inside, "block"])
    spoken = pd.DataFrame(spoken, columns=["text", "digest", "block"])
    spoken = spoken[spoken.groupby("text")["digest"].transform("nunique") > 1]
    blocks, block_codes = np.unique(rows["block"].to_numpy(), return_inverse=True)
    sentence = spoken.groupby("text").ngroup().to_numpy()
    place = np.searchsorted(blocks, spoken["block"].to_numpy(np.int64))
    n_blocks, n_nodes = len(blocks), len(blocks) + (sentence.max() + 1 if len(sentence) else 0)
    edges = coo_array((np.ones(len(place)), (place, n_blocks + sentence)), shape=(n_nodes, n_nodes))
    component = connected_components(edges, directed=False)[1][:n_blocks]
    first = np.unique(component, return_index=True)[1]
    return blocks[first[component]][block_codes]
