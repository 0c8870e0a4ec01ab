"""Data sets of listening and viewing, published and simulated.

Each study has a function ``load_<study>``, which returns an events table, and
a function ``fetch_<study>`` if it can be downloaded. :func:`load_dataset`
loads a data set by name. :func:`make_listening` and :func:`make_viewing`
simulate recordings with known ground truth.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_accou2024": ["fetch_accou2024", "load_accou2024"],
        "_bel2026": ["fetch_bel2026", "load_bel2026"],
        "_brennan2019": ["fetch_brennan2019", "load_brennan2019"],
        "_broderick2019": ["fetch_broderick2019", "load_broderick2019"],
        "_gwilliams2022": ["fetch_gwilliams2022", "load_gwilliams2022"],
        "_registry": ["load_dataset"],
        "_schoffelen2019": ["load_schoffelen2019"],
        "libribrain._download": ["fetch_libribrain100"],
        "libribrain._holdout": ["load_libribrain100_holdout"],
        "libribrain._tables": ["load_libribrain100"],
        "simulated._artifacts": ["ARTIFACTS"],
        "simulated._experiment": ["make_listening"],
        "simulated._ground_truth": ["SubjectTruth", "RecordingTruth"],
        "simulated._oracle": ["oracle_scores"],
        "simulated._speech": ["load_speech"],
        "simulated._viewing": ["make_viewing"],
    },
)
