"""Simulated listening experiment with real speech and ground truth.

Real speech is presented to simulated subjects, whose EEG or MEG is written in
BIDS format together with the ground truth it was made from.
"""
