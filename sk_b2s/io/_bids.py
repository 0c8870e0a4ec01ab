"""Events table of a BIDS folder."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from sk_b2s._utils._logging import log
from sk_b2s.events._check_events import check_events
from sk_b2s.events._sentences import disambiguate_sentences, fill_sentences
from sk_b2s.events._table_times import delay_table_times
from sk_b2s.io._annex import check_annex_fetched
from sk_b2s.io._bids_events import BidsEventTables
from sk_b2s.io._bids_files import check_bids_file_chains, find_bids_files, suggest_parent_of_subjects
from sk_b2s.io._raw._read_raw import check_read_raw_is_not_4d
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
    stimuli_dir="stimuli",
    stimuli=None,
    columns=None,
    types=None,
    textgrids=None,
    tiers=None,
    sentence_gap=0.4,
    audio_delay=0.0,
    study=None,
    verbose=None,
):
    """Read the events of EEG or MEG recordings in a BIDS folder.

    The rows come from the ``events.tsv`` file of each recording, which lists
    stimuli (sounds, images or others), words or phonemes. Where it lists only
    stimuli, the words and phonemes come from the TextGrids of their audio
    files. Bad channels, channel types and electrode positions are read from
    the sidecar files whenever a recording is opened, also by
    :class:`Epocher`.

    Parameters
    ----------
    root : path-like
        Folder that holds the ``sub-*`` folders.
    task : str or list of str, default=None
        Tasks to read. If None, all tasks except "noise" and "rest".
    subjects, sessions, runs : str or list of str, default=None
        Labels to read, such as "01" or "sub-01". If None, all.
    datatype : "eeg" or "meg", default=None
        Type of recordings to read. If None, both.
    derivatives : str or path-like, default=None
        Folder of processed recordings, or the name of a folder in
        ``root/derivatives``. Recordings and channel tables are read from it.
        An ``events.tsv`` that it lacks is read from ``root``. Files of
        MNE-BIDS-Pipeline (``_proc-clean_raw.fif``) are supported. If None,
        recordings are read from ``root``.
    proc, desc : str, default=None
        Version of the recordings to read, such as "clean" for
        ``_desc-clean_eeg.fif``. "" selects files without the entity. Required
        if there are several versions.
    stimuli_dir : path-like, default="stimuli"
        Folder of the audio files and images, relative to ``root`` or absolute.
    stimuli : str, dict or callable, default=None
        Map from stimulus names in the events table to audio files, such as
        ``{"A": "story.wav"}``, or a function of the name. Names may be values
        of ``trial_type``. A value of None means the stimulus that is playing.
        If a str with entities in braces, ``"audio{run}.wav"``, the audio file
        that each recording *without* an events.tsv file plays from its start.
        If None, names are file names, with or without their suffix.
    columns : dict, default=None
        Map from columns of the events table to columns of the events.tsv
        files, such as ``{"text": "value", "type": "event_kind"}``. If a list
        of columns, the first one with a value is used. Other columns are found
        by common names. Unknown columns are copied.
    types : dict or callable, default=None
        Map from values of ``trial_type`` to event types, such as ``{"wav
        onset": "sound", "Token": "word", "button": None}``, or a function of
        the value, "n/a" if it is missing. Keys may be patterns: ``{"noun_*":
        "word"}``. In ``{"word *": "word"}``, as well as before ":" and "=",
        the rest of the value is the text or stimulus, as in tags. Another
        type, such as "video", requires a column of that name with identifiers,
        see :func:`check_events`. Rows mapped to None are dropped. Rows of an
        unknown type are dropped with a warning. Tags such as ``"word/the"``
        and ``"sound/story"``, which MNE-BIDS writes, need no map: the part
        after the slash is the text of a word or phoneme, or the stimulus,
        unless another column has it. An image is a file in ``stimuli_dir`` or
        an identifier, in the column ``image`` or ``stim_file``.
    textgrids : path-like or False, default=None
        Folder of the TextGrids, relative to ``root`` or absolute. They are
        read for recordings whose events.tsv file has no words. If None, the
        folder of each audio file. If False, no TextGrid is read.
    tiers : dict, default=None
        Name of the tier of each event type, "word", "phoneme" and "sentence",
        see :func:`~sk_b2s.io._textgrid.textgrid_events`.
    sentence_gap : float, default=0.4
        Silence in seconds that separates two sentences, where the events have
        no sentences.
    audio_delay : float or dict, default=0.0
        Delay in seconds from the events to the ear, such as that of sound
        tubes or of a sound card. All events except those of type "bad" are
        delayed. A dict has one entry per recording, session or subject,
        "sub-01_ses-02". The most specific entry applies. If an audio channel
        was recorded, use :func:`align_to_audio` instead.
    study : str, default=None
        Name of the study. If None, the name of the folder.
    verbose : bool, str, int or None, default=None
        Level of messages, see :func:`~sk_b2s.set_log_level`. If None, the
        level that it has set.

    Returns
    -------
    events : DataFrame
        Events table in the format of :func:`check_events`, with the columns
        ``task`` and ``run``. Numbered sentences are prefixed with their
        stimulus, "audio01/1", because each run may count from 1.

    Raises
    ------
    FileNotFoundError
        If a file is missing, or its content was not fetched with git-annex.
    ValueError
        If no recording or several versions of one are found, a table lacks a
        column, or a row is invalid.

    See Also
    --------
    events_from_raw : Read the events of one recording without BIDS.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s import read_bids
    >>> from sk_b2s.datasets import make_listening
    >>> with TemporaryDirectory() as root:
    ...     _ = make_listening(
    ...         n_subjects=2, minutes=1, n_channels=16, root=root
    ...     )
    ...     events = read_bids(next(Path(root).iterdir()), task="listening")
    >>> events.groupby("subject")["type"].value_counts().tolist()
    [890, 270, 1, 890, 270, 1]
    """
    root = Path(os.path.abspath(_check_bids_root(root)))
    base = _find_bids_base_folder(root, derivatives)
    wanted = {"task": task, "sub": subjects, "ses": sessions, "run": runs, "proc": proc, "desc": desc}
    recordings = find_bids_files(base, wanted, datatype)
    for path in recordings:
        check_read_raw_is_not_4d(path)
    check_annex_fetched([part for parts in recordings.values() for part in parts], root)
    check_bids_file_chains(recordings)
    tables = BidsEventTables(root, base, root / stimuli_dir, stimuli, columns, types)
    events = tables.read(list(recordings))
    check_annex_fetched(pd.unique(events["sound"].dropna()), root)
    if textgrids is not False:
        folder = None if textgrids is None else root / textgrids
        events = add_textgrids(events, folder, root, tiers, sentence_gap)
    events = fill_sentences(events, sentence_gap)
    events = delay_table_times(events, audio_delay)
    events["study"] = root.name if study is None else study
    first = ["study", "subject", "session", "task", "run", "recording", "type", "onset", "duration", "sound",
             "sound_onset", "text", "sequence", "word_index", "condition", "stream"]  # fmt: skip
    events = disambiguate_sentences(check_events(events), root / stimuli_dir)
    counts = ", ".join(f"{count} of type {kind!r}" for kind, count in events["type"].value_counts().items())
    log(
        f"read_bids: {len(recordings)} recordings of {events['subject'].nunique()} subjects, {counts}",
        verbose,
    )
    return events[[*first, *(column for column in events if column not in first)]]


def _check_bids_root(root):
    """Return root, or raise if it is a BIDSPath of MNE-BIDS with entities."""
    if not hasattr(root, "entities"):
        return root
    names = {
        "task": "task",
        "subject": "subjects",
        "session": "sessions",
        "run": "runs",
        "datatype": "datatype",
    }
    values = {key: getattr(root, name, None) for name, key in names.items()}
    options = "".join(f", {key}={value!r}" for key, value in values.items() if value is not None)
    raise TypeError(
        f"root must be the folder that holds the sub-* folders. Got a {type(root).__name__}. Use "
        f"read_bids({str(root.root)!r}{options})."
    )


def _find_bids_base_folder(root, derivatives):
    """Return the folder of the recordings."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"The root folder {str(root)!r} does not exist or is not a folder. Pass the folder that holds the "
            f"sub-* folders.{suggest_parent_of_subjects(root)}"
        )
    if derivatives is None:
        return root
    for folder in (Path(derivatives), root / derivatives, root / "derivatives" / derivatives):
        if folder.is_dir() and list(folder.glob("sub-*")):
            return Path(os.path.abspath(folder))
    available = sorted(path.name for path in (root / "derivatives").glob("*") if path.is_dir())
    raise FileNotFoundError(
        f"derivatives={str(derivatives)!r} must be a folder that holds sub-* folders, or the name of one in "
        f"root/derivatives. root/derivatives holds {available}."
    )
