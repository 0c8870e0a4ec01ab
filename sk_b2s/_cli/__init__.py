"""The command line ``sk-b2s``."""
