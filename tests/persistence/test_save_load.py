"""Tests that loaded estimators equal saved ones to the bit."""

import copy
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import joblib
import mne
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from helpers.attributes import list_attribute_differences
from helpers.estimators import EXAMPLES
from helpers.windows import make_planted_windows
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler

import sk_b2s
from sk_b2s import (
    BrainEncoder,
    CalibratedDecoder,
    CovarianceAlignment,
    Epocher,
    EventFeatures,
    FeatureScaler,
    ForwardTRF,
    HashedBlockSplit,
    LikelihoodDecoder,
    MelSpectrogram,
    PrecomputedFeatures,
    RidgeDecoder,
    RobustChannelScaler,
    SpeechFeatureUnion,
    StimulusArray,
    StimulusLeakWarning,
    SurrogateRecordings,
    Windows,
    make_segments,
    save,
)
from sk_b2s._persistence._registry import ESTIMATORS, register_estimators
from sk_b2s._persistence._save_load import FORMAT

SMALL = {
    "hidden": 8, "depth": 2, "n_virtual_channels": 6, "max_epochs": 2, "batch_size": 16, "k": 2, "random_state": 0,
    "verbose": 0, "validation": None, "precision": "float32",
}  # fmt: skip
NAMES = ["Fz", "Cz", "Pz", "Oz"]


def load(path, **options):
    """Load without letting anything be unpickled meanwhile."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was unpickled")

    with pytest.MonkeyPatch.context() as patch:
        for module, name in [(pickle, "load"), (pickle, "loads"), (torch, "load"), (joblib, "load")]:
            patch.setattr(module, name, refuse)
        return sk_b2s.load(path, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "estimator.safetensors"


def save_and_load(estimator, path, **options):
    """Save and load, and check that both files and parameters are equal."""
    save(estimator, path, **options)
    loaded = load(path, **options)
    again = path.with_suffix(".again")
    save(loaded, again, **options)
    assert again.read_bytes() == path.read_bytes()
    assert repr(clone(loaded)) == repr(clone(estimator))
    return loaded


def assert_same(a, b):
    """Equal to the bit, with equal types."""
    assert type(a) is type(b)
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_exact=True)
    elif isinstance(a, (Windows, np.ndarray)):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b


def content(path):
    """Tensors of a file and its JSON, to be changed."""
    with safe_open(path, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["sk_b2s"])


def forge(path, tensors, text):
    save_file(tensors, path, metadata={"sk_b2s": json.dumps(text)})


# --- a study in files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two subjects with two stimuli of a word a second, in files."""
    root, rng, events = tmp_path_factory.mktemp("study"), np.random.default_rng(0), []
    for sound in "ab":
        soundfile.write(root / f"{sound}.wav", 0.1 * rng.standard_normal(12 * 16000), 16000)
    for subject in ("1", "2"):
        info = mne.create_info(NAMES, 100, "eeg").set_montage("biosemi16")
        raw = mne.io.RawArray(1e-6 * rng.standard_normal((4, 3200)), info, verbose="ERROR")
        raw.save(root / f"{subject}_raw.fif", verbose="ERROR")
        for i, sound in enumerate("ab"):
            names = {"recording": str(root / f"{subject}_raw.fif"), "sound": str(root / f"{sound}.wav")}
            seconds = range(12)
            events.append(pd.DataFrame({
                **names, "subject": subject, "type": ["sound"] + ["word"] * 12, "sound_onset": [0.0, *seconds],
                "onset": [2.0 + 14 * i, *(2.0 + 14 * i + s for s in seconds)], "duration": [12.0] + [0.5] * 12,
                "text": [None, *(f"{sound} {s % 7}" for s in seconds)], "sequence": [None] + [sound] * 12,
                "word_index": [np.nan, *seconds],
            }))  # fmt: skip
    events = pd.concat(events, ignore_index=True).assign(study="s", session="0", recording_duration=32.0)
    return make_segments(events, tmin=0, tmax=1.0)


def listener(y, decoder=None, **epochs):
    """Build the pipeline of the package's front page, small."""
    speech = make_pipeline(MelSpectrogram(n_mels=5, sfreq=25), FeatureScaler(per_feature=False))
    return make_pipeline(
        Epocher(sfreq=50, lag=0.1, baseline=(0, 0.2), **epochs),
        RobustChannelScaler(clip=5),
        (decoder or BrainEncoder(**SMALL)).set_params(speech=speech),
    )


@pytest.mark.parametrize("decoder", [BrainEncoder(**SMALL), RidgeDecoder(k=2)])
@pytest.mark.filterwarnings("ignore::sk_b2s.StimulusLeakWarning")
def test_save_load_pipeline(study, path, decoder):
    X, y = study
    pipe = listener(y, clone(decoder)).fit(X, y)
    loaded = save_and_load(pipe, path)
    for method in ("transform", "predict", "predict_proba"):
        assert_same(getattr(pipe, method)(X), getattr(loaded, method)(X))
    some = y.iloc[5:15]
    assert_same(pipe.predict(X, candidates=some), loaded.predict(X, candidates=some))
    assert pipe.score(X, y) == loaded.score(X, y)
    assert_same(pipe[-1].segments_, loaded[-1].segments_)


def test_save_validation_splitter(path):
    split = HashedBlockSplit("valid", valid_size=0.2, salt=3)
    save(BrainEncoder(validation=split), path)
    loaded = load(path).validation
    assert type(loaded) is HashedBlockSplit
    assert vars(loaded) == vars(split)
    with pytest.raises(TypeError, match=r"validation is ShuffleSplit\(.*set it to None before saving"):
        save(BrainEncoder(validation=ShuffleSplit(1)), path)


def test_save_load_history(path):
    encoder = BrainEncoder(spatial_attention=False, **{**SMALL, "validation": 0.2}).fit(brain(), features())
    loaded = save_and_load(encoder, path)
    assert loaded.history_ == encoder.history_
    assert loaded.history_[:, "valid_loss"] == encoder.history_[:, "valid_loss"]
    assert loaded.net_.history is loaded.history_
    assert not loaded.net_.module_.training  # no dropout in calls of the module


def test_loaded_decoder_warns_about_leak(study, path):
    X, y = study
    first = (y["sound"] == y["sound"].iloc[0]).to_numpy()
    save(listener(y).fit(X[first], y[first]), path)
    loaded = load(path)
    with pytest.warns(StimulusLeakWarning, match=rf"{first.sum()} of {len(y)} scored windows"):
        loaded.score(X, y)


def test_loaded_estimator_refits_equally(study, path):
    X, y = study
    pipe = listener(y, BrainEncoder(**{**SMALL, "random_state": np.random.RandomState(3)}))
    save(pipe, path)
    loaded = load(path)  # a generator is saved as it stands
    assert_same(pipe.fit(X, y).transform(X), loaded.fit(X, y).transform(X))
    save(pipe, path)
    again = load(path)
    assert_same(pipe.fit(X, y).transform(X), again.fit(X, y).transform(X))


def test_save_file_size(study, path):
    X, y = study
    pipe = listener(y, BrainEncoder(**{**SMALL, "hidden": 64, "depth": 6})).fit(X, y)
    weights = sum(w.nbytes for w in pipe[-1].net_.module_.state_dict().values())
    save(pipe, path)
    assert weights < path.stat().st_size < weights + 40_000


def test_save_names_weights_as_module(study, path):
    X, y = study
    pipe = listener(y).fit(X, y)
    save(pipe, path)
    tensors, _ = content(path)
    weight = pipe[-1].net_.module_.last.weight.detach().numpy()
    np.testing.assert_array_equal(tensors["steps.brainencoder.weights.last.weight"], weight)


def test_save_drops_memory(study, path, tmp_path):
    X, y = study
    pipe = listener(y, memory=joblib.Memory(tmp_path / "own", verbose=0)).set_params(
        memory=str(tmp_path / "pipe")
    )
    save(pipe, path)
    assert str(tmp_path / "own") not in path.read_bytes().decode("latin1")
    loaded = load(path)
    assert loaded.memory is None
    assert loaded[0].memory is None
    loaded = load(path, memory="elsewhere")
    assert loaded.memory == loaded[0].memory == "elsewhere"
    assert loaded[-1].speech[0].memory is None  # it had none


# --- every estimator by itself ---------------------------------------------------------------------


def brain(n_windows=30, seed=0):
    return np.random.default_rng(seed).standard_normal((n_windows, 4, 20)).astype(np.float32)


def features(n_windows=30, seed=1):
    return np.random.default_rng(seed).standard_normal((n_windows, 3, 10)).astype(np.float32)


def flat(n_rows=30, n_columns=6):
    return np.random.default_rng(2).standard_normal((n_rows, n_columns))


ARRAYS = {
    "Epocher": (Epocher(), brain(), None),
    "RobustChannelScaler": (RobustChannelScaler(), brain(), None),
    "CovarianceAlignment": (CovarianceAlignment(), brain(), None),
    "FeatureScaler": (FeatureScaler(per_feature=False), features(), None),
    "FeatureScaler that whitens": (FeatureScaler(whiten=True), features(), None),
    "SurrogateRecordings": (SurrogateRecordings(), brain(), None),
    "BrainEncoder": (BrainEncoder(spatial_attention=False, **SMALL), brain(), features()),
    "BrainEncoder with a learned temperature": (
        BrainEncoder(spatial_attention=False, loss="siglip", duplicates="positive", **{**SMALL, "lr": 0.1}),
        brain(),
        features(),
    ),
    "BrainEncoder with a network on speech": (
        BrainEncoder(spatial_attention=False, speech_embedding_dim=5, **SMALL),
        brain(),
        features(),
    ),
    "BrainEncoder on vectors": (BrainEncoder(spatial_attention=False, **SMALL), brain(), features()[:, :, 0]),
    "RidgeDecoder": (RidgeDecoder(sfreq=10, k=2), brain(), features()),
    "CalibratedDecoder": (CalibratedDecoder(RidgeDecoder(sfreq=10, k=2), "none"), brain(), features()),
    "ForwardTRF": (ForwardTRF(sfreq=10), features(), features()),
    "PCA": (PCA(3, random_state=0), flat(), None),
    "Ridge": (Ridge(), flat(), flat()[:, :2]),
    "MinMaxScaler": (MinMaxScaler(), flat(), None),
    "RobustScaler": (RobustScaler(), flat(), None),
    "StandardScaler": (StandardScaler(), flat(), None),
    "Pipeline": (Pipeline([("a", StandardScaler()), ("b", "passthrough"), ("c", PCA(2))]), flat(), None),
    "FeatureUnion": (FeatureUnion([("a", PCA(2)), ("b", "drop"), ("c", MinMaxScaler())]), flat(), None),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.filterwarnings("ignore::sk_b2s.StimulusLeakWarning")
def test_save_load_estimators_of_arrays(name, path):
    estimator, X, y = ARRAYS[name]
    save_and_load(clone(estimator), path)
    estimator = clone(estimator).fit(X, y)
    loaded = save_and_load(estimator, path)
    for method in ("transform", "predict", "predict_proba", "similarity"):
        if hasattr(estimator, method):
            assert_same(getattr(estimator, method)(X), getattr(loaded, method)(X))
    if y is not None:
        assert estimator.score(X, y) == loaded.score(X, y)
    second = clone(loaded).fit(X, y)
    method = "transform" if hasattr(estimator, "transform") else "predict"
    assert_same(getattr(estimator, method)(X), getattr(second, method)(X))


@pytest.mark.parametrize("name", sorted(name.rpartition(".")[2] for name in register_estimators()))
def test_save_load_every_estimator(name, path, tmp_path):
    estimator, arguments = EXAMPLES[name].make(tmp_path)
    save_and_load(clone(estimator), path)
    loaded = save_and_load(estimator.fit(*arguments), path)
    method = "transform" if hasattr(estimator, "transform") else "predict"
    for copied in (loaded, copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        assert list_attribute_differences(estimator, copied) == []
    data = arguments[1] if name == "ForwardTRF" else arguments[0]  # ForwardTRF predicts from speech features
    assert_same(getattr(estimator, method)(data), getattr(loaded, method)(data))
    assert_same(getattr(clone(loaded).fit(*arguments), method)(data), getattr(estimator, method)(data))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("decoder", [RidgeDecoder(k=2, alphas=(1.0,)), LikelihoodDecoder(k=2)])
def test_save_load_every_attribute(decoder, path):
    """Tables have stimuli, copies of them, blocks, and recordings."""
    y = table_of_stored(40)
    copies = y["sound"].map(lambda sound: sound.name) == "b"
    y = y.assign(
        copy_of=y["sound"][0].digest, copy_shift=np.where(copies, 3.0, np.nan), block=np.arange(40) // 8
    )
    y["copy_of"] = y["copy_of"].where(copies, None)
    rows = pd.DataFrame({"subject": np.repeat(["1", "2"], 20), "recording": "one", "duration": 0.45})
    X = Windows.from_array(brain(40), rows=rows.assign(onset=np.arange(40) * 0.5), sfreq=40, ch_names=NAMES)
    speech = make_pipeline(PrecomputedFeatures(), FeatureScaler())
    decoder = clone(decoder).set_params(speech=speech, lags=(0, 0.1)).fit(X, y)
    intervals = decoder.stimulus_intervals_
    assert len(intervals.copies) == 1
    loaded = save_and_load(decoder, path)
    for copied in (loaded, copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder))):
        assert list_attribute_differences(decoder, copied) == []
    assert loaded.stimulus_intervals_.seconds == intervals.seconds


def test_save_load_examples_cover_sklearn():
    tested = {type(estimator).__name__ for estimator, *_ in ARRAYS.values()}
    assert {name.rpartition(".")[2] for name in ESTIMATORS if name.startswith("sklearn.")} <= tested


def table_of_stored(n_rows=24):
    """Make a table of two stimuli given as features, in many rows."""
    rng = np.random.default_rng(4)
    sounds = [StimulusArray(rng.standard_normal((400, 3)), 20, name, list("xyz")) for name in "ab"]
    return pd.DataFrame({
        "sound": [sounds[i % 2] for i in range(n_rows)], "sound_onset": np.arange(n_rows) // 2 * 0.5,
        "duration": 0.45, "segment": np.arange(n_rows),
    })  # fmt: skip


def test_save_stored_features_once(path):
    y = table_of_stored()
    X = Windows.from_array(brain(len(y)), sfreq=40)
    encoder = BrainEncoder(spatial_attention=False, speech=PrecomputedFeatures(), **SMALL).fit(X, y)
    loaded = save_and_load(encoder, path)
    assert_same(encoder.predict(X), loaded.predict(X))
    assert_same(encoder.segments_, loaded.segments_)
    assert loaded.segments_["sound"][0].features == ("x", "y", "z")
    tensors, _ = content(path)
    assert sum(tensor.shape == (400, 3) for tensor in tensors.values()) == 2
    with pytest.warns(StimulusLeakWarning, match="a, b"):
        loaded.score(X, y)


def test_save_keeps_valid_samples_of_windows(path):
    X, y = make_planted_windows(n_times=24, subjects=("a",))
    n_valid = np.where(np.arange(len(X)) % 2, 24, 12)
    targets = Windows.from_array(y, sfreq=100)._replace(n_valid=n_valid)
    ridge = RidgeDecoder(lags=(0, 0.02), k=1).fit(X, targets)
    loaded = save_and_load(ridge, path)
    assert_same(ridge.segments_.n_valid, loaded.segments_.n_valid)
    assert loaded.segments_.is_continuous is ridge.segments_.is_continuous is False
    assert_same(ridge.similarity(X), loaded.similarity(X))


def test_save_lazy_windows_with_samples(path, study):
    X, y = study
    mel = make_pipeline(MelSpectrogram(n_mels=5, sfreq=25), FeatureScaler())
    targets = mel.fit_transform(y)
    windows = listener(y)[:2].fit_transform(X)
    encoder = BrainEncoder(**SMALL).fit(windows[:10], targets[:10])
    assert len(targets.signals) == 2
    assert targets.which[:10].max() == 0
    loaded = save_and_load(encoder, path)
    assert_same(encoder.predict(windows), loaded.predict(windows))
    assert_same(encoder.segments_, loaded.segments_)
    tensors, _ = content(path)
    written = {name: tensor.shape for name, tensor in tensors.items() if ".signals." in name}
    assert sorted(written.values()) == [(0, 5), targets.signals[0].shape]


def test_save_rejects_windows_with_custom_step(path):
    targets = Windows.from_array(features(), sfreq=20).then(_Twice())
    encoder = BrainEncoder(spatial_attention=False, **SMALL).fit(brain(), targets)
    with pytest.raises(TypeError, match=r"segments_ is .*Windows\.from_array\(np\.asarray\(y\)"):
        save(encoder, path)


class _Twice:
    def __call__(self, batch, which):
        return batch * 2


# --- relative to a parent ----------------------------------------------------------------------------


def heard_by(*people):
    """Windows of subjects with partly different stimuli, and their table."""
    y = table_of_stored(20 * len(people))
    rows = pd.DataFrame({"subject": np.repeat(people, 20), "recording": np.repeat(people, 20)})
    return Windows.from_array(brain(len(y), seed=len(people)), rows=rows, sfreq=40), y


@pytest.fixture(scope="module")
def everybody():
    speech = make_pipeline(PrecomputedFeatures(), FeatureScaler())
    X, y = heard_by("1", "2", "new")
    encoder = BrainEncoder(spatial_attention=False, unseen_subject="nearest", speech=speech, **SMALL)
    return encoder.fit(X[:40], y.iloc[:40])


@pytest.fixture
def family(everybody, tmp_path):
    """An adapted encoder with all windows, and the file of its parent."""
    X, y = heard_by("1", "2", "new")
    save(everybody, tmp_path / "parent.safetensors")
    return everybody.adapt(X[40:], y.iloc[40:], method="ridge"), X, tmp_path / "parent.safetensors"


def test_save_does_not_overwrite_parent(family, path):
    new, X, parent = family
    before = parent.read_bytes()
    (parent.parent / "link").symlink_to(parent)
    for name in (parent, str(parent), parent.parent / "link"):
        with pytest.raises(ValueError, match="path and parent are the same file"):
            save(new, name, parent=parent)
    assert parent.read_bytes() == before
    save(new, path, parent=parent)
    path.replace(parent)  # by hand
    with pytest.raises(ValueError, match=r"the path of the parent is this file itself.*parent="):
        load(parent)


def test_save_requires_fitted_parent(family, path, tmp_path):
    new, X, parent = family
    X, y = heard_by("1", "2", "other")
    both = new.adapt(X[40:], y.iloc[40:], method="ridge")
    save(new, tmp_path / "whole")
    save(new, tmp_path / "beside", parent=parent)
    with pytest.raises(
        ValueError, match=r"whole' contains an encoder that was itself adapted .* Pass the file of that"
    ):
        save(both, path, parent=tmp_path / "whole")
    with pytest.raises(
        ValueError, match=r"beside' contains only the difference to .*'parent.safetensors'. Pass that"
    ):
        save(both, path, parent=tmp_path / "beside")
    save(both, path, parent=parent)
    for wrong in ("whole", "beside"):
        with pytest.raises(ValueError, match="Pass"):
            load(path, parent=tmp_path / wrong)
    assert_same(load(path).transform(X), both.transform(X))


@pytest.mark.parametrize("where", ["alone", "around", "last"])
def test_save_calibrated_decoder_relative(where, everybody, path, tmp_path):
    X, y = heard_by("1", "2", "new")

    def decoder(method):
        if where == "alone":
            return CalibratedDecoder(everybody, method)
        if where == "around":
            return CalibratedDecoder(make_pipeline(RobustChannelScaler(), everybody), method)
        return make_pipeline(RobustChannelScaler(), CalibratedDecoder(everybody, method))

    save(decoder("none").fit(X[:40], y.iloc[:40]), tmp_path / "parent")
    mask = "calibrateddecoder__calibration" if where == "last" else "calibration"
    fitted = decoder("ridge").fit(X, y, **{mask: np.arange(60) >= 40})
    save(fitted, path, parent=tmp_path / "parent")
    assert not any("weights" in name for name in content(path)[0])
    loaded = load(path)
    assert_same(loaded.transform(X), fitted.transform(X))
    assert_same(loaded.predict(X), fitted.predict(X))
    with pytest.raises(ValueError, match=rf"this {type(fitted).__name__} was not adapted"):
        save(load(tmp_path / "parent"), path, parent=tmp_path / "parent")


def with_other(encoder, part):
    """Copy of an encoder with another of the things it has learnt."""
    other = copy.deepcopy(encoder)
    if part == "frame weights":
        other.frame_weights_ = other.frame_weights_ + 1
    elif part == "features":
        other.speech_[1].scale_ = other.speech_[1].scale_ * 2
    elif part == "shared response":
        other.shared_response_ = replace(other.shared_response_, pattern=2 * other.shared_response_.pattern)
    elif part == "covariances":
        other.covariances_ = other.covariances_[::-1]
    elif part == "weights":
        with torch.no_grad():
            next(other.net_.module_.parameters()).mul_(2)
    return other


@pytest.mark.parametrize("part", ["frame weights", "features", "shared response", "covariances", "weights"])
def test_save_rejects_other_parent(part, family, everybody, path):
    new, X, parent = family
    save(new, path, parent=parent)
    save(with_other(everybody, "nothing"), parent)
    assert_same(load(path).transform(X), new.transform(X))
    save(with_other(everybody, part), parent)
    for attempt in (lambda: load(path), lambda: save(new, path, parent=parent)):
        with pytest.raises(ValueError, match="does not contain the encoder that this one was adapted from"):
            attempt()


def test_save_writes_only_difference(everybody, path, tmp_path):
    """A layer, its record, and stimuli that were not in fit."""
    X, y = heard_by("1", "2", "new")
    events = y[["sound", "sound_onset"]].assign(type="word", text="a", duration=0.1)
    speech = SpeechFeatureUnion(
        [("stored", PrecomputedFeatures()), ("words", EventFeatures(events, "word", sfreq=20))]
    )
    encoder = clone(everybody).set_params(speech=speech).fit(X[:40], y.iloc[:40])
    save(encoder, tmp_path / "parent")
    story = StimulusArray(np.ones((400, 3)), 20, "c")
    more = pd.concat([y.iloc[:19], y.iloc[19:20].assign(sound=[story])])
    more["copy_of"], more["copy_shift"] = [None] * 19 + ["original"], [np.nan] * 19 + [1.0]
    new = encoder.adapt(X[40:], more, method="ridge")
    save(new, path, parent=tmp_path / "parent")
    written = {name: tensor.shape for name, tensor in content(path)[0].items()}
    assert set(written) == {
        "layers", "adaptations_.minutes", "adaptations_.n_windows", f"added_intervals.{story.digest}", "added_intervals.original",
    }  # fmt: skip
    assert written["layers"] == (1, 6, 6)
    loaded = load(path)
    assert_same(loaded.transform(X), new.transform(X))
    assert loaded.stimulus_intervals_.copies == (story.digest,)
    ours, theirs = loaded.stimulus_intervals_.intervals, new.stimulus_intervals_.intervals
    assert list(ours) == list(theirs)
    for sound, spans in theirs.items():
        assert_same(spans, ours[sound])
    assert repr(loaded.speech) == repr(new.speech)
    save(new.set_params(speech=PrecomputedFeatures()), path, parent=tmp_path / "parent")
    assert type(load(path).speech) is PrecomputedFeatures


def test_save_load_adaptation_rows(path, tmp_path):
    """A loaded encoder warns about calibration data that are arrays."""
    X, y = heard_by("1", "2", "new")[0], features(60)
    encoder = BrainEncoder(spatial_attention=False, **SMALL).fit(X[:40], y[:40])
    save(encoder, tmp_path / "parent")
    new = encoder.adapt(X[40:50], y[40:50], method="ridge")
    save(new, path, parent=tmp_path / "parent")
    save(new, tmp_path / "whole")
    for name in (path, tmp_path / "whole"):
        with pytest.warns(StimulusLeakWarning, match="10 of 20 scored windows"):
            load(name).score(X[40:], y[40:])


def test_digest_ignores_parameters(everybody):
    """Files stay valid if feature transformers get new parameters."""
    other = copy.deepcopy(everybody)
    other.speech_.set_params(memory="elsewhere", featurescaler__per_feature=False)
    other.set_params(k=1, verbose=1)
    assert other.digest() == everybody.digest()


def test_digest_is_stable():
    """Files know their parent by it: if it has to change, raise FORMAT."""
    encoder, scaler = BrainEncoder(), FeatureScaler()
    scaler.mean_, scaler.n_features_in_ = np.array([0.5, 1.0]), 2
    vars(encoder).update(
        subjects_=np.array(["a", "b"]), n_times_in_=3, architecture_={"n_channels": 2, "pooling": None},
        speech_architecture_=None, net_=SimpleNamespace(state=lambda: {"w": torch.arange(3.0)}),
        frame_weights_=np.array([1, 2]), shared_response_=None, speech_=make_pipeline("passthrough", scaler),
    )  # fmt: skip
    assert encoder.digest() == "30ce8f44dbd53b5db46099377b74480c71e19e5dff48701d8c0fbf76b180a6a3"
    assert FORMAT == 3


# --- parameters that are more than numbers ---------------------------------------------------------


def test_save_load_montage(path):
    montage = mne.channels.make_dig_montage({"A": [0, 0, 0.1], "B": [0.1, 0, 0]}, nasion=[0, 0.1, 0])
    assert save_and_load(Epocher(montage=montage), path).montage == montage


def test_save_load_metadata_requests(path):
    with config_context(enable_metadata_routing=True):
        ridge = RidgeDecoder().set_score_request(sample_weight="weight").set_predict_request(candidates=False)
    loaded = save_and_load(ridge, path)
    for method in ("score", "predict"):
        asked = [getattr(e.get_metadata_routing(), method).requests for e in (ridge, loaded)]
        assert asked[0] == asked[1]


def test_save_warns_about_callbacks(path):
    from skorch.callbacks import ProgressBar

    with pytest.warns(UserWarning, match=r"steps\.brainencoder\.callbacks is not saved"):
        save(make_pipeline(BrainEncoder(callbacks=[ProgressBar()])), path)
    assert load(path)[0].callbacks is None


def test_load_replaces_missing_device(path):
    encoder = BrainEncoder(spatial_attention=False, **SMALL).fit(brain(), features())
    expected = encoder.transform(brain())
    save(encoder.set_params(device="cuda:77"), path)
    with pytest.warns(UserWarning, match="device='cuda:77' does not exist on this machine"):
        loaded = load(path)
    assert loaded.device == "auto"
    if not torch.cuda.is_available():
        assert_same(loaded.transform(brain()), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_load_gpu_model_on_cpu(path, monkeypatch):
    encoder = BrainEncoder(spatial_attention=False, **SMALL).fit(brain(), features())
    assert next(encoder.net_.module_.parameters()).is_cuda
    loaded = save_and_load(encoder, path)
    assert next(loaded.net_.module_.parameters()).is_cuda
    assert_same(loaded.transform(brain()), encoder.transform(brain()))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    on_cpu = load(path)
    assert not next(on_cpu.net_.module_.parameters()).is_cuda
    np.testing.assert_allclose(on_cpu.transform(brain()), encoder.transform(brain()), atol=1e-3)


# --- what is refused when saving -------------------------------------------------------------------


class Holder(BaseEstimator):
    """Anything as a parameter."""

    def __init__(self, value=None):
        self.value = value


def clean(raw):
    return raw


def test_save_rejects_untrusted_function(path):
    epochs = make_pipeline(Epocher(raw_hook=clean))
    with pytest.raises(
        TypeError, match=r"steps\.epocher\.raw_hook is .*None before saving.*trusted={'a name': clean}"
    ):
        save(epochs, path)
    trusted = {"lab.clean": clean}
    assert save_and_load(epochs, path, trusted=trusted)[0].raw_hook is clean
    with pytest.raises(ValueError, match=r"'lab\.clean'.*trusted="):
        load(path)


class Doubler(TransformerMixin, BaseEstimator):
    """An estimator of the user's own."""

    def fit(self, X, y=None):
        self.factor_ = np.full(3, 2.0)
        return self

    def transform(self, X):
        return X * self.factor_[0]


def test_save_rejects_untrusted_estimator(path):
    pipe = make_pipeline(Doubler(), StandardScaler()).fit(flat())
    with pytest.raises(TypeError, match=r"steps\.doubler is a Doubler.*trusted={'Doubler': Doubler}"):
        save(pipe, path)
    loaded = save_and_load(pipe, path, trusted={"Doubler": Doubler})
    assert_same(loaded.transform(flat()), pipe.transform(flat()))


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (FunctionTransformer(np.log), "FunctionTransformer, which cannot be saved"),
        (Holder(), r"trusted={'Holder': Holder}"),
        (StandardScaler, "the class StandardScaler"),
        (torch.nn.Linear(1, 1), "instance of an estimator. Got Linear"),
        (Epocher(picks=np.zeros(1, "i4,f4")), "picks is a ndarray of"),
        (Epocher(picks=np.ma.zeros(1)), "picks is a MaskedArray"),
        (Epocher(picks={"a"}), "picks is {'a'}"),
        (Epocher(raw_hook=lambda raw: raw), "raw_hook is .*lambda"),
    ],
)
def test_save_names_unsupported_objects(estimator, message, path):
    with pytest.raises(TypeError, match=message):
        save(estimator, path)
    assert not list(path.parent.iterdir())


def test_save_rejects_search(path):
    search = GridSearchCV(Ridge(), {"alpha": [1, 2]}).fit(flat(), flat()[:, 0])
    with pytest.raises(TypeError, match="best_estimator_"):
        save(search, path)
    save_and_load(search.best_estimator_, path)


def test_failed_save_keeps_old_file(path, monkeypatch):
    save(FeatureScaler(), path)
    before = path.read_bytes()

    def fail(tensors, file, metadata):
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("sk_b2s._persistence._save_load.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save(PCA(), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_save_load_name_missing_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save(FeatureScaler(), tmp_path / "nowhere" / "a.safetensors")
    with pytest.raises(FileNotFoundError, match="nothing"):
        load(tmp_path / "nothing.safetensors")


# --- what is refused when loading ------------------------------------------------------------------


@pytest.fixture
def saved(path):
    save(make_pipeline(StandardScaler(), PCA(2)).fit(flat()), path)
    return path


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "__main__.Holder"]
)
def test_load_rejects_unknown_names(name, saved):
    tensors, text = content(saved)
    for node in (
        {"estimator": {"class": name, "params": {"command": "touch evil"}, "fitted": []}},
        {"trusted": name},
        {"part": {"class": name, "state": []}},
    ):
        forge(saved, tensors, {**text, "estimator": node})
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            load(saved)


def test_load_does_not_call_functions(path):
    save(Epocher(raw_hook=os.system), path, trusted={"hook": os.system})
    tensors, text = content(path)
    evil = path.with_name("evil")
    call = {"class": "hook", "params": {"command": f"touch {evil}"}, "fitted": []}
    forge(path, tensors, {**text, "estimator": {"estimator": call}})
    with pytest.raises(ValueError, match="hook is not an estimator"):
        load(path, trusted={"hook": os.system})
    assert not evil.exists()


def test_load_rejects_object_arrays(path):
    save(Holder(np.zeros(2, complex)), path, trusted={"Holder": Holder})
    tensors, text = content(path)
    text["estimator"]["estimator"]["params"]["value"]["array"]["dtype"] = "O"
    forge(path, tensors, text)
    with pytest.raises(ValueError, match="an array of object"):
        load(path, trusted={"Holder": Holder})


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_load_rejects_truncated_file(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match="not a safetensors file, or truncated"):
        load(saved)


def test_load_rejects_foreign_files(path):
    path.write_bytes(pickle.dumps(FeatureScaler()))
    with pytest.raises(ValueError, match="not a safetensors file"):
        load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not written by sk_b2s.save"):
        load(path)


@pytest.mark.parametrize("number", [FORMAT - 2, FORMAT - 1, FORMAT + 1])
def test_load_rejects_other_format(saved, number):
    tensors, text = content(saved)
    text["versions"]["sk_b2s"] = "9.1.0"
    forge(saved, tensors, {**text, "format": number})
    message = rf"format is {number}, written by sk_b2s 9\.1\.0\. .* or fit the estimator again and save it"
    with pytest.raises(ValueError, match=message):
        load(saved)


@pytest.mark.parametrize(
    ("package", "version", "warns"),
    [("sklearn", "0.1.0", True), ("sk_b2s", "0.9.0", False), ("torch", "0.1", False)],
)
def test_load_warns_about_other_version(saved, package, version, warns, recwarn):
    tensors, text = content(saved)
    text["versions"][package] = version
    forge(saved, tensors, text)
    load(saved)
    assert [str(w.message).count(f"saved by {package} {version}") for w in recwarn] == [1] * warns


def test_load_warns_about_minor_versions(path, recwarn):
    save(FeatureScaler(), path)
    tensors, text = content(path)
    major, minor, _ = sk_b2s.__version__.split(".")
    for version, count in ((f"{major}.{minor}.99", 0), (f"{major}.{int(minor) + 1}.0", 1)):
        text["versions"]["sk_b2s"] = version
        forge(path, tensors, text)
        load(path)
        assert len(recwarn) == count


def test_load_rejects_unknown_parameter(saved):
    tensors, text = content(saved)
    text["estimator"]["estimator"]["params"]["invented"] = 1
    forge(saved, tensors, text)
    with pytest.raises(ValueError, match=r"invented of sklearn\.pipeline\.Pipeline"):
        load(saved)


def nodes(tree):
    """Every place in a JSON text, as (holder, key)."""
    pairs = list(
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    )
    for key, value in pairs:
        yield tree, key
        yield from nodes(value)


@pytest.mark.parametrize("junk", [None, -1, "junk", [], {}, {"junk": 1}, {"a": 1, "b": 2}])
def test_load_damage_is_error_or_harmless(saved, junk):
    tensors, text = content(saved)
    refused = 0
    for place in range(len(list(nodes(text["estimator"])))):
        damaged = json.loads(json.dumps(text))
        holder, key = list(nodes(damaged["estimator"]))[place]
        holder[key] = junk
        forge(saved, tensors, damaged)
        try:
            load(saved)
        except ValueError as error:
            refused += str(saved) in str(error)
    assert refused > 10
