"""Tests of loading and downloading Le Petit Prince (Bel et al., 2026)."""

import sys
import types

import numpy as np
import pytest
from helpers.prince import FIRST, SFREQ, START, write_run, write_text
from helpers.studies import LAG, find_response_lag

from sk_b2s import check_events
from sk_b2s.datasets import fetch_bel2026, load_bel2026


@pytest.fixture
def words(tmp_path):
    """Words of a run, whose text and audio are in a folder."""
    return write_text(tmp_path, "01")


def test_load_finds_simulated_lag(tmp_path, words):
    write_run(tmp_path, "01", "01", words)
    events, report = load_bel2026(tmp_path, return_report=True)
    check_events(events)
    assert abs(find_response_lag(events) - LAG) <= 0.02
    spoken = events[events["type"] == "word"]
    onset = np.array([onset for onset, *_ in words])
    np.testing.assert_allclose(spoken["onset"], START + onset, atol=1 / SFREQ)
    np.testing.assert_allclose(spoken["sound_onset"], onset, atol=1e-6)
    assert spoken["text"].tolist() == [text for *_, text in words]
    assert spoken[["sequence", "word_index"]].iloc[[0, 7]].to_numpy().tolist() == [
        ["01/0", 0.0],
        ["01/1", 1.0],
    ]
    phonemes = events[events["type"] == "phoneme"]
    assert phonemes["word_index"].tolist() == spoken["word_index"].tolist()
    np.testing.assert_allclose(phonemes["onset"], spoken["onset"], atol=1e-6)
    row = report.iloc[0]
    assert (row["n_words"], row["n_triggers"], row["n_matched"], row["n_text"]) == (len(words),) * 4
    assert row["largest"] <= 4
    assert row["residual"] <= 4


@pytest.mark.parametrize("clock", ["acquisition", "recording"])
def test_load_corrects_named_runs(tmp_path, words, clock):
    write_run(tmp_path, "01", "01", words, clock=clock)
    jitter = np.random.default_rng(0).uniform(-0.025, 0.025, len(words))
    write_run(tmp_path, "09", "01", words, 0.12 + jitter, lost=range(20, 27), clock=clock)
    expected = rf"1 of 2 runs: sub-09 run-01 \(up to 14\d ms, \+1\d\d ms.*, 7 of {len(words)} words have no trigger\)"
    with pytest.warns(UserWarning, match=expected):
        events = load_bel2026(tmp_path, phonemes=False)
    spoken = events[(events["type"] == "word") & (events["subject"] == "09")]
    error = spoken["onset"] - START - np.array([onset for onset, *_ in words])
    assert np.abs(np.delete(error.to_numpy(), range(20, 27))).max() <= 1 / SFREQ
    assert np.abs(error).max() <= 0.055


def test_load_refuses_other_triggers(tmp_path, words):
    write_run(tmp_path, "01", "01", write_text(tmp_path / "other", "02"))
    with pytest.raises(
        ValueError, match=r"sub-01 run-01: only \d+ of \d+ words of the table are in its text"
    ):
        load_bel2026(tmp_path)
    write_run(tmp_path, "02", "01", words, lost=range(0, len(words), 2))
    message = (
        rf"only {len(words) // 2} of {len(words)} words of the table are within 200 ms of.*run-01_meg\.fif'"
    )
    with pytest.raises(ValueError, match=message):
        load_bel2026(tmp_path, "02")


def test_load_omits_bad_runs(tmp_path, words):
    write_text(tmp_path, "02")
    write_run(tmp_path, "01", "01", words)
    write_run(tmp_path, "23", "01", words)
    with pytest.warns(UserWarning, match=r"known to be bad are omitted \(keep.*: sub-23 run-01\."):
        assert set(load_bel2026(tmp_path)["subject"]) == {"01"}
    assert set(load_bel2026(tmp_path, bad_runs="keep")["subject"]) == {"01", "23"}
    with pytest.raises(ValueError, match="'bad_runs' must be 'drop' or 'keep'. Got 'mark'"):
        load_bel2026(tmp_path, bad_runs="mark")
    with pytest.raises(FileNotFoundError, match="no requested run that is not omitted"):
        load_bel2026(tmp_path, "23")
    with pytest.raises(ValueError, match=r"runs='09' contains '09'.*Available: 01"):
        load_bel2026(tmp_path, runs="09")


def test_load_names_faulty_files(tmp_path, words):
    with pytest.raises(FileNotFoundError, match=r"no sub-\*/ses-01/meg.*fetch_bel2026"):
        load_bel2026(tmp_path)
    write_run(tmp_path, "01", "01", words, recording=False)
    with pytest.raises(FileNotFoundError, match=r"run-01_meg\.fif' does not exist.*need_recordings=False"):
        load_bel2026(tmp_path)
    events = load_bel2026(tmp_path, need_recordings=False)
    first = events.loc[events["type"] == "word", "onset"].iloc[0]
    assert first == pytest.approx(FIRST / SFREQ + START + words[0][0], abs=1e-3)
    write_text(tmp_path, "01", ("mots", "phonemes_fr"))
    with pytest.raises(ValueError, match=r"ch1-3\.TextGrid' must have one tier.*\['mots', 'phonemes_fr'\]"):
        load_bel2026(tmp_path, need_recordings=False)
    again = load_bel2026(tmp_path, need_recordings=False, phonemes="phonemes_fr")
    assert (again["type"] == "phoneme").sum() == len(words)
    table = tmp_path / "sub-01/ses-01/meg/sub-01_ses-01_task-listen_run-01_events.tsv"
    table.write_text(table.read_text().replace("0.25\tWord", "long\tWord", 1))
    with pytest.raises(ValueError, match=r"events\.tsv', row 4: onset and duration must be seconds.*'long'"):
        load_bel2026(tmp_path, need_recordings=False, phonemes=False)
    extra = tmp_path / "sourcedata/task-listen_run-01_extra_info.tsv"
    extra.write_text(extra.read_text().replace("sequence_id", "sequence"))
    with pytest.raises(
        ValueError, match=r"extra_info\.tsv' is not a table of words: it lacks.*'sequence_id'"
    ):
        load_bel2026(tmp_path, need_recordings=False, phonemes=False)


def test_load_requires_trigger_channel(tmp_path, words, monkeypatch):
    monkeypatch.setattr("sk_b2s.datasets._bel2026.TRIGGER", "STI101")
    write_run(tmp_path, "01", "01", words)
    with pytest.raises(ValueError, match=r"meg\.fif' has no trigger channel STI101\. It has STI008\."):
        load_bel2026(tmp_path)


def test_fetch_selects_subjects_without_mri(tmp_path, monkeypatch):
    arguments = {}
    monkeypatch.setitem(sys.modules, "openneuro", types.SimpleNamespace(download=arguments.update))
    assert fetch_bel2026(tmp_path, ["sub-01", "58"]) == tmp_path
    assert (arguments["dataset"], arguments["tag"]) == ("ds007523", "1.0.1")
    assert arguments["include"][:4] == [
        "sub-01/ses-01/meg",
        "sub-58/ses-01/meg",
        "sourcedata/stimuli",
        "sourcedata/task-listen_run-01_extra_info.tsv",
    ]
    with pytest.raises(ValueError, match=r"\['59'\], which the server does not have"):
        fetch_bel2026(tmp_path, "59")
    monkeypatch.setitem(sys.modules, "openneuro", None)
    with pytest.raises(ImportError, match=r"fetch_bel2026 requires openneuro-py.*sk_b2s\[fetch\]"):
        fetch_bel2026(tmp_path)
