"""Versions of the package and of the libraries it uses."""

from __future__ import annotations

import platform
import sys

import mne
import numpy as np
import pandas as pd
import sklearn
import skorch
import torch


def get_versions():
    """Versions of all that has a say in an estimator's output."""
    modules = {"sklearn": sklearn, "skorch": skorch, "torch": torch, "numpy": np, "pandas": pd, "mne": mne}
    others = {name: str(module.__version__) for name, module in modules.items()}
    return {"sk_b2s": sys.modules["sk_b2s"].__version__, **others, "python": platform.python_version()}
