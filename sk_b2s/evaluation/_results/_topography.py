"""Topographies of fitted decoders: spatial attention and patterns."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._estimators import (
    find_decoder_in_estimator,
    iter_nested_estimators,
    list_estimators_inside,
)
from sk_b2s._utils._validation import is_validated_table
from sk_b2s.preprocessing._epocher._epocher import Epocher
from sk_b2s.preprocessing._windows._windows import Windows


def compute_attention_topography(encoder, positions, virtual=None):
    r"""Compute the attention of a fitted encoder to each sensor.

    With :math:`a_{vc}` the weights of virtual channel v, which sum to one over
    the C sensors, the value of sensor c is :math:`C \cdot \mathrm{mean}_v\,
    a_{vc}`. It is one for uniform attention, approximately as before training.

    Parameters
    ----------
    encoder : BrainEncoder, Pipeline that ends in one, or search over either
        Fitted, with ``spatial_attention=True``.
    positions : array-like of shape (n_channels, 2)
        Positions in [0, 1]², as in ``Windows.positions[0]``. NaN if unknown.
    virtual : None or int, default=None
        Index of one virtual channel. If None, the mean over all.

    Returns
    -------
    values : ndarray of shape (n_channels,)
        NaN if the position is unknown.
    """
    import torch

    decoder, _ = find_decoder_in_estimator(encoder, fitted=True)
    attention = getattr(decoder.net_.module_, "spatial_attention", None) if hasattr(decoder, "net_") else None
    if attention is None:
        raise ValueError(
            "The 'encoder' parameter of plot_attention must be a fitted BrainEncoder with spatial_attention=True. "
            f"Got {type(decoder).__name__} without spatial attention instead."
        )
    training = attention.training
    attention.eval()  # without dropout
    with torch.no_grad():
        place = torch.as_tensor(np.asarray(positions, np.float32))[None].to(attention.heads.device)
        weights = attention.weights(place)[0].double().cpu().numpy()
    attention.train(training)
    known = np.isfinite(np.asarray(positions, float)).all(1)
    weights = weights.mean(0) if virtual is None else weights[virtual]
    return np.where(known, weights * known.sum(), np.nan)


def compute_pattern_topography(patterns, positions):
    """Compute the size of the patterns of a linear decoder at each sensor.

    Parameters
    ----------
    patterns : ndarray of shape (n_models, n_lags, n_channels, n_features)
        See :class:`~sk_b2s.RidgeDecoder`.
    positions : array-like of shape (n_channels, 2)

    Returns
    -------
    values : ndarray of shape (n_channels,)
        Root mean square over models, lags and features, divided by its mean
        over sensors. NaN if the position or the channels are unknown.
    """
    values, known = np.sqrt(np.square(patterns).mean((0, 1, 3))), np.isfinite(np.asarray(positions)).all(1)
    if len(values) != len(known) or not known.any() or not values[known].mean() > 0:
        return np.full(len(known), np.nan)
    return np.where(known, values / values[known].mean(), np.nan)


def find_topography_epocher(estimator):
    """Return the fitted Epocher in an estimator, None without one."""
    return next((step for step in iter_nested_estimators(estimator) if isinstance(step, Epocher)), None)


def find_topography_positions(fitted, X, row):
    """Find the sensor positions of one row of X, without reading signals.

    Returns an array of shape (n_channels, 2), or None if they are unknown.
    """
    epocher = find_topography_epocher(fitted)
    if is_validated_table(X):
        X = None if epocher is None else epocher.transform(X.iloc[[row]])
        row = 0
    if not isinstance(X, Windows) or X.positions is None:
        return None
    return X.positions[0 if X.layout is None else X.layout[X.which[row]]]


def describe_topography(fitted, X, row):
    """Describe what a fitted decoder uses of each sensor.

    Parameters
    ----------
    fitted : estimator
    X : DataFrame or Windows
    row : int
        Row of X whose sensor layout is used.

    Returns
    -------
    topographies : list of dict
        ``label``, ``neutral`` (value if all sensors are equal), ``values``,
        ``x`` and ``y``, and ``member`` of an ensemble. Empty without
        positions, or without spatial attention, patterns and responses.
    """
    topographies = []
    for member, estimator in list_fitted_members(fitted):
        owner = fitted if find_topography_epocher(estimator) is None else estimator
        decoder, _ = find_decoder_in_estimator(estimator, fitted=True)
        found = _describe_topography_map(decoder, find_topography_positions(owner, X, row))
        topographies += [] if found is None else [found | member]
    return topographies


def list_fitted_members(fitted):
    """List the fitted estimators of an ensemble, or the estimator itself.

    Each has a dict with ``member``, its name, which is empty without an
    ensemble. Only the first copy of each member is listed.
    """
    decoder, _ = find_decoder_in_estimator(fitted, fitted=True)
    if "estimators_" not in vars(decoder):
        return [({}, fitted)]
    names = [name for name, _ in list_estimators_inside(decoder)]
    return [({"member": name}, copies[0]) for name, copies in zip(names, decoder.estimators_, strict=True)]


def _describe_topography_map(decoder, positions):
    """Describe the topography of one decoder, or return None."""
    if positions is None:
        return None
    if getattr(decoder, "spatial_attention", False) and hasattr(decoder, "net_"):
        values, label = compute_attention_topography(decoder, positions), "attention (1 is uniform)"
    elif hasattr(decoder, "patterns_"):
        values, label = compute_pattern_topography(decoder.patterns_, positions), "pattern (1 is the mean)"
    elif hasattr(decoder, "spatial_patterns_"):
        patterns = np.einsum("mlir,mrc->mlci", decoder.coef_, decoder.spatial_patterns_)
        values, label = compute_pattern_topography(patterns, positions), "response (1 is the mean)"
    else:
        return None
    known = np.isfinite(values)
    if known.sum() < 4:
        return None
    return {
        "label": label, "neutral": 1.0, "values": [float(f"{value:.4g}") for value in values[known]],
        **{name: [round(float(at), 4) for at in positions[known, axis]] for axis, name in enumerate("xy")},
    }  # fmt: skip
