"""Data sets of listening and viewing, published and simulated.

Each study has a function ``load_<study>``, which returns an events table, and
a function ``fetch_<study>`` if it can be downloaded. :func:`load_dataset`
loads a data set by name. :func:`make_listening` and :func:`make_viewing`
simulate recordings with known ground truth.
"""

import lazy_loader as _lazy

from sk_b2s.datasets._registry import SPECS as _SPECS

_public = {
    "_registry": ["load_dataset"],
    "_sample": ["fetch_sample"],
    "libribrain._holdout": ["load_libribrain100_holdout"],
    "simulated._artifacts": ["ARTIFACTS"],
    "simulated._experiment": ["make_listening"],
    "simulated._ground_truth": ["SubjectTruth", "RecordingTruth"],
    "simulated._oracle": ["oracle_scores"],
    "simulated._speech": ["load_speech"],
    "simulated._viewing": ["make_viewing"],
    "things_eeg2._load": ["load_things_eeg2_trials"],
}
for _spec in _SPECS:  # each study is exported by its entry, the simulation by make_listening
    for _path in filter(None, (_spec.loader_path, _spec.fetcher_path)):
        _module, _, _name = _path.rpartition(".")
        if _module != "simulated._load":
            _public[_module] = [*_public.get(_module, ()), _name]
__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs=_public)
