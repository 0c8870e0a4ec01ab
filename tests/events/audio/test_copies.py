"""Test fingerprints and copies of recordings."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers.audio_files import RATE, make_events, write
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    Envelope,
    FeatureScaler,
    LeaveOneSubjectOut,
    RidgeDecoder,
    StimulusArray,
    StimulusIntervals,
    StimulusKFold,
    StimulusLeakWarning,
    check_leakage,
    format_leakage,
    make_segments,
)
from sk_b2s.datasets.simulated._speech import SPEECH
from sk_b2s.events._audio._copies import StimulusCopies
from sk_b2s.events._audio._fingerprint_matches import compute_audio_fingerprint, match_audio_fingerprints
from sk_b2s.events._audio._resampling import resample_audio


def encode(samples, rate=RATE, **form):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **form)
    buffer.seek(0)
    return soundfile.read(buffer, dtype="float32")


def change(talk, how):
    """Return the recording in another form: samples, rate and shift."""
    if how.endswith("kHz"):
        rate = int(1000 * float(how.removesuffix("kHz")))
        return resample_audio(talk, RATE, rate), rate, 0.0
    forms = {
        "ogg": {"format": "OGG", "subtype": "VORBIS"},
        "mp3": {"format": "MP3"},
        "24 bit": {"format": "WAV", "subtype": "PCM_24"},
        "u-law": {"format": "WAV", "subtype": "ULAW"},
    }
    # fmt: skip
    if how in forms:
        return *encode(talk, **forms[how]), 0.0
    noise = np.random.default_rng(0).standard_normal(len(talk)).astype("f4")
    return {
        "half as loud": (talk / 2, RATE, 0.0),
        "50 ms later": (np.r_[np.zeros(RATE // 20, "f4"), talk], RATE, -0.05),
        "trimmed": (talk[: -3 * RATE], RATE, 0.0),
        "excerpt": (talk[20 * RATE : 23 * RATE], RATE, 20.0),
        "noisy": (talk + 0.1 * talk.std() * noise, RATE, 0.0),
        "inverted": (-talk, RATE, 0.0),
    }[how]


@pytest.mark.parametrize(
    "how", ["ogg", "mp3", "24 bit", "u-law", "12kHz", "8kHz", "44.1kHz", "half as loud", "50 ms later", "trimmed",
            "excerpt", "noisy", "inverted"],
)  # fmt: skip
def test_match_audio_fingerprints_ignores_encoding(talks, how):
    samples, rate, shift = change(talks[1], how)
    prints = [compute_audio_fingerprint(talk, RATE) for talk in talks]
    found = match_audio_fingerprints(
        [*prints, compute_audio_fingerprint(np.asarray(samples, np.float32), rate)]
    )
    assert {(match.first, match.second) for match in found} == {(1, 3)}
    assert found[0].shift == pytest.approx(shift, abs=0.012)
    assert found[0].share > 0.95


def test_match_audio_fingerprints_finds_a_part(talks):
    joined = np.r_[talks[0][10 * RATE : 20 * RATE], talks[2][: 20 * RATE]]
    found = match_audio_fingerprints(
        [compute_audio_fingerprint(samples, RATE) for samples in (talks[0], talks[1], joined)]
    )
    assert [(match.first, match.second) for match in found] == [(0, 2)]
    assert found[0].shift == pytest.approx(10.0, abs=0.01)
    assert (found[0].start, found[0].stop) == pytest.approx((10.0, 20.0), abs=1.5)
    assert found[0].share < 0.5


def test_find_matches_separates_tones_and_noise():
    times, rng = np.arange(20 * RATE) / RATE, np.random.default_rng(0)
    beat = 1 + np.sin(2 * np.pi * 4 * times)
    sounds = [np.sin(2 * np.pi * 440 * times), np.sin(2 * np.pi * 880 * times), beat * np.sin(2 * np.pi * 440 * times),
              beat * np.sin(2 * np.pi * 880 * times), rng.standard_normal(len(times)), rng.standard_normal(len(times)),
              beat * rng.standard_normal(len(times)), 0 * times, 0 * times + 1, times % 0.25 == 0]  # fmt: skip
    assert (
        match_audio_fingerprints(
            [compute_audio_fingerprint(np.asarray(sound, np.float32), RATE) for sound in sounds]
        )
        == []
    )


@pytest.mark.slow
def test_match_audio_fingerprints_separates_stories():
    """One voice reads several stories, four of which share phrases."""
    paths, whole = sorted(SPEECH.glob("*.ogg")), ("alice-05", "alice-06", "alice-11", "alice-17")
    frames = [-1 if path.stem in whole else 30 * soundfile.info(path).samplerate for path in paths]
    prints = [
        compute_audio_fingerprint(*soundfile.read(path, n_frames, dtype="float32"))
        for path, n_frames in zip(paths, frames, strict=True)
    ]
    assert len(prints) > 20
    assert match_audio_fingerprints(prints) == []


@pytest.fixture(scope="module")
def copied(tmp_path_factory, talks):
    """Audio files of three stories."""
    folder = tmp_path_factory.mktemp("copies")
    first = [write(folder / f"story{i}.flac", talk) for i, talk in enumerate(talks)]
    return folder, first


def make_two_subjects(copied, talks, how):
    folder, first = copied
    second = []
    for index, talk in enumerate(talks):
        samples, rate, _ = change(talk, how)
        second.append(write(folder / f"other{index}.wav", samples, rate))
    events = pd.concat([make_events(first, "01"), make_events(second, "02")], ignore_index=True)
    with pytest.warns(
        UserWarning, match="Different audio files contain the same recording: .*other.*story|story.*other"
    ):
        return make_segments(events, anchor=0.5, block=10.0)


@pytest.mark.filterwarnings("ignore:Different audio files", "ignore:cv refuses")
@pytest.mark.parametrize("how", ["ogg", "24 bit", "half as loud", "12kHz", "50 ms later", "excerpt"])
def test_copies_leak_unless_split_together(copied, talks, how):
    X, y = make_two_subjects(copied, talks, how)
    plain = y.drop(columns=["copy_of", "copy_shift"])
    subject = X["subject"].to_numpy()
    folds = [(np.flatnonzero(subject == "01"), np.flatnonzero(subject == "02"))]
    for table in (y, plain):
        assert check_leakage(X, table, folds)["leaking"].tolist() == [1.0]
        assert (
            format_leakage(check_leakage(X, table, LeaveOneSubjectOut(stimulus_folds=1))).count("LEAK: 100 %")
            == 1
        )
    assert StimulusIntervals.from_table(y[subject == "01"]).touches(y[subject == "02"]).all()
    assert y["block"].nunique() == y.loc[subject == "01", "block"].nunique()
    for cv in (StimulusKFold(3), LeaveOneSubjectOut(stimulus_folds=3)):
        found = check_leakage(X, plain, list(cv.split(X, y)))
        assert (found["leaking"] == 0).all()
        assert (found["nearest"] > 0.9).all()
    if how not in ("50 ms later", "excerpt"):
        assert y["segment"].nunique() == y.loc[subject == "01", "segment"].nunique()


def test_score_warns_of_copies_of_training_stimuli(copied, talks):
    """Copies are found, although the tables are made separately."""
    folder, first = copied
    other = write(folder / "again.mp3", np.r_[np.zeros(RATE // 2, "f4"), talks[0]])
    speech = make_pipeline(Envelope(sfreq=10), FeatureScaler())
    tables = [make_segments(make_events([sound]), anchor=1.0)[1] for sound in (first[0], other, first[1])]
    X = [np.random.default_rng(0).standard_normal((len(y), 3, 29)).astype("f4") for y in tables]
    decoder = RidgeDecoder(speech=speech, sfreq=10, alphas=(1.0,)).fit(X[0], tables[0])
    with pytest.warns(StimulusLeakWarning, match=rf"{len(X[1])} of {len(X[1])} scored windows .*again.mp3"):
        decoder.score(X[1], tables[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder.score(X[2], tables[2])


def test_intervals_include_copies(copied, talks):
    _, y = make_two_subjects(copied, talks, "50 ms later")
    one, other = (y[y["sound"].map(lambda sound, name=name: name in sound)] for name in ("story", "other"))
    plain = [table.drop(columns=["copy_of", "copy_shift"]) for table in (one, other)]
    for part in (one, other):
        intervals = StimulusIntervals.from_table(part)
        for table in (one, other, plain[part is other]):
            assert intervals.touches(table).all()
        assert intervals.seconds == pytest.approx(StimulusIntervals.from_table(plain[part is other]).seconds)


@pytest.mark.filterwarnings("ignore:Different audio files")
def test_check_leakage_finds_a_shared_part(copied, talks):
    folder, first = copied
    joined = write(folder / "joined.wav", np.r_[talks[0][10 * RATE : 20 * RATE], talks[2][20 * RATE :]])
    events = pd.concat([make_events(first[:1], "01"), make_events([joined], "02")], ignore_index=True)
    X, y = make_segments(events, anchor=0.5, block=10.0)
    subject = X["subject"].to_numpy()
    found = check_leakage(X, y, [(np.flatnonzero(subject == "01"), np.flatnonzero(subject == "02"))])
    assert found["verdict"].iloc[0] == "leak"
    inside = y.loc[subject == "02", "sound_onset"] < 10
    assert found["copied"].iloc[0] == pytest.approx(inside.mean(), abs=0.06)
    at = y["sound_onset"] + 0.5  # the anchor
    shared = y["block"][((subject == "02") & (at < 9)) | ((subject == "01") & (at > 11) & (at < 19))]
    assert shared.nunique() == 1


def test_stories_of_one_voice_do_not_leak(copied, silent_warnings):
    _, first = copied
    events = pd.concat([make_events(first[:1], "01"), make_events(first[1:], "02")], ignore_index=True)
    X, y = make_segments(events, anchor=0.5)
    assert "copy_of" not in y
    found = check_leakage(X, y, LeaveOneSubjectOut(stimulus_folds=1))
    assert found["verdict"].eq("no_leak").all()
    assert "copied" not in found


def test_describe_names_files_and_offsets(copied, talks):
    folder, first = copied
    late = write(folder / "late.wav", np.r_[np.zeros(2 * RATE, "f4"), talks[0]])
    copies = StimulusCopies([*first, late, StimulusArray(np.zeros(9), 10)])
    assert copies.describe() == ["'story0.flac' is in 'late.wav' from +2.00 s on"]
