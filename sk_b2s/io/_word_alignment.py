"""Forced alignment of transcripts to audio, and words for events tables."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sk_b2s._utils._extras import import_extra
from sk_b2s._utils._text import make_plain_text, shorten_list
from sk_b2s.events._audio._track_files import read_track_samples
from sk_b2s.events._sentences import number_sentences
from sk_b2s.events._stimuli import (
    StimulusArray,
    digest_stimuli,
    get_stimulus_state,
    stimulus_duration,
    stimulus_name,
)
from sk_b2s.io._pronunciations import find_pronunciations, split_into_pronounced_words
from sk_b2s.io._raw._processing import resample_in_processing
from sk_b2s.io._textgrid import place_textgrid_rows

RATE, FRAMES = 16000, 100  # Hz, of the audio and of the frames of the aligner
WINDOW = 410  # samples of a frame
PIECE, LAST_PIECE = 120.0, 180.0  # s that are aligned at once, and at the end
WORD_RATE = 6.0  # words per second that a piece may have
MIN_SECONDS = 0.1  # of audio
SKIP = 5.0  # s of a piece without words that are searched again
UNCERTAIN = 6  # last words of a piece, which are aligned again with the next one
LEVEL = 0.5  # of full scale, the peak of the audio
BEAMS: tuple[dict, ...] = (
    {},
    {"beam": 1e-90, "wbeam": 1e-70, "pbeam": 1e-90},
)  # a wider search for noisy audio
# Mean log-likelihood of a frame relative to the best phoneme: -12 to -20 in clean speech and -25 without
# frequencies above 4 kHz, but -60 to -75 with the text of another recording.
MIN_SCORE = -45.0
MAX_WORD = 3.0  # s
SCORED = 10  # words over which it is averaged


@validate_params(
    {
        "sound": "no_validation",
        "text": [str, "array-like"],
        "start": [Interval(Real, 0, None, closed="left")],
        "stop": [Interval(Real, 0, None, closed="neither"), None],
        "pronunciations": [dict, None],
        "unknown": [StrOptions({"error", "guess"})],
        "phonemes": ["boolean"],
        "sentence_gap": [Interval(Real, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def align_words(
    sound,
    text,
    start=0.0,
    stop=None,
    pronunciations=None,
    unknown="error",
    phonemes=False,
    sentence_gap=0.4,
):
    """Find the times of the words of an English transcript in its audio.

    The transcript must contain all words in the order in which they are
    spoken. pocketsphinx [1]_ aligns it with the acoustic model and the
    dictionary of its package, without a network. Install it with ``pip
    install "sk_b2s[align]"``.

    Parameters
    ----------
    sound : str, Path or AudioTrack
        Audio file at any sampling rate.
    text : str or sequence of str
        Transcript or its words. Punctuation is ignored.
    start, stop : float, default=0.0, None
        Interval of the audio in seconds in which the text is spoken. By
        default, the whole file.
    pronunciations : dict of str to str, default=None
        ARPAbet phonemes of words, such as ``{"Stigand": "S T IH G AH N D"}``.
        They replace those of the dictionary.
    unknown : {"error", "guess"}, default="error"
        What to do with words that are neither in the dictionary nor in
        ``pronunciations``. "guess" derives phonemes from the spelling.
        Possessives and plurals of known words are never unknown.
    phonemes : bool, default=False
        If True, also return the phonemes of each word.
    sentence_gap : float, default=0.4
        Silence in seconds that separates two sentences.

    Returns
    -------
    words : DataFrame of shape (n_words, 7)
        Rows for the events table: ``type`` ("word", with ``phonemes`` also
        "phoneme"), ``sound``, ``sound_onset`` and ``duration`` (seconds in the
        audio file), ``text``, ``sequence`` (plain text of the sentence) and
        ``word_index`` (from 0 in each sentence). :func:`add_words` adds them
        to recordings.

    Raises
    ------
    ImportError
        If pocketsphinx is not installed.
    ValueError
        If words are unknown, or the text cannot be aligned to the audio.

    Warns
    -----
    UserWarning
        If the sound of some words does not fit the text or a word lasts more
        than 3 s, with their times.
        The reason may be a wrong transcript, noise or another language.

    See Also
    --------
    add_words : Add the words to each recording in which they are presented.
    read_textgrid : Read alignments of Praat, MFA, Prosodylab or MAUS.

    Notes
    -----
    Onsets of words of synthetic speech (:func:`~sk_b2s.datasets.load_speech`)
    have a median absolute error of 9 ms, and 90 % are within 26 ms. Files of
    more than three minutes are aligned in pieces of two minutes. A minute of
    audio takes about 10 s of processor time.

    References
    ----------
    .. [1] Huggins-Daines et al. (2006). PocketSphinx: a free, real-time
       continuous speech recognition system for hand-held devices. ICASSP
       2006. https://doi.org/10.1109/ICASSP.2006.1659988

    Examples
    --------
    >>> from sk_b2s.datasets import load_speech
    >>> from sk_b2s.io import align_words
    >>> speech = load_speech()
    >>> text = "Alice's adventures in Wonderland, by Lewis Carroll."
    >>> words = align_words(speech["sound"][0], text, stop=4)  # doctest: +SKIP
    >>> words["sound_onset"].tolist()  # doctest: +SKIP
    [0.21, 0.8, 1.54, 1.65, 2.48, 2.63, 3.0]
    """
    if isinstance(sound, StimulusArray):
        raise ValueError(f"align_words requires an audio file. Got {sound!r} instead.")
    aligner = _WordAligner()
    tokens = aligner.find_words(text, pronunciations, unknown)
    audio = _read_audio_to_align(sound, start, stop)
    words = _align_audio_pieces(aligner, audio, tokens, start, stimulus_name(sound))
    _warn_of_poor_word_alignment(words, stimulus_name(sound))
    return _make_aligned_word_rows(words, sound, phonemes, sentence_gap)


def add_words(events, words):
    """Add words to each recording in which their stimulus is presented.

    Parameters
    ----------
    events : DataFrame
        Events table with the columns of :func:`~sk_b2s.check_events`.
    words : DataFrame
        Rows of :func:`align_words`, of one or several stimuli.

    Returns
    -------
    events : DataFrame
        The table with the rows of ``words`` whose ``sound_onset`` is within a
        presentation, with their ``onset`` in the recording. Other columns,
        such as the subject, are those of the stimulus.

    Raises
    ------
    ValueError
        If no recording presents one of the stimuli, or if a recording already
        has words while it is presented. Stimuli are compared by content.

    See Also
    --------
    align_words : Find the times of words in audio.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s.datasets import load_speech
    >>> from sk_b2s.io import add_words
    >>> story = load_speech()["sound"][0]
    >>> words = pd.DataFrame({
    ...     "type": "word", "sound": story, "text": ["alice's", "adventures"],
    ...     "sound_onset": [0.2, 0.8], "duration": [0.6, 0.7]})
    >>> events = pd.DataFrame({
    ...     "subject": "anna", "recording": "anna.fif", "type": ["sound"],
    ...     "onset": [3.0], "duration": [108.5], "sound": [story]})
    >>> add_words(events, words)[["type", "onset", "text"]]
        type  onset        text
    0  sound    3.0         NaN
    1   word    3.2     alice's
    2   word    3.8  adventures
    """
    events = events.reset_index(drop=True)
    sounds = events[(events["type"] == "sound") & events["sound"].notna()]
    rows = {digest: rows for digest, rows in words.groupby(digest_stimuli(words["sound"]))}
    keys = digest_stimuli(sounds["sound"])
    if missing := [rows[key]["sound"].iloc[0] for key in rows if key not in keys]:
        raise ValueError(
            f"events presents no stimulus with the content of {shorten_list(map(stimulus_name, missing))}, which is in "
            f"words. Check the paths in its column 'sound'."
        )
    is_spoken = np.isin(keys, list(rows))
    _check_no_words_to_align(events, sounds[is_spoken])
    placed = place_textgrid_rows(
        sounds[is_spoken], [rows[key].drop(columns="sound") for key in keys[is_spoken]]
    )
    return pd.concat([events, placed], ignore_index=True)


def _check_no_words_to_align(events, played):
    """Raise if words are already in the table while a stimulus plays."""
    spoken = events[events["type"].isin(["word", "phoneme"])]
    stream = spoken["stream"] if "stream" in spoken else None
    for _, row in played.iterrows():
        after = spoken["onset"] - row["onset"]
        lasts = row["duration"] if row["duration"] > 0 else stimulus_duration(row["sound"])
        same = (spoken["recording"] == row["recording"]) & (after >= 0) & (after < lasts)
        if stream is not None:
            same &= stream.fillna("single") == (row["stream"] if pd.notna(row["stream"]) else "single")
        if same.any():
            raise ValueError(
                f"events row {spoken.index[same][0]!r} is already a {spoken['type'][same].iloc[0]} while "
                f"{stimulus_name(row['sound'])!r} is presented in {row['recording']!r}. Remove such rows first."
            )


class _AlignedWord(NamedTuple):
    """Aligned word, with times in seconds."""

    text: str
    start: float
    stop: float
    score: float  # sum over the frames
    phonemes: list  # of tuple (name, start, stop)


class _WordAligner:
    """Decoders of pocketsphinx with the words of a transcript."""

    def __init__(self):
        self._pocketsphinx = import_extra("pocketsphinx", "align_words")
        self._added: dict[str, str] = {}
        self._decoders = {0: self._make_decoder(BEAMS[0])}

    def _make_decoder(self, beams):
        """Load acoustic model and dictionary without a language model."""
        decoder = self._pocketsphinx.Decoder(
            samprate=RATE, lm=None, bestpath=False, cmn="batch", loglevel="FATAL", **beams
        )
        _add_pronunciations_to_aligner(decoder, self._added)
        return decoder

    def find_words(self, text, pronunciations, unknown):
        """Return the words of a transcript as tokens."""
        words = split_into_pronounced_words(text)
        if not words:
            raise ValueError(f"text must contain words. Got {text!r} instead.")
        decoder = self._decoders[0]
        tokens, self._added = find_pronunciations(words, decoder.lookup_word, pronunciations, unknown)
        _add_pronunciations_to_aligner(decoder, self._added)
        return tokens

    def align(self, audio, tokens, is_open):
        """Align tokens to audio, or only the first ones if it is open.

        Returns None if the audio does not fit the tokens.
        """
        samples = np.round(audio * (2**15 - 1)).astype("<i2").tobytes()
        names = [name for token in tokens for name in token.parts]
        for i, beams in enumerate(BEAMS):
            if i not in self._decoders:
                self._decoders[i] = self._make_decoder(beams)
            if (entries := self._align_names(self._decoders[i], samples, names, is_open)) is not None:
                return list(_join_aligned_parts(tokens, entries))
        return None

    def _align_names(self, decoder, samples, names, is_open):
        """Return start, duration, score and phonemes of names, in frames."""
        grammar = self._pocketsphinx.FsgModel("words", decoder.get_logmath(), 1.0, len(names) + 2)
        grammar.set_start_state(0)
        grammar.set_final_state(len(names) + is_open)
        for i, name in enumerate(names):
            word = grammar.word_add(name)
            grammar.trans_add(i, i + 1, 0, word)
            if is_open:  # each word may be the last one
                grammar.trans_add(i, len(names) + 1, 0, word)
        decoder.add_fsg("words", grammar)
        decoder.activate_search("words")
        _run_word_aligner(decoder, samples)
        if not decoder.hyp():
            return None
        last = max(segment.end_frame for segment in decoder.seg())  # a word that is cut off is not found
        decoder.set_alignment()  # times of phonemes and scores, within the words that were found
        try:
            _run_word_aligner(decoder, samples[: 2 * (last * RATE // FRAMES + WINDOW)])
        except RuntimeError:  # no path within its beam
            return None
        entries = [
            (entry.start, entry.duration, entry.score, [(p.name, p.start, p.duration) for p in entry])
            for entry in decoder.get_alignment().words()
            if not entry.name.startswith(("<", "["))  # silence and noise
        ]
        return entries if is_open or len(entries) == len(names) else None


def _add_pronunciations_to_aligner(decoder, added):
    """Add words to the dictionary of a decoder."""
    for name, phonemes in added.items():
        decoder.add_word(name, phonemes, False)


def _run_word_aligner(decoder, samples):
    """Decode audio as one utterance."""
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()


def _join_aligned_parts(tokens, entries):
    """Join the parts of each word, as long as all of them were found."""
    place = 0
    for token in tokens:
        parts = entries[place : place + len(token.parts)]
        place += len(token.parts)
        if len(parts) < len(token.parts):
            return
        yield _AlignedWord(
            token.text,
            parts[0][0] / FRAMES,
            (parts[-1][0] + parts[-1][1]) / FRAMES,
            sum(score for _, _, score, _ in parts),
            [(name, a / FRAMES, (a + n) / FRAMES) for *_, phonemes in parts for name, a, n in phonemes],
        )


def _read_audio_to_align(sound, start, stop):
    """Read an interval of audio at 16 kHz with a peak of ``LEVEL``."""
    if stop is not None and stop <= start:
        raise ValueError(f"'stop' must be greater than 'start'. Got start={start!r} and stop={stop!r} s.")
    samples, rate = read_track_samples(sound, get_stimulus_state(sound), start, stop)
    name, peak = stimulus_name(sound), np.abs(samples).max(initial=0.0)
    if len(samples) < MIN_SECONDS * rate or peak == 0:
        what = "is silent" if len(samples) and peak == 0 else f"has {len(samples) / rate:.3f} s"
        raise ValueError(f"{name!r} {what} between start={start!r} and stop={stop!r} s. Words need audio.")
    return resample_in_processing(samples * (LEVEL / peak), rate, RATE)


def _align_audio_pieces(aligner, audio, tokens, start, name):
    """Align tokens to pieces of audio, each from the end of the last one."""
    words, place = [], 0.0
    while len(words) < len(tokens):
        rest = tokens[len(words) :]
        seconds = len(audio) / RATE - place
        is_open = seconds > LAST_PIECE
        piece = audio[round(place * RATE) :][: round(PIECE * RATE) if is_open else None]
        chosen = rest[: round(PIECE * WORD_RATE)] if is_open else rest
        found = aligner.align(piece, chosen, is_open)
        if found is None:
            raise ValueError(
                f"text cannot be aligned to {name!r}: nothing fits word {len(words)}, {rest[0].text!r}, and "
                f"the next ones after {start + place:.1f} s. Check that text has all words of this audio in their "
                f"order. If only a part of the audio contains the text, pass start and stop."
            )
        if is_open and len(found) < len(rest):
            found = found[:-UNCERTAIN]
        words += [_shift_aligned_word(word, place + start) for word in found]
        place += found[-1].stop if found else PIECE - SKIP
    return words


def _shift_aligned_word(word, seconds):
    """Add seconds to the times of a word."""
    phonemes = [(name, a + seconds, b + seconds) for name, a, b in word.phonemes]
    return word._replace(start=word.start + seconds, stop=word.stop + seconds, phonemes=phonemes)


def _warn_of_poor_word_alignment(words, name):
    """Warn about stretches of words whose sound does not fit."""
    scores = np.array([word.score for word in words])
    frames = np.array([FRAMES * (word.stop - word.start) for word in words])
    kernel = np.ones(min(SCORED, len(words)))
    mean = np.convolve(scores, kernel, "valid") / np.convolve(frames, kernel, "valid")
    is_poor = (np.convolve(mean < MIN_SCORE, kernel) > 0) | (frames > FRAMES * MAX_WORD)
    edges = np.flatnonzero(np.diff(np.r_[False, is_poor, False]))
    if len(edges):
        times = [f"{words[a].start:.1f} to {words[b - 1].stop:.1f} s" for a, b in edges.reshape(-1, 2)]
        warnings.warn(
            f"The sound of {name!r} does not fit the text at {shorten_list(times)}, where times of words are "
            f"unreliable. Check the transcript there.",
            stacklevel=3,
        )


def _make_aligned_word_rows(words, sound, phonemes, sentence_gap):
    """Make rows of an events table of aligned words."""
    table = pd.DataFrame({
        "type": "word", "sound": pd.Series([sound] * len(words), dtype=object),
        "sound_onset": [word.start for word in words], "duration": [word.stop - word.start for word in words],
        "text": [word.text for word in words],
    })  # fmt: skip
    sentence = number_sentences(table["sound_onset"], [word.stop for word in words], sentence_gap)
    of_sentence = table.groupby(sentence)["text"]
    table["sequence"] = of_sentence.transform(make_plain_text).astype(object)
    table["word_index"] = of_sentence.cumcount().astype(float)
    if phonemes:
        parts = [
            table.iloc[[i] * len(word.phonemes)].assign(
                type="phoneme",
                sound_onset=[a for _, a, _ in word.phonemes],
                duration=[b - a for _, a, b in word.phonemes],
                text=[phoneme for phoneme, _, _ in word.phonemes],
            )
            for i, word in enumerate(words)
        ]
        table = pd.concat([table, *parts]).sort_index(kind="stable")
    times = ["sound_onset", "duration"]
    return table.assign(**table[times].round(6)).reset_index(drop=True)
