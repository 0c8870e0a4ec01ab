"""Test chunks of audio for pretrained models."""

import numpy as np
import pytest

from sk_b2s.features._pretrained_chunks import split_pretrained_chunks


@pytest.mark.parametrize("n_frames", [1, 49, 50, 51, 77, 100, 499, 1000])
@pytest.mark.parametrize(("size", "overlap"), [(50, 0), (50, 10), (50, 33), (7, 6)])
def test_split_pretrained_chunks_covers_frames_once(n_frames, size, overlap):
    chunks = split_pretrained_chunks(n_frames, size, overlap)
    kept = np.concatenate([np.arange(begin, end) for _, _, begin, end in chunks])
    np.testing.assert_array_equal(kept, np.arange(n_frames))
    assert all(last - first == min(size, n_frames) for first, last, _, _ in chunks)
    for first, last, begin, end in chunks:
        assert 0 <= first <= begin < end <= last <= n_frames
        assert begin - first >= overlap // 2 or first == 0
        assert last - end >= overlap // 2 or last == n_frames
