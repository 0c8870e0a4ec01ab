"""Simulated listening experiment: real speech, simulated EEG/MEG and the ground truth."""
