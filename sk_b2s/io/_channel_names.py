"""Channel names that differ in spelling between files."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path

from sk_b2s._utils._caching import code_of
from sk_b2s._utils._text import shorten_list

CODE = code_of(__file__)
SITE = re.compile(
    r"-\d{3,}$"
)  # what CTF adds to the name of a sensor for each site, in the file or the table
REFERENCE = re.compile(r"[-_: ](ref|le|re|avg?|a1|a2|m1|m2|cz|org|g2)$")
MODALITY = re.compile(r"^(eeg|meg|pol|ch|channel)[-_: ]*(?=\S)")


def plain_name(name):
    """Write the name of a channel without case, spaces, modality, reference and leading zeros.

    Parameters
    ----------
    name : str

    Returns
    -------
    plain : str

    Examples
    --------
    >>> [plain_name(name) for name in ("EEG 001", "EEG001", "EEG Fp1-Ref", "FP1", "fp1 ", "MEG 0111")]
    ['1', '1', 'fp1', 'fp1', 'fp1', '111']
    """
    plain = REFERENCE.sub("", str(name).strip().lower())
    plain = MODALITY.sub("", plain)
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s._-]+", "", plain))


def match_names(told, names, table):
    """Find the channel of a recording that each row of a table means.

    Parameters
    ----------
    told : sequence of str
        Names in the table.
    names : sequence of str
        Names of channels in the file.
    table : path-like
        The table, for messages.

    Returns
    -------
    matched : list of str or None
        A name of the file for each row, None for rows of channels that the file does not have. Equal names count, then
        CTF's names without their site, then plain names (:func:`plain_name`) that occur once on both sides.

    Warns
    -----
    UserWarning
        If a name occurs twice in the table, or both the table and the file have channels that the other lacks.
    """
    told, names = [str(name) for name in told], list(names)
    twice = sorted(name for name, count in Counter(told).items() if count > 1 and name)
    if twice:
        warnings.warn(
            f"{str(table)!r} has {len(twice)} names in several rows, {shorten_list(twice)}. A channel is bad if one of its "
            f"rows says so. Correct the table.",
            stacklevel=6,
        )
    matched: list = [None] * len(told)
    for spelling in (str, lambda name: SITE.sub("", name), str.strip, str.lower, plain_name):
        free = [name for name in names if name not in set(matched)]
        known = {spelling(name): name for name in free}
        count = Counter(spelling(name) for name in free)
        asked = Counter(
            spelling(name) for name in {told[i] for i, match in enumerate(matched) if match is None}
        )
        for i, name in enumerate(told):
            plain = spelling(name)
            if matched[i] is None and plain and count[plain] == asked[plain] == 1:
                matched[i] = known[plain]
    lost = [name for name, match in zip(told, matched, strict=True) if match is None and name]
    untold = [name for name in names if name not in set(matched)]
    if lost and untold:
        warnings.warn(
            f"{str(table)!r} has {len(lost)} names that the recording does not have, {shorten_list(lost)}, and the "
            f"recording {len(untold)} channels that the table does not have, {shorten_list(untold)}. What the table says of "
            f"the former is not used. Spell them alike if they are the same.",
            stacklevel=6,
        )
    return matched


def warn_of_spellings(names_of, stacklevel=3):
    """Warn of channels that seem to be one sensor spelled differently in different recordings.

    Parameters
    ----------
    names_of : dict of str to sequence of str
        Channels of each recording.
    stacklevel : int, default=3

    Warns
    -----
    UserWarning
        If two names differ in case, spaces or reference alone, and no recording has both.
    """
    groups: dict = {}
    for path, names in names_of.items():
        for name in names:
            key = re.sub(r"[\s_]+", "", REFERENCE.sub("", name.strip().lower()))
            groups.setdefault(key, {}).setdefault(name, set()).add(path)
    twins = []
    for spelled in groups.values():
        if len(spelled) > 1 and not set.intersection(*spelled.values()):
            twins.append(
                " and ".join(f"{name!r} ({Path(min(paths)).name})" for name, paths in spelled.items())
            )
    if twins:
        warnings.warn(
            f"{len(twins)} channels are spelled in several ways, {shorten_list(twins)}. Each spelling is a channel of its "
            f"own, which is zero in the other recordings. Rename them alike by raw_hook=, with raw.rename_channels.",
            stacklevel=stacklevel,
        )
