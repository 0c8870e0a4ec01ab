"""Torch modules, losses and training of brain encoders."""

import lazy_loader as _lazy

from sk_b2s.nn._registry import LOSSES as _LOSSES

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=["functional"],
    submod_attrs={
        "_brain_module": ["BrainModule", "ConvBlock"],
        "_channel_mixing": ["SpatialAttention", "SubjectEmbedding", "SubjectLayer"],
        "_losses": [spec.class_name for spec in _LOSSES.values()],  # each loss is exported by its entry
        "_speech_module": ["SpeechModule"],
    },
)
