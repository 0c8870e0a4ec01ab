"""Tests of the validation of tables of segments."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s import StimulusArray, Windows, check_leakage
from sk_b2s._utils._validation import get_validated_recordings, validate_rows_in_step
from sk_b2s.decoding._retrieval._checks import count_windows_for_retrieval_checks
from sk_b2s.decoding._retrieval._word_figures import compute_word_figure_hours
from sk_b2s.evaluation._attention import attention_decision_accuracy
from sk_b2s.evaluation._controls._timing import describe_timing_of_rows, has_timing_of_overlap
from sk_b2s.events._intervals import StimulusIntervals, sum_recorded_intervals
from sk_b2s.events._stimuli import digest_stimuli
from sk_b2s.metrics._group_context import make_sentence_context_groups
from sk_b2s.metrics._word_timing import _timing_features
from sk_b2s.synthesis._overlap_add import overlap_add_recording


def pair(n=60, n_plays=2, seed=0):
    """Two recordings of one story, with a window at every word."""
    rng = np.random.default_rng(seed)
    story = StimulusArray(rng.standard_normal(640), sfreq=8)
    at = np.cumsum(rng.uniform(0.15, 0.6, n))
    X = pd.DataFrame({
        "recording": np.repeat([f"{i}.fif" for i in range(n_plays)], n), "subject": "s", "duration": 2.0,
        "onset": np.tile(at, n_plays) + np.repeat(10.0 * np.arange(1, n_plays + 1), n),
    })  # fmt: skip
    y = pd.DataFrame({"sound": story, "sound_onset": np.tile(at, n_plays), "duration": 2.0})
    y["segment"] = np.tile(np.arange(n), n_plays)
    return X, y.assign(block=y["segment"] // 20)


def fresh(*tables):
    return [table.reset_index(drop=True) for table in tables]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("rows", "others"),
    [
        (slice(0, 100), slice(1, 101)),
        (slice(0, None, 2), slice(1, None, 2)),
        (np.arange(80), np.random.default_rng(1).permutation(120)[:80]),
        (np.arange(120), np.random.default_rng(2).permutation(120)),
    ],
    ids=["one row later", "other halves", "sampled apart", "permuted"],
)
def test_validate_rows_in_step_of_other_windows(rows, others, reset):
    X, y = pair()
    X, y = X.iloc[rows], y.iloc[others]
    X, y = fresh(X, y) if reset else (X, y)
    with pytest.raises(ValueError, match="X and y are out of step"):
        validate_rows_in_step(X, y)


@pytest.mark.parametrize("reset", ["neither", "one", "both"])
@pytest.mark.parametrize("n", [119, 30, 12])
def test_validate_rows_in_step_of_same_selection(n, reset):
    X, y = pair()
    rows = np.random.default_rng(0).permutation(120)[:n]
    X, y = X.iloc[rows], y.iloc[rows]
    if reset != "neither":
        y = fresh(y)[0]
    if reset == "both":
        X = fresh(X)[0]
    validate_rows_in_step(X, y)
    validate_rows_in_step(Windows.from_array(np.zeros((n, 1, 2)), rows=X), y)


def test_validate_rows_in_step_names_one_recording():
    """A share over all windows would hide it."""
    X, y = pair(n_plays=6)
    rows = np.arange(len(y))
    rows[120:179], rows[179] = np.arange(121, 180), 120  # the third recording, one row late
    late = y.iloc[rows].reset_index(drop=True)
    with pytest.raises(
        ValueError, match=r"out of step in recording '2.fif': of 5\d pairs .* [0-9]% advance .* row 12\d is"
    ):
        validate_rows_in_step(X, late)
    validate_rows_in_step(X, y)


def test_validate_rows_in_step_of_repeated_stimuli():
    """Sentences in random order with jittered pauses have no common pace."""
    rng = np.random.default_rng(0)
    words = np.sort(rng.uniform(0, 2.5, (8, 6)), axis=1)  # 8 sentences of 6 words
    order = rng.integers(0, 8, 50)
    begin = np.cumsum(3 + rng.uniform(0, 0.5, 50))
    X = pd.DataFrame({"recording": "a", "onset": (begin[:, None] + words[order]).ravel(), "duration": 2.0})
    sounds = [StimulusArray(np.full(8, i), sfreq=2) for i in range(8)]
    y = pd.DataFrame({"sound": np.repeat([sounds[i] for i in order], 6), "sound_onset": words[order].ravel()})
    validate_rows_in_step(X, y)
    few = np.sort(rng.permutation(len(X))[:60])
    validate_rows_in_step(X.iloc[few].reset_index(drop=True), y.iloc[few].reset_index(drop=True))


def test_validate_rows_in_step_of_two_calls(listening):
    X, y = listening
    other = y.copy()
    other.attrs["make_segments"] = 0  # of a call with other windows
    validate_rows_in_step(X.iloc[5:9], y.iloc[5:9])
    with pytest.raises(ValueError, match="two calls of make_segments"):
        validate_rows_in_step(X, other)


@pytest.mark.parametrize("column", ["sound", "sound_onset", "duration"])
def test_validate_column_names_missing_column(column):
    _, y = pair()
    with pytest.raises(ValueError, match=f"needs the column '{column}'"):
        StimulusIntervals.from_table(y.drop(columns=column))


@pytest.mark.parametrize("value", [np.nan, None, "1,5", [1], np.inf, pd.NA], ids=repr)
@pytest.mark.parametrize("column", ["sound_onset", "duration"])
def test_validate_seconds_names_first_row(column, value):
    _, y = pair()
    y[column] = y[column].astype(object)
    y.at[7, column] = value
    with pytest.raises(
        ValueError, match=rf"row 7, column '{column}': expected a number of seconds.*\(1 such rows\)"
    ):
        StimulusIntervals.from_table(y)


@pytest.mark.parametrize("value", [np.nan, None, 3.0, ["a.wav"]], ids=repr)
def test_digests_name_invalid_sound(value):
    """A missing sound used to count as the last sound of the column."""
    _, y = pair()
    y["sound"] = y["sound"].astype(object)
    y.at[7, "sound"] = value
    with pytest.raises(ValueError, match="Row 7, column 'sound': expected the path of an audio file"):
        digest_stimuli(y["sound"])


@pytest.mark.parametrize("table", ["X", "y"])
@pytest.mark.parametrize("value", [np.inf, "x"], ids=repr)
def test_check_leakage_names_invalid_times(table, value):
    X, y = pair()
    for data, column in ((X, "onset"), (y, "sound_onset")):
        if (table == "X") == (column == "onset"):
            data[column] = data[column].astype(object)
            data.at[7, column] = value
    with pytest.raises(ValueError, match="row 7, column .*onset': expected a number of seconds"):
        check_leakage(X, y, [(np.arange(60), np.arange(60, 120))])


def make_two_recordings(**names):
    """Make a table of two recordings of words, with names of equal length."""
    times = pd.DataFrame({
        "onset": [0, 1, 2.5, 0.4, 1.2, 2.1], "duration": 1.0, "word_duration": [0.2, 0.5, 0.4, 0.3, 0.1, 0.6],
        "sequence": ["a", "a", "b"] * 2, "word_index": [0, 1, 0] * 2,
    })  # fmt: skip
    return times.assign(**{name: np.repeat(values, 3) for name, values in names.items()})


@pytest.mark.parametrize(
    "compute",
    [
        sum_recorded_intervals,
        has_timing_of_overlap,
        make_sentence_context_groups,
        compute_word_figure_hours,
        lambda rows: describe_timing_of_rows(rows, np.arange(6), 6).to_numpy(),
        lambda rows: _timing_features(rows, "all", list(rows)),
        lambda rows: attention_decision_accuracy(rows["onset"], np.ones(6), rows, [2])["n_decisions"].sum(),
        lambda rows: count_windows_for_retrieval_checks(rows.iloc[:3], rows.iloc[3:]),
        lambda rows: [
            len(part) for part in overlap_add_recording(np.ones((6, 1, 4)), np.ones(4), rows, 4)[0]
        ],
    ],
    ids=["seconds", "overlap", "groups", "hours", "timing", "words", "attention", "shared", "overlap_add"],
)
def test_equal_names_in_two_studies_are_two(compute):
    expected = make_two_recordings(subject=["01", "02"], recording=["a", "b"])
    of_studies = make_two_recordings(study=["x", "y"], subject=["01", "01"], recording=["a", "a"])
    np.testing.assert_array_equal(compute(of_studies), compute(expected))


def test_get_validated_recordings_without_study():
    rows = make_two_recordings(study=["x", None], recording=["a", "b"])
    assert get_validated_recordings(rows).tolist() == ["x, a"] * 3 + ["b"] * 3
