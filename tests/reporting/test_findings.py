"""Headline, notes and leaks follow from the verdicts of the table."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers.score_tables import make_details, make_retrieval_result, make_score_table

from sk_b2s import ImageStimulus, format_scores, generate_methods_text, write_report
from sk_b2s.evaluation._benchmark_summary import BenchmarkSummary
from sk_b2s.evaluation._controls._verdicts import add_rival_scores
from sk_b2s.evaluation._results._details import describe_details_of_guesses
from sk_b2s.reporting._findings import (
    compare_findings_with_envelope,
    explain_findings_of_leaks,
    write_findings_headline,
)
from sk_b2s.reporting._score_sections import make_score_section_card, show_score_tables

NULLS = ["null_mean", "null_low", "null_high"]


@pytest.mark.parametrize(("verdicts", "style", "text"), [
    (("above_null", "above_null"), "good", "ridge and encoder decode speech better than their nulls."),
    (("above_null", "at_null"), "neutral", "For encoder, there is no evidence of decoding."),
    (("at_null", "at_null"), "neutral", "No decoder scored above its null."),
    (("no_null", "no_null"), "neutral", "There is no verdict, because there is no null."),
    (("leak", "above_null"), "bad", "There is a leak. The score of ridge is not evidence of decoding."),
    (("below_null", "above_null"), "bad", "encoder decodes speech better than the null."),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")  # fmt: skip
def test_write_findings_headline_follows_verdicts(verdicts, style, text):
    summary = BenchmarkSummary(make_score_table())
    rows = summary.table
    for name, verdict in zip(("ridge", "encoder"), verdicts, strict=True):
        rows.loc[(rows["estimator"] == name) & (rows["control"] == "decoder"), "verdict"] = verdict
    found = write_findings_headline(summary)
    assert found[0] == style
    assert text in found[1]


def test_write_headline_shortens_many_names():
    summary = BenchmarkSummary(make_score_table([f"decoder{place}" for place in range(9)], subjects="ab"))
    _, text, notes = write_findings_headline(summary)
    names = "decoder0, decoder1, decoder2, decoder3 and 5 others"
    assert text == f"{names} decode speech better than their nulls."
    ranking = next(note for note in notes if note.startswith("The highest score"))
    assert "that of decoder8" in ranking
    assert "decoder4 (" in ranking
    assert "decoder3 (" not in ranking


def test_write_headline_leaves_out_missing_words():
    results = make_score_table(("ridge",)).assign(word_top_10=np.nan, word_top_10_timing=0.5)
    summary = BenchmarkSummary(results)
    assert "words" not in " ".join(write_findings_headline(summary)[2])
    tables = str(list(show_score_tables(summary.table)))
    assert "by timing alone" not in tables
    assert "by timing alone" in str(list(show_score_tables(BenchmarkSummary(results.fillna(0.4)).table)))


def test_write_headline_notes_unknown_controls():
    results = make_score_table(("ridge",))
    notes = write_findings_headline(BenchmarkSummary(results))[2]
    assert notes[0] == "Controls that must be at chance are at chance: phase_randomized."
    control = results["control"] == "phase_randomized"
    for changed in (
        results.assign(**{name: results[name].mask(control) for name in NULLS}),
        results.assign(error=np.where(control, "ValueError: no", "")),
    ):
        notes = write_findings_headline(BenchmarkSummary(changed))[2]
        assert not any("are at chance" in note for note in notes)
        assert notes[0].startswith("For phase_randomized, it is unknown whether the score is at chance.")


def test_write_findings_headline_notes_missing_null():
    results = make_score_table(("ridge",))
    short = (results["subject"] == "b") & (results["fold"] == 0)
    results = results.assign(**{name: results[name].mask(short) for name in NULLS})
    style, text, notes = write_findings_headline(BenchmarkSummary(results))
    assert (style, text) == ("good", "ridge decodes speech better than its null.")
    assert any(note.startswith("1 fold of single subjects is without a null") for note in notes)


def make_results_with_control(control, score):
    """Rename the control of a table, and set its score for all candidates."""
    results = make_score_table()
    own = results["control"] == "phase_randomized"
    results.loc[own, "control"] = control
    results.loc[own & (results["pool"] == "all"), "top_k"] = score
    return results


@pytest.mark.parametrize(("control", "score", "style", "text"), [
    ("timing_only", 0.9, "neutral", "nulls. But timing alone scores higher."),
    ("timing_only", 0.38, "neutral", "nulls. But timing alone scores higher than ridge."),
    ("timing_only", 0.2, "good", "nulls."),
    ("envelope_only", 0.9, "neutral", "nulls. But loudness alone scores higher."),
    ("envelope_only", 0.2, "good", "nulls."),
])  # fmt: skip
def test_write_findings_headline_names_rivals(control, score, style, text):
    found = write_findings_headline(BenchmarkSummary(make_results_with_control(control, score)))
    assert found[0] == style
    assert found[1].endswith(text)
    if control == "timing_only":
        assert sum("The timing of windows alone" in note for note in found[2]) == (2 if score == 0.38 else 1)


def test_write_findings_ignores_timing_at_null():
    """The verdict box and its notes follow the rule of loudness."""
    results = make_results_with_control("timing_only", 0.38)
    results.loc[results["control"] == "timing_only", "null_high"] = 0.95
    style, text, notes = write_findings_headline(BenchmarkSummary(results))
    assert style == "good"
    assert text.endswith("nulls.")
    (note,) = [note for note in notes if "The timing of windows alone" in note]
    assert note.endswith("within its null.")


def test_timing_notes_follow_the_headline():
    """Timing within the null of one decoder does not hide that of another."""
    results = make_results_with_control("timing_only", 0.38)
    own = (results["control"] == "timing_only") & (results["estimator"] == "ridge")
    results.loc[own & (results["pool"] == "all"), ["top_k", "null_high"]] = 0.5, 3.0
    _, text, notes = write_findings_headline(BenchmarkSummary(results))
    assert text.endswith("But timing alone scores higher than ridge.")
    found = [note for note in notes if "The timing of windows alone" in note]
    assert [" lower than encoder (" in note for note in found] == [True, False]
    assert "scores 38.0" in found[1]
    assert "encoder" not in found[1]


def test_timing_notes_name_equal_scores():
    results = make_results_with_control("timing_only", 2 / 3)
    results.loc[results["control"] == "decoder", "top_k"] = 2 / 3
    notes = write_findings_headline(BenchmarkSummary(results))[2]
    (note,) = [note for note in notes if "The timing of windows alone" in note]
    assert ", at least as high as ridge" in note


def test_compare_with_envelope_needs_score_above_null():
    results = make_results_with_control("envelope_only", 0.11)
    results.loc[results["control"] == "decoder", "top_k"] = 0.1
    assert compare_findings_with_envelope(BenchmarkSummary(results)) == []
    results["null_high"] = 0.1
    (text,) = compare_findings_with_envelope(BenchmarkSummary(results))
    assert text.startswith("Loudness alone scores higher than ridge (10.0")


def test_compare_with_envelope_within_conditions():
    results = make_results_with_control("envelope_only", 0.5)
    noise = results.assign(condition="noise", top_k=np.where(results["control"] == "decoder", 0.3, 0.2))
    results = pd.concat([results.assign(condition="quiet"), noise], ignore_index=True)
    (text,) = compare_findings_with_envelope(BenchmarkSummary(results))
    assert "ridge (quiet)" in text
    assert "noise" not in text


def test_score_card_states_what_scores_higher():
    table = add_rival_scores(BenchmarkSummary(make_results_with_control("envelope_only", 0.9)).table)
    row = table[table["control"] == "decoder"].iloc[0].to_dict()
    row["timing_alone"] = 0.811
    assert ", not above loudness alone (." in row["verdict_text"]
    badge = make_score_section_card(row)["badge"]
    assert badge["style"] == "neutral"
    assert badge["text"].replace("\N{NO-BREAK SPACE}", " ") == (
        "above its null, not above loudness alone (90.0 %) or timing alone (81.1 %)"
    )


def test_explain_leak_findings_counts_training_stimuli():
    results = make_score_table()
    results.loc[results["estimator"] == "ridge", "n_train_overlap"] = 12.0
    reasons = explain_findings_of_leaks(BenchmarkSummary(results))
    assert len(reasons) == 1
    assert reasons[0].startswith("ridge: 24 test windows contain training stimuli, in 2 of 2 folds")


def test_leaking_fold_is_reported_for_any_score():
    results = make_score_table(("ridge",)).assign(
        leakage="no leak: nothing is shared", leakage_verdict="no_leak"
    )
    assert write_findings_headline(BenchmarkSummary(results))[0] == "good"
    leak = ["leak", "LEAK: 30 % of the test sound was in training"]
    results.loc[results["fold"] == 1, ["leakage_verdict", "leakage"]] = leak
    summary = BenchmarkSummary(results)
    assert write_findings_headline(summary)[:2] == (
        "bad",
        "Training and test sets overlap, so the scores are not evidence of decoding.",
    )
    assert explain_findings_of_leaks(summary) == [
        "In 1 of 2 folds; fold 1: LEAK: 30 % of the test sound was in training"
    ]


def test_count_warnings_counts_fits():
    results = make_score_table(("ridge",)).assign(warnings="")
    results.loc[results["fold"] == 1, "warnings"] = "a\nb\na"
    one = (results["fold"] == 0) & (results["seed"] == 0) & (results["control"] == "decoder")
    results.loc[one, "warnings"] = "a"
    assert BenchmarkSummary(results).count_warnings() == {
        "a": 5,
        "b": 4,
    }  # two seeds of decoder and control, and one more


def test_write_report_lists_audio_channels(tmp_path, empty_figures):
    pytest.importorskip("matplotlib").use("Agg")
    from helpers.score_tables import make_score_table

    from sk_b2s import write_report

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
    assert explain_findings_of_leaks(summary) == []
    assert write_findings_headline(summary)[0] == "good"
    assert "Channels" not in str(write_findings_headline(summary))
    assert "Channels" not in generate_methods_text(clean)


def test_findings_of_one_subject_have_no_error_or_test(tmp_path, empty_figures):
    results = make_score_table(subjects="a")
    assert "s.e.m." not in format_scores(results)
    assert "candidates" in format_scores(results)
    assert "candidates" not in format_scores(results.assign(n_candidates=0))  # reconstruction
    page = write_report(results, tmp_path / "r.html").read_text(encoding="utf-8")
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert re.search(r"\bnan\b", text, re.IGNORECASE) is None
    assert "The difference cannot be tested with one subject." in text
    assert "corrected p" not in text


@pytest.mark.parametrize(
    ("task", "k", "name"),
    [("phoneme", 1, "balanced accuracy"), ("match_mismatch", 1, "match-mismatch accuracy"), ("word", 10, "top-10"), ("segment", 1, "top-1")],
)  # fmt: skip
def test_format_scores_names_the_score_of_a_task(task, k, name):
    text = format_scores(make_score_table().assign(task=task, k=k, main_score="top_k"))
    columns = text.splitlines()[0]
    assert f"{name} ± s.e.m." in columns
    assert f"null of {name}." in text.replace("\n", " ")
    assert ("top-1" in re.split("  +", columns)) == (k == 10)


def test_notes_list_equal_convergence_warnings_once():
    results = make_score_table(("ridge",))
    results["warnings"] = [
        f"ConvergenceWarning: the loss of {4 + fold / 7} is not below 4.5." for fold in results["fold"]
    ]
    notes = [note for note in write_findings_headline(BenchmarkSummary(results))[2] if "the loss" in note]
    assert notes == ["ridge: the loss of 4.0 is not below 4.5. 1 similar warning."]


@pytest.mark.parametrize(("kind", "name"), [("image", "images"), ("smell", "stimuli"), (None, "speech")])
def test_write_headline_names_kind_of_stimuli(kind, name):
    details = make_details()
    for guess in details["guesses"]:
        guess["target"] = {"text": "rose"} if kind is None else {"text": "rose", "kind": kind}
    results = make_score_table(("ridge",)).assign(details=json.dumps(details))
    text = write_findings_headline(BenchmarkSummary(results))[1]
    assert text == f"ridge decodes {name} better than its null."


def test_describe_guesses_has_names_of_images():
    result = make_retrieval_result()
    images = [ImageStimulus(f"rose_{place}", kind="smell") for place in range(len(result.candidates))]
    candidates = result.candidates[["segment"]].assign(sound=images)
    guess = describe_details_of_guesses(replace(result, candidates=candidates))[0]
    assert guess["target"]["kind"] == "smell"
    assert guess["target"]["text"].startswith("rose_")
