"""Test the concatenation of studies and one encoder fitted on two of them."""

import mne
import numpy as np
import pandas as pd
import pytest

from sk_b2s import Epocher, LeaveOneStudyOut, concat_events, make_segments
from sk_b2s.datasets import make_listening


def table(recording, subject="01", sequence="0", text=("once", "more"), **columns):
    n = len(text)
    return pd.DataFrame({
        "subject": subject, "recording": recording, "type": "word", "onset": np.arange(n) + 1.0, "duration": 0.4,
        "text": list(text), "sequence": sequence, **columns,
    })  # fmt: skip


def test_concat_events_separates_equal_numbers():
    events = concat_events({"meg": table("a.fif"), "eeg": table("b.fif", extra=3)})
    assert events.groupby("recording")["subject"].unique().str[0].to_dict() == {
        "a.fif": "meg-01",
        "b.fif": "eeg-01",
    }
    assert events.groupby("recording")["study"].unique().str[0].to_dict() == {"a.fif": "meg", "b.fif": "eeg"}
    assert events["extra"].isna().tolist() == [True, True, False, False]
    assert events.index.tolist() == [0, 1, 2, 3]


def test_concat_events_is_associative():
    parts = [table(f"{name}.fif", study=name) for name in "abc"]
    at_once = concat_events(parts)
    pd.testing.assert_frame_equal(concat_events([concat_events(parts[:2]), parts[2]]), at_once)
    pd.testing.assert_frame_equal(concat_events(dict(zip("abc", parts, strict=True))), at_once)
    assert parts[0]["subject"].tolist() == ["01", "01"], "the input is not modified"


def test_concat_events_separates_prefixed_names():
    table = pd.DataFrame({"subject": ["a-x", "x"], "recording": ["1.fif", "2.fif"]})
    joined = concat_events({"a": table})
    assert joined["subject"].tolist() == ["a-a-x", "a-x"]
    assert concat_events([joined])["subject"].tolist() == ["a-a-x", "a-x"]


def test_concat_events_ignores_punctuation():
    one = pd.DataFrame({
        "subject": "1", "recording": "1.fif", "type": "word", "onset": [0.0, 1.0, 2.0], "text": ["The", "dog,", "ran"],
        "sequence": [1, 1, 2],
    })  # fmt: skip
    other = one.assign(recording="2.fif", text=["the", "dog", "sat"], sequence=["1", "1", "2"])
    joined = concat_events({"x": one, "y": other})
    assert joined["sequence"].tolist() == ["1", "1", "x/2", "1", "1", "y/2"]


def test_concat_events_prefixes_ambiguous_sentences():
    other = concat_events({"a": table("a.fif"), "b": table("b.fif", text=("not", "so"))})
    assert other["sequence"].tolist() == ["a/0"] * 2 + ["b/0"] * 2
    same = concat_events({"a": table("a.fif"), "b": table("b.fif", text=("Once", "more"))})
    assert same["sequence"].tolist() == ["0"] * 4
    apart = concat_events({"a": table("a.fif"), "b": table("b.fif", sequence="7")})
    assert apart["sequence"].tolist() == ["0", "0", "7", "7"]


@pytest.mark.parametrize(
    ("tables", "studies", "message"),
    [
        ([table("a.fif"), table("b.fif")], None, "Table 0 has rows without a value in the column 'study'"),
        ([table("a.fif", study="x"), table("b.fif", study="x")], None, "Tables 0 and 1 have the same study 'x'"),
        ([table("a.fif"), table("a.fif")], ["x", "y"], "Tables 0 and 1 both have the recording 'a.fif'"),
        ([table("a.fif")], ["x", "y"], "Got 2 names for 1 tables"),
        ([table("a.fif").drop(columns="subject")], ["x"], r"Table 0 lacks the columns \['subject'\]"),
        ([table("a.fif", subject=None)], ["x"], "Table 0 has 2 rows without a subject"),
        ([table("a.fif", subject="b-1"), table("b.fif", subject="1")], ["a", "a-b"],
         r"Subject 'a-b-1' would be in the studies \['a', 'a-b'\]"),
    ],
)  # fmt: skip
def test_concat_events_checks_tables(tables, studies, message):
    with pytest.raises(ValueError, match=message):
        concat_events(tables, studies)


def test_concat_events_requires_data_frames():
    with pytest.raises(TypeError, match="Table 1 must be a pandas DataFrame. Got list"):
        concat_events([table("a.fif"), []], ["x", "y"])


def write(path, names, seed):
    data = 1e-5 * np.random.default_rng(seed).standard_normal((len(names), 5000))
    mne.io.RawArray(data, mne.create_info(names, 250.0, "eeg"), verbose="ERROR").save(path, verbose="ERROR")
    return str(path)


def test_epocher_uses_one_montage_per_study(tmp_path):
    names = {"one": ["Cz", "Pz"], "two": ["1", "2", "3"]}
    rows = [
        {"recording": write(tmp_path / f"{study}_raw.fif", names[study], seed), "study": study, "subject": study,
         "onset": 3.0, "duration": 2.0}
        for seed, study in enumerate(names)
    ]  # fmt: skip
    table, montage = pd.DataFrame(rows), {"one": "easycap-M1", "two": "easycap-M10"}
    windows = Epocher(montage=montage).fit_transform(table)
    assert windows.ch_names == ("Cz", "Pz", "1", "2", "3")
    for row, study in enumerate(names):
        alone = Epocher(montage=montage[study]).fit_transform(table.iloc[[row]])
        own = np.isin(windows.ch_names, names[study])
        place = windows.positions[windows.layout[windows.which[row]]]
        np.testing.assert_array_equal(place[own], alone.positions[0])
        assert np.isnan(place[~own]).all()
        np.testing.assert_allclose(windows[row][own], alone[0], atol=1e-10)
        assert (windows[row][~own] == 0).all()
    assert np.isnan(Epocher(montage={"one": "easycap-M1"}).fit_transform(table.iloc[[1]]).positions).all()
    with pytest.raises(ValueError, match="no column 'study'"):
        Epocher(montage=montage).fit(table.drop(columns="study"))


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory):
    """Two studies of two subjects with 16 and 32 channels of other names."""
    root = tmp_path_factory.mktemp("studies")
    options = {"modality": "eeg", "snr_db": 3, "artifacts": False, "sfreq": 64}
    one = make_listening(2, 2, n_channels=16, root=root / "one", **options)
    two = make_listening(2, 2, n_channels=32, random_state=7, root=root / "two", **options)
    for path in two["recording"].unique():
        raw = mne.io.read_raw(path, preload=True, verbose="ERROR")
        raw.rename_channels({name: str(i + 1) for i, name in enumerate(raw.ch_names)})
        raw.save(path, overwrite=True, verbose="ERROR")
    return concat_events({"one": one, "two": two})


@pytest.mark.slow
def test_brain_encoder_learns_from_two_studies(two_studies, tiny_pipeline):
    X, y = make_segments(two_studies, anchor=1.0, tmin=0, tmax=3, block=8)
    assert sorted(X["subject"].unique()) == ["one-01", "one-02", "two-01", "two-02"]
    late = y["sound_onset"] > y["sound_onset"].quantile(0.7)
    early = y["sound_onset"] + y["duration"] < y.loc[late, "sound_onset"].min() - 1
    pipe = tiny_pipeline(max_epochs=18, spatial_attention=True).fit(X[early], y[early])
    n_channels = pipe["epochs"].transform(X[:2]).shape[1]
    assert n_channels == 48
    for study in ("one", "two"):
        rows = late & (X["study"] == study)
        chance = 5 / y.loc[rows, "segment"].nunique()
        assert pipe.score(X[rows], y[rows]) > 2.5 * chance


def test_leave_one_study_out_separates_studies(two_studies):
    # both studies have the same stimuli, which are therefore assigned to folds
    X, y = make_segments(two_studies, anchor=1.0, tmin=0, tmax=3, block=8)
    folds = list(LeaveOneStudyOut(stimulus_folds=3).split(X, y))
    assert len(folds) == 6
    for train, test in folds:
        assert X["study"].iloc[test].nunique() == 1
        assert set(X["study"].iloc[train]).isdisjoint(X["study"].iloc[test])
        assert set(y["block"].iloc[train]).isdisjoint(y["block"].iloc[test])
