"""Control analyses."""

from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers.decoders import SFREQ, Power, planted, ridge, tiny_encoder
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    FeatureScaler,
    LeaveOneSubjectOut,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    RobustChannelScaler,
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
from sk_b2s.evaluation._controls._inputs import make_control_noise_inputs
from sk_b2s.evaluation._controls._registry import CONTROLS, LEAK_ALPHA
from sk_b2s.evaluation._controls._registry import LEAK_TESTS as ALL_LEAK_TESTS

LEAK_TESTS = [name for name in ALL_LEAK_TESTS if CONTROLS[name].needs is None]  # of continuous speech

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
def test_run_controls_detects_recording_identity(estimator):
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


def test_run_controls_detects_recording_offsets():
    X, y = planted(fingerprint=0.0, response=0.0)
    offsets = np.random.default_rng(5).standard_normal((len(X.signals), X.shape[1])).astype(np.float32)
    voices = offsets[:, :4]
    X = X._replace(signals=[signal + offset for signal, offset in zip(X.signals, offsets, strict=True)])
    sounds = {s: StimulusArray(s.data + v, SFREQ) for s, v in zip(pd.unique(y["sound"]), voices, strict=True)}
    y = y.assign(sound=y["sound"].map(sounds))
    table = run_controls(ridge(), X, y, cv=StimulusKFold(3), controls=LEAK_TESTS, n_shifts=200)
    assert list(table["verdict"]) == ["leak", "at_null", "leak"]


@decoders
def test_run_controls_passes_simulated_response(estimator):
    if isinstance(estimator, Pipeline):
        estimator = estimator[-1]  # the response is linear
    X, y = planted(fingerprint=0.0, response=0.5)
    table = run_controls(estimator, X, y, cv=folds_for(estimator, X, y), n_shifts=200, random_state=1)
    assert (table.loc[["decoder", "within_recording"], "top_k"] > 0.5).all()
    assert table.loc["within_recording", "verdict"] == "above_null"
    assert (table.loc[list(LEAK_TESTS), "top_k"] < 0.15).all()
    if isinstance(estimator, RidgeDecoder):  # one fold of the encoder is too little
        assert (table.loc[list(LEAK_TESTS), "verdict"] == "at_null").all()
        assert table.loc["decoder", "verdict"] == "above_null"


def test_run_controls_false_positive_rate():
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
def full(listening, tmp_path_factory):
    X, y = listening
    memory = str(tmp_path_factory.mktemp("cache"))
    speech = make_pipeline(MelSpectrogram(n_mels=8, sfreq=32, memory=memory), FeatureScaler())
    decoder = ridge(k=5, alphas=(1.0,)).set_params(speech=speech)
    pipe = make_pipeline(Epocher(sfreq=32, memory=memory), RobustChannelScaler(), decoder)
    before = repr(pipe.get_params())

    def oracle(X, y):
        """Return the truth, except for the windows of the first subject."""
        truth = np.eye(y["segment"].nunique())[pd.factorize(y["segment"])[0]]
        truth[(X["subject"] == X["subject"].iloc[0]).to_numpy()] = 0
        return truth

    folds = list(StimulusKFold(3).split(X, y))[:2]
    table = run_controls(pipe, X, y, cv=folds, oracle=oracle, n_shifts=200)
    assert repr(pipe.get_params()) == before
    assert not hasattr(pipe[-1], "coef_")
    return table, pipe, X, y, folds


@pytest.mark.slow
def test_run_controls_runs_all_controls(full):
    table, *_ = full
    assert list(table.index) == [name for name in CONTROLS if name != "recording_order"]
    assert (table.loc[["decoder", "within_recording"], "verdict"] == "above_null").all()
    assert (table.loc[list(LEAK_TESTS), "verdict"] == "at_null").all()
    assert (table.loc[["silence_truth", "timing_only", "oracle"], "verdict"] == "context").all()
    assert (table["n_subjects"].drop("timing_matched") == 2).all()
    assert (table["n_left_out"].drop("shifted_labels") == 0).all()
    assert table["leak_threshold"].notna().sum() == len(LEAK_TESTS)
    chance = table["chance"]
    assert chance["within_recording"] == pytest.approx(chance["decoder"])  # equal stimuli
    # The oracle has the truth of one of two subjects: exactly half.
    assert table.loc["oracle", "top_k"] == 0.5
    assert table.loc["oracle", "share_of_oracle"] == 1
    expected = (table["top_k"] - chance) / (0.5 - chance)
    expected[["within_recording", "timing_matched"]] = np.nan  # they choose among other candidates
    np.testing.assert_allclose(table["share_of_oracle"], expected)


@pytest.mark.slow
def test_run_controls_pools_folds_then_subjects(full):
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


def test_run_controls_is_reproducible():
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
def test_run_controls_of_unseen_subjects(listening):
    X, y = listening
    pipe = Pipeline([("epochs", Epocher(sfreq=32)), ("ridge", ridge(k=3, alphas=(1.0,), per_subject=False))])
    pipe.set_params(ridge__speech=make_pipeline(MelSpectrogram(n_mels=8, sfreq=32), FeatureScaler()))
    cv = LeaveOneSubjectOut(stimulus_folds=2)
    table = run_controls(pipe, X, y, cv=cv, controls=["phase_randomized", "within_recording"], n_shifts=50)
    assert (table["n_windows"] == len(X)).all()
    assert table.loc["phase_randomized", "verdict"] == "at_null"


def test_run_controls_of_equal_recording_names():
    X, y = planted(0.6, 0.3, n=40)
    who = X.rows["recording"].str.replace("r", "s")
    tables = [X.rows.assign(subject=who, recording=name) for name in (who + "'s", "run 1")]
    asked = {"controls": ["decoder", "shifted_labels", "within_recording"], "k": 5, "n_shifts": 100}
    pooled, data = ridge(per_subject=False), np.asarray(X)
    one, other = (
        run_controls(pooled, Windows.from_array(data, rows, sfreq=SFREQ), y, **asked) for rows in tables
    )
    pd.testing.assert_frame_equal(one, other)


def test_null_of_equal_recording_names():
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


def test_shifted_labels_separates_train_and_test():
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


def test_run_controls_refits_search():
    X, y = planted(fingerprint=0, response=0.5, n_recordings=2, n=60)
    search = GridSearchCV(ridge(k=3), {"alphas": [(0.1,), (1e3,)]}, cv=StimulusKFold(2), scoring=retrieval_scores,
                          refit="top_k")  # fmt: skip
    table = run_controls(
        search, X, y, cv=StimulusKFold(2), controls=["decoder", "phase_randomized"], n_shifts=50
    )
    assert table.loc["decoder", "top_k"] > 0.5 > table.loc["phase_randomized", "top_k"]


def test_silence_truth_of_equal_masks(listening, monkeypatch):
    X, y = listening
    pipe = Pipeline([("epochs", Epocher(sfreq=32)), ("ridge", ridge(k=3))])
    pipe.set_params(ridge__speech=MelSpectrogram(n_mels=8, sfreq=32))
    table = run_controls(pipe, X, y, controls=["silence_truth"], n_shifts=20)
    assert table["top_k"].iloc[0] > table["chance"].iloc[0]
    # A threshold below all noise finds no silence, so all candidates tie.
    monkeypatch.setattr(
        "sk_b2s.evaluation._controls._registry.SpeechActivity", lambda: SpeechActivity(threshold=-1000)
    )
    table = run_controls(pipe, X, y, controls=["silence_truth"], n_shifts=20)
    assert table["top_k"].iloc[0] < 0.5


def test_oracle_runs_before_fits_and_gets_tables():
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


def test_run_controls_refuses_invalid_input():
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
    with pytest.raises(TypeError, match=r"Use cv=StimulusKFold\(5\)"):
        run_controls(estimator, X, y, cv=5)
    with pytest.raises(ValueError, match="X lacks \\['recording', 'onset', 'duration'\\]"):
        run_controls(estimator, np.asarray(X), features)
    with pytest.raises(TypeError, match="must be a decoder.*Got Ridge"):
        run_controls(Ridge(), X, y)
    with pytest.raises(ValueError, match="right after an Epocher"):
        make_control_noise_inputs(make_pipeline(Power(), ridge()), SurrogateRecordings())
    with pytest.raises(ValueError, match="'within_recording': recording 'r0' has"):
        run_controls(ridge(k=30), X, y, cv=StimulusKFold(3), controls=["within_recording"])
