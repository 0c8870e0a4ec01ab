"""Decoder by the likelihood of EEG/MEG, with models of noise and response."""
