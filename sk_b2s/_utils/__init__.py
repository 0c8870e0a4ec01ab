"""Helpers of all sub-packages: caching, devices, validation and text."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__, submod_attrs={"_logging": ["set_log_level"], "_versions": ["show_versions"]}
)
