"""Audio file headers (WAV, MP3, Ogg) compared with the files' bytes."""

from __future__ import annotations

import struct
from pathlib import Path

STREAM = 0x7FFF0000  # bytes from which the length of a WAV file is that of a stream, which nobody knew
LESS = 0.1  # s of samples that a header may be off by
END = 2**17  # bytes at the end of an Ogg file in which its last page begins
BITRATES = {  # kbit/s of layer III by version and index
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # Hz by version bits


def compare_header(path, kind, duration):
    """Hold the header of an audio file against its bytes, where libsndfile believes it.

    Parameters
    ----------
    path : str
    kind : str
        Format, as soundfile names it.
    duration : float
        Seconds that libsndfile reads.

    Returns
    -------
    note : str
        How they differ, "" if they do not or nothing is known.
    """
    if kind in ("WAV", "WAVEX"):
        return _doubt_wav(path, duration)
    if kind == "MP3":
        seconds = _seconds_of_mp3(path)
        if seconds > 1.02 * duration + 1:
            return (
                f"its frames last {seconds:.1f} s, but only {duration:.1f} s can be read; convert it to WAV"
            )
    if kind == "OGG" and not _has_end(path):
        return f"the mark of its end is missing after {duration:.1f} s"
    return ""


def _doubt_wav(path, duration):
    said = held = foreign = 0
    for name, length, left in _chunks(path):
        if not held and name == b"data":
            said, held = length, min(length, left)
        elif held and not (length <= left and name.strip().isalnum()):
            foreign = left + 8  # no chunk: samples that the header does not count
            break
    if not held:
        return ""
    if held < said < STREAM and (said - held) * duration > LESS * held:
        return f"its header says {said / held * duration:.1f} s, but {duration:.1f} s can be read"
    if foreign * duration > LESS * held:
        return (
            f"its header says {duration:.1f} s, but bytes for {foreign / held * duration:.1f} s more follow "
            f"its samples"
        )
    return ""


def _chunks(path):
    """Yield name and length of the chunks of a WAV file, and the bytes that are left after each header."""
    size, at = Path(path).stat().st_size, 12
    with open(path, "rb") as file:
        riff = file.read(4) == b"RIFF"
        while riff and at + 8 <= size:
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            yield name, length, size - at - 8
            at += 8 + length + length % 2


def _has_end(path):
    """Return whether the last page of an Ogg file is marked as the last of a stream."""
    with open(path, "rb") as file:
        file.seek(max(0, Path(path).stat().st_size - END))
        tail = file.read()
    at = tail.rfind(b"OggS")
    return at < 0 or at + 5 >= len(tail) or bool(tail[at + 5] & 4)


def _seconds_of_mp3(path):
    """Add up the frames of an MP3 file (layer III); 0 if the first of them is not found."""
    data = Path(path).read_bytes()
    at, seconds = 0, 0.0
    if data[:3] == b"ID3" and len(data) > 10:
        size = 0
        for byte in data[6:10]:
            size = size << 7 | byte & 0x7F
        at = 10 + size
    while at + 4 <= len(data):
        first, second, third = data[at], data[at + 1], data[at + 2]
        version, layer, rate = second >> 3 & 3, second >> 1 & 3, third >> 2 & 3
        kbps = BITRATES[1 if version == 3 else 2][third >> 4]
        if first != 0xFF or second < 0xE0 or version == 1 or layer != 1 or rate == 3 or not kbps:
            break
        sfreq, n_samples = RATES[version][rate], 1152 if version == 3 else 576
        at += n_samples // 8 * kbps * 1000 // sfreq + (third >> 1 & 1)
        seconds += n_samples / sfreq
    return seconds
