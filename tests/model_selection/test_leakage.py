"""Compare check_leakage with a slow computation in steps of 10 ms."""

import shutil

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from sk_b2s import (
    LeaveOneSubjectOut,
    StimulusArray,
    StimulusKFold,
    Windows,
    check_leakage,
    format_leakage,
    make_segments,
)
from sk_b2s.evaluation._results._former import read_former_leakage
from sk_b2s.model_selection._leakage_report import TEXTS, VERDICT_COLUMNS, unite_leakage_report_sources


@pytest.fixture(scope="module")
def tables():
    """Three subjects with two stories in two sessions, with silences."""
    rng = np.random.default_rng(0)
    stories = {name: StimulusArray(rng.standard_normal(100 * 16), 16, name) for name in "ab"}
    rows = []
    for subject in range(3):
        for session in "01":
            common = {
                "subject": f"s{subject}", "session": session, "recording": f"{subject}-{session}.fif",
                "recording_duration": 250.0,
            }  # fmt: skip
            for place, name in enumerate("ab" if subject else "a"):
                begin = 3.0 + 112 * place
                rows.append(
                    {**common, "type": "sound", "onset": begin, "duration": 0.0, "sound": stories[name]}
                )
                rows += [
                    {**common, "type": "word", "onset": begin + 1.3 * i, "duration": 0.9, "text": f"{name}{i}",
                     "sequence": f"{name}/{i // 20}", "word_index": i % 20}
                    for i in range(70)
                ]  # fmt: skip
    return make_segments(pd.DataFrame(rows), block=12)


def ticks(names, start, duration, step=0.01):
    """Return each 10 ms of windows: set of (name, tick)."""
    return {
        (name, tick)
        for name, a, d in zip(names, start, duration, strict=True)
        for tick in range(round(a / step), round((a + d) / step))
    }


def by_hand(X, y, train, test):
    """Compute what a fold shares, slowly."""
    sound = np.array([s.name for s in y["sound"]])
    start, stop = y["sound_onset"].to_numpy(), (y["sound_onset"] + y["duration"]).to_numpy()
    overlap = [
        any(sound[i] == sound[j] and start[i] < stop[j] - 1e-6 and start[j] < stop[i] - 1e-6 for j in train)
        for i in test
    ]
    gaps = [
        max(start[j] - stop[i], start[i] - stop[j], 0.0) for i in test for j in train if sound[i] == sound[j]
    ]
    heard, seen = [
        [ticks(names[rows], onset.to_numpy()[rows], y["duration"].to_numpy()[rows]) for rows in (train, test)]
        for names, onset in ((sound, y["sound_onset"]), (X["recording"].to_numpy(), X["onset"]))
    ]  # fmt: skip
    labels = {
        "sounds": sound, "blocks": y["block"], "sentences": y["sequence"], "segments": y["segment"],
        "recordings": X["recording"], "sessions": X["subject"] + X["session"], "subjects": X["subject"],
    }  # fmt: skip
    return {
        "n_train": len(train), "n_test": len(test), "leaking": np.mean(overlap),
        "shared_seconds": len(heard[0] & heard[1]) / 100, "brain_seconds": len(seen[0] & seen[1]) / 100,
        "nearest": min(gaps, default=np.inf),
        **{name: len(set(np.asarray(of)[train]) & set(np.asarray(of)[test])) for name, of in labels.items()},
    }  # fmt: skip


CASES = {
    "random rows": KFold(3, shuffle=True, random_state=0),
    "rows in turn": KFold(4),
    "few rows": ShuffleSplit(3, train_size=15, test_size=10, random_state=1),
    "folds of sound": StimulusKFold(3),
    "no gap": StimulusKFold(3, gap=0),
    "people": LeaveOneSubjectOut(2),
}


@pytest.mark.parametrize("name", CASES)
def test_check_leakage_equals_slow_computation(tables, name):
    X, y = tables
    few = np.sort(np.random.default_rng(2).choice(len(X), 90, replace=False))
    X, y = X.iloc[few], y.iloc[few]
    folds = list(CASES[name].split(X, y))
    table = check_leakage(X, y, CASES[name])
    assert len(table) == len(folds)
    for (_, row), (train, test) in zip(table.iterrows(), folds, strict=True):
        for column, expected in by_hand(X, y, train, test).items():
            tolerance = 0.3 if column.endswith("_seconds") else 1e-5
            assert row[column] == pytest.approx(expected, abs=tolerance), column


def test_check_leakage_of_random_folds(tables):
    table = check_leakage(*tables, KFold(5, shuffle=True, random_state=0))
    assert (
        table["verdict_text"]
        .str.match(r"LEAK: (100|9\d) % of the test windows contain sound of training, \d+ s")
        .all()
    )
    assert (table["leaking"] > 0.9).all()
    assert (table["nearest"] == 0).all()
    by_sentence = check_leakage(*tables, GroupKFold(3), groups=tables[1]["sequence"])
    assert (by_sentence["sentences"] == 0).all()
    assert by_sentence["verdict"].eq("leak").all(), "a window reaches into the next sentence"


def test_check_leakage_ignores_row_order(tables):
    X, y = tables
    order = np.random.default_rng(0).permutation(len(X))
    place = np.argsort(order)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    moved = [(place[train], place[test]) for train, test in folds]
    one, two = check_leakage(X, y, folds), check_leakage(X.iloc[order], y.iloc[order], moved)
    pd.testing.assert_frame_equal(one, two)


def test_check_leakage_is_symmetric(tables):
    folds = list(KFold(3, shuffle=True, random_state=0).split(tables[0]))
    one, two = check_leakage(*tables, folds), check_leakage(*tables, [fold[::-1] for fold in folds])
    counts = ["shared_seconds", "brain_seconds", "nearest", "sounds", "segments", "recordings", "retold"]
    pd.testing.assert_frame_equal(one[counts], two[counts])


def test_check_leakage_of_equivalent_cv(tables):
    X, y = tables
    masks = [tuple(np.isin(np.arange(len(X)), side) for side in fold) for fold in KFold(5).split(X)]
    brain = Windows([np.zeros((9, 2), "f4")], np.zeros(len(X)), np.zeros(len(X)), 3, 120.0, rows=X)
    heard = Windows([np.zeros((9, 2), "f4")], np.zeros(len(X)), np.zeros(len(X)), 3, 50.0, rows=y)
    expected = check_leakage(X, y, 5)
    for X_like, y_like, cv in [
        (X, y, None),
        (X, y, KFold(5)),
        (X, y, masks),
        (brain, heard, iter(KFold(5).split(X))),
    ]:
        pd.testing.assert_frame_equal(check_leakage(X_like, y_like, cv), expected)


def test_check_leakage_of_arrays(tables):
    X, y = tables
    full, bare = check_leakage(X, y, 3), check_leakage(np.zeros((len(X), 2)), y, 3)
    assert "recordings" not in bare
    pd.testing.assert_frame_equal(
        bare.drop(columns=VERDICT_COLUMNS), full[bare.columns].drop(columns=VERDICT_COLUMNS)
    )
    only_sound = check_leakage(np.zeros((len(X), 2)), y[["sound", "sound_onset", "duration"]], 3)
    np.testing.assert_array_equal(only_sound["leaking"], full["leaking"])


def planted(*rows):
    """Windows of 3 s: (sound name, onset, block, sequence, segment)."""
    rng = np.random.default_rng(0)
    sounds = {name: StimulusArray(rng.standard_normal(160), 16, name) for name in "abc"}
    y = pd.DataFrame(rows, columns=["sound", "sound_onset", "block", "sequence", "segment"])
    return y.assign(sound=y["sound"].map(sounds), duration=3.0)


VERDICTS = {  # training row, test row, how the verdict goes
    "far": (("a", 0.0, 1, "x", 1), ("a", 4.0, 2, "y", 2),
            "no leak: no sound, sentence or segment is on both sides; the nearest training sound is 1.0 s away"),
    "other sound": (("a", 0.0, 1, "x", 1), ("b", 0.0, 2, "y", 2),
                    "no leak: no sound, sentence or segment is on both sides; training has no other part of"),
    "meets": (("a", 0.0, 1, "x", 1), ("a", 3.0, 2, "y", 2),
              "CAUTION: no sound, .* the nearest training sound is 0.00 s away, less than 1 s"),
    "close": (("a", 0.0, 1, "x", 1), ("a", 3.97, 2, "y", 2), "CAUTION: .* is 0.97 s away, less than 1 s"),
    "overlaps": (("a", 0.0, 1, "x", 1), ("a", 1.0, 2, "y", 2),
                 "LEAK: 100 % of the test windows contain sound of training, 2 s of it"),
    "same": (("a", 0.0, 1, "x", 1), ("a", 0.0, 1, "x", 1), "LEAK: 100 % .*, 3 s of it"),
    "sentence cut": (("a", 0.0, 1, "x", 1), ("a", 5.0, 2, "x", 2),
                     "no leak: no sound or segment is on both sides; parts of 1 sentences are, but none of"),
    "another voice": (("a", 0.0, 1, "x", 1), ("b", 0.0, 1, "x", 2), "LEAK: the text of 1 blocks is in training in an"),
    "one block, cut": (("a", 0.0, 1, "x", 1), ("a", 5.0, 1, "y", 2), "no leak: .* 2.0 s away"),
    "no block": (("a", 0.0, None, None, 1), ("a", 5.0, None, None, 2), "no leak: .* 2.0 s away"),
}  # fmt: skip


@pytest.mark.parametrize("name", VERDICTS)
def test_check_leakage_verdicts(name):
    train, test, expected = VERDICTS[name]
    table = check_leakage(np.zeros((2, 1)), planted(train, test), [([0], [1])])
    assert pd.Series(table["verdict_text"]).str.match(expected).all(), table["verdict_text"][0]
    verdict, sources, text = table.loc[0, VERDICT_COLUMNS]
    assert TEXTS[verdict] == text.split(":")[0]
    assert read_former_leakage(text) == (verdict, sources)
    assert (sources != "") == (verdict == "leak")


def test_unite_leakage_report_sources_names_each_once():
    texts = ["text of training", "", np.nan, "sound of training, text of training"]
    assert (
        unite_leakage_report_sources(texts)
        == unite_leakage_report_sources(texts[:2], 9)
        == ["sound of training", "text of training"]
    )
    assert unite_leakage_report_sources([np.nan, ""], np.nan) == []


def test_check_leakage_of_equal_recording_names(tables):
    X, y = tables
    name = X["recording"].map(lambda path: str(path)[-8:])
    alike = [
        X.assign(recording=own)
        for own in (X["subject"] + name, X.groupby("subject")["recording"].rank("dense"))
    ]
    cv = LeaveOneSubjectOut(stimulus_folds=2)
    one, other = (check_leakage(table, y, cv) for table in alike)
    pd.testing.assert_frame_equal(one, other)
    assert (other["recordings"] == 0).all()


def test_check_leakage_counts_retold_blocks():
    y = planted(("a", 0.0, 1, "x", 1), ("b", 0.0, 1, "x", 2), ("a", 4.5, 1, "x", 3), ("b", 4.5, 1, "x", 4),
                ("c", 0.0, 2, "z", 5), ("c", 4.5, 2, "z", 6))  # fmt: skip
    X = np.zeros((6, 1))
    folds = [([0, 1, 4], [2, 3, 5]), ([0, 4], [2, 5]), ([0, 4], [3, 5])]
    assert check_leakage(X, y, folds)["retold"].tolist() == [1, 0, 1]


def test_check_leakage_finds_text_of_other_voice():
    rng = np.random.default_rng(0)
    rows = []
    for place, name in enumerate("ab"):
        common = {"subject": "s", "recording": "r.fif", "recording_duration": 120.0}
        voice = StimulusArray(rng.standard_normal(40 * 16), 16, name)
        rows.append({**common, "type": "sound", "onset": 2.0 + 60 * place, "duration": 0.0, "sound": voice})
        rows += [
            {**common, "type": "word", "onset": 2.5 + 60 * place + (1.0 + 0.1 * place) * i, "duration": 0.5,
             "text": f"word{i}", "sequence": f"{i // 8}", "word_index": i % 8}
            for i in range(30)
        ]  # fmt: skip
    X, y = make_segments(pd.DataFrame(rows))
    voice = np.array([sound.name for sound in y["sound"]])
    table = check_leakage(X, y, GroupKFold(2), groups=voice)
    assert table["verdict_text"].str.contains("in training in another voice").all()
    assert (table["shared_seconds"] == 0).all()


def test_check_leakage_of_concurrent_talkers():
    y = planted(("a", 0.0, 1, "x", 1), ("b", 0.0, 2, "y", 2))
    X = pd.DataFrame({"subject": "s", "recording": "r.fif", "onset": [5.0, 6.0], "duration": 3.0})
    table = check_leakage(X, y, [([0], [1])])
    assert table["brain_seconds"][0] == pytest.approx(2.0)
    assert "2.0 s of recordings are on both sides, with other sound" in table["verdict_text"][0]
    assert table["verdict"][0] == "no_leak"


def test_check_leakage_names_subjects(tables):
    X, y = tables
    verdict = {
        name: check_leakage(X, y, CASES[name])["verdict_text"][0] for name in ("folds of sound", "people")
    }
    assert verdict["folds of sound"].endswith("; subjects, sessions and recordings are on both sides")
    assert verdict["people"].endswith("; no subject, session or recording is on both sides")
    one = check_leakage(X.assign(session="", study="one"), y, 2)
    assert not {"sessions", "studies"} & set(one), "what is the same in all rows tells nothing"
    halves = (X["session"] == "0").to_numpy()
    table = check_leakage(X, y, [(np.flatnonzero(halves), np.flatnonzero(~halves))])
    assert (
        "; subjects are on both sides, no session or recording is; 7.7 minutes of tested subjects"
        in table["verdict_text"][0]
    )


def test_format_leakage_reports_worst_fold(tables):
    X, y = tables
    clean, leaking = StimulusKFold(3), KFold(3, shuffle=True, random_state=0)
    text = format_leakage(check_leakage(X, y, clean))
    assert "no leak: no sound" in text
    both = check_leakage(X, y, [*clean.split(X, y), *leaking.split(X, y)])
    text = format_leakage(both)
    assert text.startswith("6 folds of ")
    assert "LEAK: " in text
    assert f"{both['shared_seconds'].max():,.0f} s of it" in text
    assert format_leakage(check_leakage(X, y, StimulusKFold(2, gap=0)), gap=0).count("no leak") == 1


ERRORS = {
    "lengths": (
        lambda X, y: check_leakage(X[:-1], y, 3),
        r"X and y must have the same rows\. Got 699 rows in X and 700 in y\.",
    ),
    "no rows": (
        lambda X, y: check_leakage(X, y, [([0], [])]),
        r"Fold 0 of cv must have test rows, got none\.",
    ),
    "beyond": (
        lambda X, y: check_leakage(X, y, [([0], [10**6])]),
        r"Fold 0 of cv: the test rows must be integers from 0 to 699, or a.*that cv was made for this X\.",
    ),
    "floats": (
        lambda X, y: check_leakage(X, y, [([0.0], [1])]),
        r"Fold 0 of cv: the training rows must be integers from 0 to 699, or.*that cv was made for this X\.",
    ),
    "not a cv": (lambda X, y: check_leakage(X, y, "random"), "Expected `cv` as an integer"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_check_leakage_errors_name_fix(tables, name):
    function, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        function(*tables)


# --- copies of recordings ------------------------------------------------------------------------------


def recorded(folder, name, seed):
    """Save half a minute of noise."""
    data = 1e-5 * np.random.default_rng(seed).standard_normal((4, 3000))
    raw = mne.io.RawArray(data, mne.create_info(4, 100.0, "eeg"), verbose="ERROR")
    raw.save(folder / name, verbose="ERROR")
    return folder / name


def rows_of(paths):
    """Tables of subjects and recordings with two stimuli each."""
    parts = [
        pd.DataFrame(
            {"subject": subject, "recording": str(path), "onset": np.arange(20) * 1.5, "duration": 1.0}
        )
        for subject, path in paths
    ]
    y = pd.DataFrame({
        "sound": [StimulusArray(np.zeros(64 * 20), 64, "story")] * 10 + [StimulusArray(np.ones(64 * 20), 64, "other")] * 10,
        "sound_onset": [*np.arange(10) * 1.5] * 2, "duration": 1.0,
    })  # fmt: skip
    return pd.concat(parts, ignore_index=True), pd.concat([y] * len(paths), ignore_index=True)


def folds_of_subjects_and_sounds(n_subjects):
    """Train on the first stimulus, test the last subject on the second."""
    rows = np.arange(20 * n_subjects).reshape(n_subjects, 2, 10)
    return [(rows[:-1, 0].ravel(), rows[-1, 1])]


@pytest.mark.parametrize("how", ["bytes", "saved again", "one path", "no recording"])
def test_check_leakage_finds_recording_of_two_subjects(tmp_path, how):
    one, two = recorded(tmp_path, "one_raw.fif", 1), recorded(tmp_path, "two_raw.fif", 2)
    copy = tmp_path / "copy_raw.fif"
    if how == "bytes":
        shutil.copy(one, copy)
    elif how == "saved again":
        mne.io.read_raw(one, verbose="ERROR").anonymize(verbose="ERROR").save(
            copy, fmt="double", verbose="ERROR"
        )
    elif how == "one path":
        copy = one
    else:
        one.write_bytes(b"not a recording")
        copy.write_bytes(b"not a recording")
    paths = [("01", one), ("02", two), ("03", copy)]
    table = check_leakage(*rows_of(paths), folds_of_subjects_and_sounds(3))
    assert table["recordings"].tolist() == [1]
    for text in (table["verdict_text"][0], format_leakage(table)):
        assert (
            f"LEAK: {str(one)!r} of subject 01 in training is the recording of another subject, {str(copy)!r}"
            in text
        )
    honest = [("01", one), ("02", two), ("03", recorded(tmp_path, "three_raw.fif", 3))]
    table = check_leakage(*rows_of(honest), folds_of_subjects_and_sounds(3))
    assert table[["recordings", "copies"]].values.tolist() == [[0, ""]]
    assert table["verdict"][0] == "no_leak"


def test_check_leakage_names_copies_of_one_subject(tmp_path):
    one = recorded(tmp_path, "one_raw.fif", 1)
    shutil.copy(one, copy := tmp_path / "copy_raw.fif")
    table = check_leakage(*rows_of([("01", one), ("01", copy)]), folds_of_subjects_and_sounds(2))
    assert table["verdict_text"][0].startswith("no leak: no sound is on both sides; ")
    assert f"{str(one)!r} of training is the same recording as {str(copy)!r}" in table["verdict_text"][0]


def test_check_leakage_lists_few_of_many_copies(tmp_path):
    one = recorded(tmp_path, "one_raw.fif", 1)
    copies = [shutil.copy(one, tmp_path / f"copy{index}_raw.fif") for index in range(3)]
    table = check_leakage(*rows_of([("01", one), *((f"0{i + 2}", path) for i, path in enumerate(copies))]),
                          folds_of_subjects_and_sounds(4))  # fmt: skip
    assert table["verdict_text"][0].count("the recording of another subject") == 1
    assert table["recordings"].tolist() == [1]


def test_check_leakage_ignores_recordings_of_zeros(tmp_path):
    paths = []
    for name in ("01", "02"):
        raw = mne.io.RawArray(np.zeros((2, 3000)), mne.create_info(2, 100.0, "eeg"), verbose="ERROR")
        raw.save(tmp_path / f"{name}_raw.fif", verbose="ERROR")
        paths.append((name, tmp_path / f"{name}_raw.fif"))
    table = check_leakage(*rows_of(paths), folds_of_subjects_and_sounds(2))
    assert table["verdict"][0] == "no_leak"
