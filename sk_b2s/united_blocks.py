"""Blocks of several sounds: cut, named by what they hold, and united where sounds share something."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sk_b2s.stimuli import cut_sounds, plain_text, sentences_of_sound, stable_id

__all__ = ["cut_all", "unite_blocks"]

MEET = 0.1  # s by which blocks may reach into each other and only meet


def cut_all(words, lengths, block, place):
    """Cut sounds into blocks, and copies where the sounds that they are copies of are cut.

    Parameters
    ----------
    words : dict of str to DataFrame
        The words of each sound, as for :func:`~sk_b2s.stimuli.cut_sounds`.
    lengths : dict of str to float
        Seconds.
    block : float
        Shortest block in seconds.
    place : dict of str to (str, float)
        Of :class:`~sk_b2s.copies.Copies`.

    Returns
    -------
    blocks : dict of str to (ndarray of shape (n_blocks + 1,), ndarray of int of shape (n_blocks,))
        Edges in seconds, and identities: a hash of the text, or of sound and place.
    """
    edges = cut_sounds(words, {d: seconds for d, seconds in lengths.items() if d not in place}, block)
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


def unite_blocks(rows, words, shared):
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
        for text, start, last in sentences_of_sound(words[digest]).itertuples(index=False):
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
