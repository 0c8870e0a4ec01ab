"""Tests of the hold-out windows of LibriBrain100."""

import numpy as np
import pytest
from helpers.libribrain import write_holdout

from sk_b2s.datasets import load_libribrain100_holdout


def test_load_holdout_cuts_words_in_order(tmp_path):
    sentences, words = write_holdout(tmp_path)
    X, rows = load_libribrain100_holdout(tmp_path, 0)
    assert X.shape == (10, 6, 250)
    assert X.dtype == np.float32
    assert rows["source"].tolist() == 6 * ["sentence"] + 4 * ["word"]
    assert rows[["epoch", "word"]].to_numpy()[:6].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [2, 1]]
    np.testing.assert_array_equal(X[5], sentences["meg"][2][:, 125:375])
    np.testing.assert_array_equal(X[6:], words["meg"])
    only, table = load_libribrain100_holdout(tmp_path, "sub-0", sources="word")
    assert len(only) == len(table) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"word_onsets_s": None}, r"lacks the arrays \['word_onsets_s'\]"),
        ({"sentence_n_times": np.array([600, 200, 700])}, r"sentence 1, word 0: the window of 1 s from 0\.100 s"),
        ({"word_mask": np.ones((3, 3), bool)}, "sentence 1, word 1: the window of 1 s from nan"),
        ({"word_mask": np.ones((2, 3), bool)}, r"'word_mask' \(2, 3\).*do not match the 3 sentences"),
        ({"meg": np.zeros((3, 700))}, r"'meg' must be .* Got float64 \(3, 700\)"),
    ],
)  # fmt: skip
def test_load_holdout_describes_invalid_files(tmp_path, changes, message):
    write_holdout(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"subj00_holdout01_sentence\.npz'.*{message}"):
        load_libribrain100_holdout(tmp_path, 0)


def test_load_holdout_describes_missing_parts(tmp_path):
    write_holdout(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"subj03_holdout01.*holdout=True"):
        load_libribrain100_holdout(tmp_path, 3)
    with pytest.raises(ValueError, match="'subject' must be one of 0 to 39. Got 'deep'"):
        load_libribrain100_holdout(tmp_path, "deep")
    with pytest.raises(ValueError, match="'sources' must be 'sentence' or 'word'. Got 'words'"):
        load_libribrain100_holdout(tmp_path, 0, "words")
    path = tmp_path / "COMPETITION_HOLDOUT/subj00_holdout2_word.npz"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="subj00_holdout2_word.npz' cannot be read.*truncated"):
        load_libribrain100_holdout(tmp_path, 0)
