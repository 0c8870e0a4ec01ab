"""Cross-validation splitters that hold out stimuli, and leakage checks."""

import lazy_loader as _lazy

from sk_b2s.model_selection._registry import SPLITTERS as _SPLITTERS

_public = {
    "_calibration_sentences": ["select_calibration_sentences"],
    "_leakage": ["check_leakage"],
    "_leakage_report": ["format_leakage"],
    "_leak_warning": ["StimulusLeakWarning"],
}
for _spec in _SPLITTERS.values():  # each splitter is exported by its entry
    _public[_spec.module] = [*_public.get(_spec.module, ()), _spec.class_name]
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=_public)
