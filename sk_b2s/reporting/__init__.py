"""HTML report and methods text of benchmark results."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_methods": ["generate_methods_text"],
        "_report": ["write_report"],
    },
)
