"""Tests of forced alignment of transcripts to audio."""

import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from sk_b2s import check_events
from sk_b2s.datasets import load_speech
from sk_b2s.io import _word_alignment as alignment
from sk_b2s.io import add_words, align_words

SECONDS = 12.0


@pytest.fixture
def aligner():
    """Skip a test if the extra is not installed."""
    pytest.importorskip("pocketsphinx", reason="requires the extra [align]: pip install 'sk_b2s[align]'")


@pytest.fixture(scope="module")
def story():
    """Return an audio file and its first words with their true times."""
    speech = load_speech()
    path = speech["sound"][0]
    words = speech[(speech["type"] == "word") & (speech["sound"] == path)]
    return path, words[words["sound_onset"] + words["duration"] < SECONDS - 0.2].reset_index(drop=True)


@pytest.fixture(scope="module")
def aligned(story):
    """Return the rows of the first words and their phonemes."""
    pytest.importorskip("pocketsphinx", reason="requires the extra [align]: pip install 'sk_b2s[align]'")
    path, words = story
    return align_words(path, " ".join(words["text"]), stop=SECONDS, phonemes=True)


def measure_errors(found, words):
    """Return the absolute errors of onsets and of ends in seconds."""
    assert found["text"].tolist() == words["text"].tolist()
    ends = [table["sound_onset"] + table["duration"] for table in (found, words)]
    return [
        np.abs(a.to_numpy() - b.to_numpy()) for a, b in [(found["sound_onset"], words["sound_onset"]), ends]
    ]


def test_align_words_finds_known_times(aligned, story):
    path, words = story
    found = aligned[aligned["type"] == "word"]
    assert len(words) > 20
    for errors in measure_errors(found, words):
        assert np.median(errors) < 0.02
        assert np.quantile(errors, 0.9) < 0.06
    assert (found["sound"] == path).all()
    assert found["sequence"].nunique() > 1
    assert (found.groupby("sequence")["word_index"].first() == 0).all()


def test_align_words_phonemes_divide_words(aligned):
    word = (aligned["type"] == "word").cumsum()
    assert (aligned["type"].to_numpy()[:2] == ["word", "phoneme"]).all(), "a word precedes its phonemes"
    phonemes = aligned[aligned["type"] == "phoneme"]
    words = aligned[aligned["type"] == "word"]
    assert np.allclose(phonemes.groupby(word)["duration"].sum(), words["duration"], atol=1e-4)
    assert np.allclose(phonemes.groupby(word)["sound_onset"].min(), words["sound_onset"], atol=1e-4)
    assert phonemes["text"].tolist()[:6] == ["AE", "L", "AH", "S", "AH", "Z"]


def test_align_words_in_pieces_equals_whole(aligned, story, monkeypatch):
    path, words = story
    for name, value in {"PIECE": 5.0, "LAST_PIECE": 6.0, "UNCERTAIN": 3}.items():
        monkeypatch.setattr(alignment, name, value)
    found = align_words(path, words["text"], stop=SECONDS)
    whole = aligned[aligned["type"] == "word"]
    errors = measure_errors(found, whole)[0]
    assert np.median(errors) == 0
    assert errors.max() < 0.1


@pytest.mark.parametrize("rate", [44100, 8000])
def test_align_words_at_other_rates(aligner, story, tmp_path, rate):
    path, words = story
    samples, sfreq = soundfile.read(path, dtype="float32", stop=round(7.5 * 16000))
    words = words[words["sound_onset"] > 4.5].iloc[:6]
    from scipy.signal import resample_poly

    factor = np.gcd(rate, sfreq)
    stereo = np.stack([resample_poly(samples, rate // factor, sfreq // factor) / 20] * 2, axis=1)
    soundfile.write(tmp_path / "story.flac", stereo, rate)
    found = align_words(tmp_path / "story.flac", words["text"], start=4.5, stop=7.2)
    assert np.median(measure_errors(found, words)[0]) < 0.03


def test_align_words_reports_wrong_text(aligner, story):
    path, words = story
    text = words["text"].tolist()[7:]
    with pytest.warns(
        UserWarning, match=r"does not fit the text at \d.* s, where times of words are unreliable"
    ):
        align_words(path, text[::-2], start=4, stop=SECONDS)
    with pytest.raises(ValueError, match=r"cannot be aligned to '.*nothing fits word 0, .* after 4.0 s"):
        align_words(path, text * 4, start=4, stop=6)


def test_warn_of_poor_fit_names_times():
    words = [alignment._AlignedWord("a", i, i + 0.5, -20 * 50, []) for i in range(30)]
    alignment._warn_of_poor_word_alignment(words, "story.wav")
    words[4] = words[4]._replace(stop=7.5, score=-20 * 350)  # long
    words[15:25] = [word._replace(score=-70 * 50) for word in words[15:25]]  # other text
    with pytest.warns(
        UserWarning, match=r"'story.wav' does not fit the text at 4.0 to 7.5 s, 1\d.\d to 2\d.5 s, where"
    ):
        alignment._warn_of_poor_word_alignment(words, "story.wav")


def test_align_words_handles_unknown_words(aligner, story):
    path, words = story
    text = words["text"].tolist()[:7]
    assert text[-1] == "carroll"
    changed = [*text[:3], "wunderlende", *text[4:]]
    with pytest.raises(ValueError, match="1 words that are not in the dictionary: 'wunderlende'"):
        align_words(path, changed, stop=4)
    for given in ({"unknown": "guess"}, {"pronunciations": {"Wunderlende": "W AH N D ER L AE N D"}}):
        found = align_words(path, changed, stop=4, **given)
        assert np.abs(found["sound_onset"] - words["sound_onset"][:7]).max() < 0.15


WRONG = {
    "no words": ({"text": " ... "}, "text must contain words"),
    "order": ({"start": 3, "stop": 2}, "'stop' must be greater than 'start'"),
    "after the end": ({"start": 500.0}, "has 0.000 s between start=500.0"),
    "unknown": ({"unknown": "skip"}, "'unknown' parameter of .* must be"),
    "pronunciation": ({"pronunciations": {"alice": "QQ"}}, r"pronunciations\['alice'\] must be"),
    "missing file": ({"sound": "nowhere.wav"}, "nowhere.wav"),
}


@pytest.mark.parametrize("name", WRONG)
def test_align_words_describes_invalid_input(aligner, story, name):
    params, message = WRONG[name]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        align_words(**{"sound": story[0], "text": "alice", **params})


def test_align_words_rejects_silence(aligner, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000, "f4"), 16000)
    with pytest.raises(ValueError, match="'silent.wav' is silent"):
        align_words(tmp_path / "silent.wav", "alice")


def test_align_words_without_extra(story, monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ImportError, match=r"pip install 'sk_b2s\[align\]'"):
        align_words(story[0], "alice")


@pytest.fixture
def events(tmp_path):
    """Recordings of two stories, one of them from 1 s after its start."""
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{name}.wav") for name in ("a", "b")]
    for path in paths:
        soundfile.write(path, 0.1 * rng.standard_normal(8000), 1600)
    return pd.DataFrame({
        "subject": ["anna", "ben", "ben"], "recording": ["anna.fif", "ben.fif", "ben.fif"], "type": "sound",
        "onset": [2.0, 3.0, 20.0], "duration": [5.0, 4.0, 5.0], "sound": [paths[0], paths[0], paths[1]],
        "sound_onset": [0.0, 1.0, 0.0], "drift_ppm": [0.0, 1000.0, 0.0],
    })  # fmt: skip


def make_words(sound, texts="xyz"):
    onsets = 0.5 + 1.5 * np.arange(len(texts))
    return pd.DataFrame({
        "type": "word", "sound": sound, "sound_onset": onsets, "duration": 0.4, "text": list(texts),
    })  # fmt: skip


def test_add_words_places_them_in_each_recording(events):
    added = add_words(events, make_words(events["sound"][0]))
    words = added[added["type"] == "word"]
    assert words[["subject", "text"]].to_numpy().tolist() == [
        ["anna", "x"], ["anna", "y"], ["anna", "z"], ["ben", "y"], ["ben", "z"],
    ]  # fmt: skip
    np.testing.assert_allclose(words["onset"], [2.5, 4.0, 5.5, 4.001, 5.5025])
    assert (words["duration"] == 0.4).all()
    pd.testing.assert_frame_equal(added.loc[:2, events.columns], events)
    assert (check_events(added)["type"] == "word").sum() == 5


def test_add_words_compares_stimuli_by_content(events, tmp_path):
    copy = tmp_path / "copy.wav"
    copy.write_bytes((tmp_path / "b.wav").read_bytes())
    words = add_words(events, make_words(str(copy))).iloc[3:]
    assert words["onset"].tolist() == [20.5, 22.0, 23.5]
    assert words["sound"].iloc[0] == str(tmp_path / "b.wav")


def test_add_words_rejects_unknown_stimuli(events, tmp_path):
    soundfile.write(tmp_path / "c.wav", np.ones(100), 1600)
    with pytest.raises(ValueError, match="presents no stimulus with the content of c.wav"):
        add_words(events, make_words(str(tmp_path / "c.wav")))
    words = make_words(events["sound"][0])
    twice = add_words(events, words)
    with pytest.raises(
        ValueError, match="events row 3 is already a word while 'a.wav' is presented in 'anna.fif'"
    ):
        add_words(twice, words)
    assert len(add_words(twice, make_words(events["sound"][2]))) == len(twice) + 3, "another stimulus"
