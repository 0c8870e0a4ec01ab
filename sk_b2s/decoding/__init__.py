"""Decoders of speech from EEG/MEG, adaptation and retrieval results."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_calibrated": ["CalibratedDecoder"],
        "_encoder": ["BrainEncoder"],
        "_ensemble._decoder": ["EnsembleDecoder"],
        "_likelihood._decoder": ["LikelihoodDecoder"],
        "_presets": ["make_decoders"],
        "_retrieval._result": ["RetrievalResult"],
        "_retrieval._row_candidates": ["RowCandidates"],
        "_retrieval._row_result": ["RowRetrievalResult"],
        "_retrieval._concat_results": ["concat_results"],
        "_retrieval._retrieval_scores": ["retrieval_scores"],
        "_retrieval._retrieve": ["retrieve"],
        "_retrieval._word_result": ["WordResult"],
        "_retrieval._retrieve_words": ["retrieve_words"],
        "_ridge_decoder": ["RidgeDecoder"],
        "_trf._average": ["average_trfs"],
        "_trf._forward": ["ForwardTRF"],
    },
)
