"""Decode perceived speech from EEG/MEG, with the interface of scikit-learn.

Every public name is documented in its sub-package, such as
``sk_b2s.decoding.BrainEncoder``. Most names can be imported from here, too, as
``sk_b2s.BrainEncoder``. Modules are imported when a name is first used.
"""

from importlib import import_module as _import_module

import lazy_loader as _lazy

__version__ = "0.1.0"

_SUBPACKAGES = (
    "metrics", "events", "io", "preprocessing", "model_selection", "features", "datasets", "nn", "decoding",
    "pretraining", "evaluation", "synthesis", "streaming", "plotting", "reporting",
)  # fmt: skip
_FLAT = (
    "events",
    "io",
    "preprocessing",
    "model_selection",
    "features",
    "decoding",
    "pretraining",
    "evaluation",
    "synthesis",
    "streaming",
    "reporting",
)

_public = {name: _import_module(f"{__name__}.{name}").__all__ for name in _FLAT}
_public |= {
    "metrics": ["WordVocabulary", "circular_shift_null", "make_vocabulary"],
    "datasets": ["load_dataset"],
    "_persistence": ["load", "push_to_hub", "save"],
    "_utils": ["set_log_level", "show_versions"],
}
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submodules=_SUBPACKAGES, submod_attrs=_public)
__all__ = sorted(set(__all__) - set(_SUBPACKAGES))
