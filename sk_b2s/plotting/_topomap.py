"""Topographic maps of attention, patterns and predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s._utils._text import with_visible_text
from sk_b2s.evaluation._results._topography import compute_attention_topography
from sk_b2s.plotting._style import get_styled_axes, wrap_style_label

RADIUS = 0.095  # m, of the head that MNE draws
EQUATOR = np.sqrt(0.5) / 2  # radius of the equator in the unit square of project_sensors()
MAX_RADIUS = 0.45  # sensors beyond are drawn outside the head: corners of layouts that fill the square


def project_to_topomap(values, positions):
    """Convert sensor positions to MNE's head, averaging sensors at one place.

    Parameters
    ----------
    values : array-like of shape (n_channels,)
    positions : array-like of shape (n_channels, 2)
        Positions in [0, 1]², nose up, as in ``Windows.positions``. NaN if
        unknown.

    Returns
    -------
    values : ndarray of shape (n_places,)
        Without channels of unknown position.
    places : ndarray of shape (n_places, 2)
        In meters from the center of a head with a radius of 9.5 cm.
    """
    values, positions = np.asarray(values, float), np.asarray(positions, float)
    if values.ndim != 1 or positions.shape != (len(values), 2):
        raise ValueError(
            f"values and positions must have the shapes (n_channels,) and (n_channels, 2). Got {values.shape} and "
            f"{positions.shape} instead. Windows.positions holds one array for each layout. Pass windows.positions[0]."
        )
    known = np.isfinite(positions).all(1) & np.isfinite(values)
    table = pd.DataFrame(positions[known], columns=["x", "y"]).assign(value=values[known])
    groups = table.groupby([table["x"].round(3), table["y"].round(3)])
    places = groups[["x", "y", "value"]].mean().to_numpy()
    if len(places) < 4:
        raise ValueError(
            f"A topographic map requires at least four places with a known position and value. Got {len(places)} "
            f"instead. Check for NaN in positions."
        )
    from_center = places[:, :2] - 0.5
    radius = np.clip(np.hypot(*from_center.T).max(), EQUATOR, MAX_RADIUS)
    return places[:, 2], from_center * RADIUS / radius


def draw_topography(values, places, limits, ax, cmap="PuOr_r"):
    """Draw the result of :func:`project_to_topomap`, return the image."""
    import mne

    return mne.viz.plot_topomap(
        values, places, ch_type="eeg", axes=ax, show=False, cmap=cmap, vlim=limits, contours=4, sphere=RADIUS,
        extrapolate="head",
    )[0]  # fmt: skip


@with_visible_text
def plot_topography(values, positions, label="", limits=None, diverging=None, ax=None):
    """Plot one value for each sensor on the head, seen from above, nose up.

    Parameters
    ----------
    values : array-like of shape (n_channels,)
        One value for each channel, for example the correlation of a forward
        model or a pattern at one lag.
    positions : array-like of shape (n_channels, 2)
        Positions in [0, 1]², as in ``Windows.positions[0]``. NaN if unknown.
    label : str, default=""
        Label of the color bar, with the unit of the values.
    limits : (float, float), default=None
        Values of the first and last color. If None, the range of the values.
    diverging : bool, default=None
        Whether zero is in the middle of the colors. If None, only if there are
        positive and negative values.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Dots are sensors. Values between them are interpolated by MNE.

    Raises
    ------
    ValueError
        If lengths differ, or fewer than four positions are known.

    See Also
    --------
    plot_attention : Plot the spatial attention of a fitted encoder.
    """
    values, places = project_to_topomap(values, positions)
    diverging = bool((values < 0).any() and (values > 0).any()) if diverging is None else diverging
    low, high = (values.min(), values.max()) if limits is None else limits
    if diverging and limits is None:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    high = high if high > low else low + 1e-9  # constant values have one color
    ax = get_styled_axes(ax, figsize=(4.6, 3.8))
    image = draw_topography(values, places, (low, high), ax, "PuOr_r" if diverging else "viridis")
    ax.figure.colorbar(image, ax=ax, label=wrap_style_label(label, 36), shrink=0.75)
    return ax


def plot_attention(encoder, positions, virtual=None, ax=None):
    """Plot the spatial attention of a fitted encoder on the head.

    Attention does not measure importance: a later layer may give a virtual
    channel a weight of zero. Sensors at one place are averaged.

    Parameters
    ----------
    encoder : BrainEncoder, Pipeline that ends in one, or search over either
        Fitted, with ``spatial_attention=True``.
    positions : array-like of shape (n_channels, 2)
        Positions in [0, 1]², as in ``Windows.positions[0]``. NaN if unknown.
    virtual : None or int, default=None
        Index of one virtual channel. If None, the mean over all.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        Colors are attention weights relative to uniform attention, which is 1.

    Raises
    ------
    ValueError
        If the encoder has no spatial attention, or fewer than four positions
        are known.
    """
    values = compute_attention_topography(encoder, positions, virtual)
    ax = plot_topography(values, positions, "attention (1 is uniform)", diverging=False, ax=ax)
    ax.set_title("mean of all virtual channels" if virtual is None else f"virtual channel {virtual}")
    return ax
