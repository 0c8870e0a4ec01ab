"""Files that are damaged or made to do harm: refused with a message, without running or allocating anything."""

import os

import pytest

from sk_b2s.stimuli import sound_digest, sound_duration

posix = pytest.mark.skipif(os.name != "posix", reason="needs FIFOs and devices")


@pytest.mark.parametrize("question", [sound_digest, sound_duration])
@pytest.mark.parametrize("kind", [pytest.param("fifo", marks=posix), pytest.param("device", marks=posix),
                                  "folder", "missing", "NUL", "long"])  # fmt: skip
def test_sounds_must_be_regular_files(question, kind, tmp_path):
    path = tmp_path / "sound.wav"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    sound = {"device": "/dev/zero", "NUL": "a\0b.wav", "long": 5000 * "a"}.get(kind, str(path))
    with pytest.raises(FileNotFoundError, match=r"(not a regular file|cannot be opened).*candidates="):
        question(sound)
