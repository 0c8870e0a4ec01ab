"""Registry of splitters.

The sub-package exports every entry. The classes are named and not imported, so
that the command line can list them quickly.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class SplitterSpec:
    """Entry of the registry of splitters.

    To add a splitter, write its class and add one entry to ``SPLITTERS``.

    Parameters
    ----------
    name : str
        Name on the command line.
    module, class_name : str
        Module of ``sk_b2s.model_selection``, and the class in it.
    label : str
        What is held out.
    folds_parameter : str, default=None
        Parameter with the number of stimulus folds. If None, the splitter
        makes one fold.
    """

    name: str
    module: str
    class_name: str
    label: str
    folds_parameter: str | None = None

    def load(self):
        """Return the class."""
        return getattr(importlib.import_module("sk_b2s.model_selection"), self.class_name)


SPLITTERS = {
    spec.name: spec
    for spec in (
        SplitterSpec(
            "loso", "_leave_one_out", "LeaveOneSubjectOut", "subjects and stimuli", "stimulus_folds"
        ),
        SplitterSpec("stimulus", "_split", "StimulusKFold", "stimuli", "n_splits"),
        SplitterSpec(
            "session", "_leave_one_out", "LeaveOneSessionOut", "sessions and stimuli", "stimulus_folds"
        ),
        SplitterSpec("study", "_leave_one_out", "LeaveOneStudyOut", "studies and stimuli", "stimulus_folds"),
        SplitterSpec("hashed", "_hashed", "HashedBlockSplit", "blocks of the published split"),
    )
}
