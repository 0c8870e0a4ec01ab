"""Tests of reconstruct_with_controls and its scores."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.continuous import FOLD, RATE, join_subjects
from sklearn.exceptions import ConvergenceWarning

from sk_b2s import RidgeDecoder, SpeechReconstructor, StimulusArray
from sk_b2s.synthesis import reconstruct_with_controls
from sk_b2s.synthesis._confidence import make_confidence_fade
from sk_b2s.synthesis._identification import identify_pieces
from sk_b2s.synthesis._verdicts import (
    SynthesisVerdict,
    describe_synthesis_verdict,
    make_synthesis_controls_verdict,
)


@pytest.fixture(scope="module")
def controls():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the controls
        return reconstruct_with_controls(
            SpeechReconstructor(RidgeDecoder()), *join_subjects(), FOLD, n_shifts=200, n_way=4
        )


def test_controls_are_at_chance(controls):
    table = controls.summarize()
    assert table.loc["decoder", "r"] > 0.7
    assert table.loc["true_features", ["r", "two_way", "n_way"]].min() > 0.999
    for name in ("phase_randomized", "shifted_labels", "prior_only"):
        assert table.loc[name, "r"] < table.loc[name, "r_null_high"]
        assert table.loc[name, "n_way"] < table.loc[name, "n_way_null_high"] + 0.05
    assert controls.verdict == SynthesisVerdict.ABOVE_NULL
    assert "chance 25 %" in controls.verdict_text


def test_scores_have_bands_and_subjects(controls):
    rows = controls.scores.query("control == 'decoder' and measure == 'r'")
    assert set(rows["subject"]) == {"01", "02", "mean"}
    assert set(rows["band"]) == {"mean", "0", "1", "2"}
    by_subject = rows.query("band == 'mean'").set_index("subject")["score"]
    assert by_subject["mean"] == pytest.approx((by_subject["01"] + by_subject["02"]) / 2)


def test_p_value_counts_distinct_shifts(controls):
    n_pieces = controls.list_pieces()["n_candidates"].iloc[0]
    rows = controls.scores.query("control == 'decoder' and subject == 'mean'")
    assert (rows.query("measure != 'r'")["p_value"] >= 1 / (1 + n_pieces)).all()


def test_average_subjects_raises_correlation(controls):
    average = controls.average_subjects()
    assert average.summarize().loc["decoder", "r"] > controls.summarize().loc["decoder", "r"]
    assert list(average.results["decoder"].rows["subject"]) == ["average"]
    assert average.to_audio("decoder", 0, 0, 1).shape == (16000,)


def test_list_pieces_ranks_true_features_first(controls):
    pieces = controls.list_pieces("true_features")
    assert (pieces["rank"] == 1).all()
    assert (pieces["confidence"] > 0.8).all()
    assert controls.list_pieces()["rank"].mean() < pieces["n_candidates"].iloc[0] / 3


def test_to_audio_of_control(controls):
    audio = controls.to_audio("true_features", 1, 2, 4)
    assert audio.shape == (32000,)
    assert not np.array_equal(audio, controls.to_audio("decoder", 1, 2, 4))
    assert not controls.to_audio("decoder", 0, 0, 3, threshold=1.0).any()
    with pytest.raises(ValueError, match="control"):
        controls.to_audio("nothing")
    with pytest.raises(ValueError, match="within the"):
        controls.to_audio("decoder", 0, 90)


def test_fade_of_an_excerpt_is_that_of_the_whole(controls, monkeypatch):
    confidence = np.arange(29) % 2
    monkeypatch.setattr(type(controls), "compute_confidence", lambda *_: confidence)
    gain = make_confidence_fade(confidence, 0.5, 40 * 16000, 16000)
    for start, stop in ((2.5, 8.5), (28.0, 29.5)):
        plain = controls.to_audio("decoder", 0, start, stop)
        faded = controls.to_audio("decoder", 0, start, stop, 0.5)
        first = round(start * 16000)
        np.testing.assert_allclose(faded, plain * gain[first : first + len(plain)], atol=1e-6)


def test_averages_keep_the_level_of_the_prior(controls):
    level = controls.get_mel("prior_only").mean(0)
    for found in (controls.average_subjects(), controls.average_repeats()):
        np.testing.assert_allclose(found.get_mel("prior_only").mean(0), level, rtol=1e-5)


def test_noise_has_no_verdict_above_null():
    X, y = join_subjects()
    noise = np.random.default_rng(3).standard_normal((2, 1200, 8)).astype("f4")
    X = X._replace(signals=list(noise))
    found = reconstruct_with_controls(
        SpeechReconstructor(RidgeDecoder()), X, y, FOLD, controls=["prior_only"], n_shifts=200
    )
    assert found.verdict == SynthesisVerdict.AT_NULL
    assert list(found.results) == ["decoder", "prior_only"]


def test_identify_pieces_equals_simulation():
    random = np.random.default_rng(0)
    similarity = random.standard_normal((8, 8)).round(1)
    rank, share = identify_pieces(similarity, 3)
    hits = np.zeros((8, 8))
    noisy = similarity + 1e-6 * random.standard_normal((4000, 8, 8))  # breaks ties
    for column in range(8):
        others = np.setdiff1d(np.arange(8), column)
        drawn = others[random.random((4000, 7)).argsort(1)[:, :2]]
        best = np.take_along_axis(noisy, drawn[:, None], 2).max(2)
        hits[:, column] = (noisy[:, :, column] > best).sum(0)
    np.testing.assert_allclose(share, hits / 4000, atol=0.04)
    np.testing.assert_allclose(share.mean(1), 1 / 3)
    np.testing.assert_allclose(rank.mean(1), 4.5)


@pytest.mark.parametrize(
    ("prior", "surrogate", "expected"),
    [
        ((0.1, 0.5), "at_null", "above_null"),
        ((0.3, 0.001), "at_null", "at_prior"),
        ((0.1, 0.001), "leak", "leak"),
    ],
    ids=["evidence", "prior", "leak"],
)
def test_make_controls_verdict_returns_verdict(prior, surrogate, expected):
    scores = pd.DataFrame({
        "control": ["decoder", "prior_only", "phase_randomized"], "measure": "r", "score": [0.2, prior[0], 0.2],
        "p_value": [0.001, prior[1], 0.001], "verdict": ["above_null", "context", surrogate],
    })  # fmt: skip
    assert make_synthesis_controls_verdict(scores) == expected
    assert describe_synthesis_verdict(expected)


def test_verdict_without_a_null_has_no_nan(controls):
    scores = controls.select_means()
    assert "p = 0." in describe_synthesis_verdict("above_null", scores)
    scores[["null_high", "p_value"]] = np.nan
    text = describe_synthesis_verdict("no_null", scores)
    assert "nan" not in text
    assert text.count("no null") == 4  # the verdict and three scores


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"controls": ["twin"]}, "'twin' is not one of"),
        ({"seconds": 20.0}, "five pieces"),
        ({"n_way": 1}, "n_way"),
    ],
    ids=["control", "seconds", "n_way"],
)
def test_controls_raise_for_parameters(change, message):
    X, y = join_subjects()
    with pytest.raises(ValueError, match=message):
        reconstruct_with_controls(
            SpeechReconstructor(RidgeDecoder()), X, y, FOLD, **{"controls": [], "n_shifts": 10, **change}
        )


@pytest.mark.filterwarnings("ignore::sk_b2s.model_selection.StimulusLeakWarning")
def test_training_stimuli_have_the_verdict_seen():
    X, y = join_subjects()
    sounds = y.rows.assign(sound=StimulusArray(np.zeros(1200), sfreq=RATE), sound_onset=y.start / RATE)
    found = reconstruct_with_controls(
        SpeechReconstructor(RidgeDecoder()), X, y._replace(rows=sounds), [(np.arange(118), np.arange(30))], controls=[],
        n_shifts=10,
    )  # fmt: skip
    assert found.verdict == SynthesisVerdict.SEEN
    assert found.average_subjects().verdict == SynthesisVerdict.SEEN
