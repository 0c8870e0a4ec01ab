"""Segments, windows of EEG/MEG, scalers and covariance alignment.

Segments are cut from an events table and read from the recordings.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_covariance_alignment": ["CovarianceAlignment"],
        "_epocher._epocher": ["Epocher"],
        "_feature_pca": ["FeaturePCA"],
        "_scalers": ["FeatureScaler", "RobustChannelScaler"],
        "_segments": ["make_segments"],
        "_windows._concat": ["concat_windows"],
        "_windows._windows": ["Windows"],
    },
)
