"""Tests of the concatenation of windows."""

import numpy as np
import pandas as pd
import pytest
from helpers.windows import make_planted_windows

from sk_b2s import RobustChannelScaler, Windows, concat_windows
from sk_b2s.preprocessing._epocher._table import EpocherTableBaseline


def make_windows(subject, n=6, **changes):
    X, _ = make_planted_windows(n, subjects=(subject,), seed=ord(subject))
    return X._replace(**changes) if changes else X


def test_concat_windows_joins_rows_and_values():
    one, two = make_windows("a"), make_windows("b", n=4)
    both = concat_windows([one, two, one[2:]])
    np.testing.assert_array_equal(both, np.concatenate([one, two, one[2:]]))
    assert len(both.signals) == 2  # shared, not copied
    assert both.signals[0] is one.signals[0]
    expected = pd.concat([one.rows, two.rows, one.rows[2:]], ignore_index=True)
    pd.testing.assert_frame_equal(both.rows, expected)
    of_window = both.positions[both.layout[both.which]]
    np.testing.assert_array_equal(of_window[0], one.positions[0])
    np.testing.assert_array_equal(of_window[6], two.positions[0])


def test_concat_windows_fills_what_a_part_lacks():
    one, two = make_windows("a", extent=[(0, 60)], n_valid=[3] * 6), make_windows("b", positions=None)
    both = concat_windows([one, two])
    assert both.extent.tolist() == [[0, 60], [0, 72]]
    assert both.n_valid.tolist() == [3] * 6 + [12] * 6
    assert np.isnan(both.positions[both.layout[1]]).all()
    assert not both.is_continuous


def test_concat_windows_keeps_equal_steps():
    one, two = (make_windows(name).then(EpocherTableBaseline(0, 2, 3, 6)) for name in "ab")
    both = concat_windows([one, two])
    np.testing.assert_array_equal(both, np.concatenate([one, two]))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda X: X[:, :], None),
        (lambda X: X._replace(sfreq=50), "sampling rate. Got 50"),
        (lambda X: X._replace(ch_names=tuple("abcde")), "channel names"),
        (lambda X: X._replace(n_times=6), "number of samples"),
        (lambda X: X._replace(rows=None), "kind of rows"),
        (lambda X: X.then(EpocherTableBaseline(0, 2, 3, 6)), "number of steps"),
        (lambda X: Windows.from_array(np.ones((3, 4, 12)), sfreq=100), "number of channels"),
        (np.asarray, "Got ndarray"),
    ],
    ids=["equal", "rate", "names", "samples", "rows", "steps", "channels", "array"],
)
def test_concat_windows_refuses_other_kinds(change, text):
    one, two = make_windows("a"), change(make_windows("b"))
    if text is None:
        assert len(concat_windows([one, two])) == 12
        return
    with pytest.raises((ValueError, TypeError), match=text):
        concat_windows([one, two])


def test_concat_windows_refuses_values_per_signal():
    both = concat_windows([make_windows("a"), make_windows("b")])
    scaled = RobustChannelScaler().fit_transform(both)
    np.testing.assert_array_equal(
        concat_windows([scaled[8:], scaled[:8]]), np.asarray(scaled)[[8, 9, 10, 11, *range(8)]]
    )
    with pytest.raises(ValueError, match="before the scaler"):
        concat_windows([scaled, scaled._replace(signals=[signal.copy() for signal in scaled.signals])])
    parts = (RobustChannelScaler().fit_transform(make_windows(name)) for name in "ab")
    with pytest.raises(ValueError, match="before the scaler"):
        concat_windows(parts)
    with pytest.raises(ValueError, match="same steps"):
        concat_windows([make_windows("a").then(EpocherTableBaseline(0, 2, 3, 6)),
                        make_windows("b").then(EpocherTableBaseline(0, 2, 4, 6))])  # fmt: skip
    with pytest.raises(ValueError, match="at least one"):
        concat_windows([])
