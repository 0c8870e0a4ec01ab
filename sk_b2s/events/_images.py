"""Images and other stimuli without a time axis in an events table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sk_b2s._utils._caching import digest_cached_content
from sk_b2s._utils._text import shorten_list
from sk_b2s.events._table_rows import raise_for_table_rows

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
OTHER_TYPES = ("sound", "word", "phoneme", "bad")  # of events that are not stimuli without a time axis


@dataclass(frozen=True)
class ImageStimulus:
    """Image, or another stimulus without a time axis, with a name.

    It takes the place of an audio file in the ``sound`` column of the tables,
    the column of the stimulus. :func:`~sk_b2s.check_events` makes it from the
    column ``image``, or from the column of another type.

    Parameters
    ----------
    name : str
        Identifier, by which :class:`~sk_b2s.PrecomputedFeatures` finds the
        vector of the image.
    path : str, default=""
        Image file. If given, images are equal if their files have equal
        content. Otherwise, they are equal if their names are.
    kind : str, default="image"
        Type of its events, for example "video" or "vibration".

    Raises
    ------
    ValueError
        If ``name`` or ``kind`` is not a text with at least one character.

    Examples
    --------
    >>> from sk_b2s import ImageStimulus
    >>> ImageStimulus("aardvark_01b")
    ImageStimulus(name='aardvark_01b', path='', kind='image')
    """

    name: str
    path: str = ""
    kind: str = "image"

    def __post_init__(self):
        for field in ("name", "kind"):
            if not isinstance(value := getattr(self, field), str) or not value:
                raise ValueError(f"The {field} of an ImageStimulus must be a text. Got {value!r}.")


def list_image_types(events):
    """List the types of stimuli without a time axis in a table: list of str.

    These are "image" and the types of the user.
    """
    return [kind for kind in pd.unique(events["type"]) if kind not in OTHER_TYPES]


def is_image_name(name):
    """Return whether a text or path has the suffix of an image file."""
    return isinstance(name, (str, Path)) and Path(name).suffix.lower() in IMAGE_SUFFIXES


def find_image(name, folders, kind):
    """Return the file of an image, or its identifier without a file.

    Parameters
    ----------
    name : str, Path or ImageStimulus
        File relative to one of the folders, or an identifier.
    folders : sequence of Path
    kind : str
        Type of its events.

    Returns
    -------
    image : ImageStimulus or str
        The suffix of an image file is not part of the identifier, but its
        folders are, so that it is the same with and without the file.
    """
    if not isinstance(name, (str, Path)):
        return name
    plain = Path(name).with_suffix("") if Path(name).suffix else Path(name)
    for folder in folders:
        if os.path.isfile(path := Path(folder) / name):  # False if the name is too long for a file
            return ImageStimulus(plain.name if plain.is_absolute() else plain.as_posix(), str(path), kind)
    return plain.as_posix() if is_image_name(name) else name


def name_image_kind(sounds):
    """Return what images are called in messages: str.

    Parameters
    ----------
    sounds : iterable of ImageStimulus

    Returns
    -------
    name : str
        "image", or "stimulus" for other kinds.
    """
    return "image" if {sound.kind for sound in sounds} == {"image"} else "stimulus"


def place_table_images(events):
    """Fill in stimulus, category and repetition of images and other types."""
    for kind in list_image_types(events):
        _place_images(events, kind)


def _place_images(events, kind):
    """Fill in stimulus, category and repetition of rows of one type."""
    is_image = (events["type"] == kind).to_numpy()
    names = events[kind] if kind in events else pd.Series(None, events.index, dtype=object)
    given = events["sound"].astype(object).where(events["sound"].notna(), names.astype(object))
    is_known = given.map(lambda value: isinstance(value, (str, Path, ImageStimulus)) and value != "")
    raise_for_table_rows(
        events, is_image & ~is_known, kind, "an identifier, the Path of a file or an ImageStimulus"
    )
    made = {value: make_image(value, kind) for value in pd.unique(given[is_image])}
    for image in made.values():
        expected = f"an ImageStimulus with kind={kind!r}" if image.kind != kind else None
        if image.path and not Path(image.path).is_file():
            expected = "an existing file"
        if expected is not None:
            is_wrong = given[is_image].map(made).reindex(events.index) == image
            raise_for_table_rows(events, is_wrong.to_numpy(), kind, expected)
    _check_image_names(made.values(), kind)
    events["sound"] = events["sound"].astype(object)
    events.loc[is_image, "sound"] = given[is_image].map(made)
    events[kind] = names.astype(object).where(~is_image, events["sound"].map(_get_image_name))
    events.loc[is_image, "sound_onset"] = 0.0
    category = events["category"].astype(object) if "category" in events else events[kind]
    events["category"] = category.where(category.notna() | ~is_image, events[kind])
    first = events[is_image].groupby(kind)["category"].transform("first").reindex(events.index)
    differs = is_image & (events["category"] != first).to_numpy()
    raise_for_table_rows(events, differs, "category", f"one category for each {kind}")
    _count_repetitions(events, is_image, kind)


def make_image(value, kind):
    """Return an ImageStimulus of an identifier or path."""
    if isinstance(value, ImageStimulus):
        return value
    name, path = (value.stem, str(value)) if isinstance(value, Path) else (value, "")
    return ImageStimulus(name, path, kind)


def _check_image_names(images, kind):
    """Raise if images with a name have files with different content."""
    paths: dict = {}
    for image in images:
        if image.path:
            paths.setdefault(image.name, []).append(image.path)
    for name, files in paths.items():
        if len(files) > 1 and len({digest_cached_content(path) for path in files}) > 1:
            raise ValueError(
                f"events, column {kind!r}: different files have the name {name!r}, which identifies a stimulus, "
                f"{shorten_list(map(repr, sorted(files)))}. Name each, as ImageStimulus('cat/{name}', path, {kind!r})."
            )


def _get_image_name(value):
    """Return the name of an image, or None."""
    return getattr(value, "name", None)


def _count_repetitions(events, is_image, kind):
    """Number the presentations of each image to a subject from 0."""
    if "repetition" not in events:
        events["repetition"] = np.nan
    columns = ["subject", "session", "recording", "onset"]
    order = events[is_image].sort_values(columns, kind="stable")
    number = order.groupby(["subject", kind]).cumcount().reindex(events.index)
    events["repetition"] = pd.to_numeric(events["repetition"], errors="coerce").where(
        events["repetition"].notna(), number
    )
