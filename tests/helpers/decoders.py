"""Decoders, tables and recordings that several tests share."""

import copy
import os

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    BrainEncoder,
    FeatureScaler,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusArray,
    Windows,
)
from sk_b2s.evaluation._controls._leak_test import LeakTestOutcome
from sk_b2s.evaluation._results._table import COST

SFREQ, STEP, LENGTH = 8.0, 8, 24  # Hz; steps between windows and in a window


def planted(fingerprint, response, n_recordings=6, n=120, seed=0):
    """Make recordings of a subject with a fingerprint, a response, or both.

    The fingerprint is a noise covariance of each recording. It is correlated
    with the mean of the features of its stimulus, the voice.
    """
    rng = np.random.default_rng(seed)
    n_times, n_features, n_channels = STEP * n + LENGTH, 4, 6
    brains, sounds = [], []
    for index in range(n_recordings):
        heard = rng.standard_normal((n_times, n_features)) + fingerprint * rng.standard_normal(n_features)
        noise = rng.standard_normal((n_times, n_channels)) * np.exp(
            fingerprint * rng.standard_normal(n_channels)
        )
        noise[:, :n_features] += response * heard
        brains.append(noise.astype(np.float32))
        sounds.append(StimulusArray(heard.astype(np.float32), SFREQ, f"sound {index}"))
    which, start = np.repeat(np.arange(n_recordings), n), np.tile(np.arange(n) * STEP, n_recordings)
    seconds = start / SFREQ
    rows = pd.DataFrame({
        "subject": "s", "recording": [f"r{i}" for i in which], "onset": seconds, "duration": LENGTH / SFREQ,
    })  # fmt: skip
    y = pd.DataFrame({
        "sound": [sounds[i] for i in which], "sound_onset": seconds, "duration": (LENGTH - 1) / SFREQ,
        "segment": np.arange(len(rows)), "block": 1000 * which + seconds.astype(int) // 20,
        "block_start": seconds // 20 * 20, "block_stop": seconds // 20 * 20 + 20,
    })  # fmt: skip
    return Windows(brains, which, start, LENGTH, SFREQ, rows=rows), y


class Power(TransformerMixin, BaseEstimator):
    """Log power, which reveals the covariance to a linear decoder."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X.then(log_power)


def log_power(batch, which):
    return batch.square_().log1p_()


def ridge(**changes):
    speech = make_pipeline(PrecomputedFeatures(), FeatureScaler())
    return RidgeDecoder(speech=speech, lags=(0, 0), **changes)


class Adapting(RidgeDecoder):
    """A ridge decoder with adapt: new subjects get their own coefficients."""

    fits = 0  # of others, where amounts are compared
    _parameter_constraints = {**RidgeDecoder._parameter_constraints, "unseen_subject": [str]}

    def __init__(self, speech=None, alphas=(1.0,), lags=(0, 0), k=5, unseen_subject="average"):
        super().__init__(speech=speech, alphas=alphas, lags=lags, k=k, unseen_subject=unseen_subject)

    def fit(self, X, y):
        Adapting.fits += 1
        return super().fit(X, y)

    def adapt(self, X, y, method="auto"):
        new, own = copy.deepcopy(self), RidgeDecoder.fit(clone(self), X, y)
        new.subjects_ = np.append(self.subjects_, own.subjects_)
        for name in ("coef_", "intercept_", "mean_"):
            setattr(new, name, np.concatenate([getattr(self, name), getattr(own, name)]))
        new.segments_ = pd.concat([self.segments_, own.segments_], ignore_index=True)
        new.method_ = method
        return new


def tiny_encoder():
    return BrainEncoder(
        speech=make_pipeline(PrecomputedFeatures(), FeatureScaler()), spatial_attention=False, subject_layer=None,
        n_virtual_channels=8, hidden=16, depth=2, max_epochs=8, lr=3e-3, batch_size=64, validation=None,
        precision="float32", random_state=0, verbose=0, device="cpu",
    )  # fmt: skip


ONE = ridge(alphas=(1.0,))
FAST = {"n_shifts": 50, "verbose": 0}


def people(fingerprint=0.0, response=0.3, n_recordings=6, n=60, seed=0, together=1):
    """Make planted recordings, ``together`` of which are of one subject."""
    X, y = planted(fingerprint, response, n_recordings, n, seed)
    who = X.rows["recording"].str[1:].astype(int) // together
    X.rows = X.rows.assign(subject=[f"s{i}" for i in who], study="planted")
    return X, y


def same(a, b):
    """Compare two tables but for what they cost."""
    pd.testing.assert_frame_equal(a.drop(columns=list(COST)), b.drop(columns=list(COST)))


# --- files -------------------------------------------------------------------------------------------


class Counting(RidgeDecoder):
    """Make a ridge decoder that records its fits in a file."""

    def fit(self, X, y):
        with open(os.environ["FITS"], "a") as file:
            file.write("fit\n")
        return super().fit(X, y)


def counting(**changes):
    return Counting(**{**ONE.get_params(deep=False), **changes})


def control_outcome(across, null):
    """Make an outcome of recordings with a score of 0.4 at chance 0.1."""
    names = tuple(f"r{i}" for i in range(len(across)))
    records = [
        {"subject": "s", "recording": name, "n": 10, "top_1": 1, "top_k": 4, "chance": 1.0,
         "null": 10 * null[i], "relative": np.full(10, 0.3), "n_candidates": 60}
        for i, name in enumerate(names)
    ]  # fmt: skip
    return [LeakTestOutcome(records, [(names, across)], 0)]
