"""Test sentences that are parted by silence."""

import numpy as np
import pytest

from sk_b2s.events._sentences import number_sentences


@pytest.mark.parametrize(("gap", "expected"), [(0.4, [0, 1, 1, 2]), (0.41, [0, 0, 0, 1]), (np.inf, [0] * 4)])
def test_number_sentences_splits_at_gaps(gap, expected):
    onset, stop = [0.0, 0.7, 1.0, 2.0], [0.3, 1.0, 1.3, 2.5]
    assert number_sentences(onset, stop, gap).tolist() == expected


def test_number_sentences_accepts_no_words():
    assert number_sentences([], []).shape == (0,)
