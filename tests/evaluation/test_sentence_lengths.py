"""Tests of the leak by the length of sentences, and of its controls."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import Power
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    EnsembleDecoder,
    ForwardTRF,
    LikelihoodDecoder,
    PrecomputedFeatures,
    RidgeDecoder,
    RowCandidates,
    StimulusArray,
    Windows,
    retrieve,
    run_controls,
)

SFREQ, LONGEST = 8.0, 5.0  # Hz, s
N = 120  # sentences of a recording


def sentences(equal=None, response=0.0, seed=0):
    """Recordings of sentences that last 1 to 5 s, without any response."""
    rng = np.random.default_rng(seed)
    brains, tables = [], []
    for index in range(2):
        lengths = rng.integers(1, 6, size=N).astype(float)
        onset = 1.0 + np.cumsum(np.r_[0, lengths[:-1]] + 0.5)
        n_times = int((onset[-1] + 2 * LONGEST) * SFREQ)
        heard = abs(rng.standard_normal((n_times, 4)))  # as spectra, not centered
        brain = rng.standard_normal((n_times, 6))
        brain[:, :4] += response * heard
        brains.append(brain.astype(np.float32))
        tables.append(
            pd.DataFrame({
                "subject": "s", "recording": f"r{index}", "onset": onset, "sound_onset": onset,
                "sound": StimulusArray(heard.astype(np.float32), SFREQ, f"story {index}"),
                "duration": lengths if equal is None else equal, "padded_duration": LONGEST,
                "block": 1000 * index + (onset // 30).astype(int), "block_start": onset // 30 * 30,
                "block_stop": onset // 30 * 30 + 30,
            })
        )  # fmt: skip
    y = pd.concat(tables, ignore_index=True).assign(segment=np.arange(2 * N))
    y = y.assign(padded_duration=y["padded_duration"] if equal is None else equal)
    which, start = np.repeat([0, 1], N), np.round(y["onset"].to_numpy() * SFREQ).astype(int)
    n_valid = None if equal is not None else (y["duration"] * SFREQ + 1).astype(int)
    columns = ["subject", "recording", "onset", "duration", "padded_duration"]
    n_times = int(y["padded_duration"].iloc[0] * SFREQ) + 1
    return Windows(brains, which, start, n_times, SFREQ, rows=y[columns], n_valid=n_valid), y


def power_ridge():
    return make_pipeline(Power(), RidgeDecoder(speech=PrecomputedFeatures(), lags=(0, 0), alphas=(1.0,), k=1))


FOLD = [(np.r_[0:60, N : N + 60], np.r_[64:N, N + 64 : 2 * N])]
NEURAL = ["decoder", "white_noise"]  # and timing alone, where lengths are unequal
OPTIONS = {"cv": FOLD, "controls": NEURAL, "n_shifts": 100, "k": 1}
MATCHED = RowCandidates(4, match="duration", within=None)


# --- the leak ----------------------------------------------------------------------------------------


def test_unequal_lengths_are_a_leak():
    with pytest.warns(UserWarning, match="Candidates of unequal length: those of all windows last 1 to 5 s"):
        table = run_controls(power_ridge(), *sentences(), **OPTIONS)
    assert table.loc["white_noise", "top_k"] > 2.5 * table.loc["white_noise", "chance"]
    assert (table.loc[NEURAL, "verdict"] == "leak").all()
    assert table.loc["decoder", "leak_sources"] == "white_noise"


def test_few_candidates_of_unequal_lengths_are_a_leak():
    with pytest.warns(UserWarning, match="Candidates of unequal length: those of .* of 112 windows"):
        table = run_controls(power_ridge(), *sentences(), candidates_per_row=4, **OPTIONS)
    assert (table.loc[NEURAL, "top_k"] > 0.35).all()  # chance is 0.25, and other draws give 0.39 to 0.58
    assert (table.loc[NEURAL, "verdict"] == "leak").all()


@pytest.mark.parametrize(
    ("equal", "rule"), [(None, MATCHED), (1.0, None), (1.0, 4)], ids=["matched", "fixed", "fixed, few"]
)
def test_equal_lengths_are_at_chance(equal, rule):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        table = run_controls(power_ridge(), *sentences(equal), candidates_per_row=rule, **OPTIONS)
    assert (table.loc[NEURAL, "verdict"] == "at_null").all()
    assert (abs(table["top_k"] - table["chance"]) < 0.1).all()


def test_matched_lengths_find_a_response():
    X, y = sentences(response=1.0)
    decoder = RidgeDecoder(speech=PrecomputedFeatures(), lags=(0, 0), alphas=(1.0,), k=1)
    (train, test) = FOLD[0]
    decoder.fit(X[train], y.iloc[train])
    found = retrieve(decoder, X[test], y.iloc[test], candidates_per_row=MATCHED)
    lengths = found.candidates["duration"].to_numpy()[found.columns]
    assert (lengths == lengths[:, :1]).all()
    assert found.top_k() > 0.9


# --- decoders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "decoder",
    [
        LikelihoodDecoder(speech=PrecomputedFeatures(), k=1),
        ForwardTRF(speech=PrecomputedFeatures()),
        EnsembleDecoder([("one", LikelihoodDecoder(speech=PrecomputedFeatures(), k=1))], weights="equal"),
    ],
    ids=["likelihood", "trf", "ensemble"],
)
def test_decoders_refuse_unequal_lengths(decoder):
    with pytest.raises(ValueError, match=r"requires windows of equal length.*9 to 41 samples.*tmax=2.0"):
        decoder.fit(*sentences())
