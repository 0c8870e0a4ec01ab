"""Forward temporal response functions, their weights and feature sets."""
