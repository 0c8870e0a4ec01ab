"""Audio from reconstructed speech features, with its controls.

A reconstructor estimates the mel spectrogram of the stimulus from continuous
EEG/MEG, and a vocoder makes it audible. Audio of the same vocoder without
neural information shows what the vocoder and the training set contribute.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_confidence": ["compute_confidence"],
        "_controls": ["reconstruct_with_controls"],
        "_controls_result": ["ReconstructionControls"],
        "_reconstructor": ["SpeechReconstructor"],
        "_voice": ["SpeakerVoice", "make_example_voice"],
        "_wav_files": ["read_wav_metadata", "write_wav"],
        "_vocoder": ["mel_to_audio"],
    },
)
