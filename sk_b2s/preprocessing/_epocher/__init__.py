"""Epocher: windows of recordings from a table of segments."""
