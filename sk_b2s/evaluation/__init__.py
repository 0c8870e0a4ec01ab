"""Benchmarks, controls, statistics over subjects, curves and noise ceilings."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_alignment_check": ["check_alignment"],
        "_attention": ["attention_accuracy"],
        "_audit": ["audit"],
        "_benchmark": ["benchmark"],
        "_bootstrap": ["bootstrap_interval", "shift_test"],
        "_controls._run": ["run_controls"],
        "_controls._surrogates": ["SurrogateBrain"],
        "_curves": ["accuracy_by", "decision_accuracy", "learning_curve"],
        "_encoding": ["forward_prediction", "score_feature_spaces", "unique_contributions"],
        "_noise_ceiling": ["intersubject_correlation", "split_half_reliability"],
        "_results._table": ["read_results", "summarise"],
        "_statistics": ["compare_estimators", "mean_and_sem"],
    },
)
