"""Fitted estimators saved as plain data in safetensors files."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_hub": ["push_to_hub"],
        "_registry": ["ESTIMATORS"],
        "_save_load": ["load", "save"],
    },
)
