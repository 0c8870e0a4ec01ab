"""Speech features: mel spectrogram, envelope, onsets, words and phonemes, and wav2vec 2.0."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_activity": ["SpeechActivity"],
        "_events": ["EventFeatures"],
        "_precomputed": ["PrecomputedFeatures"],
        "_pretrained": ["Wav2Vec2Features"],
        "_spectral": ["AcousticOnsets", "Envelope", "MelSpectrogram"],
        "_union": ["SpeechFeatureUnion"],
    },
)
