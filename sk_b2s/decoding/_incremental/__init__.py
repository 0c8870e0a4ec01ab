"""Fits in several calls: partial_fit of decoders."""
