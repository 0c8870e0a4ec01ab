"""The events table, its stimuli, and intervals and blocks of stimuli.

An events table has one row per stimulus, word, phoneme or bad stretch. Stimuli are known by their content.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_audio._files": ["SoundTrack"],
        "_concat": ["concat_events"],
        "_intervals": ["SoundIntervals"],
        "_paper_blocks": ["PublishedBlocks"],
        "_stimuli": ["SoundArray"],
        "_streams": ["heard_beside"],
        "_table": ["check_events"],
    },
)
