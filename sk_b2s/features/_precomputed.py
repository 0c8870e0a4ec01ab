"""Speech features that were computed before."""

from __future__ import annotations

import pandas as pd

from sk_b2s.events._stimuli import StimulusArray
from sk_b2s.features._base import SpeechFeatures


class PrecomputedFeatures(SpeechFeatures):
    """Features that the sounds bring along as :class:`~sk_b2s.StimulusArray`, at their own rate.

    Attributes
    ----------
    n_features_out_ : int
        Number of features, equal in all sounds.

    Notes
    -----
    Silence is 0.
    """

    _parameter_constraints: dict = {}
    _reads_audio = False

    def _n_features(self, sounds):
        distinct = pd.unique(sounds)
        for sound in distinct:
            if not isinstance(sound, StimulusArray):
                raise ValueError(f"PrecomputedFeatures needs sounds of type StimulusArray, got {sound!r}.")
        widths = {sound.data.shape[1] for sound in distinct}
        if len(widths) > 1:
            raise ValueError(f"all sounds must have as many features, got {sorted(widths)}.")
        return widths.pop()

    def _rate(self, sounds):
        rates = {sound.sfreq for sound in sounds}
        if len(rates) > 1:
            raise ValueError(f"all sounds must have one rate, got {sorted(rates)} Hz.")
        return rates.pop()

    def _check_rate(self):
        pass

    def _features(self, sound):
        return sound.data
