"""Methods text: numbers of the table, and a list of what is unknown."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from helpers.hidden import NAMES
from helpers.score_tables import add_details, make_plan_with_sounds, make_score_table

from sk_b2s import generate_methods_text, mean_and_sem, score_similarities
from sk_b2s._utils._text import HIDDEN, make_text_visible
from sk_b2s.evaluation._controls._verdicts import describe_verdict
from sk_b2s.evaluation._results._plan import AUDIT
from sk_b2s.reporting._methods_details import describe_window_duration, list_training_sentences


@pytest.fixture
def results():
    """Make results of 2 estimators, 2 seeds, 3 subjects and folds."""
    rng, rows = np.random.default_rng(0), []
    for estimator in ("ridge", "clip"):
        for control in ("decoder", "phase_randomized"):
            for fold in range(3):
                for seed in range(2):
                    for pool, n_candidates in (("all", 100 + fold), ("50", 50)):
                        rows.append({
                            "study": "story", "estimator": estimator, "control": control, "seed": seed, "fold": fold,
                            "subject": f"s{fold}", "condition": "", "pool": pool, "n_train": 400 + fold, "k": 10,
                            "n_windows": 120 + fold, "n_candidates": n_candidates, "chance": 10 / n_candidates,
                            "top_k": rng.random(), "null_mean": 0.1, "null_high": 0.2, "n_train_overlap": 0.0,
                            "verdict": "above_null", "leak_sources": "", "verdict_text": "above its null", "versions": "sk_b2s 0.1.0 numpy 2.0", "error": "",
                            "plan": AUDIT,
                        })  # fmt: skip
    return pd.DataFrame(rows)


def test_generate_methods_text_has_numbers_of_table(results):
    text = generate_methods_text(results, cv="LeaveOneSubjectOut(stimulus_folds=5)")
    assert text.startswith("Decoding was tested in 3 subjects (story).\n\n")
    assert (
        "tested on 363 windows (120 to 122 of each subject), in 3 folds made by LeaveOneSubjectOut(stimulus_folds=5), each of "
        "which tested one subject." in text
    )
    assert "ridge and clip were each fitted on 400 to 402 windows with 2 random seeds." in text
    assert "the distinct segments of its test set (100 to 102) were ranked" in text
    assert "No test window contained a stimulus of the training windows." in text
    assert "circular shifts of the labels within each recording" in text
    assert "controls: phase-randomized recordings." in text
    assert text.endswith("Software: sk_b2s 0.1.0 numpy 2.0.")
    assert "does not contain" not in text
    means = mean_and_sem(results[results["pool"] == "all"], "top_k")
    for name in ("ridge", "clip"):
        row = means.loc[(name, "decoder", "", "all")]
        expected = (
            f"{name}: top-10 accuracy {100 * row['mean']:.1f} % ± {100 * row['sem']:.1f} %, chance 9.9 %."
        )
        assert expected in text


def test_generate_methods_text_has_numbers_of_fits():
    results = add_details(make_score_table(), "alpha").assign(
        features=lambda table: np.where(table["estimator"] == "ridge", "Mel at 50 Hz; digest ab", "Mel, Phones; digest cd"),
        plan=json.dumps(make_plan_with_sounds({})),
    )  # fmt: skip
    text = generate_methods_text(results)
    for sentence in (
        "Windows had a duration of 0.3 to 2 s (median 0.5 s) and covered 1.5 hours of recordings.",
        "Features of the stimuli were Mel at 50 Hz for ridge and Mel, Phones for encoder.",
        "For ridge, alpha was chosen among 3 values (0.1 to 10) by 3-fold cross-validation within the training "
        "set: 0.1 to 1.",
        "ridge and encoder were trained on the contrastive loss (clip) with Adam (learning rate 0.001, batches of 64 windows) "
        "for at most 14 epochs, and stopped after 5 epochs without a lower validation loss on 10 % of the training windows. "
        "Training took 3 epochs.",
        "computed from 5 circular shifts of the labels",
        "tested by exact Wilcoxon signed-rank tests, paired over subjects and corrected by Holm's method (encoder minus ridge",
        "better in 4, worse in 0 of 4, p = 0.12; smallest possible p 0.12).",
        ", 97.5 % quantile of the null 12.",
    ):
        assert sentence in text
    assert "Wilcoxon" not in generate_methods_text(results[results["subject"] == "a"])


def test_generate_methods_text_weights_folds(results):
    results = results.assign(
        control=results["control"].replace("phase_randomized", "envelope_only"), subject="a",
        n_windows=10 ** results["fold"], word_top_10_timing=results["top_k"], task="word",
    )  # fmt: skip
    own = results[(results["pool"] == "all") & (results["estimator"] == "ridge")]
    text, means = generate_methods_text(results), mean_and_sem(own, "top_k", "control")["mean"]
    assert f"speech features {100 * means['envelope_only']:.1f} %" in text
    assert f"timing of the windows alone {100 * means['decoder']:.1f} %" in text


def test_describe_window_duration_of_long_windows():
    fits = pd.DataFrame({"details": [{"window_seconds": [8.0, 60.0, 123.4]}]})
    assert describe_window_duration(fits) == "8 to 123 s (median 60 s)"


def test_generate_methods_text_has_paragraphs_by_topic():
    results = add_details(make_score_table(), "alpha").assign(
        features="Mel at 50 Hz; digest ab", versions="sk_b2s 1"
    )
    found = generate_methods_text(results).split("\n\n")
    starts = (
        "Decoding was tested in 4 subjects", "Features of the stimuli were Mel", "ridge and encoder were each fitted",
        "Decoding was tested on ", "Scores were averaged", "ridge: top-10", "Software: ",
    )  # fmt: skip
    assert len(found) == len(starts)
    for paragraph, start in zip(found, starts, strict=True):
        assert paragraph.startswith(start)
        assert "\n" not in paragraph
    assert " Windows had a duration of" in found[0]
    assert "The recordings had" in found[0]
    assert "Training took 3 epochs." in found[2]
    assert "null distribution" in found[4]
    assert "Wilcoxon" in found[5]


def test_list_training_sentences_of_few_epochs():
    """Without an early stop, the best epoch is used all the same."""
    one = {
        "loss": "mse", "lr": 0.1, "batch_size": 8, "max_epochs": 2, "epochs": 2, "patience": 5,
        "validation": 0.1,
    }  # fmt: skip
    fits = pd.DataFrame({"label": ["net"], "details": [{"training": [one]}]})
    (text,) = list_training_sentences(fits)
    assert "at most 2 epochs, of which that with the lowest validation loss on 10 % of" in text
    one |= {"patience": 1}
    assert "stopped after 1 epoch without" in list_training_sentences(fits)[0]
    one["validation"] = None
    assert "validation" not in list_training_sentences(fits)[0]


def test_generate_methods_text_lists_unknown_facts(results):
    text = generate_methods_text(
        results[["estimator", "subject", "top_k", "seed", "fold", "pool", "control"]]
    )
    for word in ("set (", "circular", "Software", "chance", "contained a stimulus", "top-10"):
        assert word not in text
    unknown = re.search(r"\[The table does not contain: (.*)\.\]", text).group(1)
    for name in (
        "how folds were made",
        "numbers of windows",
        "the number of candidates",
        "a null",
        "versions",
    ):
        assert name in unknown
    assert "controls" not in unknown


def test_generate_methods_text_reports_leaks(results):
    leaking = (results["estimator"] == "clip") & (results["control"] == "decoder")
    text = describe_verdict("leak", "phase_randomized")
    results.loc[leaking, ["verdict", "verdict_text"]] = ["leak", text]
    results.loc[results["fold"] == 1, "n_train_overlap"] = 5.0
    results.loc[(results["estimator"] == "ridge") & (results["fold"] == 2), ["error", "top_k"]] = [
        "ValueError: no",
        np.nan,
    ]
    text = generate_methods_text(results)
    assert "contained stimuli of the training windows in 1 of 3 folds, so these scores do not measure" in text
    assert re.search(
        r"clip: [^.]*\.\d % ± [^.]*\.\d %, chance 9\.9 %; LEAK \(phase-randomized recordings\)\.", text
    )
    assert "4 fits failed and are not included." in text


def test_generate_methods_text_names_pretraining(results):
    steps = ["CovarianceAlignment, MaskedEncoder (test stimuli)", "CovarianceAlignment"]
    text = generate_methods_text(results.assign(transductive_steps=np.resize(steps, len(results))))
    assert "used without labels to fit CovarianceAlignment." in text
    assert "Pretraining without labels had seen recordings with the test stimuli." in text


def test_generate_methods_text_of_one_subject(results):
    text = generate_methods_text(results[results["subject"] == "s0"])
    assert "±" not in text
    assert "Scores are from one subject" in text


def test_generate_methods_text_rejects_empty_table(results):
    with pytest.raises(ValueError, match="all of fits that failed"):
        generate_methods_text(results.assign(error="MemoryError: "))
    with pytest.raises(ValueError, match=r"must have the columns \['subject'\]"):
        generate_methods_text(results.drop(columns="subject"))


def test_generate_methods_text_of_similarities():
    y = pd.DataFrame({"segment": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    text = generate_methods_text(score_similarities(np.eye(60), y))
    assert "tested in 1 subject." in text
    assert "does not contain: how folds were made, numbers of windows" in text


@pytest.mark.parametrize("name", NAMES)
def test_generate_methods_text_accepts_any_name(name):
    text = NAMES[name] or "x"
    table = make_score_table((text,), subjects="ab").assign(study=text, versions=text)
    found = generate_methods_text(table, cv=text)
    found.encode()
    assert make_text_visible(text) in found
    assert not HIDDEN.search(found)


def test_generate_methods_text_has_timing_and_envelope():
    results = make_score_table(("ridge",))
    own = results["control"] == "phase_randomized"
    texts = []
    for control, score in (("timing_only", 0.8), ("envelope_only", 0.4)):
        part = results[own].assign(control=control, top_k=score)
        texts.append(generate_methods_text(pd.concat([results, part], ignore_index=True)))
    assert "null 12.2 %, timing of the windows alone 80.0 %." in texts[0]
    assert "null 12.2 %, with the envelope in place of the speech features 40.0 %." in texts[1]
