"""Labels of silence in words and phonemes."""

from __future__ import annotations

# Labels that aligners write for silence, in lower case: Praat's users,
# Prosodylab and HTK, Kaldi and MFA, MAUS, TIMIT. "nan" is a missing text.
SILENCE_LABELS = frozenset(
    {"", "sp", "sil", "spn", "pau", "nan", "<sil>", "<silence>", "[sil]"}
    | {"<eps>", "<p:>", "{sl}", "{ns}", "#", "_"}
)


def is_silence(texts):
    """Return whether texts of a Series are missing or labels of silence."""
    return texts.isna() | texts.astype(str).str.strip().str.lower().isin(SILENCE_LABELS)
