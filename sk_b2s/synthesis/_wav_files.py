"""WAV files of synthetic sound, with RIFF INFO metadata."""

from __future__ import annotations

import json
import sys
from numbers import Integral, Real

import numpy as np
import soundfile

RATES = (4000, 192000)  # Hz
MOST_CHARACTERS = 2000  # libsndfile does not read longer entries
TITLE = "Synthetic sound"


def write_wav(path, sound, sfreq, metadata=None):
    """Write synthetic sound to a WAV file with metadata.

    The samples are 16-bit integers. The file states in its RIFF INFO entries
    that the sound is synthetic, and the version of sk_b2s that wrote it.

    Parameters
    ----------
    path : str, Path or file object
        WAV file. An existing file is replaced.
    sound : array-like of shape (n_samples,)
        Samples from -1 to 1.
    sfreq : int
        Sampling rate in Hz, from 4000 to 192000.
    metadata : dict of str to str, bool, int or float, default=None
        Entries that are stored as JSON in the comment of the file, such as
        :attr:`SpeakerVoice.metadata`. The entry "synthetic" is always true.

    Raises
    ------
    TypeError
        If ``metadata`` is not a dict of such values.
    ValueError
        If samples are not finite or beyond -1 to 1, if the sound is not one
        channel, or if ``sfreq`` or the length of ``metadata`` is invalid.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> consent = {"consent": "A. agreed to tests"}
    >>> write_wav(file, [0.0, 0.5, -0.5], 16000, consent)
    >>> file = io.BytesIO(file.getvalue())
    >>> read_wav_metadata(file)["consent"]
    'A. agreed to tests'
    """
    sound, sfreq = check_wav_sound(sound, sfreq)
    comment = _make_wav_comment(metadata)
    with soundfile.SoundFile(path, "w", sfreq, 1, format="WAV", subtype="PCM_16") as file:
        file.title, file.comment = TITLE, comment
        file.software = f"sk_b2s {sys.modules['sk_b2s'].__version__}"
        file.write(sound)


def read_wav_metadata(path):
    """Read the metadata of a WAV file that `write_wav` wrote.

    Parameters
    ----------
    path : str, Path or file object
        WAV file.

    Returns
    -------
    metadata : dict
        The entries passed to :func:`write_wav`, "synthetic" and "software".

    Raises
    ------
    ValueError
        If the file has no such metadata.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> write_wav(file, [0.0, 0.5, -0.5], 16000)
    >>> read_wav_metadata(io.BytesIO(file.getvalue()))["synthetic"]
    True
    """
    with soundfile.SoundFile(path) as file:
        found = file.copy_metadata()
    try:
        metadata = json.loads(found.get("comment", ""))
    except json.JSONDecodeError:
        metadata = None
    if not isinstance(metadata, dict) or "synthetic" not in metadata:
        raise ValueError(
            f"{str(path)!r} has no metadata of sk_b2s in its RIFF INFO entries. Use a file written by write_wav. "
            f"Other programs can remove metadata."
        )
    return metadata | {"software": found.get("software", "")}


def check_wav_sound(sound, sfreq, owner="'sound'"):
    """Return valid mono samples as float32, and the rate as int."""
    if not isinstance(sfreq, Real) or not RATES[0] <= sfreq <= RATES[1] or sfreq % 1:
        raise ValueError(
            f"'sfreq' must be an integer from {RATES[0]} to {RATES[1]} Hz. Got {sfreq!r} instead."
        )
    samples = np.asarray(sound)
    if samples.ndim != 1 or not samples.size or samples.dtype.kind not in "fiu":
        raise ValueError(
            f"{owner} must be one channel of numbers, of shape (n_samples,). Got shape {samples.shape} of "
            f"{samples.dtype} instead. Average the channels of stereo sound."
        )
    bad = np.flatnonzero(~np.isfinite(samples))
    if len(bad):
        raise ValueError(f"{owner} must be finite. Got {samples[bad[0]]} at sample {bad[0]} instead.")
    peak = np.abs(samples.astype(float)).max()
    if peak > 1:
        raise ValueError(
            f"{owner} must be from -1 to 1. Got a peak of {peak:.3g} instead. Divide by the peak, or divide integer "
            f"samples by the largest integer of their type."
        )
    return samples.astype(np.float32), int(sfreq)


def _make_wav_comment(metadata):
    entries = {} if metadata is None else metadata
    if not isinstance(entries, dict) or not all(
        isinstance(name, str) and isinstance(value, (str, bool, Integral, Real))
        for name, value in entries.items()
    ):
        raise TypeError(
            f"'metadata' must be None or a dict of str to str, bool, int or float. Got {metadata!r} instead."
        )
    comment = json.dumps({**entries, "synthetic": True})
    if len(comment) > MOST_CHARACTERS:
        raise ValueError(
            f"'metadata' must have at most {MOST_CHARACTERS} characters as JSON. Got {len(comment)} instead. Shorten "
            f"the text of {max(entries, key=lambda name: len(str(entries[name])))!r}."
        )
    return comment
