"""Recordings: formats, headers, gaps, identity and continuous signals."""
