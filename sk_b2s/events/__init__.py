"""The events table, its stimuli, and intervals and blocks of stimuli.

An events table has one row per stimulus, word, phoneme or bad stretch.
Stimuli are identified by their content.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_audio._track_files": ["AudioTrack"],
        "_concat": ["concat_events"],
        "_description": ["describe_events"],
        "_intervals": ["StimulusIntervals"],
        "_paper_blocks": ["PaperBlocks"],
        "_images": ["ImageStimulus"],
        "_stimuli": ["StimulusArray"],
        "_concurrent_streams": ["concurrent_stream"],
        "_check_events": ["check_events"],
    },
)
