"""Measure likeness and intelligibility of voices by their minutes of speech.

Sentences of one speaker of the package are converted to the voice of another,
fitted to 1, 3, 10 and 30 sentences. Needs pocketsphinx, and resemblyzer for
the similarity of speakers.

    python benchmarks/bench_voice.py
"""

from time import process_time

import numpy as np
from pocketsphinx import Decoder
from sklearn.metrics.pairwise import cosine_similarity

from sk_b2s.synthesis import mel_to_audio
from sk_b2s.synthesis._vocoder import make_vocoder_mel
from sk_b2s.synthesis._voice import list_voice_sentences, make_example_voice
from sk_b2s.synthesis._voice_frames import compute_voice_frame_features
from sk_b2s.synthesis._voice_sounds import read_voice_sound

SOURCE, TARGET, N_SOURCES, RATE = "rms", "slt", 4, 16000
MODEL = ("whisper-tiny.en", "auto", "cpu", "float32")


def count_word_errors(spoken, read):
    """Count insertions, deletions and replacements."""
    row = np.arange(len(read) + 1)
    for i, word in enumerate(spoken, 1):
        before, row = row, np.full(len(read) + 1, i)
        for j, other in enumerate(read, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return int(row[-1])


def recognize(sound):
    """Recognize the words of a sound at 16 kHz."""
    decoder = Decoder(samprate=RATE, loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw((sound * 32767 / max(1, np.abs(sound).max())).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr.split() if found else []


def load_encoder():
    """Return a function from a sound to a speaker embedding, or None."""
    try:
        from resemblyzer import VoiceEncoder, preprocess_wav
    except ImportError as error:
        print(f"no speaker similarity: {error}")
        return None
    encoder = VoiceEncoder("cpu", verbose=False)
    return lambda sound: encoder.embed_utterance(preprocess_wav(sound, RATE))


def read_sentences(speaker, start, stop):
    """Return sounds and words of sentences."""
    table = list_voice_sentences(speaker).iloc[start:stop]
    sounds = [
        read_voice_sound((r.sound, r.sound_onset, r.sound_onset + r.duration)) for r in table.itertuples()
    ]
    return sounds, [text.split() for text in table["text"]]


def main():
    """Print one row per voice and per twin."""
    embed = load_encoder()
    sources, texts = read_sentences(SOURCE, 0, N_SOURCES)
    own = None if embed is None else np.mean([embed(s) for s in read_sentences(TARGET, 60, 65)[0]], axis=0)
    seconds = sum(map(len, sources)) / RATE
    print(
        f"{N_SOURCES} sentences of {SOURCE}, {seconds:.0f} s, {sum(map(len, texts))} words, voice of {TARGET}"
    )
    print(f"{'sound':<28} {'voice s':>8} {'likeness':>9} {'WER':>5} {'s per min':>10}")

    def show(name, sounds, duration="", taken=None):
        likeness = (
            "" if own is None else f"{np.mean([cosine_similarity([embed(s)], [own]) for s in sounds]):.3f}"
        )
        errors = sum(count_word_errors(t, recognize(s)) for t, s in zip(texts, sounds, strict=True))
        rate = "" if taken is None else f"{60 * taken / seconds:.1f}"
        wer = errors / sum(map(len, texts))
        print(f"{name:<28} {duration:>8} {likeness:>9} {wer:>5.2f} {rate:>10}", flush=True)

    show("source", sources)
    show(
        "copy synthesis", [mel_to_audio(make_vocoder_mel(s, 100, 80, 1024), 100, n_fft=1024) for s in sources]
    )
    for n_sentences in (1, 3, 10, 30):
        voice = make_example_voice(TARGET, n_sentences)
        before = process_time()
        sounds = [voice.convert((s, RATE)) for s in sources]
        show(f"{n_sentences} sentences", sounds, f"{voice.duration_:.0f}", process_time() - before)
        if n_sentences == 10:
            mels = [make_vocoder_mel(s, 50, 80) for s in sources]
            show("10, matched by mel", [voice(mel, 50) for mel in mels])
            rng = np.random.default_rng(0)
            features = [compute_voice_frame_features(s, *MODEL) for s in sources]
            for correlation in (0.9, 0.5, 0.2, 0.0):  # 0: no neural information, the prior only
                noisy = [add_noise(f, correlation, rng) for f in features]
                show(f"10, estimate r = {correlation:g}", [voice(one, 50) for one in noisy])


def add_noise(features, correlation, rng):
    """Replace part of the variance of features by another order of frames.

    The noise is a circular shift of the features by 1 s or more, so that its
    spectrum and covariance equal those of speech.
    """
    mean = features.mean(0)
    noise = np.roll(features - mean, rng.integers(50, len(features) - 50), axis=0)
    return mean + correlation * (features - mean) + np.sqrt(1 - correlation**2) * noise


if __name__ == "__main__":
    main()
