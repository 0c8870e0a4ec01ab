"""Checks of the parameters of simulations."""

from numbers import Integral, Real

import numpy as np

from sk_b2s.datasets.simulated._head import EEG_CAPS


def is_parameter_count(value, least=1):
    """Return whether a value is an integer of at least ``least``."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value >= least


def is_parameter_number(value):
    """Return whether a value is a finite number."""
    return isinstance(value, Real) and bool(np.isfinite(value))


def check_simulation_parameters(owner, parameters, n_channels, extra=()):
    """Raise a ValueError for a parameter of a simulation out of its range.

    Parameters
    ----------
    owner : str
        Function in messages.
    parameters : dict
        With ``modality, n_subjects, sessions, snr_db, n_channels, sfreq`` and
        ``random_state``.
    n_channels : dict of str to int
        Largest number of channels of each modality.
    extra : sequence of (str, bool, str), default=()
        Name of another parameter, whether it is valid, and what it must be.
    """
    modality = parameters["modality"]
    if modality not in n_channels:
        raise ValueError(
            f"The 'modality' parameter of {owner} must be one of {list(n_channels)}. Got {modality!r} instead."
        )
    allowed = EEG_CAPS if modality == "eeg" else range(4, n_channels[modality] + 1)
    value = parameters.__getitem__
    for name, is_valid, expected in [
        ("n_subjects", is_parameter_count(value("n_subjects")), "an integer above 0"),
        ("sessions", is_parameter_count(value("sessions")), "an integer above 0"),
        *extra,
        ("snr_db", is_parameter_number(value("snr_db")) or value("snr_db") == -np.inf, "a number of decibels"),
        ("n_channels", value("n_channels") in allowed, _describe_allowed_values(allowed)),
        ("sfreq", is_parameter_number(value("sfreq")) and 50 <= value("sfreq") <= 1000,
         "a rate from 50 to 1000 Hz"),
        ("random_state", is_parameter_count(value("random_state"), 0),
         "an integer of 0 or more, as it identifies the folder"),
    ]:  # fmt: skip
        if not is_valid:
            raise ValueError(
                f"The {name!r} parameter of {owner} must be {expected} (modality={modality!r}). Got {value(name)!r} "
                f"instead."
            )


def _describe_allowed_values(allowed):
    if isinstance(allowed, range):
        return f"an integer from {allowed.start} to {allowed.stop - 1}"
    return f"one of {list(allowed)}"
