"""Speech features of stimuli: transformers from stimulus tables to windows.

Acoustic features (mel spectrogram, envelope, onsets, speech activity), words
and phonemes of an events table, hidden states of pretrained speech models such
as wav2vec 2.0, precomputed features, and unions of several features.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_activity": ["SpeechActivity"],
        "_events": ["PHONETIC_FEATURES", "EventFeatures"],
        "_precomputed": ["PrecomputedFeatures"],
        "_pretrained": ["Wav2Vec2Features"],
        "_acoustic_spectra": ["AcousticOnsets", "Envelope", "MelSpectrogram"],
        "_union": ["SpeechFeatureUnion"],
        "_word_types": ["make_word_types"],
    },
)
