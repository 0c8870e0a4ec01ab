"""WAV files with metadata."""

import numpy as np
import pytest
import soundfile

from sk_b2s.synthesis import read_wav_metadata, write_wav


def test_write_wav_restores_sound_and_metadata(tmp_path):
    path, sound = tmp_path / "a.wav", np.linspace(-1, 1, 100)
    write_wav(path, sound, 16000, {"consent": "Zoë agreed", "synthetic": False})
    metadata = read_wav_metadata(path)
    assert metadata["consent"] == "Zoë agreed"
    assert metadata["synthetic"] is True
    assert metadata["software"].startswith("sk_b2s")
    read, rate = soundfile.read(path)
    assert rate == 16000
    np.testing.assert_allclose(read, sound, atol=1e-4)


@pytest.mark.parametrize(
    ("sound", "sfreq", "metadata", "message"),
    [
        ([0.0, np.nan], 16000, None, "at sample 1"),
        ([0.0, 1.5], 16000, None, "peak of 1.5"),
        (np.zeros((2, 9)), 16000, None, "one channel"),
        ([], 16000, None, "one channel"),
        ([0.0], 10, None, "'sfreq'"),
        ([0.0], np.nan, None, "'sfreq'"),
        ([0.0], 16000, {"consent": "a" * 3000}, "Shorten the text of 'consent'"),
        ([0.0], 16000, {"consent": None}, "dict of str"),
    ],
    ids=["nan", "range", "stereo", "empty", "rate", "nan rate", "long", "type"],
)
def test_write_wav_rejects_invalid_input(tmp_path, sound, sfreq, metadata, message):
    with pytest.raises((TypeError, ValueError), match=message):
        write_wav(tmp_path / "a.wav", sound, sfreq, metadata)
    assert not (tmp_path / "a.wav").exists()


def test_read_wav_metadata_rejects_other_files(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(9), 16000)
    with pytest.raises(ValueError, match="no metadata of sk_b2s"):
        read_wav_metadata(tmp_path / "a.wav")
