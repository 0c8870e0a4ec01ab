"""Segments of images and other single stimuli, whose blocks are concepts."""

from __future__ import annotations

from sk_b2s.events._stimuli import digest_stimuli, make_stimulus_id


def describe_image_segments(rows, tmin):
    """Add block, segment and empty words to windows at image onsets.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``sound, sound_onset, duration, category``.
    tmin : float
        Start of the windows relative to the onset, in seconds.

    Returns
    -------
    rows : DataFrame of shape (n_windows, ...)
        ``block`` is the concept, and ``segment`` the content of the image.
        Concepts that share an image by content are one block.
    """
    digest = digest_stimuli(rows["sound"])
    window = f"{tmin:g}", f"{rows['duration'].iloc[0]:g}"
    segment = {name: make_stimulus_id("time", name, 0, *window) for name in dict.fromkeys(digest)}
    concept = _merge_image_concepts(digest, rows["category"].map(str))
    block = {name: make_stimulus_id("concept", name) for name in dict.fromkeys(concept)}
    start, stop = rows["sound_onset"], rows["sound_onset"] + rows["duration"]
    return rows.assign(
        digest=digest, segment=[segment[name] for name in digest], block=[block[name] for name in concept],
        block_start=start, block_stop=stop, block_before=start, block_after=stop, word=None, text="",
    )  # fmt: skip


def _merge_image_concepts(digest, category):
    """Return the concept of each row, one for concepts that share an image."""
    concept, owner = {name: name for name in category.unique()}, {}

    def find(name):
        while concept[name] != name:
            name = concept[name]
        return name

    for image, name in dict.fromkeys(zip(digest, category, strict=True)):
        first, second = sorted((find(owner.setdefault(image, name)), find(name)))
        concept[second] = first
    return [find(name) for name in category]
