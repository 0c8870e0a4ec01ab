"""Registry of data sets, and loading by name.

The sub-package exports the functions of every entry. They are named and
imported when used, so that the command line can list the data sets quickly.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sk_b2s._utils._text import fill_docstring_list, make_suggestion_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Dataset:
    """Events of a data set.

    Parameters
    ----------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`.
    oracle : callable or None, default=None
        Scores of a decoder that uses the ground truth of a simulation, for
        :func:`~sk_b2s.run_controls`.
    """

    events: pd.DataFrame
    oracle: Callable | None = None


@dataclass(frozen=True)
class DatasetSpec:
    """Entry of the registry of data sets.

    Parameters
    ----------
    name : str
        Name of the data set for :func:`load_dataset` and the command line.
    loader_path : str
        Module and name of the function, from ``sk_b2s.datasets``, that returns
        the events table or a :class:`Dataset`. Its parameters are the options
        of the data set.
    fetcher_path : str or None
        Module and name of the function that downloads the data set, None if
        this is not possible.
    citation : str
        Address of the publication, "" for simulated data.
    summary : str
        One line on participants, modality and stimuli.
    """

    name: str
    loader_path: str
    fetcher_path: str | None
    citation: str
    summary: str

    @property
    def loader(self):
        """Function that returns the events table."""
        return _import_function(self.loader_path)

    @property
    def fetcher(self):
        """Function that downloads the data set, or None."""
        return self.fetcher_path and _import_function(self.fetcher_path)

    @property
    def loader_name(self):
        """Name of the loader."""
        return self.loader_path.rpartition(".")[2]

    @property
    def fetcher_name(self):
        """Name of the fetcher, or None."""
        return self.fetcher_path and self.fetcher_path.rpartition(".")[2]

    @property
    def options(self):
        """Names of the parameters of the loader."""
        return list(inspect.signature(self.loader).parameters)

    def load(self, **options):
        """Load the data set."""
        if "root" in self.options and options.get("root") is None:
            fetch = f" Download the study with {self.fetcher_name}." if self.fetcher_name else ""
            raise ValueError(
                f"The data set {self.name!r} requires the option 'root' (--root), the folder of the study.{fetch} See "
                f"help({self.loader_name})."
            )
        loaded = self.loader(**options)
        return loaded if isinstance(loaded, Dataset) else Dataset(loaded)


def _import_function(path):
    """Import a function by its path from ``sk_b2s.datasets``."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"sk_b2s.datasets.{module}"), name)


SPECS = (
    DatasetSpec(
        "listening", "simulated._load.load_listening", None, "",
        "Simulated MEG or EEG of subjects who listen to Alice in Wonderland, with ground truth.",
    ),
    DatasetSpec(
        "gwilliams2022", "_gwilliams2022.load_gwilliams2022", "_gwilliams2022.fetch_gwilliams2022", "https://doi.org/10.1038/s41597-023-02752-5",
        "MEG-MASC: 27 participants, MEG, four stories in English.",
    ),
    DatasetSpec(
        "schoffelen2019", "_schoffelen2019.load_schoffelen2019", None, "https://doi.org/10.1038/s41597-019-0020-y",
        "MOUS: 96 participants, MEG, sentences and word lists in Dutch.",
    ),
    DatasetSpec(
        "broderick2019", "_broderick2019.load_broderick2019", "_broderick2019.fetch_broderick2019", "https://doi.org/10.1016/j.cub.2018.01.080",
        "19 participants, EEG, The Old Man and the Sea.",
    ),
    DatasetSpec(
        "brennan2019", "_brennan2019.load_brennan2019", "_brennan2019.fetch_brennan2019", "https://doi.org/10.1371/journal.pone.0207741",
        "33 participants, EEG, a chapter of Alice in Wonderland.",
    ),
    DatasetSpec(
        "libribrain100", "libribrain._load.load_libribrain100", "libribrain._download.fetch_libribrain100", "https://arxiv.org/abs/2506.02098",
        "LibriBrain100: 33 participants, MEG, audiobooks in English, one participant for 80 hours.",
    ),
    DatasetSpec(
        "accou2024", "_accou2024.load_accou2024", "_accou2024.fetch_accou2024", "https://doi.org/10.3390/data9080094",
        "SparrKULee: 85 participants, EEG, audiobooks and podcasts in Dutch; auditory EEG challenges.",
    ),
    DatasetSpec(
        "bel2026", "_bel2026.load_bel2026", "_bel2026.fetch_bel2026", "https://doi.org/10.18112/openneuro.ds007523.v1.0.1",
        "58 participants, MEG, Le Petit Prince in French.",
    ),
    DatasetSpec(
        "things_eeg2", "things_eeg2._load.load_things_eeg2", "things_eeg2._load.fetch_things_eeg2",
        "https://doi.org/10.1016/j.neuroimage.2022.119754",
        "THINGS-EEG2: 10 participants, EEG, 16,740 images of 1,854 concepts.",
    ),
)  # fmt: skip
DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in SPECS}


def load_dataset(name, **options):
    """Load a data set by its name, from an events table or from a BIDS folder.

    Parameters
    ----------
    name : str or Path
        A file or folder for :func:`~sk_b2s.read_events`, a folder with
        ``dataset_description.json`` for :func:`~sk_b2s.read_bids`, or the name
        of a data set:

        {datasets}
    **options
        Options of the data set. "listening" has ``n_subjects``, ``minutes``,
        ``modality`` ("meg" or "eeg"), ``snr`` (dB), ``sessions``,
        ``artifacts`` and ``data_seed``, as
        :func:`~sk_b2s.datasets.make_listening`. A study has the parameters of
        its loader, such as ``root`` and ``subjects``. A BIDS folder has the
        parameters of :func:`~sk_b2s.read_bids`. An events table has no
        options.

    Returns
    -------
    dataset : Dataset
        Object with the attribute ``events``, an events table, and the
        attribute ``oracle``, a function or None.

    Raises
    ------
    ValueError
        If the data set, file or folder does not exist, or has no such option.
    """
    if str(name) in DATASETS:
        spec = DATASETS[str(name)]
        load, known = spec.load, spec.options
    elif _is_bids_root(name):
        load, known = partial(_load_bids_dataset, name), _list_bids_options()
    elif Path(name).exists():
        load, known = partial(_load_events_table, name), []
    else:
        raise ValueError(
            f"{str(name)!r} must be the name of a data set ({', '.join(DATASETS)}), or an existing file or "
            f"folder{make_suggestion_text(name, DATASETS)}."
        )
    if unknown := [option for option in options if option not in known]:
        available = f"has only {', '.join(known)}" if known else "is an events table, which has no options"
        raise ValueError(f"{str(name)!r} has no option {unknown[0]!r}. It {available}.")
    return load(**options)


fill_docstring_list(load_dataset, "{datasets}", (f'"{spec.name}": {spec.summary}' for spec in SPECS))


# --- from a file -------------------------------------------------------------------------------------


def _is_bids_root(path):
    """Return whether a path is a BIDS folder without an events table in it."""
    from sk_b2s.io._events_file import SUFFIXES

    return (Path(path) / "dataset_description.json").is_file() and not any(
        (Path(path) / f"events{suffix}").is_file() for suffix in SUFFIXES
    )


def _list_bids_options():
    """List the parameters of ``read_bids`` except the folder."""
    from sk_b2s.io._bids import read_bids

    return list(inspect.signature(read_bids).parameters)[1:]


def _load_bids_dataset(path, **options):
    from sk_b2s.io._bids import read_bids

    return Dataset(read_bids(path, **options))


def _load_events_table(path):
    from sk_b2s.io._events_file import read_events

    return Dataset(read_events(path))
