"""Benchmarks, controls, statistics, curves and noise ceilings."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_alignment._check": ["check_alignment"],
        "_attention": ["attention_decision_accuracy", "attention_decoding_scores"],
        "_score_similarities": ["score_similarities"],
        "_benchmark": ["benchmark"],
        "_statistics._bootstrap_and_shift": ["bootstrap_ci", "circular_shift_test"],
        "_statistics._comparison": ["compare_estimators"],
        "_classification._label_segments": ["label_segments"],
        "_classification._scores": ["cross_val_classification"],
        "_controls._run": ["run_controls"],
        "_controls._surrogates": ["SurrogateRecordings"],
        "_curves": ["retrieval_validation_curve", "retrieval_learning_curve"],
        "_encoding._clusters": ["TRFClusters", "trf_cluster_test"],
        "_encoding._cross_val": ["cross_val_encoding"],
        "_encoding._feature_sets": ["compare_feature_sets", "unique_variance"],
        "_tasks._benchmark_task": ["benchmark_task"],
        "_noise_ceiling": ["intersubject_correlation", "split_half_reliability"],
        "_reconstruction._result": ["ReconstructionResult"],
        "_reconstruction._reconstruct": ["cross_val_reconstruction", "reconstruct", "reconstruction_scorer"],
        "_results._summarize": ["summarize"],
        "_results._table": ["read_results"],
        "_statistics._subject_means": ["mean_and_sem"],
    },
)
