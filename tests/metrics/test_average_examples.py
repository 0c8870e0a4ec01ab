"""Tests of averages of several examples of a class."""

import numpy as np
import pytest

from sk_b2s.metrics import average_examples
from sk_b2s.metrics._average_examples import draw_examples


def test_average_examples_draws_without_repetition():
    random = np.random.default_rng(0)
    labels, groups = random.choice(list("abc"), 100), random.choice(list("xy"), 100)
    index = draw_examples(labels, 4, groups, random_state=0)
    assert len(np.unique(index)) == index.size
    assert (labels[index] == labels[index][:, :1]).all()
    assert (groups[index] == groups[index][:, :1]).all()
    counts = [np.sum((labels == label) & (groups == group)) // 4 for label in "abc" for group in "xy"]
    assert len(index) == sum(counts), "all that fit"
    windows = random.standard_normal((100, 2, 3))
    averages, of_class, of_group = average_examples(windows, labels, 4, groups, random_state=0)
    np.testing.assert_allclose(averages, windows[index].mean(1))
    assert of_class.tolist() == labels[index[:, 0]].tolist()
    assert of_group.tolist() == groups[index[:, 0]].tolist()


def test_average_examples_names_bad_input():
    with pytest.raises(ValueError, match="No class has 3 examples in a group. The largest has 2"):
        average_examples(np.zeros((4, 1)), list("aabb"), 3)
    with pytest.raises(ValueError, match="n_averaged must be an integer of at least 1. Got 0"):
        average_examples(np.zeros((2, 1)), list("aa"), 0)
