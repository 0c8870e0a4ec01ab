"""Scores of reconstructed speech features."""
