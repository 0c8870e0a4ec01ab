"""Torch modules, losses and training of brain encoders."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=["functional"],
    submod_attrs={
        "_brain_module": ["BrainModule", "ConvBlock"],
        "_channel_mixing": ["SpatialAttention", "SubjectEmbedding", "SubjectLayer"],
        "_losses": ["ClipLoss", "MSELoss", "SigLIPLoss", "SymmetricClipLoss"],
        "_speech_module": ["SpeechModule"],
    },
)
