"""Topographic maps of attention, patterns and predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._estimators import decoder_of, iter_nested
from sk_b2s._utils._text import with_visible_text
from sk_b2s.plotting._style import axes_of

RADIUS = 0.095  # m, of the head that MNE draws
EQUATOR = np.sqrt(0.5) / 2  # from the middle of the unit square, where sensor_positions() lays the equator
WIDE = 0.45  # what is beyond is drawn outside the head: corners of layouts that fill the square


def places_of(values, positions):
    """Put values in the plane of MNE's head, sensors at one place averaged, unknown places left out.

    Parameters
    ----------
    values : array-like of shape (n_channels,)
    positions : array-like of shape (n_channels, 2)
        In [0, 1]², nose up, as ``Windows.positions`` holds them; NaN where unknown.

    Returns
    -------
    values : ndarray of shape (n_places,)
    places : ndarray of shape (n_places, 2)
        In meters from the middle of a head of 9.5 cm.

    Raises
    ------
    ValueError
        If lengths differ, or fewer than four places are known.
    """
    values, positions = np.asarray(values, float), np.asarray(positions, float)
    if values.ndim != 1 or positions.shape != (len(values), 2):
        raise ValueError(
            f"values and positions must be (n_channels,) and (n_channels, 2); got {values.shape}, {positions.shape}. "
            f"Windows.positions holds one such table for each layout: give windows.positions[0]."
        )
    known = np.isfinite(positions).all(1) & np.isfinite(values)
    table = pd.DataFrame(positions[known], columns=["x", "y"]).assign(value=values[known])
    groups = table.groupby([table["x"].round(3), table["y"].round(3)])
    places = groups[["x", "y", "value"]].mean().to_numpy()
    if len(places) < 4:
        raise ValueError(f"a topography needs four places at least, and {len(places)} are known.")
    from_middle = places[:, :2] - 0.5
    radius = np.clip(np.hypot(*from_middle.T).max(), EQUATOR, WIDE)
    return places[:, 2], from_middle * RADIUS / radius


@with_visible_text
def plot_topography(values, positions, label="", limits=None, diverging=None, ax=None):
    """Plot a value for each sensor on the head, seen from above with the nose up.

    Parameters
    ----------
    values : array-like of shape (n_channels,)
        Prediction r of a forward model, a pattern at one lag, an accuracy: whatever there is for each channel.
    positions : array-like of shape (n_channels, 2)
        Places in [0, 1]², as ``Windows.positions[0]`` holds them; NaN where unknown.
    label : str, default=""
        What the values are, with their unit; stands at the color bar.
    limits : (float, float), default=None
        Values of the first and last color; the range of the values by default.
    diverging : bool, default=None
        Whether zero is the middle of the colors. None: where there are values on either side of it.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Dots are the sensors; what is between them is interpolated by MNE, and no more than that.

    Raises
    ------
    ValueError
        If lengths differ, or fewer than four places are known.

    See Also
    --------
    plot_attention : Where a fitted encoder attends.
    """
    import mne

    values, places = places_of(values, positions)
    diverging = bool((values < 0).any() and (values > 0).any()) if diverging is None else diverging
    low, high = (values.min(), values.max()) if limits is None else limits
    if diverging and limits is None:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    high = high if high > low else low + 1e-9  # nothing differs: one color
    ax = axes_of(ax, figsize=(4.6, 3.8))
    picture, _ = mne.viz.plot_topomap(
        values, places, ch_type="eeg", axes=ax, show=False, cmap="PuOr_r" if diverging else "viridis",
        vlim=(low, high), contours=4, sphere=RADIUS, extrapolate="head",
    )  # fmt: skip
    ax.figure.colorbar(picture, ax=ax, label=label, shrink=0.75)
    return ax


def attention_map(encoder, positions, virtual=None):
    r"""How much a fitted encoder attends to each sensor, times what even attention would give.

    With :math:`a_{vc}` the weights of virtual channel v, which add up to one over the C sensors, the value of sensor c
    is :math:`C \cdot \mathrm{mean}_v\, a_{vc}`: one where attention is even, as it nearly is before training.

    Parameters
    ----------
    encoder : BrainEncoder, Pipeline that ends in one, or search over either
        Fitted, with ``spatial_attention=True``.
    positions : array-like of shape (n_channels, 2)
        Places in [0, 1]², as ``Windows.positions[0]`` holds them; NaN where unknown, and those get NaN.
    virtual : None or int, default=None
        One virtual channel instead of the mean over all.

    Returns
    -------
    values : ndarray of shape (n_channels,)

    Raises
    ------
    ValueError
        If the encoder has no spatial attention.
    """
    import torch

    decoder, _ = decoder_of(list(iter_nested(encoder))[-1])
    attention = getattr(decoder.net_.module_, "spatial_attention", None) if hasattr(decoder, "net_") else None
    if attention is None:
        raise ValueError(
            "encoder must be a fitted BrainEncoder(spatial_attention=True) to show where it attends."
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


def plot_attention(encoder, positions, virtual=None, ax=None):
    """Plot where on the head a fitted encoder attends.

    Attention chooses what is looked at, not what counts: a layer after it may weigh a virtual channel down to
    nothing. Sensors at one place are averaged.

    Parameters
    ----------
    encoder : BrainEncoder, Pipeline that ends in one, or search over either
        Fitted, with ``spatial_attention=True``.
    positions : array-like of shape (n_channels, 2)
        Places in [0, 1]², as ``Windows.positions[0]`` holds them; NaN where unknown.
    virtual : None or int, default=None
        One virtual channel instead of the mean over all.
    ax : matplotlib.axes.Axes, default=None
        Where to draw; new axes by default.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Colors are attention times what even attention would give, one.

    Raises
    ------
    ValueError
        If the encoder has no spatial attention, or fewer than four places are known.
    """
    ax = plot_topography(
        attention_map(encoder, positions, virtual), positions, "attention (1 is even)", diverging=False, ax=ax
    )
    ax.set_title("mean of all virtual channels" if virtual is None else f"virtual channel {virtual}")
    return ax
