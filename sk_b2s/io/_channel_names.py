"""Match channel names that are spelled differently in two files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._text import join_text_items, shorten_list

CODE = get_cache_code(__file__)
SITE = re.compile(r"-\d{3,}$")  # suffix of CTF sensor names, the number of the laboratory
REFERENCE = re.compile(r"[-_: ](ref|le|re|avg?|a1|a2|m1|m2|cz|org|g2)$")
MODALITY = re.compile(r"^(eeg|meg|pol|ch|channel)[-_: ]*(?=\S)")


def normalize_channel_name(name):
    """Remove case, spaces, modality, reference and leading zeros from a name.

    Parameters
    ----------
    name : str
        Channel name.

    Returns
    -------
    plain : str

    Examples
    --------
    >>> names = ("EEG 001", "EEG001", "EEG Fp1-Ref")
    >>> [normalize_channel_name(name) for name in names]
    ['1', '1', 'fp1']
    >>> [normalize_channel_name(name) for name in ("FP1", "fp1 ", "MEG 0111")]
    ['fp1', 'fp1', '111']
    """
    plain = REFERENCE.sub("", str(name).strip().lower())
    plain = MODALITY.sub("", plain)
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s._-]+", "", plain))


def match_channel_names(listed, names, table):
    """Find the channel of a recording for each row of a table.

    Equal names match first, then CTF names without the laboratory's suffix,
    then plain names (:func:`normalize_channel_name`) that occur once on both
    sides.

    Parameters
    ----------
    listed : sequence of str
        Names in the table.
    names : sequence of str
        Names of channels in the recording.
    table : path-like
        The table, for messages.

    Returns
    -------
    matched : list of str or None
        Channel of each row, None for channels that the recording lacks.

    Warns
    -----
    UserWarning
        If a name occurs twice in the table, or both the table and the
        recording have channels that the other one lacks.
    """
    listed, names = [str(name) for name in listed], list(names)
    twice = sorted(name for name, count in Counter(listed).items() if count > 1 and name)
    if twice:
        warnings.warn(
            f"{str(table)!r} lists {len(twice)} names in several rows: {shorten_list(twice)}. A channel is bad if "
            "one of its rows is bad. Correct the table.",
            stacklevel=6,
        )
    matched: list = [None] * len(listed)
    for spelling in (str, lambda name: SITE.sub("", name), str.strip, str.lower, normalize_channel_name):
        free = [name for name in names if name not in set(matched)]
        known = {spelling(name): name for name in free}
        count = Counter(spelling(name) for name in free)
        wanted = Counter(
            spelling(name) for name in {listed[i] for i, match in enumerate(matched) if match is None}
        )
        for i, name in enumerate(listed):
            plain = spelling(name)
            if matched[i] is None and plain and count[plain] == wanted[plain] == 1:
                matched[i] = known[plain]
    missing = [name for name, match in zip(listed, matched, strict=True) if match is None and name]
    unlisted = [name for name in names if name not in set(matched)]
    if missing and unlisted:
        warnings.warn(
            f"{str(table)!r} lists {len(missing)} names that the recording lacks ({shorten_list(missing)}), and the "
            f"recording has {len(unlisted)} channels that the table lacks ({shorten_list(unlisted)}). Rows of "
            "missing channels are ignored. If they are the same channels, use the same names in both.",
            stacklevel=6,
        )
    return matched


def warn_channel_name_spellings(names_by_recording, stacklevel=3):
    """Warn about channels that are spelled differently in two recordings.

    Parameters
    ----------
    names_by_recording : dict of str to sequence of str
        Channels of each recording.
    stacklevel : int, default=3

    Warns
    -----
    UserWarning
        If two names differ only in case, spaces or reference, and no recording
        has both.
    """
    groups: dict = {}
    for path, names in names_by_recording.items():
        for name in names:
            key = re.sub(r"[\s_]+", "", REFERENCE.sub("", name.strip().lower()))
            groups.setdefault(key, {}).setdefault(name, set()).add(path)
    twins = []
    for spelled in groups.values():
        if len(spelled) > 1 and not set.intersection(*spelled.values()):
            twins.append(
                join_text_items(
                    [f"{name!r} ({Path(min(paths)).name})" for name, paths in spelled.items()], "and"
                )
            )
    if twins:
        warnings.warn(
            f"{len(twins)} channels are spelled differently in different recordings: {shorten_list(twins)}. Each "
            "spelling is treated as a separate channel that is zero in the other recordings. Rename them with "
            "raw_hook= and raw.rename_channels.",
            stacklevel=stacklevel,
        )
