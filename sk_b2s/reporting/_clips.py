"""Short audio clips of stimuli, embedded in the HTML report."""

from __future__ import annotations

import inspect
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from sk_b2s._utils._caching import get_cached_file_state
from sk_b2s.datasets.simulated._speech import SPEECH
from sk_b2s.evaluation._results._plan import read_plan
from sk_b2s.events._audio._resampling import resample_audio
from sk_b2s.events._audio._track_files import read_track_samples
from sk_b2s.events._stimuli import digest_stimuli

RATE = 16000  # Hz
MAX_SECONDS = 4.0  # of a clip
MAX_BYTES = 600_000  # of all clips of a page
MAX_FILES = 20_000  # that are searched for a name
SIMULATED_CUT = re.compile(r"([\w-]+)-first\d+ms\.flac")  # beginning of a file of the package


class StimulusClips:
    """Clips of the stimuli of results, from folders of audio files.

    Only files whose content is that of the results are used. Results with
    many stimuli have no digest of each, and files are found by name.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        Results of a benchmark, whose plan has digests of the stimuli.
    folders : None, path-like, or sequence of path-like
        Folders, searched with their sub-folders. The speech of the package is
        searched in any case.

    Attributes
    ----------
    is_full : bool
        Whether clips were left out because of the size of the page.
    """

    def __init__(self, results, folders=None):
        folders = [] if folders is None else [folders] if isinstance(folders, str | Path) else list(folders)
        for folder in folders:
            if not Path(folder).is_dir():
                raise FileNotFoundError(
                    f"The 'stimuli' parameter must name folders of audio files. {str(folder)!r} is not a folder."
                )
        self._folders = [*map(Path, folders), SPEECH]
        self._digests, self._is_simulated = _read_clip_digests(results), is_clip_simulated(results)
        self._paths, self._clips, self._n_bytes = {}, {}, 0
        self.is_full = False

    def cut(self, stimulus):
        """Return a clip as (bytes, media type), or None.

        Parameters
        ----------
        stimulus : dict
            ``sound`` (file name), ``start`` and ``duration`` in seconds.
        """
        if not {"sound", "start", "duration"} <= set(stimulus):
            return None
        key = stimulus["sound"], stimulus["start"], stimulus["duration"]
        if key not in self._clips:
            self._clips[key] = self._cut(*key)
        return self._clips[key]

    def _cut(self, name, start, duration):
        path = self._find(name)
        if path is None or not 0 < duration:
            return None
        if self._n_bytes > MAX_BYTES:
            self.is_full = True
            return None
        stop = start + min(duration, MAX_SECONDS)
        try:
            samples, rate = read_track_samples(path, get_cached_file_state(path), start, stop)
        except (OSError, ValueError):  # damaged since the benchmark
            return None
        if not len(samples):
            return None
        clip = encode_clip(resample_audio(samples, rate, RATE))
        self._n_bytes += len(clip[0])
        return clip

    def _find(self, name):
        """Return the path of the stimulus with a name, or None."""
        if name not in self._paths:
            is_plain = name == Path(name).name and name not in ("", ".", "..")
            found = (
                path for folder in self._folders for path in _iter_clip_files(folder) if path.name == name
            )
            path = next((str(path) for path in found if self._is_same(path)), None) if is_plain else None
            self._paths[name] = path or self._find_simulated(name)
        return self._paths[name]

    def _find_simulated(self, name):
        """Return the speech of the package that a simulation has cut."""
        cut = SIMULATED_CUT.fullmatch(name) if self._is_simulated else None
        path = SPEECH / f"{cut[1]}.ogg" if cut else SPEECH / name
        return str(path) if cut and path.is_file() else None

    def _is_same(self, path):
        digest = self._digests.get(path.name)
        if digest is None:
            return not self._digests
        try:
            return str(digest_stimuli(pd.Series([str(path)]))[0]).startswith(digest)
        except (OSError, ValueError):
            return False


def _iter_clip_files(folder):
    for n, path in enumerate(folder.rglob("*")):
        if n >= MAX_FILES:
            return
        yield path


def _read_clip_digests(results):
    """Return the digests of stimuli in plans, by file name."""
    out = {}
    for text in pd.unique(results["plan"].dropna()) if "plan" in results else ():
        found = (read_plan(text) or {}).get("data", {}).get("sounds", {})
        out |= {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}
    return {name: digest for name, digest in out.items() if not name.startswith("all ")}


def is_clip_simulated(results):
    """Return whether all data of results are simulated."""
    studies = {str(name) for name in pd.unique(results["study"].dropna())} if "study" in results else set()
    return studies == {"simulated"}


def encode_clip(samples):
    """Encode mono samples at 16 kHz as MP3, or WAV without an MP3 encoder.

    Returns
    -------
    content : bytes
    media_type : str
    """
    peak = float(np.abs(samples).max(initial=0.0))
    samples = samples / max(peak, 1.0)
    kinds = ("MP3", "MPEG_LAYER_III", "audio/mpeg"), ("WAV", "PCM_16", "audio/wav")
    kind, subtype, media_type = kinds[0 if "MP3" in soundfile.available_formats() else 1]
    file = io.BytesIO()
    is_adjustable = kind == "MP3" and "compression_level" in inspect.signature(soundfile.write).parameters
    quality = {"compression_level": 0.8} if is_adjustable else {}  # since soundfile 0.13
    soundfile.write(file, samples, RATE, format=kind, subtype=subtype, **quality)
    return file.getvalue(), media_type
