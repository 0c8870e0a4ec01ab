"""Command line ``sk-b2s``: argument parser and commands."""
