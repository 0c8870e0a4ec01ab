"""Events table of a BIDS folder of people who listen to speech."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from sk_b2s.events._sentences import delay_events, disambiguate_sequences, fill_sentences
from sk_b2s.events._table import check_events
from sk_b2s.io._annex import check_fetched
from sk_b2s.io._bids_events import EventTables
from sk_b2s.io._bids_files import check_chains, find_recordings
from sk_b2s.io._raw._open import refuse_4d
from sk_b2s.io._textgrid import add_textgrids


def read_bids(
    root,
    task=None,
    *,
    subjects=None,
    sessions=None,
    runs=None,
    datatype=None,
    derivatives=None,
    proc=None,
    desc=None,
    stimuli="stimuli",
    sounds=None,
    columns=None,
    types=None,
    textgrids=None,
    tiers=None,
    sentence_gap=0.4,
    audio_delay=0.0,
    study=None,
):
    """Read a BIDS folder of EEG or MEG recordings of people who listen to speech.

    What was heard comes from the ``events.tsv`` of each recording, whose rows are sounds, words or
    phonemes, and from the TextGrids of its sounds where it names sounds alone. Bad channels, channel
    types and electrodes are read from their tables when a recording is opened, by :class:`Epocher` too.

    Parameters
    ----------
    root : path-like
        The folder with the ``sub-*``.
    task : str or list of str, default=None
        None takes every task but "noise" and "rest".
    subjects, sessions, runs : str or list of str, default=None
        Take these alone, "01" or "sub-01".
    datatype : "eeg" or "meg", default=None
        None takes both.
    derivatives : str or path-like, default=None
        Recordings, and what is known of their channels, come from this folder, or ``root/derivatives/`` of that
        name; an ``events.tsv`` that it does not hold comes from ``root``. Files of MNE-BIDS-Pipeline
        (``_proc-clean_raw.fif``) are recordings, too.
    proc, desc : str, default=None
        Which version of a recording to take ("clean" of ``_desc-clean_eeg.fif``); "" is the one without.
        Needed where there are several.
    stimuli : path-like, default="stimuli"
        Folder of the audio files, in ``root`` unless absolute.
    sounds : str, dict or callable, default=None
        Which file a name in the table means, if not the file of that name: ``{"A": "story.wav"}`` (values
        of ``trial_type`` may be names; None is the sound that is playing) or a function of the name. A str with
        entities in braces,
        ``"audio{run}.wav"``, is the one sound that a recording *without* events.tsv plays from its start.
    columns : dict, default=None
        Where our columns are in events.tsv: ``{"text": "value", "type": "event_kind"}``, or a list of columns
        of which the first that holds a value counts. Others are found by usual names. Columns that are
        not ours are carried along.
    types : dict, default=None
        What the values of ``trial_type`` mean: ``{"wav onset": "sound", "Token": "word", "button": None}``.
        None leaves out; values that are not known are left out with a warning.
    textgrids : path-like or False, default=None
        Folder of the TextGrids, in ``root`` unless absolute. None looks beside the sounds. False reads none.
        They are read for recordings whose events.tsv has no words.
    tiers : dict, default=None
        Which tier holds each "word", "phoneme" and "sentence", see :func:`~sk_b2s.io._textgrid.textgrid_events`.
    sentence_gap : float, default=0.4
        Seconds of silence after which a new sentence begins, where nothing tells sentences.
    audio_delay : float or dict, default=0.0
        Seconds by which sound reached the ear later than the events say (tubes, a sound card); all but bad
        stretches move. A dict has an entry for each recording, session or subject, "sub-01_ses-02"; the
        most specific one counts. See :func:`align_to_audio` where it was recorded.
    study : str, default=None
        Name of the study; None is that of the folder.

    Returns
    -------
    events : DataFrame
        The events table, as :func:`check_events` returns it, with ``task`` and ``run``. A sentence that has a number
        gets its sound before it, "audio01/1", as each run may count its own from 1.

    Raises
    ------
    FileNotFoundError
        If a file is missing, or has not been fetched by git-annex, with the command that does.
    ValueError
        If nothing or several versions of a recording are found, a table lacks a column, or a row is wrong.

    See Also
    --------
    events_from_raw : One recording and its sounds, without BIDS.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s import read_bids
    >>> from sk_b2s.datasets import make_listening
    >>> with TemporaryDirectory() as root:
    ...     simulated = make_listening(n_subjects=2, minutes=1, n_channels=16, root=root)
    ...     events = read_bids(next(Path(root).iterdir()), task="listening")
    >>> events.groupby("subject")["type"].value_counts().tolist()
    [890, 270, 1, 890, 270, 1]
    """
    root = Path(os.path.abspath(root))
    base = _base_folder(root, derivatives)
    wanted = {"task": task, "sub": subjects, "ses": sessions, "run": runs, "proc": proc, "desc": desc}
    recordings = find_recordings(base, wanted, datatype)
    for path in recordings:
        refuse_4d(path)
    check_fetched([part for parts in recordings.values() for part in parts], root)
    check_chains(recordings)
    tables = EventTables(root, base, root / stimuli, sounds, columns, types)
    events = tables.read(list(recordings))
    check_fetched(pd.unique(events["sound"].dropna()), root)
    if textgrids is not False:
        folder = None if textgrids is None else root / textgrids
        events = add_textgrids(events, folder, root, tiers, sentence_gap)
    events = fill_sentences(events, sentence_gap)
    events = delay_events(events, audio_delay)
    events["study"] = root.name if study is None else study
    first = ["study", "subject", "session", "task", "run", "recording", "type", "onset", "duration", "sound",
             "sound_onset", "text", "sequence", "word_index", "condition", "stream"]  # fmt: skip
    events = disambiguate_sequences(check_events(events), root / stimuli)
    return events[[*first, *(column for column in events if column not in first)]]


# --- which recordings ----------------------------------------------------------------------------


def _base_folder(root, derivatives):
    if not root.is_dir():
        raise FileNotFoundError(f"root={str(root)!r} is not a folder.")
    if derivatives is None:
        return root
    for folder in (Path(derivatives), root / derivatives, root / "derivatives" / derivatives):
        if folder.is_dir() and list(folder.glob("sub-*")):
            return Path(os.path.abspath(folder))
    there = sorted(path.name for path in (root / "derivatives").glob("*") if path.is_dir())
    raise FileNotFoundError(
        f"derivatives={str(derivatives)!r}: no such folder with sub-* in it; root/derivatives holds {there}."
    )
