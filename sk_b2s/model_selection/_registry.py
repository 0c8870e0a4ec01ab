"""Registry of splitters.

The classes are named and not imported, so that the command line can list them
quickly.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class SplitterSpec:
    """Entry of the registry of splitters.

    To add a splitter, write its class, export it from
    ``sk_b2s.model_selection`` and add one entry to ``SPLITTERS``.

    Parameters
    ----------
    name : str
        Name on the command line.
    class_name : str
        Name of the class in ``sk_b2s.model_selection``.
    label : str
        What is held out.
    folds_parameter : str, default=None
        Parameter with the number of stimulus folds. If None, the splitter
        makes one fold.
    """

    name: str
    class_name: str
    label: str
    folds_parameter: str | None = None

    def load(self):
        """Return the class."""
        return getattr(importlib.import_module("sk_b2s.model_selection"), self.class_name)


SPLITTERS = {
    spec.name: spec
    for spec in (
        SplitterSpec("loso", "LeaveOneSubjectOut", "subjects and stimuli", "stimulus_folds"),
        SplitterSpec("stimulus", "StimulusKFold", "stimuli", "n_splits"),
        SplitterSpec("session", "LeaveOneSessionOut", "sessions and stimuli", "stimulus_folds"),
        SplitterSpec("study", "LeaveOneStudyOut", "studies and stimuli", "stimulus_folds"),
        SplitterSpec("hashed", "HashedBlockSplit", "blocks of the published split"),
    )
}
