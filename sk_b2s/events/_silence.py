"""Labels of silence in words and phonemes."""

from __future__ import annotations

# Labels that aligners write for silence, in lower case: Praat's users,
# Prosodylab and HTK, Kaldi and MFA, MAUS, TIMIT. "nan" is a missing text.
SILENCE_LABELS = frozenset(
    {"", "sp", "sil", "spn", "pau", "nan", "<sil>", "<silence>", "[sil]"}
    | {"<eps>", "<p:>", "{sl}", "{ns}", "#", "_"}
)
WORDS = {"pau", "nan"}  # names or words of a language, so not silence among words


def is_silence(texts, are_words=False):
    """Return whether texts of a Series are missing or labels of silence.

    Labels that may be words are silence only among phonemes.
    """
    labels = SILENCE_LABELS - WORDS if are_words else SILENCE_LABELS
    return texts.isna() | texts.astype(str).str.strip().str.lower().isin(labels)
