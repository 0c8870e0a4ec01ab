"""Tests of the messages for labels and for scores of labels."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline, make_union

from sk_b2s import (
    Envelope,
    Epocher,
    FeatureScaler,
    ForwardTRF,
    RidgeDecoder,
    StimulusKFold,
    StimulusLeakWarning,
)

WINDOWS = np.random.default_rng(0).standard_normal((6, 2, 8))


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
@pytest.mark.parametrize("speech", [None, Envelope()])
def test_decoder_refuses_text_labels(kind, speech):
    with pytest.raises(ValueError, match="do not classify. To classify labels, use cross_val_classification"):
        RidgeDecoder(speech=speech).fit(WINDOWS, kind(list("ababab")))


def test_decoder_takes_numbers_as_text():
    y = np.array(["1", "2", "3", "4", "5", "6"], object)
    assert RidgeDecoder(alphas=(1.0,)).fit(WINDOWS, y).n_speech_features_ == 1


@pytest.mark.filterwarnings("ignore::sk_b2s.StimulusLeakWarning")
def test_label_score_names_scores_of_retrieval(listening):
    X, y = (table.iloc[::4] for table in listening)
    pipe = make_pipeline(
        Epocher(sfreq=20), RidgeDecoder(speech=Envelope(sfreq=20), alphas=(1.0,), lags=(0, 0))
    )
    with pytest.raises(ValueError, match=r"accuracy_score cannot compare .*Omit scoring.*retrieval_scores"):
        cross_val_score(pipe, X, y, cv=StimulusKFold(2), scoring="accuracy", error_score="raise")
    assert cross_val_score(pipe, X, y, cv=StimulusKFold(2), error_score="raise").shape == (2,)


def test_requested_training_scores_do_not_warn(listening):
    X, y = (table.iloc[::4] for table in listening)
    pipe = make_pipeline(
        Epocher(sfreq=20), RidgeDecoder(speech=Envelope(sfreq=20), alphas=(1.0,), lags=(0, 0))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", StimulusLeakWarning)
        cross_validate(pipe, X, y, cv=StimulusKFold(2), return_train_score=True, error_score="raise")
    with pytest.warns(StimulusLeakWarning):
        cross_validate(pipe, X, y, cv=KFold(2, shuffle=True, random_state=0), return_train_score=True)


def test_decoder_names_epocher_for_table(listening):
    X, y = listening
    with pytest.raises(
        ValueError, match="RidgeDecoder requires their EEG/MEG windows. Put Epocher before it"
    ):
        RidgeDecoder(speech=Envelope()).fit(X, y)


@pytest.mark.parametrize("decoder", [RidgeDecoder, ForwardTRF])
def test_fit_names_union_of_speech_features(decoder, listening):
    y = listening[1].iloc[:6]
    speech = make_pipeline(make_union(Envelope(), Envelope()), FeatureScaler())
    with pytest.raises(TypeError, match="Use SpeechFeatureUnion with the same list"):
        decoder(speech=speech).fit(WINDOWS, y)


def test_epocher_names_iloc_for_table_as_array(listening):
    X, _ = listening
    with pytest.raises(ValueError, match=r"array of text. Select rows of a table with X\.iloc\[rows\]"):
        Epocher().fit(X.to_numpy()[:5])
