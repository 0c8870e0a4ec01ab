"""Controls catch a decoder that knows recordings instead of speech, and let an honest one pass."""

from dataclasses import replace
from itertools import permutations

import joblib
import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.decoders import SFREQ, Power, control_outcome, planted, ridge, tiny_encoder
from scipy.stats import norm
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    BrainEncoder,
    Envelope,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    SpeechActivity,
    StimulusArray,
    StimulusKFold,
    SurrogateRecordings,
    Windows,
    circular_shift_test,
    retrieval_scores,
    retrieve,
    run_controls,
)
from sk_b2s.evaluation._controls._inputs import exclude_shared_samples, shift_pairs, with_noise, with_speech
from sk_b2s.evaluation._controls._leak_test import ControlOutcome, permuted_label_scores, pooled_row
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_ALPHA, LEAK_TESTS
from sk_b2s.evaluation._controls._verdicts import control_verdicts

pytestmark = pytest.mark.filterwarnings("ignore:make_segments left out")


def folds_for(estimator, X, y):
    """Three folds, of which the encoder is given one."""
    folds = list(StimulusKFold(3).split(X, y))
    return folds[:1] if isinstance(estimator, BrainEncoder) else folds


decoders = pytest.mark.parametrize(
    "estimator",
    [make_pipeline(Power(), ridge()), pytest.param(tiny_encoder(), marks=pytest.mark.slow)],
    ids=["ridge", "encoder"],
)


@decoders
def test_a_fingerprint_is_caught_by_all_but_white_noise(estimator):
    X, y = planted(fingerprint=1.0, response=0.0)
    table = run_controls(estimator, X, y, cv=folds_for(estimator, X, y), n_shifts=200)
    assert list(table.index) == [
        "decoder",
        "phase_randomized",
        "white_noise",
        "shifted_labels",
        "within_recording",
    ]
    assert (
        table.loc[["decoder", "phase_randomized", "shifted_labels"], "top_k"] > 1.5 * table["chance"].iloc[0]
    ).all()
    assert (table.loc[["phase_randomized", "shifted_labels"], "verdict"] == "leak").all()
    assert table.loc["decoder", "verdict"] == "leak"
    assert table.loc["decoder", "leak_sources"] == "phase_randomized, shifted_labels"
    assert (table.loc[["white_noise", "within_recording"], "verdict"] == "at_null").all()
    assert (table.loc[["phase_randomized", "shifted_labels"], "recording_identity_p"] <= LEAK_ALPHA).all()
    # The null within recordings is lifted as well: compared with it nothing would have been found.
    assert table.loc["phase_randomized", "top_k"] < table.loc["phase_randomized", "null_high"]
    assert table.loc["decoder", "top_k"] < table.loc["decoder", "null_high"]


def test_an_offset_of_each_recording_is_a_fingerprint_too():
    X, y = planted(fingerprint=0.0, response=0.0)
    offsets = np.random.default_rng(5).standard_normal((len(X.signals), X.shape[1])).astype(np.float32)
    voices = offsets[:, :4]
    X = X._replace(signals=[signal + offset for signal, offset in zip(X.signals, offsets, strict=True)])
    sounds = {s: StimulusArray(s.data + v, SFREQ) for s, v in zip(pd.unique(y["sound"]), voices, strict=True)}
    y = y.assign(sound=y["sound"].map(sounds))
    table = run_controls(ridge(), X, y, cv=StimulusKFold(3), controls=LEAK_TESTS, n_shifts=200)
    assert list(table["verdict"]) == ["leak", "at_null", "leak"]


@decoders
def test_a_response_without_fingerprint_passes(estimator):
    if isinstance(estimator, Pipeline):
        estimator = estimator[-1]  # the response is linear
    X, y = planted(fingerprint=0.0, response=0.5)
    table = run_controls(estimator, X, y, cv=folds_for(estimator, X, y), n_shifts=200, random_state=1)
    assert (table.loc[["decoder", "within_recording"], "top_k"] > 0.5).all()
    assert table.loc["within_recording", "verdict"] == "above_null"
    assert (table.loc[list(LEAK_TESTS), "top_k"] < 0.15).all()
    if isinstance(estimator, RidgeDecoder):  # one fold of the encoder is little enough for luck
        assert (table.loc[list(LEAK_TESTS), "verdict"] == "at_null").all()
        assert table.loc["decoder", "verdict"] == "above_null"


def test_an_honest_decoder_is_rarely_accused():
    marks = []
    for seed in range(12):
        X, y = planted(fingerprint=0.0, response=0.5, n_recordings=4, n=60, seed=seed)
        table = run_controls(
            ridge(alphas=(1.0,)),
            X,
            y,
            cv=StimulusKFold(2),
            controls=LEAK_TESTS,
            n_shifts=100,
            random_state=seed,
        )
        marks += list(table["verdict"] == "leak")
    assert sum(marks) <= 3  # of 36, at 1 to 3 % each


@pytest.fixture(scope="module")
def full(listening, tiny_pipeline):
    X, y = listening
    pipe = tiny_pipeline(max_epochs=12)
    before = repr(pipe.get_params())

    def oracle(X, y):
        """Know it all but for the windows of the first person."""
        truth = np.eye(y["segment"].nunique())[pd.factorize(y["segment"])[0]]
        truth[(X["subject"] == X["subject"].iloc[0]).to_numpy()] = 0
        return truth

    folds = list(StimulusKFold(3).split(X, y))[:2]
    table = run_controls(pipe, X, y, cv=folds, oracle=oracle, n_shifts=200)
    assert repr(pipe.get_params()) == before
    assert not hasattr(pipe[-1], "net_")
    return table, pipe, X, y, folds


@pytest.mark.slow
def test_all_controls_beside_a_table_pipeline(full):
    table, *_ = full
    assert list(table.index) == list(CONTROLS)
    assert (table.loc[["decoder", "within_recording"], "verdict"] == "above_null").all()
    assert (table.loc[list(LEAK_TESTS), "verdict"] == "at_null").all()
    assert (table.loc[["silence_truth", "oracle"], "verdict"] == "context").all()
    assert (table["n_subjects"] == 2).all()
    assert (table["n_left_out"].drop("shifted_labels") == 0).all()
    assert table["leak_threshold"].notna().sum() == len(LEAK_TESTS)
    chance = table["chance"]
    assert chance["within_recording"] == pytest.approx(chance["decoder"])  # both heard the same
    # The oracle knows one of two people's: half, exactly, and its share is one.
    assert table.loc["oracle", "top_k"] == 0.5
    assert table.loc["oracle", "share_of_oracle"] == 1
    expected = (table["top_k"] - chance) / (0.5 - chance)
    expected["within_recording"] = np.nan  # it chooses among other candidates
    np.testing.assert_allclose(table["share_of_oracle"], expected)


@pytest.mark.slow
def test_scores_are_pooled_over_folds_and_then_over_people(full):
    table, pipe, X, y, folds = full
    ranks, who, n_candidates = [], [], []
    for train, test in folds:
        answers = retrieve(pipe.fit(X.iloc[train], y.iloc[train]), X.iloc[test], y.iloc[test])
        ranks.append(answers.ranks)
        who.append(X["subject"].iloc[test])
        n_candidates.append(np.full(len(test), answers.n_candidates))
    ranks, who, n_candidates = (np.concatenate(parts) for parts in (ranks, who, n_candidates))
    hits = pd.Series(ranks < 5).groupby(who).mean()
    row = table.loc["decoder"]
    assert row["top_k"] == pytest.approx(hits.mean())
    assert row["top_k_sem"] == pytest.approx(hits.std() / np.sqrt(2))
    assert row["top_1"] == pytest.approx(pd.Series(ranks < 1).groupby(who).mean().mean())
    assert row["n_windows"] == len(ranks)
    assert row["n_candidates"] == pytest.approx(n_candidates.mean())
    assert row["chance"] == pytest.approx((5 / n_candidates).mean(), rel=1e-2)


def test_equal_seeds_give_equal_tables_at_any_number_of_jobs():
    X, y = planted(fingerprint=1.0, response=0.3, n_recordings=3, n=60)
    arguments = {
        "cv": StimulusKFold(2),
        "controls": ["phase_randomized", "shifted_labels"],
        "n_shifts": 50,
        "k": 3,
    }
    first = run_controls(ridge(), X, y, **arguments)
    with joblib.parallel_config("threading"):  # processes take seconds to start
        pd.testing.assert_frame_equal(run_controls(ridge(), X, y, n_jobs=2, **arguments), first)
    assert not run_controls(ridge(), X, y, random_state=1, **arguments).equals(first)
    assert first["chance"].iloc[0] == pytest.approx(3 / 90, rel=0.1)


@pytest.mark.slow
def test_each_subject_and_unseen_subjects(listening):
    X, y = listening
    pipe = Pipeline([("epochs", Epocher(sfreq=32)), ("ridge", ridge(k=3, alphas=(1.0,), per_subject=False))])
    pipe.set_params(ridge__speech=make_pipeline(MelSpectrogram(n_mels=8, sfreq=32), FeatureScaler()))
    cv = LeaveOneSubjectOut(stimulus_folds=2)
    table = run_controls(pipe, X, y, cv=cv, controls=["phase_randomized", "within_recording"], n_shifts=50)
    assert (table["n_windows"] == len(X)).all()
    assert table.loc["phase_randomized", "verdict"] == "at_null"


# --- the parts -----------------------------------------------------------------------------------------


def test_shifted_pairs_keep_no_sound_of_their_own():
    X, y = planted(0, 0, n_recordings=3, n=60)
    y.loc[y.index[:60], "sound_onset"] = np.tile(
        np.arange(30.0), 2
    )  # the first recording plays its sound twice
    y.loc[y.index[:60], "segment"] = np.tile(np.arange(30), 2)
    order = shift_pairs(X.rows, y, random_state=3)
    assert sorted(order) == list(range(len(X)))
    recording = X.rows["recording"].to_numpy()
    assert (recording[order] == recording).all()
    onset = X.rows["onset"].to_numpy()
    assert (abs(onset[order] - onset) >= 10).all()
    place = y["sound_onset"].to_numpy()
    assert (abs(place[order] - place) >= 10).all()
    assert (np.diff(order[:60]) % 60 == 1).all()  # circular: neighbors stay neighbors
    assert not (order == shift_pairs(X.rows, y, random_state=4)).all()


def test_people_may_name_their_recordings_alike():
    X, y = planted(0.6, 0.3, n=40)
    who = X.rows["recording"].str.replace("r", "s")
    tables = [X.rows.assign(subject=who, recording=name) for name in (who + "'s", "run 1")]
    asked = {"controls": ["decoder", "shifted_labels", "within_recording"], "k": 5, "n_shifts": 100}
    pooled, data = ridge(per_subject=False), np.asarray(X)
    one, other = (
        run_controls(pooled, Windows.from_array(data, rows, sfreq=SFREQ), y, **asked) for rows in tables
    )
    pd.testing.assert_frame_equal(one, other)


def test_answers_of_people_with_equal_names_have_the_null_of_unequal_ones():
    X, y = planted(0.0, 0.3, n_recordings=2, n=40)
    who = X.rows["recording"].str.replace("r", "s")
    train, test = next(StimulusKFold(2).split(X, y))
    answers, who = retrieve(ridge().fit(X[train], y.iloc[train]), X[test], y.iloc[test]), who.iloc[test]
    one, other = (
        replace(answers, rows=answers.rows.assign(subject=who.to_numpy(), recording=name))
        for name in (who.to_numpy() + "'s", "run 1")
    )
    np.testing.assert_array_equal(one.null(n_shifts=50), other.null(n_shifts=50))
    pd.testing.assert_series_equal(
        circular_shift_test(one, n_shifts=50), circular_shift_test(other, n_shifts=50)
    )
    pd.testing.assert_series_equal(
        circular_shift_test(one, n_shifts=5000), circular_shift_test(other, n_shifts=5000)
    )


def test_a_recording_that_cannot_be_shifted_is_named():
    X, y = planted(0, 0, n_recordings=2, n=15)
    with pytest.raises(ValueError, match="shift of recording 'r0' by 10 s or more pairs all its 15 windows"):
        shift_pairs(X.rows, y, random_state=0)


def test_training_windows_beside_the_brain_of_a_test_window_are_dropped():
    rows = pd.DataFrame({
        "recording": ["a"] * 4 + ["b"], "onset": [0.0, 3.9, 4.0, 20.0, 0.0], "duration": 3.0,
    })  # fmt: skip
    kept = exclude_shared_samples(rows, np.array([1, 2, 3, 4]), np.array([0]), gap=1.0)
    assert kept.tolist() == [2, 3, 4]
    assert exclude_shared_samples(rows, np.array([0, 1, 4]), np.array([2, 3])).tolist() == [0, 4]


def test_shifted_pairing_keeps_sound_and_brain_apart():
    X, y = planted(0, 0.5, n_recordings=2, n=60)
    seen = {}

    class Spy(RidgeDecoder):
        def fit(self, X, y):
            seen["train"] = X.rows, y
            return super().fit(X, y)

        def _compare(self, X, y, stacklevel=5):
            seen["test"] = X.rows, y
            return super()._compare(X, y, stacklevel)

    spy = Spy(speech=PrecomputedFeatures(), lags=(0, 0), k=3)
    table = run_controls(spy, X, y, cv=StimulusKFold(3), controls=["shifted_labels"], n_shifts=20)
    (brain, heard), (test_brain, test_heard) = seen["train"], seen["test"]
    assert not set(heard["block"]) & set(test_heard["block"])
    for name in set(test_brain["recording"]):
        apart = np.subtract.outer(
            brain["onset"][brain["recording"] == name].to_numpy(),
            test_brain["onset"][test_brain["recording"] == name].to_numpy(),
        )
        assert abs(apart).min() >= 4  # a window of 3 s and the gap
    onset = y["sound_onset"].to_numpy()[heard["segment"]]
    assert (abs(onset - brain["onset"]) >= 10).all()
    assert table["n_left_out"].iloc[0] > 0


def test_the_noise_stands_right_after_the_epocher(tiny_pipeline):
    pipe, noise = tiny_pipeline(), SurrogateRecordings()
    expected = ["epochs", "surrogate_recordings", "scale", "encoder"]
    assert list(with_noise(pipe, noise).named_steps) == expected
    search = with_noise(GridSearchCV(pipe, {"encoder__lr": [1e-3]}), noise)
    assert list(search.estimator.named_steps) == expected
    nested = with_noise(Pipeline([("front", pipe[:-1]), ("encoder", pipe[-1])]), noise)
    assert list(nested.named_steps["front"].named_steps) == expected[:-1]
    assert list(pipe.named_steps) == ["epochs", "scale", "encoder"]


def test_other_speech_replaces_the_features_and_what_a_search_tries_of_them(tiny_pipeline):
    pipe = tiny_pipeline()
    grid = {"encoder__speech__melspectrogram__n_mels": [4, 8], "encoder__lr": [1e-3]}
    search = with_speech(GridSearchCV(pipe, grid), Envelope())
    assert search.param_grid == {"encoder__lr": [1e-3]}
    assert isinstance(search.estimator.get_params()["encoder__speech"], Envelope)
    search = with_speech(GridSearchCV(pipe, [{"encoder__speech": [1]}, {"encoder__lr": [1]}]), Envelope())
    assert search.param_grid == [{}, {"encoder__lr": [1]}]
    assert "melspectrogram" in pipe[-1].speech.named_steps


def test_a_search_is_refitted_as_a_whole():
    X, y = planted(fingerprint=0, response=0.5, n_recordings=2, n=60)
    search = GridSearchCV(ridge(k=3), {"alphas": [(0.1,), (1e3,)]}, cv=StimulusKFold(2), scoring=retrieval_scores,
                          refit="top_k")  # fmt: skip
    table = run_controls(
        search, X, y, cv=StimulusKFold(2), controls=["decoder", "phase_randomized"], n_shifts=50
    )
    assert table.loc["decoder", "top_k"] > 0.5 > table.loc["phase_randomized", "top_k"]


def test_the_limit_is_counted_from_chance_and_allows_for_luck_between_recordings():
    rng, z = np.random.default_rng(0), norm.isf(LEAK_ALPHA)
    null = rng.normal(0.4, 0.05, (6, 20_000))
    same = pooled_row(control_outcome(np.ones((6, 6)), null))
    assert same["top_k"] == pytest.approx(0.4)
    assert same["null_mean"] == pytest.approx(0.4, abs=0.01)
    assert same["leak_threshold"] == pytest.approx(0.1 + z * 0.05 / np.sqrt(6), rel=0.05)
    assert same["recording_identity_p"] == 1
    # By hand: the score when recordings are dealt each other's labels, over all permutations.
    across = rng.random((6, 6)) + 0.2 * np.eye(6)
    scores = [across[np.arange(6), list(order)].sum() / 60 for order in permutations(range(6))]
    row = pooled_row(control_outcome(across, null))
    best = np.sort(scores)[-6] - np.mean(scores)  # 5 of 720 are above, 0.7 %
    assert row["leak_threshold"] - 0.1 == pytest.approx(np.hypot(same["leak_threshold"] - 0.1, best))
    assert row["recording_identity_p"] == pytest.approx(
        np.mean(np.array(scores) >= np.trace(across) / 60 - 1e-9)
    )


def test_a_recording_too_short_for_a_null_does_not_hide_a_leak():
    null = np.random.default_rng(0).normal(0.1, 0.02, (12, 1000))
    whole = pooled_row(control_outcome(np.ones((12, 12)), null))
    null[3] = np.nan
    row = pooled_row(control_outcome(np.ones((12, 12)), null))
    assert np.isnan(row["null_high"])  # nothing is made up in the table
    assert whole["leak_threshold"] < row["leak_threshold"] < row["top_k"] == pytest.approx(0.4)
    assert (
        control_verdicts(pd.DataFrame({"phase_randomized": row}).T)["verdict"]["phase_randomized"] == "leak"
    )
    # Where all are too short, each of four recordings may be right or wrong as a whole.
    few = pooled_row(control_outcome(np.ones((4, 4)), np.full((4, 20_000), np.nan)))
    assert few["leak_threshold"] == pytest.approx(2 / 4, abs=0.01)  # two of them, seldom three


def test_deals_that_are_drawn_come_to_those_that_are_counted(monkeypatch):
    rng = np.random.default_rng(1)
    across, null = rng.random((7, 7)) + 0.3 * np.eye(7), rng.normal(0.4, 0.05, (7, 100))
    counted = pooled_row(control_outcome(across, null))
    monkeypatch.setattr("sk_b2s.evaluation._controls._leak_test.N_PERMUTATIONS", 5000)  # fewer than 7!
    drawn = pooled_row(control_outcome(across, null), random_state=3)
    assert drawn == pytest.approx(pooled_row(control_outcome(across, null), random_state=3), nan_ok=True)
    assert 0.001 < counted["recording_identity_p"] < 0.2
    assert drawn["recording_identity_p"] == pytest.approx(counted["recording_identity_p"], rel=0.2)
    assert drawn["leak_threshold"] == pytest.approx(counted["leak_threshold"], rel=0.03)
    # However clear, a drawn share is never zero: the true deal is one of them.
    assert pooled_row(control_outcome(np.eye(12), np.zeros((12, 100))))["recording_identity_p"] == 1 / 5000


@pytest.mark.parametrize("kind", ["normal", "one label", "heavy"])
@pytest.mark.parametrize("n_recordings", [5, 8])
def test_recordings_without_a_fingerprint_are_marked_as_often_as_said(n_recordings, kind, monkeypatch):
    """Whatever hits look like; a normal quantile marks 4 % of eight recordings with heavy tails."""
    monkeypatch.setattr("sk_b2s.evaluation._controls._leak_test.N_PERMUTATIONS", 1000)
    rng, marks, names = np.random.default_rng(0), 0, tuple("abcdefgh"[:n_recordings])
    weight = pd.Series(1.0, index=list(names))
    for _ in range(1000):
        across = rng.standard_normal((n_recordings, n_recordings))
        if kind == "heavy":
            across = rng.lognormal(0, 2, across.shape)
        if kind == "one label":
            across = 0.1 * across
            across[np.arange(n_recordings), rng.integers(0, n_recordings, n_recordings)] += 5
        dealt = permuted_label_scores([ControlOutcome([], [(names, across)], 0)], weight, rng)
        marks += np.mean(dealt >= dealt[0] - 1e-9) <= LEAK_ALPHA + 1e-9
    assert marks <= 18  # 8 of 1000 are expected; 19 or more come about once in a thousand


def test_four_recordings_are_not_judged_by_their_labels():
    across = np.ones((4, 4)) + np.eye(4)
    row = pooled_row(control_outcome(across, np.full((4, 100), 0.4)))
    assert np.isnan(row["recording_identity_p"])
    assert row["leak_threshold"] == pytest.approx(0.1)


def test_speech_activity_finds_the_pauses(tmp_path):
    rng = np.random.default_rng(0)
    loud = np.repeat([1, 1, 0, 1, 0, 1, 0], [16000, 800, 800, 16000, 8000, 8000, 1600])  # samples at 16 kHz
    audio = loud * rng.standard_normal(len(loud)) * 0.1 + 1e-5 * rng.standard_normal(len(loud))
    soundfile.write(tmp_path / "sound.wav", audio, 16000)
    seconds = len(loud) / 16000
    y = pd.DataFrame(
        {"sound": [str(tmp_path / "sound.wav")], "sound_onset": [0.0], "duration": [seconds - 0.02]}
    )
    mask = np.asarray(SpeechActivity(memory=str(tmp_path / "cache")).fit_transform(y))[0, 0]
    expected = np.ones(len(mask))
    expected[int(2.1 * 50) : int(2.6 * 50)] = 0  # half a second is a pause, 50 ms are none
    expected[int(3.1 * 50) :] = 0
    assert set(np.unique(mask)) == {0, 1}
    assert abs(mask - expected).sum() <= 4  # one frame at each edge
    with pytest.raises(ValueError, match="SpeechActivity requires audio files"):
        SpeechActivity().fit_transform(y.assign(sound=[StimulusArray(np.zeros((200, 1)), 50)]))


def test_equal_pauses_cannot_be_told_apart(listening, monkeypatch):
    X, y = listening
    pipe = Pipeline([("epochs", Epocher(sfreq=32)), ("ridge", ridge(k=3))])
    pipe.set_params(ridge__speech=MelSpectrogram(n_mels=8, sfreq=32))
    table = run_controls(pipe, X, y, controls=["silence_truth"], n_shifts=20)
    assert table["top_k"].iloc[0] > table["chance"].iloc[0]
    # A threshold below any noise knows no pause: all candidates tie, which counts against each.
    monkeypatch.setattr(
        "sk_b2s.evaluation._controls._registry.SpeechActivity", lambda: SpeechActivity(threshold=-1000)
    )
    table = run_controls(pipe, X, y, controls=["silence_truth"], n_shifts=20)
    assert table["top_k"].iloc[0] < 0.5


def test_the_oracle_is_asked_before_anything_is_fitted_and_sees_tables():
    X, y = planted(0, 0.5, n_recordings=2, n=60)

    class NeverFitted(RidgeDecoder):
        def fit(self, X, y):
            raise AssertionError("fitted")

    def refuses(X, y):
        assert isinstance(X, pd.DataFrame)
        assert isinstance(y, pd.DataFrame)
        raise ValueError("no truth about these recordings")

    features = PrecomputedFeatures().fit_transform(y)
    heard = features._replace(rows=y)
    decoder = NeverFitted(speech=None, lags=(0, 0), k=3)
    with pytest.raises(ValueError, match="no truth about these"):
        run_controls(decoder, X, heard, oracle=refuses, n_shifts=20)

    def knows(X, y):
        return np.equal.outer(y["segment"].to_numpy(), y["segment"].unique()).astype(float)

    table = run_controls(decoder, X, heard, controls=["oracle"], oracle=knows, n_shifts=20)
    assert table.loc["oracle", "top_k"] == table.loc["oracle", "share_of_oracle"] == 1


def test_wrong_input_is_named():
    X, y = planted(0, 0.5, n_recordings=2, n=60)
    estimator, features = ridge(k=3), np.asarray(PrecomputedFeatures().fit_transform(y))
    with pytest.raises(ValueError, match="'noise' is not one of"):
        run_controls(estimator, X, y, controls=["noise"])
    with pytest.raises(TypeError, match="must be a list of names"):
        run_controls(estimator, X, y, controls="phase_randomized")
    with pytest.raises(ValueError, match="'envelope_only' needs audio files"):
        run_controls(estimator, X, y, controls=["envelope_only"])
    with pytest.raises(ValueError, match="'oracle' needs oracle="):
        run_controls(estimator, X, y, controls=["oracle"])
    with pytest.raises(TypeError, match=r"write cv=StimulusKFold\(5\)"):
        run_controls(estimator, X, y, cv=5)
    with pytest.raises(ValueError, match="X lacks \\['recording', 'onset', 'duration'\\]"):
        run_controls(estimator, np.asarray(X), features)
    with pytest.raises(TypeError, match="must be a decoder.*Got Ridge"):
        run_controls(Ridge(), X, y)
    with pytest.raises(ValueError, match="right after an Epocher"):
        with_noise(make_pipeline(Power(), ridge()), SurrogateRecordings())
    with pytest.raises(ValueError, match="'within_recording': recording 'r0' has"):
        run_controls(ridge(k=30), X, y, cv=StimulusKFold(3), controls=["within_recording"])
