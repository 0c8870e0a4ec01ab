"""HTML reports of benchmarks and reconstructions, and the methods text."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_methods": ["generate_methods_text"],
        "_reconstruction": ["write_reconstruction_report"],
        "_report": ["write_report"],
        "_scores_text": ["format_scores"],
    },
)
