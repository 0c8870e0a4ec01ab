"""Libraries of the extras, which are not installed by default."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version

EXTRAS = {  # module: (name for pip, extra)
    "accelerate": ("accelerate", "distributed"),
    "transformers": ("transformers", "speech"),
    "huggingface_hub": ("transformers", "speech"),
    "pocketsphinx": ("pocketsphinx", "align"),
    "h5py": ("h5py", "hdf5"),
    "openneuro": ("openneuro-py", "fetch"),
    "mne_lsl": ("mne-lsl", "live"),
}


def import_extra(module, owner, extra=None):
    """Import a module of an extra, or raise with the way to install it.

    Parameters
    ----------
    module : str
        Name of a module, whose first part is a key of ``EXTRAS``.
    owner : str
        What needs it, the beginning of the message.
    extra : (str, str) or None, default=None
        Name for pip and extra, if they differ from those in ``EXTRAS``.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    name, extra = extra or EXTRAS[module.partition(".")[0]]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{owner} requires {name}. Install it with `pip install 'sk_b2s[{extra}]'` or `pip install {name}`."
        ) from error


def get_extra_version(name):
    """Return the version of a distribution, "" if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
