"""Alignment between recordings and stimulus onsets."""
