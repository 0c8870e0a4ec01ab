"""Numbers from the edge of what was searched: strengths, epochs, curves and minutes."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sk_b2s import (
    ForwardTRF,
    RidgeDecoder,
    StimulusArray,
    Windows,
    generate_methods_text,
    select_calibration_sentences,
)
from sk_b2s.decoding._ridge_base import extend_alphas, find_better_alpha
from sk_b2s.evaluation._curves import describe_edge_maximum
from sk_b2s.evaluation._results._provenance import chosen_by

SFREQ = 10


def listened(noise=1.0, n=120, n_channels=12, subjects=("a", "b"), seed=0):
    """Smooth speech and channels that follow it in smooth noise, so that the strength matters."""
    rng = np.random.default_rng(seed)
    speech = np.cumsum(rng.standard_normal((n, 2, 30)), axis=2)
    speech -= speech.mean(2, keepdims=True)
    brain = noise * np.cumsum(rng.standard_normal((n, n_channels, 30)), axis=2)
    brain += np.einsum("nft,fc->nct", np.roll(speech, 1, axis=2), rng.standard_normal((2, n_channels)))
    brain += 0.3 * rng.standard_normal(brain.shape)
    rows = pd.DataFrame({"subject": np.repeat(subjects, n // len(subjects))})
    return Windows.from_array(brain.astype("f4"), rows=rows, sfreq=SFREQ), speech.astype("f4")


def make(kind, **parameters):
    if kind is RidgeDecoder:
        parameters["k"] = 1
    return kind(lags=(0, 0.3), **parameters)


def said_by(estimator, X, y):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        estimator.fit(X, y)
    return [str(one.message) for one in said if one.category is ConvergenceWarning]


KINDS = pytest.mark.parametrize("kind", [RidgeDecoder, ForwardTRF])
CLEAR = {"noise": 0.1, "n": 12, "seed": 1}
POOR = {RidgeDecoder: {"noise": 3.0, "n": 24, "seed": 2}, ForwardTRF: {"noise": 10.0, "n": 24, "seed": 3}}


@KINDS
@pytest.mark.parametrize(
    ("alphas", "word"),
    [
        pytest.param((1e-4, 1e-3, 1e-2), "higher", id="high"),
        pytest.param((1e-3, 1e-2, 1e-4), "higher", id="in any order"),
        pytest.param((1e-9, 1e-8, 1e-7), "higher", id="flat within"),
        pytest.param(np.array([1e2, 1e3, 1e4]), "lower", id="low"),
        pytest.param((1e9, 1e10, 1e11), "lower", id="flat above"),
    ],
)
def test_fit_warns_where_alphas_end_too_early(kind, alphas, word):
    X, y = listened(**(POOR[kind] if word == "higher" else CLEAR))
    estimator, wide = make(kind, alphas=alphas), make(kind)
    (text,) = said_by(estimator, X, y)
    assert said_by(wide, X, y) == []
    outside = wide.alpha_ > max(alphas) if word == "higher" else wide.alpha_ < min(alphas)
    assert outside.all(), "the right strength is outside"
    assert f"{word} values than the" in text
    assert f"Add {word} values" in text
    for subject, score, alpha in zip("ab", estimator.cv_scores_.max(1), estimator.alpha_, strict=True):
        assert f"subject {subject!r} ({score:.3f} at alpha={alpha:g}, " in text


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_fit_is_silent_where_the_search_is_wide(kind, seed):
    """Also where a subject's best strength is the first or last of a flat curve."""
    assert said_by(make(kind), *listened(3.0, n=40, seed=seed)) == []


@KINDS
def test_two_alphas_and_one_are_no_search(kind):
    X, y = listened(**CLEAR)
    assert said_by(make(kind, alphas=(1e2, 1e3)), X, y) == []
    assert said_by(make(kind, alphas=(1e3,)), X, y) == []


def test_alphas_warning_names_only_the_subjects_concerned():
    (X, y), (other, heard) = listened(**CLEAR), listened(**POOR[RidgeDecoder])
    rows = pd.DataFrame({"subject": ["clear"] * 6 + ["poor"] * 12})
    both = Windows.from_array(
        np.concatenate([np.asarray(X)[:6], np.asarray(other)[:12]]), rows=rows, sfreq=SFREQ
    )
    (text,) = said_by(
        make(RidgeDecoder, alphas=(1e-4, 1e-3, 1e-2)), both, np.concatenate([y[:6], heard[:12]])
    )
    assert "subject 'poor'" in text
    assert "subject 'clear'" not in text


@KINDS
def test_fit_warns_of_no_relation(kind):
    """Subjects with opposite responses have nothing in common, one by one they have."""
    X, y = listened(0.0, n=24, n_channels=2)
    data = np.concatenate([np.asarray(X)[:12], -np.asarray(X)[:12]])
    y = np.concatenate([y[:12], y[:12]])
    rows = pd.DataFrame({"subject": np.repeat(["a", "b"], 12)})
    both = Windows.from_array(data, rows=rows, sfreq=SFREQ)
    (text,) = said_by(make(kind, per_subject=False), both, y)
    assert "found no relation between X and y for all subjects together" in text
    assert said_by(make(kind), both, y) == []
    (text,) = said_by(make(kind, alphas=(1.0, 10.0)), Windows.from_array(data, sfreq=SFREQ), y)
    assert "found no relation between X and y for all rows (" in text


def test_strengths_beyond_stay_within_what_rounding_allows():
    assert extend_alphas((1e-12, 1.0, 1e12)) == []
    assert extend_alphas((1e-300, 1e-200, 1e-100))[0] >= 1e-12
    assert extend_alphas((1.0, 1.0, 1.0, 2.0)) == []


def test_better_beyond_needs_every_fold_and_five_percent():
    tried = [1.0, 2.0, 3.0, 0.1, 30.0]

    def found(*beyond):
        return find_better_alpha(3, 3.0, tried, np.array([[0.1, 0.2, 0.3, 0.0, score] for score in beyond]))

    assert found(0.4, 0.5) == (30.0, pytest.approx(0.45))
    assert np.isnan(found(0.29, 0.9)).all(), "one fold is worse"
    assert np.isnan(found(0.31, 0.31)).all(), "flat"
    assert np.isnan(find_better_alpha(3, 3.0, tried, -np.array([[0.1, 0.2, 0.3, 0.4, 0.05]]))).all(), (
        "nothing"
    )


# --- tables, curves and pages --------------------------------------------------------------------------


def scores_over(values, means, people=4):
    spread = 0.001 * np.arange(people)
    return pd.DataFrame(np.add.outer(means, spread), index=pd.Index(values), columns=list("abcd")[:people])


@pytest.mark.parametrize(
    ("values", "means", "note"),
    [
        pytest.param([0.0, 0.1, 0.2], [0.1, 0.2, 0.3], "Highest at 0.2, the last value", id="last"),
        pytest.param([0.0, 0.1, 0.2], [0.3, 0.2, 0.1], "Highest at 0, the first value", id="first"),
        pytest.param([0.0, 0.1, 0.2], [0.1, 0.3, 0.2], "", id="within"),
        pytest.param([0.0, 0.1, 0.2], [0.2, 0.2, 0.2], "", id="flat"),
        pytest.param([0.0, 0.1], [0.1, 0.2], "", id="two"),
        pytest.param(["delta", "theta", "alpha"], [0.1, 0.2, 0.3], "", id="names"),
        pytest.param([0.0, 0.1, 0.2], [0.1, 0.2, np.nan], "", id="unknown"),
    ],
)
def test_describe_edge_maximum_is_of_numbers(values, means, note):
    assert describe_edge_maximum(scores_over(values, means)).startswith(note)
    assert bool(describe_edge_maximum(scores_over(values, means))) == bool(note)


def test_describe_edge_maximum_needs_more_than_noise():
    people = pd.DataFrame([[0.1, 0.1], [0.2, 0.2], [0.1, 0.31]], index=[0.0, 0.1, 0.2])
    assert describe_edge_maximum(people) == "", "one of two people is lower there"


def test_suggest_calibration_warns_where_there_is_no_choice():
    story = StimulusArray(np.zeros((64 * 30, 1)), 64, "story")
    y = pd.DataFrame({
        "sound": [story] * 2, "sound_onset": [0.0, 10.0], "duration": 6.0, "sequence": ["one", "two"]
    })  # fmt: skip
    phonemes = pd.DataFrame(
        {"type": "phoneme", "sound": story, "text": list("ab"), "sound_onset": [1.0, 11.0]}
    )
    with pytest.warns(UserWarning, match=r"minutes=1, but all 2 sentences of y have 0.20 minutes"):
        assert len(select_calibration_sentences(y, 1, phonemes)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for minutes in (0.1, 0.2, np.inf):
            select_calibration_sentences(y, minutes, phonemes)


def test_forward_trf_warns_of_a_channel_that_holds_the_sound():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal((60, 1, 40)).astype("f4")
    brain = rng.standard_normal((60, 6, 40)).astype("f4")
    sound = StimulusArray(np.zeros((4000, 1)), SFREQ, "noise")
    heard = pd.DataFrame({
        "sound": [sound] * 60, "sound_onset": 5.0 * np.arange(60), "duration": 4.0, "segment": np.arange(60)
    })  # fmt: skip
    X = pd.DataFrame({"recording": "a.fif", "subject": "01", "onset": 5.0 * np.arange(60), "duration": 4.0})
    targets = Windows.from_array(speech, rows=heard, sfreq=SFREQ)

    def texts(brain):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            ForwardTRF(alphas=(1.0,)).fit(Windows.from_array(brain, rows=X, sfreq=SFREQ), targets)
        return [str(one.message) for one in said]

    assert texts(brain) == []
    brain[:, 4] = np.roll(speech[:, 0], 2, axis=1)
    (text,) = texts(brain)
    assert text.startswith("Channels of X that hold the sound, counted from 0: 4 (")


def test_page_lists_channels_that_hold_the_sound_and_edges(tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    from helpers.score_tables import make_score_table

    from sk_b2s import write_report
    from sk_b2s.evaluation._summary import BenchmarkSummary
    from sk_b2s.reporting._findings import explain_leaks, write_headline

    results = make_score_table(("ridge",), subjects="ab")
    decoder = results["control"] == "decoder"
    holds = "UserWarning: Channels of X that hold the sound, counted from 0: 5 (correlation 0.74). A score."
    edge = "ConvergenceWarning: alphas end at 0.1, and higher strengths than the highest are better for subject 'a'."
    results.loc[decoder & (results["fold"] == 1), "warnings"] = f"{holds}\n{edge}"
    results.loc[~decoder, "warnings"] = holds.replace("5 (", "6 (")
    page = write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")
    top = page[page.index("<h1") : page.index('class="cards"')]
    assert (
        "Channels of the recordings contain the stimulus audio. The score of ridge may come from these channels"
        in top
    )
    assert "ridge, in 2 of 4 fits: Channels of X that hold the sound, counted from 0: 5 (" in top
    assert "alphas end at 0.1, and higher strengths" in top
    assert "6 (correlation" not in top, "controls are not the score"
    assert (
        "Channels that contain the stimulus audio were among the sensors of ridge."
        in generate_methods_text(results)
    )
    clean = results.assign(warnings="")
    summary = BenchmarkSummary(clean)
    assert explain_leaks(summary) == []
    assert write_headline(summary)[0] == "good"
    assert "Channels" not in str(write_headline(summary))
    assert "Channels" not in generate_methods_text(clean)


def test_history_states_that_the_last_epoch_was_best():
    pytest.importorskip("matplotlib").use("Agg")
    from skorch.history import History

    from sk_b2s.plotting import plot_history

    def legend(losses):
        history = History()
        for epoch, loss in enumerate(losses):
            history.new_epoch()
            for name, value in (("epoch", epoch + 1), ("train_loss", loss), ("valid_loss", loss)):
                history.record(name, value)
            history.record("valid_candidates", 20)
        return " ".join(text.get_text() for text in plot_history(history).get_legend().get_texts())

    assert "epoch 3, restored, the last: the loss still decreases" in legend([3.0, 2.5, 2.0])
    assert "still decreases" not in legend([3.0, 2.0, 2.5])


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
def test_chosen_by_marks_ends_of_a_grid(grid, end):
    """The score of a stand-in is highest at 6 components."""
    search = GridSearchCV(Peak(), {"n_components": grid}, cv=3).fit(np.zeros((9, 1)), np.zeros(9))
    assert chosen_by(search) == f"best_params_: {search.best_params_}{end}"


class Peak(BaseEstimator):
    def __init__(self, n_components=1):
        self.n_components = n_components

    def fit(self, X, y):
        return self

    def score(self, X, y):
        return -abs((self.n_components or 6) - 6)
