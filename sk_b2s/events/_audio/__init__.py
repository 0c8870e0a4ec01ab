"""Audio files of stimuli: reading, checks, fingerprints and copies."""
