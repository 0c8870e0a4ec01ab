"""Data sets by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from sk_b2s._utils._caching import cache_folder
from sk_b2s._utils._text import suggest_name
from sk_b2s.datasets._brennan2019 import load_brennan2019
from sk_b2s.datasets._broderick2019 import load_broderick2019
from sk_b2s.datasets._gwilliams2022 import load_gwilliams2022
from sk_b2s.datasets._schoffelen2019 import load_schoffelen2019
from sk_b2s.datasets.simulated._experiment import make_listening
from sk_b2s.datasets.simulated._oracle import oracle_scores
from sk_b2s.io._bids import read_bids
from sk_b2s.io._events_file import SUFFIXES, read_events


@dataclass
class DatasetSpec:
    """What was heard while what was recorded.

    Parameters
    ----------
    events : DataFrame
        An events table, see :func:`~sk_b2s.check_events`.
    oracle : callable or None, default=None
        Similarities of one who knows how the recordings were made, where somebody does; see
        :func:`~sk_b2s.run_controls`.
    """

    events: pd.DataFrame
    oracle: Callable | None = None


# --- by name -----------------------------------------------------------------------------------------


def _listening(n_subjects=4, minutes=10.0, modality="meg", snr=None, sessions=1, artifacts=True, data_seed=0):
    """Simulated people who listen to Alice in Wonderland, with the truth for an oracle."""
    events, truth = make_listening(
        n_subjects, minutes, modality=modality, snr_db=snr, sessions=sessions, artifacts=artifacts, random_state=data_seed,
        root=cache_folder(), return_truth=True,
    )  # fmt: skip
    return DatasetSpec(events, partial(oracle_scores, truth))


def _study(load, says):
    """Let a study of the paper be loaded from the folder ``root``."""

    def loaded(root=None, subjects=None):
        if root is None:
            raise ValueError(
                f"give --root, the folder that {load.__name__} reads; see help({load.__name__})."
            )
        return DatasetSpec(load(root) if subjects is None else load(root, subjects=subjects))

    loaded.__doc__ = says
    return loaded


# Name -> how to load it; the first line of its docstring tells what it is, its parameters are its options.
DATASETS: dict[str, Callable] = {
    "listening": _listening,
    "gwilliams2022": _study(load_gwilliams2022, "MEG-MASC: 27 people, MEG, four stories in English."),
    "schoffelen2019": _study(load_schoffelen2019, "MOUS: 96 people, MEG, sentences and word lists in Dutch."),
    "broderick2019": _study(load_broderick2019, "19 people, EEG, The Old Man and the Sea."),
    "brennan2019": _study(load_brennan2019, "33 people, EEG, a chapter of Alice in Wonderland."),
}


def load_dataset(name, **options):
    """Load an experiment by its name, from a table of events, or from a BIDS folder.

    Parameters
    ----------
    name : str or Path
        One of ``DATASETS``; what :func:`read_events` reads; or a folder with ``dataset_description.json``, for
        :func:`~sk_b2s.read_bids`.
    **options
        Of the experiment; a table has none. "listening" has those of
        :func:`~sk_b2s.datasets.make_listening`: ``n_subjects, minutes, modality`` ("meg" or "eeg"), ``snr`` (dB),
        ``sessions, artifacts, data_seed``. A study has ``root``, its folder, and ``subjects``; a BIDS folder
        ``task`` and ``subjects``.

    Returns
    -------
    experiment : Experiment

    Raises
    ------
    ValueError
        If there is no such experiment or file, or it has no such option.
    """
    if str(name) in DATASETS:
        load = DATASETS[str(name)]
        known = list(inspect.signature(load).parameters)
    elif _is_bids(name):
        load, known = partial(_from_bids, name), ["task", "subjects"]
    elif Path(name).exists():
        load, known = partial(_from_table, name), []
    else:
        hint = suggest_name(name, DATASETS)
        raise ValueError(
            f"{str(name)!r} is neither the name of an experiment ({', '.join(DATASETS)}) nor a file or folder "
            f"that is there{hint}."
        )
    if unknown := [option for option in options if option not in known]:
        has = f"has only {', '.join(known)}" if known else "has no options: it is as it was written"
        raise ValueError(f"{str(name)!r} has no option {unknown[0]!r}; it {has}.")
    return load(**options)


# --- from a file -------------------------------------------------------------------------------------


def _is_bids(path):
    """Tell a BIDS folder from one that holds a table of events."""
    return (Path(path) / "dataset_description.json").is_file() and not any(
        (Path(path) / f"events{suffix}").is_file() for suffix in SUFFIXES
    )


def _from_bids(path, task=None, subjects=None):
    return DatasetSpec(read_bids(path, task, subjects=subjects))


def _from_table(path):
    return DatasetSpec(read_events(path))
