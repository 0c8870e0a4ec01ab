"""Feature sets of a forward model with separate regularization parameters."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral

import numpy as np
from scipy.stats.qmc import Halton

from sk_b2s.decoding._ridge_base import check_ridge_alphas
from sk_b2s.features._precomputed import PrecomputedFeatures
from sk_b2s.features._union import SpeechFeatureUnion

LARGE = 3.0  # decades between two sets of which one is left out
SPREAD = 2.0  # decades around the geometric mean of sampled ratios


@dataclass(frozen=True)
class RidgeBands:
    """Candidate penalties of feature sets, relative to alpha.

    Parameters
    ----------
    sizes : list of int of length n_bands
        Number of features of each set.
    ratios : ndarray of shape (n_ratios, n_bands)
        Factors of alpha.
    alphas : tuple of float
        Factors of all ratios.
    """

    sizes: list
    ratios: np.ndarray
    alphas: tuple

    def expand(self, n_lags):
        """Return the penalty of each column: (n_ratios, n_columns)."""
        return np.tile(np.repeat(self.ratios, self.sizes, axis=1), n_lags)


def find_bands_of_features(speech, n_features):
    """Return the name and the range of features of each set: dict.

    The sets are those of a SpeechFeatureUnion in ``speech``, else one.
    """
    steps = [step for _, step in getattr(speech, "steps", [("", speech)])]
    for step in steps:
        if isinstance(step, SpeechFeatureUnion) and step.n_features_out_ == n_features:
            return dict(step.feature_ranges_)
    is_unnamed = speech is None or isinstance(steps[0], PrecomputedFeatures)
    return {"speech" if is_unnamed else type(steps[0]).__name__: (0, n_features)}


def make_bands_of_features(bands, speech, n_features):
    """Return the name and the range of features of each band: dict.

    ``bands`` is the parameter of ForwardTRF.
    """
    if bands is None or isinstance(bands, str):
        sets = find_bands_of_features(speech, n_features)
        if bands not in (None, "union"):
            raise ValueError(f"bands must be None, 'union', numbers of features or a dict. Got {bands!r}.")
        if bands == "union" and len(sets) < 2:
            raise ValueError(
                "bands='union' requires that speech is or contains a SpeechFeatureUnion of two transformers or more, and "
                "no later step that changes the number of features. Pass the number of features of each set instead, "
                "such as bands={'envelope': 1, 'spectrogram': 16}."
            )
        return sets
    sizes = list(bands.values()) if isinstance(bands, dict) else list(bands)
    names = list(bands) if isinstance(bands, dict) else [str(index) for index in range(len(sizes))]
    is_valid = all(isinstance(n, Integral) and n > 0 for n in sizes) and sum(sizes) == n_features
    if not is_valid:
        raise ValueError(
            f"bands must have the number of features of each set, which sum to the {n_features} features of speech. Got "
            f"{bands!r}."
        )
    edges = np.cumsum([0, *sizes]).tolist()
    return dict(zip(names, pairwise(edges), strict=True))


def make_ridge_bands(feature_sets, alphas, n_ratios):
    """Make the candidate penalties of feature sets.

    With one row of ``alphas`` per candidate, these are the candidates.
    Otherwise ``n_ratios`` ratios are tried with each of ``alphas``.
    """
    sizes = [stop - first for first, stop in feature_sets.values()]
    if not len(alphas) or np.ndim(alphas[0]) == 0:
        check_ridge_alphas(alphas)
        return RidgeBands(sizes, sample_band_ratios(len(sizes), n_ratios), tuple(alphas))
    if any(np.shape(row) != (len(sizes),) for row in alphas):
        raise ValueError(
            f"alphas must be numbers, or rows of one number for each of the {len(sizes)} feature sets "
            f"{', '.join(map(repr, feature_sets))}. Got {alphas!r}."
        )
    check_ridge_alphas(np.ravel(alphas))
    return RidgeBands(sizes, np.asarray(alphas, float), (1.0,))


def sample_band_ratios(n_bands, n_ratios):
    """Sample relative penalties of feature sets: (n_ratios, n_bands).

    Their geometric mean is 1. The first ratio is equal for all sets, the next
    ones leave out one set or all but one, and the rest is spread evenly.

    Examples
    --------
    >>> sample_band_ratios(2, 3).round(3)
    array([[ 1.   ,  1.   ],
           [31.623,  0.032],
           [ 0.032, 31.623]])
    """
    corners = LARGE * np.eye(n_bands)
    powers = [np.zeros((1, n_bands)), corners, -corners if n_bands > 2 else corners[:0]]
    powers.append(SPREAD * (2 * Halton(n_bands, scramble=False).random(n_ratios + 1)[1:] - 1))
    powers = np.concatenate(powers)[:n_ratios]
    return 10.0 ** (powers - powers.mean(1, keepdims=True))
