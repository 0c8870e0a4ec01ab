"""Classification of speech and silence, and of phonemes."""
