"""Features that a reconstructor estimates: mel spectra or those of a voice."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sk_b2s._utils._estimators import find_estimator_speech
from sk_b2s._utils._validation import validate_table
from sk_b2s.decoding._candidates import make_candidate_windows
from sk_b2s.features._acoustic_spectra import MelSpectrogram
from sk_b2s.features._pretrained import Wav2Vec2Features
from sk_b2s.preprocessing._windows._windows import Windows
from sk_b2s.synthesis._voice import SpeakerVoice

N_MELS = 40  # bands if the decoder has other features than a mel spectrogram


def choose_reconstruction_target(target, decoder, vocoder):
    """Return "mel" or "features", the features that a vocoder takes."""
    pretrained = find_reconstruction_target_step(decoder, Wav2Vec2Features)
    if target == "auto":
        is_matched = isinstance(vocoder, SpeakerVoice) and pretrained is not None
        return "features" if is_matched and vocoder.has_features_of(pretrained) else "mel"
    if target == "mel":
        return "mel"
    if pretrained is None:
        raise ValueError(
            "target='features' requires a step Wav2Vec2Features in the 'speech' of the decoder. Use "
            "speech=make_pipeline(Wav2Vec2Features('whisper-tiny.en'), FeatureScaler()), or target='mel'."
        )
    if vocoder == "griffinlim":
        raise ValueError(
            "target='features' requires a vocoder that takes pretrained features, and 'griffinlim' takes mel spectra. Use "
            "vocoder=SpeakerVoice(...).fit(...), or target='mel'."
        )
    if isinstance(vocoder, SpeakerVoice) and not vocoder.has_features_of(pretrained):
        raise ValueError(
            f"The voice has features of model={str(vocoder.model)!r} with layers={vocoder.layers!r}, and the decoder those of "
            f"model={str(pretrained.model)!r} with layers={pretrained.layers!r}. Use equal ones, or target='mel'."
        )
    return "features"


def find_reconstruction_target_step(decoder, kind):
    """Return the step of a kind in the ``speech`` of a decoder, or None."""
    speech = find_estimator_speech(decoder)
    return next((step for step in _list_steps_of_targets(speech) if isinstance(step, kind)), None)


def _list_steps_of_targets(speech):
    return [step for _, step in speech.steps] if isinstance(speech, Pipeline) else [speech]


def compute_reconstruction_targets(decoder, y, target):
    """Compute the true features of segments: Windows."""
    speech = find_estimator_speech(decoder)
    if speech is None:
        return y if isinstance(y, Windows) else make_candidate_windows(np.asarray(y, np.float32))
    table = validate_table(y)
    if table is None:
        raise ValueError(
            f"SpeechReconstructor requires y to be the table of segments returned by make_segments, because its decoder has "
            f"speech={type(speech).__name__}(...). Got {type(y).__name__} instead."
        )
    if target == "features":
        step = find_reconstruction_target_step(decoder, Wav2Vec2Features)
    elif (step := find_reconstruction_target_step(decoder, MelSpectrogram)) is None:
        steps = _list_steps_of_targets(speech)
        rate = next((step.sfreq for step in steps if getattr(step, "sfreq", None)), 50)
        step = MelSpectrogram(N_MELS, rate, memory=getattr(steps[0], "memory", None))
    return clone(step).fit(table).transform(table)
