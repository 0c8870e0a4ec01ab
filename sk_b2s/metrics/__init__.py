"""Metrics of retrieval and reconstruction as plain functions on arrays.

No estimator and no table of segments is needed, and neither MNE nor a file is
read.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_confidence": ["fit_temperature", "reliability_curve", "risk_coverage_curve"],
        "_average_examples": ["average_examples"],
        "_group_context": ["causal_context_bias", "group_context_bias"],
        "_keyword_precision": ["average_precision_chance", "false_alarms_per_hour", "keyword_scores"],
        "_null": ["circular_shift_null"],
        "_ranks_and_top_k": [
            "balanced_top_k",
            "chance_level",
            "median_relative_rank",
            "ranks",
            "top_k_accuracy",
        ],
        "_reconstruction": ["overlap_add", "reconstruction_correlation"],
        "_similarity": ["similarity", "weighted_norms"],
        "_vocabulary": ["WordVocabulary", "make_vocabulary"],
        "_word_information": ["log_loss_gain", "mutual_information"],
        "_word_timing": ["timing_probabilities", "timing_scores"],
        "_word_scores": ["word_confusion", "word_probabilities", "word_scores"],
    },
)
