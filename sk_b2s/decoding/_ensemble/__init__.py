"""Ensembles of decoders and the weights of their members."""
