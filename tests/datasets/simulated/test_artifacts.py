"""Each switch of the simulated experiment does what it says, and nothing else; the oracle knows the rest."""

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.fft import rfft, rfftfreq

from sk_b2s import check_events, make_segments
from sk_b2s.datasets import SubjectTruth, load_speech, make_listening, oracle_scores
from sk_b2s.datasets.simulated._artifacts import ADDED, ARTIFACTS, USUAL, attention_walk, check_artifacts
from sk_b2s.datasets.simulated._experiment import VERSION
from sk_b2s.datasets.simulated._head import HEAD_RADIUS, move
from sk_b2s.datasets.simulated._oracle import project_recording, weight_sources
from sk_b2s.datasets.simulated._recording import _as_it_happens
from sk_b2s.metrics._ranking import ranks

SMALL = {"n_subjects": 1, "minutes": 2, "n_channels": 16}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Make one listener with some artifacts: the data of the recordings, their truth, and the events."""
    root = tmp_path_factory.mktemp("artifacts")

    def make(artifacts, **changes):
        events, truth = make_listening(**(SMALL | changes), artifacts=artifacts, root=root, return_truth=True)
        data = {
            path: mne.io.read_raw(path, verbose="ERROR").get_data() for path in events["recording"].unique()
        }
        return data, truth["01"].recordings, events

    return make


def only(found):
    """Data and truth of the only recording."""
    data, truth, _ = found
    (path,) = data
    return data[path], truth[path]


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("modality", ["meg", "eeg"])
def test_an_added_artifact_is_all_that_changes(make, name, modality):
    clean, _ = only(make(False, modality=modality))
    spoilt, truth = only(make([name], modality=modality))
    tolerance = 1e-4 * clean.std() + 1e-6 * np.abs(spoilt).max()  # the files are float32
    np.testing.assert_allclose(spoilt - clean, truth.artifacts(), atol=tolerance)
    if name not in ("jumps", "bursts"):  # which two minutes need not have
        assert np.abs(truth.artifacts()).max() > 0.1 * clean.std()


def test_blinks_are_frontal_and_as_frequent_and_high_as_said(make):
    _, truth = only(make(["blinks"], modality="eeg"))
    course = truth.artifacts()
    front = np.argmax(np.abs(course).max(axis=1))
    assert truth.bench.directions[front, 1] > 0.7  # y is to the front
    peaks = np.abs(course[front])
    assert 60e-6 < peaks.max() < 300e-6  # two may fall together
    onsets = np.count_nonzero(np.diff((peaks > 30e-6).astype(int)) == 1)
    assert 15 < onsets < 50  # two minutes and a half


@pytest.mark.parametrize(("name", "touched"), [("jumps", 1), ("bursts", 16)])
def test_jumps_are_one_channels_and_bursts_everybodys(make, name, touched):
    _, truth = only(make([name], minutes=10))
    course = np.abs(truth.artifacts())
    assert 0.0005 < np.mean((course > 0).any(axis=0)) < 0.03
    first = np.flatnonzero((course > 0).any(axis=0))[3]
    assert np.count_nonzero(course[:, first]) == touched
    assert (course.max(axis=1) / truth.bench.noise_sd).max() > 10


def test_line_noise_is_at_fifty_hertz_and_drift_is_slow(make):
    for name, band in (("line", (49.5, 50.5)), ("drift", (0, 0.2))):
        _, truth = only(make([name]))
        power = np.abs(rfft(truth.artifacts()[0])) ** 2
        frequency = rfftfreq(truth.sources.shape[1], 1 / 128)
        kept = (frequency >= band[0]) & (frequency <= band[1])
        assert power[kept].sum() > 0.9 * power.sum(), name


def test_earphones_leak_the_envelope_without_delay(make):
    data, truth = only(make(["earphones"]))
    leak = truth.artifacts()
    ear = np.argmax(leak.std(axis=1))
    assert abs(truth.bench.directions[ear, 0]) > 0.7  # at one side
    lags = range(-20, 21)
    match = [abs(np.corrcoef(np.roll(truth.bench.loudness, lag), data[ear])[0, 1]) for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 1


def test_a_session_has_a_gain_and_a_place_of_its_own(make):
    _, still, _ = make(False, sessions=2)
    _, moved, _ = make(["shift"], sessions=2)
    _, louder, _ = make(["gain"], sessions=2)
    one, two = (truth.patterns for truth in still.values())
    np.testing.assert_array_equal(one, two)
    one, two = (truth.patterns for truth in moved.values())
    match = [np.corrcoef(a, b)[0, 1] for a, b in zip(one, two, strict=True)]
    assert 0.5 < min(match) < 0.999
    first, second = louder.values()
    ratio = second.patterns / first.patterns
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    assert 0.5 < ratio[0, 0] < 2
    assert ratio[0, 0] != 1
    assert second.bench.noise_sd.mean() / first.bench.noise_sd.mean() == pytest.approx(ratio[0, 0], rel=0.05)


def test_a_move_is_as_far_as_said():
    rng = np.random.default_rng(0)
    places = rng.uniform(-0.03, 0.03, (50, 3))
    directions = np.tile([0.0, 0.0, 1.0], (50, 1))
    moved, turned = move(np.random.default_rng(1), places, directions, 0.005, 0.0)
    np.testing.assert_allclose(np.linalg.norm(moved - places, axis=1), 0.005)
    np.testing.assert_allclose(turned, directions)
    moved, turned = move(np.random.default_rng(1), places, places, 0.0, 5.0)
    np.testing.assert_allclose(moved, turned)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), np.linalg.norm(places, axis=1))
    assert np.linalg.norm(moved - places, axis=1).max() <= HEAD_RADIUS * np.deg2rad(5)


@pytest.mark.parametrize(
    ("name", "strength", "delay"),
    [("attention", (0.49, 1.31), 1e-3), ("clock", (0.9, 1.1), 0.061), ("jitter", (0.3, 3.0), 0.06)],
)
def test_the_response_changes_as_said(name, strength, delay):
    """A slow ramp shows the delay, a constant the strength, over twenty minutes at 10 Hz."""
    times = np.arange(12000) / 10
    courses = np.array([np.ones_like(times), times])
    sentences = np.arange(0, 1200, 6.0)
    constant, ramp = _as_it_happens([0, 0, 0, 0], [name], courses, sentences, 10)
    late = times - ramp / constant
    inside = slice(100, -100)
    assert strength[0] < constant[inside].min() <= constant[inside].max() < strength[1]
    assert np.abs(late[inside]).max() < delay
    changed = {"attention": constant.std(), "clock": np.abs(late[-200]), "jitter": late[inside].std()}[name]
    assert changed > 0.005


def test_attention_stays_in_its_range_and_wanders():
    times = np.arange(0, 2400, 0.5)
    walks = np.array([attention_walk(np.random.default_rng(seed), times) for seed in range(20)])
    assert walks.min() >= 0.5
    assert walks.max() <= 1.3
    assert np.abs(np.diff(walks, axis=1)).max() < 0.03  # in half a second
    assert walks.std(axis=1).min() > 0.05


def test_a_fingerprint_is_a_recordings_own(make):
    _, common, _ = make(False, runs=2)
    _, own, _ = make(["fingerprint"], runs=2)
    for truths, equal in ((common, True), (own, False)):
        one, two = (truth.noise.covariance(5.0) for truth in truths.values())
        match = np.corrcoef(one[np.triu_indices(16)], two[np.triu_indices(16)])[0, 1]
        assert (match > 0.999) == equal
    assert len({truth.noise.exponent for truth in own.values()}) == 2
    for truths in (common, own):
        one, two = (truth.patterns / np.linalg.norm(truth.patterns) for truth in truths.values())
        np.testing.assert_allclose(one, two)  # the brain's answer is the same


def test_an_ignored_talker_is_heard_beside(make):
    _, truths, events = make(["ignored"], minutes=4)
    check_events(events)
    sounds = events[events["type"] == "sound"].sort_values("onset")
    attended, ignored = (
        sounds[sounds["stream"] == s].reset_index(drop=True) for s in ("attended", "ignored")
    )
    assert len(attended) == len(ignored) == 3
    assert (attended["speaker"] != ignored["speaker"]).all()
    assert (ignored["onset"] - attended["onset"]).round(3).eq(1.0).all()
    assert (ignored["onset"] + ignored["duration"] <= attended["onset"] + attended["duration"] + 1e-3).all()
    (truth,) = truths.values()
    _, plain, _ = make(False, minutes=4)
    (plain,) = plain.values()
    np.testing.assert_allclose(truth.expected, plain.expected, atol=1e-5)
    extra = truth.sources - truth.expected
    assert 0.3 < extra.std() / truth.expected.std() < 0.5
    _, y = make_segments(events, stream="ignored")
    assert set(y["stream"]) == {"ignored"}


def test_runs_have_a_voice_and_sessions_repeat_all(make):
    _, _, events = make(False, n_subjects=2, minutes=6, n_channels=4, sessions=2, runs=3)
    sounds = events[events["type"] == "sound"]
    assert sounds.groupby("run")["speaker"].nunique().eq(1).all()
    dealt = sounds.groupby(["subject", "session", "run"])["sound"].agg(lambda s: tuple(sorted(s)))
    assert dealt.groupby("run").nunique().eq(1).all()
    assert (
        sounds.groupby(["subject", "session"])["sound"]
        .nunique()
        .eq(len(load_speech(6)["sound"].unique()))
        .all()
    )
    assert sounds["recording"].nunique() == 12
    assert events.groupby("recording")["onset"].apply(lambda o: o.is_monotonic_increasing).all()


def test_names_of_artifacts():
    assert check_artifacts(True) == list(USUAL)
    assert check_artifacts(False) == []
    assert check_artifacts("line") == ["line"]
    assert check_artifacts(["line", "blinks"]) == ["blinks", "line"]
    assert set(ADDED) < set(ARTIFACTS)
    with pytest.raises(ValueError, match=r"artifacts must be True, False or names out of .* got 'blink'"):
        check_artifacts(["blink"])
    with pytest.raises(ValueError, match="got None"):
        check_artifacts(None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sessions": 0}, "sessions must be an integer above 0; got 0"),
        ({"runs": 9}, "runs must be an integer from 1 to 2, the sounds there are in minutes=2; got 9"),
        ({"artifacts": "ignored", "minutes": 1}, "an ignored talker needs sounds in two voices"),
    ],
)
def test_errors_name_the_parameter(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_listening(**(SMALL | wrong), root=tmp_path)


# ---- the oracle


@pytest.mark.parametrize("modality", ["meg", "eeg"])
def test_whitening_is_that_of_the_covariance_at_each_frequency(make, modality):
    """One frequency at a time, by plain inversion of the noise covariance."""
    data, truth = only(make(False, modality=modality))
    data = data[:, :12800].astype(np.float32)
    sources = truth.expected[:, 2560:15360]
    seen = project_recording(data, truth.patterns, truth.noise, 128.0)
    gram = weight_sources(sources, truth.patterns, truth.noise, 128.0)
    frequency = rfftfreq(12800, 1 / 128)
    for hertz in (0.5, 3.0, 10.0, 31.0):
        bin_ = np.argmin(np.abs(frequency - hertz))
        weights = truth.patterns @ np.linalg.inv(truth.noise.covariance(hertz))
        np.testing.assert_allclose(rfft(seen)[:, bin_], weights @ rfft(data)[:, bin_], rtol=2e-2, atol=1e-2)
        expected = weights @ truth.patterns.T @ rfft(sources)[:, bin_]
        np.testing.assert_allclose(rfft(gram)[:, bin_], expected, rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize(("snr_db", "low", "high"), [(-5, 0.8, 1.0), (-np.inf, 0.0, 0.12)])
def test_the_oracle_knows_all_there_is_and_no_more(tmp_path, snr_db, low, high):
    events, truth = make_listening(2, 2, n_channels=64, snr_db=snr_db, root=tmp_path, return_truth=True)
    X, y = make_segments(events)
    found = ranks(oracle_scores(truth, X, y), pd.factorize(y["segment"])[0])
    assert low <= np.mean(found < 10) <= high


def test_the_oracle_takes_a_candidate_from_another_run(tmp_path):
    """With the sounds dealt to two recordings, candidates of both are told apart in each."""
    events, truth = make_listening(1, 4, n_channels=32, snr_db=0, runs=2, root=tmp_path, return_truth=True)
    X, y = make_segments(events)
    assert y.groupby(X["recording"])["segment"].nunique().max() < y["segment"].nunique()
    scores, target = oracle_scores(truth, X, y), pd.factorize(y["segment"])[0]
    assert np.mean(ranks(scores, target) < 10) > 0.8
    order = np.random.default_rng(0).permutation(len(X))  # rows may come in any order
    again = oracle_scores(truth, X.iloc[order], y.iloc[order])
    columns = pd.Index(pd.unique(y["segment"].iloc[order])).get_indexer(pd.unique(y["segment"]))
    np.testing.assert_allclose(again[:, columns], scores[order], rtol=1e-4, atol=1e-3 * np.abs(scores).max())


def test_the_oracle_says_what_it_does_not_know(make):
    _, truths, events = make(["ignored"], minutes=4)
    truth = {"01": SubjectTruth(0.0, None, {}, {}, {}, truths)}
    X, y = make_segments(events)
    with pytest.raises(ValueError, match="rows of stream 'ignored'.*stream='attended'"):
        oracle_scores(truth, X, y)
    X, y = make_segments(events, stream="attended")
    assert np.isfinite(oracle_scores(truth, X, y)).all()
    with pytest.raises(ValueError, match="truth has no recording"):
        oracle_scores({}, X, y)
    other = X.assign(recording=["elsewhere.fif"] * 5 + X["recording"].tolist()[5:])
    truth["02"] = SubjectTruth(0.0, None, {}, {}, {}, {"elsewhere.fif": None})
    with pytest.raises(ValueError, match="was never heard by the listener of"):
        oracle_scores(truth, other, y)


# ---- the version


def test_the_simulation_of_this_version_is_frozen(make):
    """Whoever changes these numbers changes the experiment: raise VERSION, calibrate, and write the new ones here."""
    assert VERSION == 3
    found = {}
    for modality, unit in (("meg", 1e-12), ("eeg", 1e-6)):
        data, truth = only(make(True, modality=modality))
        found[modality] = [
            data[3].std() / unit, np.median(np.abs(data)) / unit, truth.noise.sensor_sd[0] / unit,
            np.abs(truth.patterns[0]).max() / unit, truth.sources[3].std(), truth.artifacts()[5].std() / unit,
        ]  # fmt: skip
    expected = {
        "meg": [0.72473, 0.74711, 0.10501, 0.0070439, 0.77293, 1.0982],
        "eeg": [34.954, 41.567, 5.6005, 0.56362, 0.77293, 56.983],
    }
    for modality, values in found.items():
        np.testing.assert_allclose(values, expected[modality], rtol=1e-3)
