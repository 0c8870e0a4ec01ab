"""Candidates of a stream: sounds with their onsets, or images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.events._images import ImageStimulus
from sk_b2s.events._stimuli import stimulus_duration

ROUNDING = 1e-6  # of a step


class StreamingCandidateSounds:
    """Sounds by name, with the seconds from the common onset to each.

    Parameters
    ----------
    candidates : dict of str to sound, (sound, float) or ImageStimulus
    duration : float
        Seconds of a window.
    tmin : float, default=0.0
        Start of the only window of images, in seconds after the onset.

    Attributes
    ----------
    is_trial : bool
        Whether the candidates are images, with one window after each onset.
    """

    def __init__(self, candidates, duration, tmin=0.0):
        if len(candidates) < 2:
            raise ValueError(
                f"candidates must contain at least two sounds or images by name. Got {list(candidates)}."
            )
        self.names, self.duration = list(candidates), float(duration)
        pairs = [_split_live_candidate(name, value) for name, value in candidates.items()]
        self.sounds, self.delays = [sound for sound, _ in pairs], np.array([delay for _, delay in pairs])
        are_images = [isinstance(sound, ImageStimulus) for sound in self.sounds]
        self.is_trial = any(are_images)
        if self.is_trial:
            self._check_images(are_images)
            self.start, self.stop = float(tmin), float(tmin) + self.duration
            return
        if tmin:
            raise ValueError(f"tmin requires images. Windows of sounds begin with them. Got tmin={tmin!r}.")
        lengths = np.array([stimulus_duration(sound) for sound in self.sounds])
        self.start = max(0.0, float(self.delays.max()))
        self.stop = float((lengths + self.delays).min())
        if self.stop - self.start < duration:
            detail = (
                f"The last begins {self.start:.3f} s and the first ends {self.stop:.3f} s after the onset."
                if self.delays.any()
                else f"The shortest has {self.stop:.3f} s."
            )
            raise ValueError(f"candidates must last at least one window of {duration:g} s. {detail}")

    def _check_images(self, are_images):
        """Raise unless all candidates are images without a delay."""
        other = [name for name, is_image in zip(self.names, are_images, strict=True) if not is_image]
        if other or self.delays.any():
            name = other[0] if other else self.names[int(np.argmax(self.delays != 0))]
            raise ValueError(
                f"candidates must all be images without a delay, or all sounds. Got {name!r} with other images. Pass "
                f"ImageStimulus(name) for each."
            )

    def __len__(self):
        return len(self.names)

    def find_steps(self, shift, sfreq, hop):
        """Return the first step, and the one after the last, with all sounds.

        ``shift`` is the time of step 0 after the onset, in seconds. The last
        window may end half a sample late, as the onset is rounded.
        """
        if self.is_trial:
            return 0, 1
        first = int(np.ceil((self.start - shift) * sfreq / hop - ROUNDING)) if self.start else 0
        last = int(np.floor(((self.stop - self.duration - shift) * sfreq + 0.5) / hop + ROUNDING))
        if last < max(first, 0):
            raise ValueError(
                f"candidates: all sounds play for {self.stop - self.start:.3f} s, and no window of {self.duration:g} s at a "
                f"step of {hop / sfreq:g} s is within. Use a smaller step, longer sounds or other delays."
            )
        return max(first, 0), last + 1

    def make_rows(self, times):
        """Return the stimuli of windows, the candidates of each in turn."""
        times, n = np.asarray(times, float), len(self)
        return pd.DataFrame({
            "sound": self.sounds * len(times),
            "sound_onset": np.repeat(times, n) - np.tile(self.delays, len(times)),
            "duration": self.duration, "segment": np.arange(n * len(times)),
        })  # fmt: skip


def _split_live_candidate(name, value):
    """Return the sound of a candidate, and its delay in seconds."""
    if not isinstance(value, tuple):
        return value, 0.0
    if len(value) != 2 or not (np.isscalar(value[1]) and np.isreal(value[1]) and np.isfinite(value[1])):
        raise ValueError(
            f"Candidate {name!r} must be a sound or (sound, delay), with the delay in seconds after the onset. Got "
            f"{value!r}."
        )
    return value[0], float(value[1])
