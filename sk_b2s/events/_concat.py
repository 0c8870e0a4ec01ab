"""Concatenation of the events tables of several studies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sk_b2s._utils._text import plain_text
from sk_b2s.events._table import name_sequences


def concat_events(tables, studies=None):
    """Join the events tables of several studies into one, on which one decoder can be fitted.

    Studies may differ in everything but the table's columns: sensors, rates, languages, sounds. In the joined
    table

    * ``study`` tells where a row is from, for :class:`~sk_b2s.LeaveOneStudyOut`, and for montages
      (``Epocher(montage={"broderick2019": "biosemi128", "brennan2019": "easycap-M10"})``);
    * ``subject`` is ``<study>-<subject>``: number 01 of one study is not number 01 of another;
    * ``sequence`` stays the name of a sentence. A name that means other words in another study gets the study
      before it; where the words are the same, so is the sentence, and nobody trains on what another study tests;
    * a column that a study lacks is missing there.

    :class:`~sk_b2s.Epocher` unites the sensors: a channel that a recording lacks is zero there and has no place, so
    that ``BrainEncoder(spatial_attention=True)`` does not see it. Without spatial attention a column is a name, and
    ``A1`` of one cap would be taken for ``A1`` of another.

    Parameters
    ----------
    tables : sequence of DataFrame, or dict of str to DataFrame
        Events tables as :func:`~sk_b2s.check_events` expects them. A dict names the studies.
    studies : None or sequence of str, default=None
        The name of each table's study, in place of its column ``study``; None where a table is to keep its own.

    Returns
    -------
    events : DataFrame
        All rows, table after table, indexed from 0. Tables that were joined already may be joined to others.

    Raises
    ------
    TypeError
        If one of the tables is not a DataFrame.
    ValueError
        If a table does not say its study, two tables are of one study, or two studies share a recording or, by
        the choice of their names, a subject.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import concat_events
    >>> one = pd.DataFrame({"subject": ["01", "02"], "recording": ["a/1.fif", "a/2.fif"]})
    >>> two = pd.DataFrame({"subject": ["01"], "recording": ["b/1.vhdr"]})
    >>> concat_events({"meg": one, "eeg": two})[["study", "subject", "recording"]]
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
            f"studies must hold one name for each of the tables, got {len(studies)} for {len(tables)}."
        )
    tables = [
        _named(table, study, place) for place, (table, study) in enumerate(zip(tables, studies, strict=True))
    ]
    _check_apart(tables)
    tables = [table.assign(subject=_prefixed(table["study"], table["subject"])) for table in tables]
    tables = [
        table.assign(sequence=name_sequences(table["sequence"])) if "sequence" in table else table
        for table in tables
    ]
    _check_subjects(tables)
    tables = _part_sequences(tables)
    return pd.concat(tables, ignore_index=True)


def _named(table, study, place):
    """A copy whose every row says its study."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table {place} must be a pandas DataFrame, got {type(table).__name__}.")
    if missing := [column for column in ("subject", "recording") if column not in table]:
        raise ValueError(f"table {place} lacks the columns {missing}; it has {list(table.columns)}.")
    if table["subject"].isna().any():
        raise ValueError(f"table {place} has {table['subject'].isna().sum()} rows without a subject.")
    if study is not None:
        return table.assign(study=str(study))
    unnamed = "study" not in table or table["study"].isna().any() or (table["study"].astype(str) == "").any()
    if unnamed:
        raise ValueError(
            f"table {place} does not say its study in every row (column 'study'); give names by "
            f"concat_events(tables, studies=[...])."
        )
    return table.copy()


def _check_apart(tables):
    """Raise where two tables share a study or a recording."""
    owner_of_study: dict = {}
    owner_of_recording: dict = {}
    for place, table in enumerate(tables):
        for study in pd.unique(table["study"]):
            if (other := owner_of_study.setdefault(study, place)) != place:
                raise ValueError(
                    f"tables {other} and {place} are both of the study {study!r}. If they are two studies, name "
                    f"them: concat_events(tables, studies=[...]); parts of one are joined by pandas.concat first."
                )
        for recording in pd.unique(table["recording"]):
            path = str(Path(str(recording)).absolute())
            if (other := owner_of_recording.setdefault(path, place)) != place:
                raise ValueError(f"tables {other} and {place} both have the recording {str(recording)!r}.")


def _prefixed(study, subject):
    """``<study>-<subject>``, unless all of a study are that already."""
    study, subject = study.astype(str), subject.astype(str)
    done = pd.Series(
        [name.startswith(f"{place}-") for place, name in zip(study, subject, strict=True)],
        subject.index,
        bool,
    )
    return subject.where(done.groupby(study).transform("all"), study + "-" + subject)


def _check_subjects(tables):
    people = pd.concat([table[["study", "subject"]].drop_duplicates() for table in tables])
    twice = people[people["subject"].duplicated(keep=False)]
    if len(twice):
        name = twice["subject"].iloc[0]
        raise ValueError(
            f"subject {name!r} would be of the studies {sorted(twice.loc[twice['subject'] == name, 'study'])}; give "
            f"studies names of which none begins another: concat_events(tables, studies=[...])."
        )


def _words_of(table):
    """The words of each sequence, as heard by the first who heard it: Series of str by sequence."""
    if not {"sequence", "type", "text", "onset"} <= set(table):
        return pd.Series(dtype=object)
    words = table[(table["type"] == "word") & table["sequence"].notna()]
    first = words.groupby("sequence")["recording"].transform("first")
    words = words[words["recording"] == first].sort_values("onset", kind="stable")
    return words.groupby("sequence")["text"].agg(plain_text)


def _part_sequences(tables):
    """Put the study before those sequences whose name means other words in another table."""
    known = [_words_of(table) for table in tables]
    names = [set(table["sequence"].dropna()) if "sequence" in table else set() for table in tables]
    parted = []
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
        parted.append(table)
    return parted
