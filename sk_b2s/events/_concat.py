"""Concatenation of the events tables of several studies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sk_b2s._utils._text import make_plain_text
from sk_b2s.events._check_events import name_sequences_of_checked_events


def concat_events(tables, studies=None):
    """Concatenate the events tables of several studies.

    Studies may differ in sensors, sampling rates, languages and stimuli. One
    decoder can be fitted on the concatenated table. In it,

    * ``study`` is the study of each row, for
      :class:`~sk_b2s.LeaveOneStudyOut` and for montages
      (``Epocher(montage={"broderick2019": "biosemi128", ...})``);
    * ``subject`` is ``<study>-<subject>``, because subject 01 of one study is
      not subject 01 of another;
    * ``sequence`` is the name of a sentence. If the name has other words in
      another study, it is prefixed with the study. If the words are the same,
      the name stays, so that splits keep the sentence on one side;
    * a column that a study lacks is missing in its rows.

    :class:`~sk_b2s.Epocher` uses the union of the channels. A channel that a
    recording lacks is zero and has no position, so
    ``BrainEncoder(spatial_attention=True)`` ignores it. Without spatial
    attention channels are matched by name, and ``A1`` of one cap would be
    mixed with ``A1`` of another.

    Parameters
    ----------
    tables : sequence of DataFrame, or dict of str to DataFrame
        Events tables as :func:`~sk_b2s.check_events` expects them. The keys
        of a dict are the names of the studies.
    studies : None or sequence of str, default=None
        Name of the study of each table, instead of its column ``study``. An
        entry of None keeps the column.

    Returns
    -------
    events : DataFrame
        All rows in the order of the tables, indexed from 0. The result can
        be concatenated again.

    Raises
    ------
    TypeError
        If an entry of ``tables`` is not a DataFrame.
    ValueError
        If a table has no study, two tables have the same study, or two
        studies share a recording or the name of a subject.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import concat_events
    >>> one = pd.DataFrame({"subject": ["01", "02"],
    ...                     "recording": ["a/1.fif", "a/2.fif"]})
    >>> two = pd.DataFrame({"subject": ["01"], "recording": ["b/1.vhdr"]})
    >>> events = concat_events({"meg": one, "eeg": two})
    >>> events[["study", "subject", "recording"]]
      study subject recording
    0   meg  meg-01   a/1.fif
    1   meg  meg-02   a/2.fif
    2   eeg  eeg-01  b/1.vhdr
    """
    if isinstance(tables, dict):
        tables, studies = list(tables.values()), list(tables) if studies is None else studies
    tables = list(tables) if not isinstance(tables, pd.DataFrame) else [tables]
    studies = [None] * len(tables) if studies is None else list(studies)
    if len(studies) != len(tables) or not tables:
        raise ValueError(
            f"studies must have one name per table, and there must be a table. Got {len(studies)} names for "
            f"{len(tables)} tables."
        )
    tables = [
        _label_study(table, study, place)
        for place, (table, study) in enumerate(zip(tables, studies, strict=True))
    ]
    _check_distinct_tables(tables)
    tables = [table.assign(subject=_prefix_subjects(table["study"], table["subject"])) for table in tables]
    tables = [
        table.assign(sequence=name_sequences_of_checked_events(table["sequence"]))
        if "sequence" in table
        else table
        for table in tables
    ]
    _check_subjects_of_tables(tables)
    tables = _disambiguate_sequences(tables)
    return pd.concat(tables, ignore_index=True)


def _label_study(table, study, place):
    """Return a copy with a study in each row."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"Table {place} must be a pandas DataFrame. Got {type(table).__name__}.")
    if missing := [column for column in ("subject", "recording") if column not in table]:
        raise ValueError(f"Table {place} lacks the columns {missing}. It has {list(table.columns)}.")
    if table["subject"].isna().any():
        raise ValueError(
            f"Table {place} has {table['subject'].isna().sum()} rows without a subject. Fill in the column 'subject'."
        )
    if study is not None:
        return table.assign(study=str(study))
    unnamed = "study" not in table or table["study"].isna().any() or (table["study"].astype(str) == "").any()
    if unnamed:
        raise ValueError(
            f"Table {place} has rows without a value in the column 'study'. Name the studies with "
            f"concat_events(tables, studies=[...])."
        )
    return table.copy()


def _check_distinct_tables(tables):
    """Raise if two tables share a study or a recording."""
    owner_of_study: dict = {}
    owner_of_recording: dict = {}
    for place, table in enumerate(tables):
        for study in pd.unique(table["study"]):
            if (other := owner_of_study.setdefault(study, place)) != place:
                raise ValueError(
                    f"Tables {other} and {place} have the same study {study!r}. If they are two studies, name them "
                    f"with concat_events(tables, studies=[...]). If they are parts of one study, join them with "
                    f"pandas.concat first."
                )
        for recording in pd.unique(table["recording"]):
            path = str(Path(str(recording)).absolute())
            if (other := owner_of_recording.setdefault(path, place)) != place:
                raise ValueError(
                    f"Tables {other} and {place} both have the recording {str(recording)!r}. Remove it from one."
                )


def _prefix_subjects(study, subject):
    """Prefix subjects with their study, unless all of them are prefixed."""
    study, subject = study.astype(str), subject.astype(str)
    done = pd.Series(
        [name.startswith(f"{place}-") for place, name in zip(study, subject, strict=True)],
        subject.index,
        bool,
    )
    return subject.where(done.groupby(study).transform("all"), study + "-" + subject)


def _check_subjects_of_tables(tables):
    subjects = pd.concat([table[["study", "subject"]].drop_duplicates() for table in tables])
    twice = subjects[subjects["subject"].duplicated(keep=False)]
    if len(twice):
        name = twice["subject"].iloc[0]
        raise ValueError(
            f"Subject {name!r} would be in the studies {sorted(twice.loc[twice['subject'] == name, 'study'])}. Choose "
            f"names of studies that do not begin with each other: concat_events(tables, studies=[...])."
        )


def _join_words_of_sequences(table):
    """Return the text of each sequence in its first recording: Series."""
    if not {"sequence", "type", "text", "onset"} <= set(table):
        return pd.Series(dtype=object)
    words = table[(table["type"] == "word") & table["sequence"].notna()]
    first = words.groupby("sequence")["recording"].transform("first")
    words = words[words["recording"] == first].sort_values("onset", kind="stable")
    return words.groupby("sequence")["text"].agg(make_plain_text)


def _disambiguate_sequences(tables):
    """Prefix sequences that have other words in another table."""
    known = [_join_words_of_sequences(table) for table in tables]
    names = [set(table["sequence"].dropna()) if "sequence" in table else set() for table in tables]
    disambiguated = []
    for place, table in enumerate(tables):
        clash = set()
        for other in range(len(tables)):
            if other != place:
                both = names[place] & names[other]
                clash |= {
                    name for name in both if known[place].get(name) is None
                    or known[place].get(name) != known[other].get(name)
                }  # fmt: skip
        if clash:
            prefixed = table["study"].astype(str) + "/" + table["sequence"].astype(str)
            table = table.assign(
                sequence=table["sequence"].astype(object).mask(table["sequence"].isin(clash), prefixed)
            )
        disambiguated.append(table)
    return disambiguated
