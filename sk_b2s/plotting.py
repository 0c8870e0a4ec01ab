"""Pictures of what a decoder can do: arrays and tables in, matplotlib Axes out."""

from sk_b2s.adaptation_plots import plot_adaptation
from sk_b2s.alignment_plots import plot_alignment
from sk_b2s.answer_plots import plot_history, plot_rank_curve, plot_ranks, plot_similarity, plot_words
from sk_b2s.score_plots import plot_comparison, plot_controls, plot_curve, plot_scores, plot_subjects
from sk_b2s.topographies import plot_attention, plot_topography

__all__ = [
    "plot_adaptation",
    "plot_alignment",
    "plot_attention",
    "plot_comparison",
    "plot_controls",
    "plot_curve",
    "plot_history",
    "plot_rank_curve",
    "plot_ranks",
    "plot_scores",
    "plot_similarity",
    "plot_subjects",
    "plot_topography",
    "plot_words",
]
