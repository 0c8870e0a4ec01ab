"""Tests of the figure of guesses."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s.decoding import RetrievalResult
from sk_b2s.plotting import plot_guesses
from sk_b2s.plotting._style import COLORS


@pytest.fixture
def result():
    scores = np.array([[3, 0, 0], [3, 0, 0], [0, 0, 3.0], [0, 3, 0]], "f4")
    candidates = pd.DataFrame({"segment": [1, 2, 3], "text": ["ab", "cd", "ef"], "word": ["a", "c", "e"]})
    rows = pd.DataFrame({"subject": "s", "recording": ["x", "x", "x", "y"], "onset": [4.0, 1.0, 9.0, 0.0]})
    return RetrievalResult(scores, np.array([0, 1, 2, 0]), candidates, rows, k=1)


def test_plot_guesses_shows_windows_in_order(result):
    from matplotlib.colors import to_hex

    ax = plot_guesses(result)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1.0 s  c", "4.0 s  a", "9.0 s  e"]
    assert [text.get_text() for text in ax.texts] == ["a", "a", "e"]
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [COLORS[1], COLORS[0], COLORS[0]]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], np.exp(3) / (np.exp(3) + 2))
    assert len(plot_guesses(result, start=2.0, n_windows=1).patches) == 1
    assert [text.get_text() for text in plot_guesses(result, recording="y").texts] == ["c"]


def test_plot_guesses_names_unknown_recordings(result):
    with pytest.raises(ValueError, match=r"one of \['x', 'y'\]... Got 'z'"):
        plot_guesses(result, recording="z")
    with pytest.raises(ValueError, match="begins at 10 s or later"):
        plot_guesses(result, start=10.0)
    with pytest.raises(TypeError, match="requires a RetrievalResult, see retrieve"):
        plot_guesses(result.scores)
