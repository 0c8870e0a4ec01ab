"""Retrieval results: scores, combination of windows and confidence."""
