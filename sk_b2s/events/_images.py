"""Image stimuli of an events table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._caching import digest_cached_content
from sk_b2s._utils._text import shorten_list
from sk_b2s.events._table_rows import raise_for_table_rows


@dataclass(frozen=True)
class ImageStimulus:
    """Image, or another stimulus without a time axis, with a name.

    It takes the place of an audio file in the ``sound`` column of the tables,
    the column of the stimulus. :func:`~sk_b2s.check_events` makes it from the
    column ``image``.

    Parameters
    ----------
    name : str
        Identifier, by which :class:`~sk_b2s.PrecomputedFeatures` finds the
        vector of the image.
    path : str, default=""
        Image file. If given, images are equal if their files have equal
        content. Otherwise, they are equal if their names are.

    Raises
    ------
    ValueError
        If ``name`` is not a text with at least one character.

    Examples
    --------
    >>> from sk_b2s import ImageStimulus
    >>> ImageStimulus("aardvark_01b")
    ImageStimulus(name='aardvark_01b', path='')
    """

    name: str
    path: str = ""

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"The name of an ImageStimulus must be a text. Got {self.name!r}.")


def place_table_images(events):
    """Fill in stimulus, category and repetition of rows of type "image"."""
    is_image = (events["type"] == "image").to_numpy()
    if not is_image.any():
        return
    names = events["image"] if "image" in events else pd.Series(None, events.index, dtype=object)
    given = events["sound"].astype(object).where(events["sound"].notna(), names.astype(object))
    is_known = given.map(lambda value: isinstance(value, (str, Path, ImageStimulus)) and value != "")
    raise_for_table_rows(
        events, is_image & ~is_known, "image", "an identifier, the Path of an image file or an ImageStimulus"
    )
    made = {value: _make_image(value) for value in pd.unique(given[is_image])}
    for image in made.values():
        if image.path and not Path(image.path).is_file():
            is_missing = is_image & given.map(lambda value, own=image: made.get(value) == own)
            raise_for_table_rows(events, is_missing, "image", "an existing file")
    _check_names(made.values())
    events["sound"] = events["sound"].astype(object)
    events.loc[is_image, "sound"] = given[is_image].map(made)
    events["image"] = names.astype(object).where(~is_image, events["sound"].map(_get_name))
    events.loc[is_image, "sound_onset"] = 0.0
    category = events["category"].astype(object) if "category" in events else events["image"]
    events["category"] = category.where(category.notna() | ~is_image, events["image"])
    first = events[is_image].groupby("image")["category"].transform("first").reindex(events.index)
    differs = is_image & (events["category"] != first).to_numpy()
    raise_for_table_rows(events, differs, "category", "one category for each image")
    _count_repetitions(events, is_image)


def _make_image(value):
    """Return an ImageStimulus of an identifier or path."""
    if isinstance(value, ImageStimulus):
        return value
    return ImageStimulus(value.stem, str(value)) if isinstance(value, Path) else ImageStimulus(value)


def _check_names(images):
    """Raise if images with a name have files with different content."""
    paths: dict = {}
    for image in images:
        if image.path:
            paths.setdefault(image.name, []).append(image.path)
    for name, files in paths.items():
        if len(files) > 1 and len({digest_cached_content(path) for path in files}) > 1:
            raise ValueError(
                f"events, column 'image': different files have the name {name!r}, which identifies an image, "
                f"{shorten_list(map(repr, sorted(files)))}. Name each, as ImageStimulus('cat/{name}', path)."
            )


def _get_name(value):
    """Return the name of an image, or None."""
    return getattr(value, "name", None)


def _count_repetitions(events, is_image):
    """Number the presentations of each image to a subject from 0."""
    if "repetition" not in events:
        events["repetition"] = np.nan
    columns = ["subject", "session", "recording", "onset"]
    order = events[is_image].sort_values(columns, kind="stable")
    number = order.groupby(["subject", "image"]).cumcount().reindex(events.index)
    events["repetition"] = pd.to_numeric(events["repetition"], errors="coerce").where(
        events["repetition"].notna(), number
    )
