"""Audio of the presented stimulus at the frames of a reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np

from sk_b2s.events._audio._track_files import AudioTrack
from sk_b2s.features._read_audio import AUDIO_SFREQ, read_audio_for_features


@dataclass(frozen=True, eq=False)
class StimulusAudio:
    """Audio files of the places of a reconstruction.

    ``sounds[i]`` begins at the place ``first[i]``, and ``seconds[i]`` is the
    time of this frame in the file.
    """

    first: np.ndarray
    sounds: list
    seconds: np.ndarray
    sfreq: float

    def read(self, place):
        """Read the audio of frames, None if it is not a file.

        Parameters
        ----------
        place : ndarray of int of shape (n_frames,)
            Places of consecutive frames of a reconstruction.

        Returns
        -------
        audio : ndarray of float32 of shape (n_samples,) or None
            At 16 kHz.
        """
        edges = np.flatnonzero(np.diff(place) != 1) + 1
        parts, n_frames = [], 0
        for run in np.split(place, edges):
            entry = np.searchsorted(self.first, run[0], side="right") - 1
            sound = self.sounds[entry]
            if not isinstance(sound, (str, PathLike, AudioTrack)):
                return None
            start = max(self.seconds[entry] + (run[0] - self.first[entry]) / self.sfreq, 0.0)
            n_samples = round((n_frames + len(run)) / self.sfreq * AUDIO_SFREQ) - sum(map(len, parts))
            n_frames += len(run)
            audio = read_audio_for_features(sound, start, start + len(run) / self.sfreq)[:n_samples]
            parts.append(np.pad(audio, (0, n_samples - len(audio))).astype(np.float32))
        return np.concatenate(parts)


def list_stimulus_audio(targets):
    """List the files of the targets: StimulusAudio, None without files."""
    table = targets.rows
    if table is None or not {"sound", "sound_onset"} <= set(table) or not targets.sfreq:
        return None
    which, row = np.unique(np.asarray(targets.which), return_index=True)
    step = 1 + max(signal.shape[0] for signal in targets.signals)
    start = np.asarray(targets.start)[row] / targets.sfreq
    seconds = table["sound_onset"].to_numpy(float)[row] - start
    return StimulusAudio(which * step, list(table["sound"].iloc[row]), seconds, float(targets.sfreq))


def join_stimulus_audio(parts, step):
    """Join the files of several folds, whose places begin ``step`` apart."""
    if any(part is None for part in parts):
        return None
    return StimulusAudio(
        np.concatenate([part.first + number * step for number, part in enumerate(parts)]),
        [sound for part in parts for sound in part.sounds],
        np.concatenate([part.seconds for part in parts]),
        parts[0].sfreq,
    )
