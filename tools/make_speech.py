"""Synthesize the first four chapters of *Alice in Wonderland* with flite.

Run ``python tools/make_speech.py`` where flite 2.2 is installed (Debian:
``libflite1``). Every file of ``sk_b2s/datasets/simulated/data/speech`` except
``alice.txt`` and ``README.md`` is written again. The files are equal to the
byte as long as the versions of flite and libsndfile stay the same, so ``git
status`` shows any change.

The text is synthesized sentence by sentence. The identity of a sentence and
the times of its words and phones come from the synthesizer and not from an
aligner. Each sentence has its own rate, pitch and loudness, so the same word
never has the same audio twice.
"""

import argparse
import ctypes
import gzip
import re
import struct
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf

DATA = Path(__file__).parents[1] / "sk_b2s" / "datasets" / "data" / "speech"
SFREQ = 16000
VOICES = (
    "slt",
    "rms",
    "awb",
)  # US woman, US man and Scottish man, in turn
SOUND_SECONDS = 104.0  # a file ends at the first end of a paragraph after this ...
LONGEST_SECONDS = 122.0  # ... or at the first end of a sentence after this
N_SOUNDS = 24  # eight per voice, without two minutes of chapter four
LOUDNESS = 0.08  # root mean square over the speech, of full scale
COMPRESSION = 0.94  # libsndfile's 0 (256 kbit/s) to 1 (6 kbit/s) for one channel
SEED = 1865


class _Wave(ctypes.Structure):
    """Header of flite's ``cst_wave``."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _Voice(ctypes.Structure):
    """Header of flite's ``cst_voice``."""

    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


@dataclass
class Phone:
    """Phone of an utterance with its name, end (s), word and token.

    ``word`` and ``token`` are (address, name), None in a silence. The address
    distinguishes two equal neighbors.
    """

    name: str
    end: float
    word: tuple[int, str] | None
    token: tuple[int, str] | None


class Flite:
    """Functions of libflite that synthesize a sentence with phone times."""

    def __init__(self, voices=VOICES):
        self._lib = ctypes.CDLL("libflite.so.1", ctypes.RTLD_GLOBAL)
        for name in ("libflite_cmulex.so.1", "libflite_usenglish.so.1"):
            ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
        pointer, text, real = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
        self._declare("flite_init", ctypes.c_int)
        self._declare("flite_synth_text", pointer, text, pointer)
        self._declare("delete_utterance", None, pointer)
        self._declare("utt_wave", ctypes.POINTER(_Wave), pointer)
        self._declare("utt_relation", pointer, pointer, text)
        self._declare("relation_head", pointer, pointer)
        self._declare("item_next", pointer, pointer)
        self._declare("flite_path_to_item", pointer, pointer, text)
        self._declare("flite_ffeature_string", text, pointer, text)
        self._declare("flite_ffeature_float", real, pointer, text)
        self._declare("flite_feat_set_float", None, pointer, text, real)
        self._lib.flite_init()
        self._voices = {name: self._load_voice(name) for name in voices}

    def _declare(self, name, result, *arguments):
        function = getattr(self._lib, name)
        function.restype, function.argtypes = result, list(arguments)

    @staticmethod
    def _load_voice(name):
        library = ctypes.CDLL(f"libflite_cmu_us_{name}.so.1", ctypes.RTLD_GLOBAL)
        register = getattr(library, f"register_cmu_us_{name}")
        register.restype, register.argtypes = ctypes.POINTER(_Voice), [ctypes.c_char_p]
        return register(None)

    def speak(self, text, voice, stretch=1.0, pitch=1.0):
        """Return samples (float64, 16 kHz) of ``text`` and its phones."""
        voice = self._voices[voice]
        self._lib.flite_feat_set_float(voice.contents.features, b"duration_stretch", stretch)
        self._lib.flite_feat_set_float(voice.contents.features, b"f0_shift", pitch)
        utterance = self._lib.flite_synth_text(text.encode("ascii"), ctypes.cast(voice, ctypes.c_void_p))
        wave = self._lib.utt_wave(utterance).contents
        assert (wave.sample_rate, wave.num_channels) == (SFREQ, 1)
        samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)) / 32768.0
        phones = list(self._phones(utterance))
        self._lib.delete_utterance(utterance)
        return samples, phones

    def _phones(self, utterance):
        item = self._lib.relation_head(self._lib.utt_relation(utterance, b"Segment"))
        while item:
            yield Phone(
                self._lib.flite_ffeature_string(item, b"name").decode(),
                self._lib.flite_ffeature_float(item, b"end"),
                self._named(item, b"R:SylStructure.parent.parent"),
                self._named(item, b"R:SylStructure.parent.parent.R:Token.parent"),
            )
            item = self._lib.item_next(item)

    def _named(self, item, path):
        found = self._lib.flite_path_to_item(item, path)
        return (found, self._lib.flite_ffeature_string(found, b"name").decode()) if found else None


def read_paragraphs(text):
    """Return the paragraphs of the book as lists of sentences.

    A sentence ends with a full stop, question or exclamation mark and closing
    quotes before a wide space (the book has two after a sentence) or a line
    end with a capital after it. Sentences of fewer than four words join the
    next one.
    """
    text = re.sub(r"^[\s*]*\*$", "", text, flags=re.MULTILINE)
    text = text.replace("CHAPTER I:", "Chapter one.  ")
    for numeral, number in (("II", "two"), ("III", "three"), ("IV", "four")):
        text = text.replace(f"CHAPTER {numeral}\n\n", f"Chapter {number}.  ")
    text = text.replace("by Lewis Carroll", "by  Lewis Carroll").replace("ESQ.", "Esquire,")
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        block = re.sub(r"-\n\s*", "-", block.strip())  # WAISTCOAT-/POCKET
        block = re.sub(r"(?<=[.?!])([')\"]*)\n\s*(?=[`(\"A-Z])", r"\1  ", block)
        block = re.sub(r"\n\s*", " ", block)
        pieces = re.split(r"(?<=[.?!])((?:[')\"])*)\s{2,}", block)
        raw = ["".join(pair) for pair in zip(pieces[::2], pieces[1::2] + [""], strict=True)]
        sentences = _join_short([_speakable(sentence) for sentence in raw])
        if sentences:
            paragraphs.append(sentences)
    return paragraphs


def _speakable(sentence):
    """Remove characters that flite would read or spell."""
    sentence = re.sub(r"-{2,}:?-*|[()]", ", ", sentence)
    sentence = re.sub(r"[`\"_]|(?<![A-Za-z])'|'(?![A-Za-z])", "", sentence)
    sentence = re.sub(r"\b[A-Z]['A-Z]*[A-Z]\b|\bA\b", lambda found: found[0].lower(), sentence)
    sentence = re.sub(r"[,;:.?!](\s*[,;:.?!])+", _strongest_mark, sentence)
    sentence = re.sub(r"\s+([,;:.?!])", r"\1", re.sub(r"\s+", " ", sentence))
    return sentence.strip(" ,")


def _strongest_mark(found):
    return min(found[0].replace(" ", ""), key="?!.;:,".index)


def _join_short(sentences, n_words=4):
    joined, waiting = [], ""
    for sentence in filter(None, sentences):
        waiting = f"{waiting} {sentence}".strip()
        if len(waiting.split()) >= n_words:
            joined.append(waiting)
            waiting = ""
    if waiting:
        joined[-1:] = [" ".join([*joined[-1:], waiting])]
    return joined


def time_words(phones):
    """Return word and phone rows of one utterance.

    Rows are (onset, duration, text, word_index). Silences have no row. Clitics
    (Alice + 's), which flite keeps as separate words, stay with their word.
    """
    words, sounds, previous, start = [], [], None, 0.0
    for phone in phones:
        if phone.word is not None:
            same_token = previous is not None and phone.token == previous.token
            if same_token and (phone.word == previous.word or phone.word[1].startswith("'")):
                words[-1]["parts"][phone.word[0]] = phone.word[1]
            else:
                words.append({"onset": start, "parts": dict([phone.word]), "token": phone.token})
            words[-1]["duration"] = phone.end - words[-1]["onset"]
            sounds.append((start, phone.end - start, phone.name, len(words) - 1))
        previous, start = phone, phone.end
    tokens = [word["token"] for word in words]
    rows = []
    for i, word in enumerate(words):
        text = "".join(word["parts"].values())
        if tokens.count(word["token"]) == 1:  # flite drops the apostrophe of "couldn't"; the token has it
            text = word["token"][1].lower()
        rows.append((word["onset"], word["duration"], text, i))
    return rows, sounds


def make_sounds(text, flite, seed=SEED):
    """Synthesize ``text`` and yield samples, word rows and phone rows."""
    rng = np.random.default_rng(seed)
    names, n_done = {}, 0
    samples, words, phones, seconds = [], [], [], 0.0
    for paragraph in read_paragraphs(text):
        for s, sentence in enumerate(paragraph):
            voice = VOICES[n_done % len(VOICES)]
            wave, segments = flite.speak(
                sentence, voice, stretch=rng.uniform(0.9, 1.12), pitch=rng.uniform(0.94, 1.06)
            )
            word_rows, phone_rows = time_words(segments)
            level = np.sqrt(np.mean(_spoken(wave, word_rows) ** 2))
            sequence = names.setdefault(sentence, f"alice-{len(names) + 1:03d}")
            words += [(seconds + row[0], *row[1:3], sequence, row[3], voice) for row in word_rows]
            phones += [(seconds + row[0], *row[1:3], sequence, row[3]) for row in phone_rows]
            last = s == len(paragraph) - 1
            pause = rng.uniform(0.45, 0.85) if last else rng.uniform(0.05, 0.35)
            gain = LOUDNESS / level * 10 ** (rng.uniform(-1.5, 1.5) / 20)
            samples += [gain * wave, np.zeros(round(pause * SFREQ))]
            seconds = sum(map(len, samples)) / SFREQ
            if seconds > LONGEST_SECONDS or (last and seconds > SOUND_SECONDS):
                yield np.concatenate(samples), words, phones
                samples, words, phones, seconds, n_done = [], [], [], 0.0, n_done + 1
    if samples:
        yield np.concatenate(samples), words, phones


def _spoken(wave, rows):
    return np.concatenate([wave[round(r[0] * SFREQ) : round((r[0] + r[1]) * SFREQ)] for r in rows])


def write_opus(path, samples, serial):
    """Write ``samples`` as Opus in Ogg, with a fixed stream number."""
    with sf.SoundFile(
        path, "w", SFREQ, 1, format="OGG", subtype="OPUS", compression_level=COMPRESSION
    ) as file:
        file.write(samples)
    data, start = bytearray(path.read_bytes()), 0
    while start < len(data):
        n_lacing = data[start + 26]
        stop = start + 27 + n_lacing + sum(data[start + 27 : start + 27 + n_lacing])
        data[start + 14 : start + 18] = struct.pack("<I", serial)
        data[start + 22 : start + 26] = bytes(4)
        data[start + 22 : start + 26] = struct.pack("<I", _ogg_checksum(data[start:stop]))
        start = stop
    path.write_bytes(data)


def _ogg_checksum(page):
    """Compute the CRC-32 of RFC 3533."""
    crc = 0
    for byte in page:
        crc = ((crc << 8) & 0xFFFFFFFF) ^ _CRC_TABLE[(crc >> 24) ^ byte]
    return crc


def _crc_row(byte):
    crc = byte << 24
    for _ in range(8):
        crc = ((crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


_CRC_TABLE = [_crc_row(byte) for byte in range(256)]


def main(folder):
    """Write the audio files and the two tables into ``folder``."""
    text = (DATA / "alice.txt").read_text("ascii")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("alice-*.ogg"):
        old.unlink()
    words, phones = [], []
    for i, (samples, word_rows, phone_rows) in enumerate(
        islice(make_sounds(text, Flite()), N_SOUNDS), start=1
    ):
        name = f"alice-{i:02d}.ogg"
        write_opus(folder / name, samples, serial=i)
        words += [(name, *row) for row in word_rows]
        phones += [(name, *row) for row in phone_rows]
        print(f"{name}: {len(samples) / SFREQ:6.1f} s, {len(word_rows)} words, {word_rows[0][-1]}")
    columns = ["sound", "onset", "duration", "text", "sequence", "word_index"]
    table = pd.DataFrame(words, columns=[*columns, "speaker"])
    table.to_csv(folder / "words.tsv", sep="\t", index=False, float_format="%.4f", lineterminator="\n")
    table = pd.DataFrame(phones, columns=columns)
    packed = table.to_csv(sep="\t", index=False, float_format="%.4f", lineterminator="\n")
    (folder / "phones.tsv.gz").write_bytes(gzip.compress(packed.encode(), mtime=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=DATA, help="where to write (default: the package's data)"
    )
    main(parser.parse_args().folder)
