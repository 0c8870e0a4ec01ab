"""Helpers of all sub-packages: caching, devices, precision, validation and text."""
