"""Noise ceilings."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s import Windows, intersubject_correlation, split_half_reliability

RHO = np.array([0.0, 0.2, 0.5, 0.8])  # reliability of each channel


def simulate(n_subjects=1, n_repeats=4, n_segments=60, n_times=50, seed=0):
    """Simulate a common signal of subjects in channels with noise."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_segments, 4, n_times))
    subject, repeat, segment = (part.ravel() for part in np.indices((n_subjects, n_repeats, n_segments)))
    noise = rng.normal(size=(len(segment), 4, n_times))
    windows = np.sqrt(RHO)[:, None] * signal[segment] + np.sqrt(1 - RHO)[:, None] * noise
    order = rng.permutation(len(segment))
    return windows[order], segment[order], np.array([f"s{s}" for s in subject])[order]


@pytest.mark.parametrize("n_repeats", [2, 3, 5, 8])
def test_split_half_reliability_recovers_truth(n_repeats):
    table = split_half_reliability(*simulate(n_repeats=n_repeats))
    half = n_repeats // 2
    np.testing.assert_allclose(table["reliability"], RHO, atol=0.04)
    np.testing.assert_allclose(table["r"], half * RHO / (1 + (half - 1) * RHO), atol=0.06)
    np.testing.assert_allclose(table["ceiling"], np.sqrt(np.maximum(table["reliability"], 0)))
    assert (table["n_repeats"] == 2 * half).all()


def test_split_half_reliability_ceiling_of_model():
    windows, segments, subjects = simulate(n_repeats=6)
    signal = np.random.default_rng(0).normal(size=(60, 4, 50))[segments]
    found = [np.corrcoef(windows[:, c].ravel(), signal[:, c].ravel())[0, 1] for c in range(1, 4)]
    ceiling = split_half_reliability(windows, segments, subjects)["ceiling"][1:]
    np.testing.assert_allclose(ceiling, found, atol=0.03)


def test_split_half_reliability_of_two_repetitions(monkeypatch):
    windows, segments, _ = simulate(n_repeats=2, n_segments=7)
    order = np.argsort(segments, kind="stable")
    first, second = windows[order[::2]], windows[order[1::2]]
    table = split_half_reliability(windows, segments, n_splits=400)  # which comes first matters little
    mean = [np.corrcoef(first[:, c].ravel(), second[:, c].ravel())[0, 1] for c in range(4)]
    np.testing.assert_allclose(table["r"], mean, atol=5e-3)
    whole = split_half_reliability(windows, segments, n_splits=2)
    monkeypatch.setattr("sk_b2s.evaluation._noise_ceiling.CHUNK_BYTES", 1)
    pieces = split_half_reliability(windows, segments, n_splits=2)
    np.testing.assert_allclose(pieces["r"], whole["r"], atol=0.02, err_msg="only the draws differ")


def test_intersubject_correlation_equals_numpy(monkeypatch):
    windows, segments, subjects = simulate(n_subjects=5, n_repeats=1)
    table = intersubject_correlation(windows, segments, subjects)
    mine = {s: windows[subjects == s][np.argsort(segments[subjects == s])] for s in np.unique(subjects)}
    for row in table.itertuples():
        own = mine[row.subject][:, row.channel].ravel()
        others = np.mean([mine[s][:, row.channel].ravel() for s in mine if s != row.subject], axis=0)
        assert row.isc == pytest.approx(np.corrcoef(own, others)[0, 1])
        assert row.upper == pytest.approx(np.corrcoef(own, (own + 4 * others) / 5)[0, 1])
    means = table.groupby("channel")[["isc", "upper"]].mean()
    of_four = 4 * RHO / (1 + 3 * RHO)
    np.testing.assert_allclose(means["isc"], np.sqrt(RHO * of_four), atol=0.02)
    assert (means["isc"] <= np.sqrt(RHO) + 0.02).all()
    assert (means["upper"] >= np.sqrt(RHO)).all()
    monkeypatch.setattr("sk_b2s.evaluation._noise_ceiling.CHUNK_BYTES", 1)
    pd.testing.assert_frame_equal(intersubject_correlation(windows, segments, subjects), table)


def test_intersubject_correlation_of_common_segments():
    windows, segments, subjects = simulate(n_subjects=3, n_repeats=2, n_segments=12)
    keep = (subjects != "s2") | (segments < 4)
    windows, segments, subjects = windows[keep], segments[keep], subjects[keep]
    alone = segments.copy()
    alone[(subjects == "s0") & (segments >= 10)] += 100  # presented to no other subject
    table = intersubject_correlation(windows, alone, subjects)
    some = ~((subjects == "s0") & (segments >= 10))
    less = intersubject_correlation(windows[some], alone[some], subjects[some])
    pd.testing.assert_frame_equal(table, less)
    first = table.groupby("subject").first()
    assert first["n_segments"].to_dict() == {"s0": 10, "s1": 10, "s2": 4}
    assert first.loc["s0", "n_others"] == 1.4
    cells = pd.MultiIndex.from_arrays([subjects, alone]).unique()
    means = np.array([windows[(subjects == s) & (alone == g)].mean(0) for s, g in cells])
    averaged = intersubject_correlation(means, cells.get_level_values(1), cells.get_level_values(0))
    pd.testing.assert_frame_equal(averaged, table)


def test_noise_ceiling_of_windows_object():
    data, segments, subjects = simulate(n_subjects=2, n_repeats=2, n_segments=9)
    rows = pd.DataFrame({"subject": subjects})
    windows = Windows.from_array(data.astype("f4"), rows=rows, sfreq=50, ch_names=list("abcd"))
    for measure in (split_half_reliability, intersubject_correlation):
        table = measure(windows, segments)
        assert table["channel"].tolist() == list("abcd") * 2
        numbers = table.select_dtypes(float).to_numpy()
        plain = measure(data, segments, subjects).select_dtypes(float).to_numpy()
        np.testing.assert_allclose(numbers, plain, atol=1e-5)


def test_noise_ceiling_of_constant_channel_and_errors():
    windows, segments, subjects = simulate(n_subjects=2, n_repeats=2, n_segments=9)
    windows[:, 0] = 3.0
    assert (
        split_half_reliability(windows, segments, subjects)["r"].isna().tolist() == [True, *[False] * 3] * 2
    )
    assert intersubject_correlation(windows, segments, subjects)["isc"].isna().sum() == 2
    with pytest.raises(ValueError, match="no repetition of its 36 segments"):
        split_half_reliability(windows, np.arange(36))
    with pytest.raises(ValueError, match=r"\['s0', 's1'\] have no segment in common"):
        intersubject_correlation(windows, np.where(subjects == "s0", segments, 50 + segments), subjects)
    with pytest.raises(ValueError, match="35 segments and 36 subjects"):
        intersubject_correlation(windows, segments[1:], subjects)


def test_noise_ceiling_of_lists_and_missing_labels():
    windows, segments, subjects = simulate(n_subjects=2, n_repeats=2, n_segments=9)
    for measure in (split_half_reliability, intersubject_correlation):
        listed = measure(windows.tolist(), segments.tolist(), subjects.tolist())
        pd.testing.assert_frame_equal(listed, measure(windows, segments, subjects))
        with pytest.raises(
            ValueError, match=r"segments: NaN or None in 2 of 36 windows, the first of them \[3, 7\]"
        ):
            measure(windows, np.where(np.isin(np.arange(36), [3, 7]), np.nan, segments), subjects)
        with pytest.raises(
            ValueError, match=r"subjects: NaN or None in 1 of 36 windows, the first of them \[5\]"
        ):
            measure(windows, segments, [*subjects[:5], None, *subjects[6:]])
