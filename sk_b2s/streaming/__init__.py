"""Decoding while the recording runs.

A fitted pipeline whose steps use no later samples is applied to a stream of
samples, and the evidence of its windows grows into a posterior probability of
each candidate.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_decoder": ["StreamingDecoder"],
        "_latency": ["pipeline_latency"],
        "_onsets": ["AudioOnset", "TriggerOnset"],
        "_outlet": ["PosteriorOutlet"],
        "_live_predictions": ["read_live_predictions", "score_live_predictions"],
        "_decode_live": ["decode_live"],
        "_sources._base": ["StreamSource"],
        "_sources._sources": ["make_stream_source"],
    },
)
