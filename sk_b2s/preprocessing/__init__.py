"""From an events table to windows of EEG/MEG: segments, epochs, scalers and covariance alignment."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_covariance_alignment": ["CovarianceAlignment"],
        "_epocher": ["Epocher"],
        "_scalers": ["FeatureScaler", "RobustChannelScaler"],
        "_segments": ["make_segments"],
        "_windows": ["Windows"],
    },
)
