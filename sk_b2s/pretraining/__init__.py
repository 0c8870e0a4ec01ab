"""Pretraining of encoders on EEG/MEG without labels."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_grid": ["make_grid_segments"],
        "_masked_encoder": ["MaskedEncoder"],
        "_make_masked_encoder": ["make_masked_encoder"],
    },
)
