"""Precomputed speech features."""

from __future__ import annotations

import pandas as pd

from sk_b2s.events._stimuli import StimulusArray
from sk_b2s.features._base import SpeechFeatures


class PrecomputedFeatures(SpeechFeatures):
    """Cut windows from features stored in :class:`~sk_b2s.StimulusArray`.

    The windows have the sampling rate of the arrays.

    Attributes
    ----------
    n_features_out_ : int
        Number of features, equal in all stimuli.

    Notes
    -----
    Frames beyond the ends of a stimulus are 0.
    """

    _parameter_constraints: dict = {}
    _reads_audio = False

    def _count_features(self, sounds):
        distinct = pd.unique(sounds)
        for sound in distinct:
            if not isinstance(sound, StimulusArray):
                raise ValueError(
                    f"PrecomputedFeatures requires stimuli of type StimulusArray. Got {sound!r} instead. Use another "
                    f"speech feature, such as MelSpectrogram, for audio files."
                )
        widths = {sound.data.shape[1] for sound in distinct}
        if len(widths) > 1:
            raise ValueError(
                f"All stimuli must have the same number of features. Got {sorted(widths)} instead."
            )
        return widths.pop()

    def _find_rate(self, sounds):
        rates = {sound.sfreq for sound in sounds}
        if len(rates) > 1:
            raise ValueError(f"All stimuli must have the same sampling rate. Got {sorted(rates)} Hz instead.")
        return rates.pop()

    def _check_rate(self):
        pass

    def _compute_features(self, sound):
        return sound.data
