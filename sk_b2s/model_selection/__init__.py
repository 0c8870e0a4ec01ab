"""Cross-validation splitters that hold out stimuli, and leakage checks."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_calibration_sentences": ["select_calibration_sentences"],
        "_hashed": ["HashedBlockSplit"],
        "_leakage": ["check_leakage"],
        "_leakage_report": ["format_leakage"],
        "_leave_one_out": ["LeaveOneSessionOut", "LeaveOneStudyOut", "LeaveOneSubjectOut"],
        "_split": ["StimulusKFold", "StimulusLeakWarning"],
    },
)
