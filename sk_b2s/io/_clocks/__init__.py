"""Clocks of stimulus and recording: onset, drift and change points."""
