"""Tests of windows of trials."""

import numpy as np
import pytest
from helpers.recorded_warnings import record_warnings
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    FeatureScaler,
    ForwardTRF,
    PrecomputedFeatures,
    StimulusKFold,
    StimulusLeakWarning,
    Windows,
    cross_val_encoding,
)

SFREQ = 64.0


def make_trials(lengths=(1280, 1600, 1920), n_channels=3, seed=0):
    """Channel 0 follows the stimulus by 6 frames."""
    rng = np.random.default_rng(seed)
    stimuli = [np.convolve(rng.standard_normal(n), [0.5, 1.0, 1.0, 0.5], "same") for n in lengths]
    responses = [rng.standard_normal((n, n_channels)) for n in lengths]
    for response, stimulus in zip(responses, stimuli, strict=True):
        response[6:, 0] += stimulus[:-6]
    return responses, stimuli


def fit(trials, seconds, **options):
    X, y = Windows.from_trials(*trials, SFREQ, seconds=seconds)
    return ForwardTRF(PrecomputedFeatures(), alphas=(0.01,), **{"lags": (-0.1, 0.4), **options}).fit(X, y)


@pytest.mark.parametrize("lags", [(-0.1, 0.4), (0.1, 0.3), (0.0, 0.0)])
def test_trf_weights_do_not_depend_on_window_length(lags):
    trials = make_trials((1280, 1280))
    whole, long, short = (fit(trials, seconds, lags=lags) for seconds in (20, 5, 0.5))
    for trf in (long, short):
        np.testing.assert_allclose(trf.coef_, whole.coef_, atol=1e-4 * abs(whole.coef_).max())


def test_trf_weights_of_whitened_short_windows():
    trials, found = make_trials((1280, 1280)), []
    for seconds in (20, 0.5):
        X, y = Windows.from_trials(*trials, SFREQ, seconds=seconds)
        speech = make_pipeline(PrecomputedFeatures(), FeatureScaler(whiten=True))
        found.append(ForwardTRF(speech, lags=(-0.1, 0.4), alphas=(0.01,)).fit(X, y).coef_)
    np.testing.assert_allclose(*found, atol=0.01 * abs(found[0]).max())
    assert np.corrcoef(*map(np.ravel, found))[0, 1] > 0.9999


def test_trf_weights_equal_mtrfpy():
    mtrf = pytest.importorskip("mtrf", reason="mTRFpy is not installed")
    responses, stimuli = make_trials()
    trf = fit((responses, stimuli), 1.0, lags=(-0.0625, 0.4))
    joined = np.concatenate(stimuli)
    power = 0.01 * joined.var() * len(joined) / len(stimuli)  # mTRFpy averages sums over trials
    other = mtrf.TRF()
    other.train([s[:, None] - joined.mean() for s in stimuli], responses, SFREQ, -0.0625, 0.4, power / SFREQ)
    ours, theirs = trf.coef_[0][:, 0], other.weights[0, : len(trf.lags_)] / SFREQ
    np.testing.assert_allclose(other.times[: len(trf.lags_)], trf.lags_, atol=1e-6)
    np.testing.assert_allclose(ours, theirs, atol=0.005 * abs(ours).max())
    assert np.corrcoef(ours[:, 0], theirs[:, 0])[0, 1] > 0.9999


def test_predictions_continue_across_windows():
    trials = make_trials()
    trf = fit(trials, 1.0)
    X, y = Windows.from_trials(*trials, SFREQ, seconds=5.0)
    short = Windows.from_trials(*trials, SFREQ, seconds=1.0)[1]
    long = fit(trials, 5.0)
    long.coef_, long.intercept_, long.mean_ = trf.coef_, trf.intercept_, trf.mean_
    predicted = trf.predict(short).transpose(0, 2, 1).reshape(-1, 3)
    np.testing.assert_allclose(predicted, long.predict(y).transpose(0, 2, 1).reshape(-1, 3), atol=1e-4)


def test_from_trials_in_the_tools_of_the_package():
    X, y = Windows.from_trials(*make_trials(), SFREQ, seconds=2.0, block=5.0)
    assert (len(X), X.rows["recording"].nunique(), y["block"].nunique()) == (37, 3, 15)
    trf = ForwardTRF(PrecomputedFeatures(), lags=(0, 0.2), alphas=(0.01,))
    found = cross_val_encoding(trf, X, y, StimulusKFold(2), n_shifts=0)
    assert found.groupby("channel")["r"].mean().round(1).tolist() == [0.8, 0.0, 0.0]
    folds = GroupKFold(3).split(X, groups=X.rows["recording"])
    assert len(cross_val_encoding(trf, X, y, list(folds), n_shifts=0)) == 9
    with pytest.warns(StimulusLeakWarning):
        trf.fit(X, y).score(X, y)


def test_from_trials_accepts_both_orders_of_axes():
    responses, stimuli = make_trials()
    expected, y = Windows.from_trials(responses, stimuli, SFREQ)
    turned = [r.T for r in responses], [s[None] for s in stimuli]
    X, other = Windows.from_trials(*turned, SFREQ, channels_first=True)
    np.testing.assert_array_equal(X, expected)
    assert other.equals(y) or other["segment"].equals(y["segment"])
    with pytest.raises(ValueError, match=r"Trial 0 .*axes seem to be exchanged\. Set channels_first=True"):
        Windows.from_trials(*turned, SFREQ)
    with pytest.raises(ValueError, match=r"Trial 0 has more channels \(1280\) than times \(3\)"):
        Windows.from_trials(turned[0], [s[:3] for s in stimuli], SFREQ)


def test_from_trials_accepts_short_trials():
    responses, stimuli = [np.eye(128)[:n] for n in (100, 128)], [np.eye(128)[:n, 5] for n in (100, 128)]
    both, _ = Windows.from_trials(responses, stimuli, 100, seconds=1)
    assert len(both) == 2  # the second trial shows the axes
    with pytest.raises(ValueError, match=r"more channels \(128\) than times \(100\).*pass ch_names"):
        Windows.from_trials(responses[:1], stimuli[:1], 100, seconds=1)
    names = [f"E{index}" for index in range(128)]
    assert len(Windows.from_trials(responses[:1], stimuli[:1], 100, seconds=1, ch_names=names)[0]) == 1


def test_from_trials_names_subjects_and_rates():
    responses, stimuli = make_trials()
    X, y = Windows.from_trials(
        responses,
        [s[::2] for s in stimuli],
        SFREQ,
        stimulus_sfreq=32,
        subject=["a", "b", "a"],
        ch_names=["x", "y", "z"],
    )
    assert X.rows.groupby("recording")["subject"].first().tolist() == ["a", "b", "a"]
    assert PrecomputedFeatures().fit_transform(y).shape == (15, 1, 160)
    trf = ForwardTRF(PrecomputedFeatures(), lags=(0, 0.2), alphas=(0.1,)).fit(X, y)
    assert trf.subjects_.tolist() == ["a", "b"]
    assert set(Windows.from_trials(responses, stimuli, SFREQ, subject=7)[0].rows["subject"]) == {"7"}
    with pytest.raises(ValueError, match="one for each of 3 trials. Got 2 names"):
        Windows.from_trials(responses, stimuli, SFREQ, subject=["a", "b"])


@pytest.mark.parametrize("convert", [abs, np.asarray], ids=["envelope", "one_column"])
def test_from_trials_warns_about_exchanged_arrays(convert):
    responses, stimuli = make_trials()
    stimuli = [convert(stimulus) for stimulus in stimuli]
    with pytest.warns(UserWarning, match=r"order of mTRFtrain\(stim, resp\), exchange them"):
        Windows.from_trials(stimuli, responses, SFREQ)
    assert record_warnings(Windows.from_trials, stimuli, responses, SFREQ, ch_names=["Cz"])[1] == ""
    assert record_warnings(Windows.from_trials, responses, stimuli, SFREQ)[1] == ""


def test_from_trials_warns_about_remainders():
    with pytest.warns(UserWarning, match=r"left out 20\.0 of 75\.0 s.*most in trial 0: 9\.0 s"):
        Windows.from_trials(*make_trials(), SFREQ, seconds=11.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stimuli": [np.zeros(1280)] * 2}, "same number of trials. Got 3 and 2"),
        ({"stimuli": [np.ones(900)] * 3}, r"Trial 0 has a response of 1280 times \(20\.000 s\).*Cut the longer one"),
        ({"stimuli": [np.ones((1, 1280))] * 3}, "axes of the stimulus alone seem to be exchanged. Transpose"),
        ({"seconds": 60.0}, r"seconds=60 is longer than all trials\. The longest has 30\.000 s"),
        ({"seconds": 0.001}, r"seconds=0\.001 is less than a sample at 64 Hz"),
        ({"stimulus_sfreq": 0}, r"stimulus_sfreq must be a finite number above 0\. Got 0"),
        ({"seconds": None}, r"seconds must be a finite number above 0\. Got None"),
        ({"sfreq": "64"}, r"sfreq must be a finite number above 0\. Got '64'"),
        ({"ch_names": ["Cz", "Cz", "Pz"]}, r"ch_names must differ\. 'Cz' is there more than once"),
        ({"ch_names": ["Cz", "Pz", "Oz"], "montage": "biosemi65"}, r"did you mean 'biosemi64'\?"),
        ({"seconds": -1.0}, r"seconds must be a finite number above 0\. Got -1\.0"),
        ({"responses": [np.zeros((2, 3, 4))] * 3}, r"numeric array with two axes.*Got shape \(2, 3, 4\)"),
        ({"responses": [np.full((1280, 2), np.nan)] * 3}, "Trial 0 of responses has 2560 NaN"),
        ({"responses": [np.zeros((1280, 2)), np.zeros((1600, 3)), np.zeros((1920, 2))]}, "Got 2 in trial 0 and 3 in trial 1"),
    ],
)  # fmt: skip
def test_from_trials_rejects_bad_input(change, message):
    responses, stimuli = make_trials()
    with pytest.raises(ValueError, match=message):
        Windows.from_trials(**{"responses": responses, "stimuli": stimuli, "sfreq": SFREQ, **change})
