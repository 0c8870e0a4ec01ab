"""Labels of silence in words and phonemes."""

from __future__ import annotations

SILENT = {"", "sp", "sil", "spn", "pau", "nan", "<sil>"}  # labels of pauses in aligners' tables

# What aligners write where nobody speaks: Praat's users, Prosodylab and HTK, Kaldi and MFA, MAUS.
SILENCES = {"", "sp", "sil", "spn", "<sil>", "<silence>", "[sil]", "<eps>", "<p:>", "{sl}", "{ns}", "#", "_"}
