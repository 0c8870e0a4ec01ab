"""Tests of the simulated image experiment."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s import Epocher, PrecomputedFeatures, RidgeDecoder, check_events, make_segments
from sk_b2s.datasets import make_viewing, oracle_scores
from sk_b2s.metrics import ranks

TINY = {
    "n_subjects": 1, "n_concepts": 8, "images_per_concept": 2, "repetitions": 2, "n_categories": 4, "n_channels": 16,
    "sfreq": 64.0, "artifacts": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("viewing")


@pytest.fixture(scope="module")
def viewing(root):
    """Events, vectors and truth with a high signal-to-noise ratio."""
    return make_viewing(**TINY, snr_db=20, root=root, return_truth=True)


def test_make_viewing_returns_valid_events(viewing):
    events, vectors, _ = viewing
    checked = check_events(events)
    assert len(checked) == 32
    assert set(events["image"]) == set(vectors.index)
    assert events.groupby("image")["repetition"].apply(sorted).map([0, 1].__eq__).all()
    assert events.groupby("category")["superordinate"].nunique().eq(1).all()
    assert events["onset"].diff().min() >= 0.6


def test_make_viewing_orders_share_times(root, viewing):
    """Blocks change the order of images, and not when they are presented."""
    random, vectors, _ = viewing
    block, same = make_viewing(**TINY, snr_db=20, order="block", root=root)
    pd.testing.assert_frame_equal(vectors, same)
    np.testing.assert_array_equal(random["onset"], block["onset"])

    def count_changes(events):
        return (events["superordinate"] != events["superordinate"].shift()).sum()

    assert count_changes(block) == 4 < count_changes(random)
    pauses = block["superordinate"] != block["superordinate"].shift(-1)
    assert (block["onset"].diff().shift(-1)[pauses][:-1] > 3).all()


def test_make_viewing_response_is_truth(viewing):
    """A recording is the response to each image plus little noise."""
    events, vectors, truth = viewing
    X, y = make_segments(events, anchor="image", tmin=0, tmax=0.6)
    scores = oracle_scores(truth, X, y, lag=0)
    assert np.mean(ranks(scores, pd.factorize(y["segment"])[0]) < 1) > 0.95
    response = np.array([truth["01"].responses[name] for name in vectors.index])
    centered = response - response.mean(0)
    left = np.linalg.svd(centered.reshape(len(vectors), -1))[1]
    assert (left > 1e-9 * left[0]).sum() <= 8  # sources are linear in the vectors, of two hemispheres each
    drifting = truth["01"].recordings[events["recording"][0]]
    assert not np.allclose(drifting.sources, drifting.expected)


def test_oracle_scores_of_images_without_response(root):
    events, _, truth = make_viewing(**TINY, snr_db=-np.inf, root=root, return_truth=True)
    X, y = make_segments(events, anchor="image", tmin=0, tmax=0.6)
    target = pd.factorize(y["segment"])[0]
    assert np.mean(ranks(oracle_scores(truth, X, y, lag=0), target) < 8) < 0.8
    truth["01"].responses.pop(y["image"][0])
    with pytest.raises(ValueError, match="no response to the image"):
        oracle_scores(truth, X, y)


@pytest.mark.filterwarnings("ignore::sk_b2s.StimulusLeakWarning")
def test_make_viewing_is_decoded(viewing):
    events, vectors, _ = viewing
    X, y = make_segments(events, anchor="image", tmin=0, tmax=0.6)
    windows = Epocher(sfreq=32, lag=0, baseline=None).fit_transform(X)
    first = (y["repetition"] == 0).to_numpy()
    decoder = RidgeDecoder(speech=PrecomputedFeatures(vectors), k=1).fit(windows[first], y[first])
    assert decoder.score(windows[~first], y[~first]) > 0.3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_concepts": 3}, "'n_concepts' parameter of make_viewing .* at least n_categories=4"),
        ({"order": "sorted"}, r"one of \['random', 'block'\]"),
        ({"drift": -1}, "'drift' parameter .* Got -1"),
        ({"interval": 0.01}, "'interval' parameter .* Got 0.01"),
        ({"repetitions": 0}, "'repetitions' parameter .* above 0"),
        ({"artifacts": ["earphones"]}, "requires sound"),
        ({"modality": "fnirs"}, "'modality' parameter"),
    ],
)
def test_make_viewing_rejects_parameters(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_viewing(**TINY | wrong, root=tmp_path)
    assert not list(tmp_path.iterdir())
