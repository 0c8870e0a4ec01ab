"""Descriptions of estimators in results."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sk_b2s import AcousticOnsets, FeatureScaler, MelSpectrogram, RidgeDecoder, SpeechFeatureUnion
from sk_b2s.evaluation._results._provenance import describe_choice_provenance, describe_feature_provenance


@pytest.mark.parametrize(
    ("grid", "end"),
    [
        pytest.param(
            [1, 2, 3], " (n_components is the highest tried; values beyond may be better)", id="highest"
        ),
        pytest.param(
            [12, 8, 7], " (n_components is the lowest tried; values beyond may be better)", id="lowest"
        ),
        pytest.param([1, 6, 24], "", id="within"),
        pytest.param([1, 6], "", id="two"),
        pytest.param([1, 2, None], "", id="not a number"),
    ],
)
def test_describe_choice_provenance_marks_edges(grid, end):
    """The score of a stand-in is highest at 6 components."""
    search = GridSearchCV(Peak(), {"n_components": grid}, cv=3).fit(np.zeros((9, 1)), np.zeros(9))
    assert describe_choice_provenance(search) == f"best_params_: {search.best_params_}{end}"


class Peak(BaseEstimator):
    def __init__(self, n_components=1):
        self.n_components = n_components

    def fit(self, X, y):
        return self

    def score(self, X, y):
        return -abs((self.n_components or 6) - 6)


def test_describe_feature_provenance_names_parts():
    union = SpeechFeatureUnion(
        [("mel", MelSpectrogram(sfreq=50)), ("on", AcousticOnsets(sfreq=50)), ("no", "drop")]
    )
    text = describe_feature_provenance(RidgeDecoder(speech=make_pipeline(union, FeatureScaler())), None)
    assert text.startswith(
        "SpeechFeatureUnion of MelSpectrogram and AcousticOnsets, FeatureScaler at 50 Hz; digest "
    )
