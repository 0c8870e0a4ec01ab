"""Audio file headers (WAV, MP3, Ogg) compared with the files' bytes."""

from __future__ import annotations

import struct
from pathlib import Path

STREAM_SIZE = 0x7FFF0000  # bytes; a larger size in a WAV header means a stream of unknown length
TOLERANCE = 0.1  # s between header and samples
OGG_TAIL = 2**17  # bytes at the end of an Ogg file that include the start of its last page
BITRATES = {  # kbit/s of layer III by version and index
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # Hz by version bits


def compare_audio_header(path, kind, duration):
    """Compare the header of an audio file with the bytes of the file.

    Parameters
    ----------
    path : str
    kind : str
        Format, as in soundfile.
    duration : float
        Seconds that libsndfile reads.

    Returns
    -------
    note : str
        The difference, "" if they agree or the format is unknown.
    """
    if kind in ("WAV", "WAVEX"):
        return _compare_wav(path, duration)
    if kind == "MP3":
        seconds = _measure_mp3(path)
        if seconds > 1.02 * duration + 1:
            return (
                f"its frames have {seconds:.1f} s, but only {duration:.1f} s can be read. Convert it to WAV"
            )
    if kind == "OGG" and not _has_last_page(path):
        return f"its end mark is missing after {duration:.1f} s"
    return ""


def _compare_wav(path, duration):
    """Compare the size of the data chunk with the size of the file."""
    in_header = in_file = uncounted = 0
    for name, length, left in _iter_wav_chunks(path):
        if not in_file and name == b"data":
            in_header, in_file = length, min(length, left)
        elif in_file and not (length <= left and name.strip().isalnum()):
            uncounted = left + 8  # not a chunk but samples that the header does not count
            break
    if not in_file:
        return ""
    if in_file < in_header < STREAM_SIZE and (in_header - in_file) * duration > TOLERANCE * in_file:
        return f"its header has {in_header / in_file * duration:.1f} s, but {duration:.1f} s can be read"
    if uncounted * duration > TOLERANCE * in_file:
        return (
            f"its header has {duration:.1f} s, but another {uncounted / in_file * duration:.1f} s of bytes follow its "
            f"samples"
        )
    return ""


def _iter_wav_chunks(path):
    """Yield name, length and remaining bytes of each chunk of a WAV file."""
    size, at = Path(path).stat().st_size, 12
    with open(path, "rb") as file:
        riff = file.read(4) == b"RIFF"
        while riff and at + 8 <= size:
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            yield name, length, size - at - 8
            at += 8 + length + length % 2


def _has_last_page(path):
    """Return whether the last page of an Ogg file is marked as the last."""
    with open(path, "rb") as file:
        file.seek(max(0, Path(path).stat().st_size - OGG_TAIL))
        tail = file.read()
    at = tail.rfind(b"OggS")
    return at < 0 or at + 5 >= len(tail) or bool(tail[at + 5] & 4)


def _measure_mp3(path):
    """Return the duration of all frames of an MP3 file, 0 if not found."""
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
