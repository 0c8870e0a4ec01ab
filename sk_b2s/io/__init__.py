"""Readers: recordings, BIDS folders, triggers, TextGrids and audio alignment.

Files go in; an events table, or a Raw of MNE, comes out.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_bids": ["read_bids"],
        "_bids_writing": ["write_bids_events"],
        "_clocks._audio_alignment": ["align_to_audio"],
        "_events_file": ["read_events"],
        "_textgrid": ["read_textgrid"],
        "_triggers": ["events_from_raw"],
        "_word_alignment": ["add_words", "align_words"],
    },
)
