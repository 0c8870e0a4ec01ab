"""Figures of scores, retrieval results, alignment and topographies.

Arrays and tables go in, matplotlib Axes come out.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_alignment": ["plot_alignment"],
        "_calibration": ["plot_adaptation"],
        "_history": ["plot_history"],
        "_retrieval": ["plot_rank_curve", "plot_ranks", "plot_similarity", "plot_words"],
        "_scores": ["plot_comparison", "plot_controls", "plot_curve", "plot_scores", "plot_subjects"],
        "_topomap": ["plot_attention", "plot_topography"],
    },
)
