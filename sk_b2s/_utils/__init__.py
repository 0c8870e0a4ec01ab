"""Helpers of all sub-packages: caching, devices, validation and text."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(__name__, submod_attrs={"_versions": ["sys_info"]})
