"""Figures of scores, retrieval results, alignment and topographies.

Functions take arrays and tables, and return matplotlib Axes.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_alignment": ["plot_alignment"],
        "_calibration": ["plot_adaptation"],
        "_confidence": ["plot_reliability", "plot_risk_coverage"],
        "_curves": ["plot_curve", "plot_history", "plot_rank_curve"],
        "_guesses": ["plot_guesses"],
        "_retrieval": ["plot_ranks", "plot_similarity"],
        "_scores": ["plot_comparison", "plot_controls", "plot_scores", "plot_subjects"],
        "_topomap": ["plot_attention", "plot_topography"],
        "_trf": ["plot_trf", "plot_trf_features", "plot_trf_joint"],
        "_words": ["plot_keywords", "plot_word_confusion", "plot_words"],
    },
)
