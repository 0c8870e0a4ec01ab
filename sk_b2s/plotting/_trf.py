"""Figures of temporal response functions."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._estimators import find_innermost_estimator
from sk_b2s._utils._text import with_visible_text
from sk_b2s.decoding._trf._weights import TRFWeightsMixin, select_trf_weights
from sk_b2s.plotting._style import ALPHA, COLORS, DASHED, MUTED, get_styled_axes, place_style_legend

SIGNIFICANT = 0.05  # largest p of clusters that are marked


@with_visible_text
def plot_trf(trf, feature=0, subject=None, channels=None, scale=1.0, unit="", clusters=None, ax=None):
    """Plot the weights of a forward model, or the patterns of a decoder.

    Parameters
    ----------
    trf : ForwardTRF or RidgeDecoder, Pipeline that ends in one, or search
        Fitted. ``coef_`` of a forward model and ``patterns_`` of a decoder are
        plotted, because coefficients of a decoder also cancel noise.
    feature : int or str, default=0
        Index or name of the speech feature.
    subject : str, default=None
        One of ``subjects_``. If None, the mean over models, without masked
        channels.
    channels : sequence of str or int, default=None
        Names or indices of channels to emphasize, with a legend. If None, the
        channel with the largest weight.
    scale : float, default=1.0
        Factor of the weights, such as 1e6 from volts to microvolts.
    unit : str, default=""
        Unit of the scaled weights, in the label of the axis.
    clusters : TRFClusters, default=None
        Result of :func:`~sk_b2s.trf_cluster_test`. Bars at the bottom mark the
        lags of clusters with p of at most 0.05.
    ax : matplotlib.axes.Axes, default=None
        Axes to draw on. If None, new axes are made.

    Returns
    -------
    ax : matplotlib.axes.Axes
        One line per channel over lags. The shaded area is the global field
        power, the standard deviation over channels at each lag. The dashed
        line is a lag of 0.

    Raises
    ------
    ValueError
        If the subject, feature or a channel is not one of ``fit``.
    TypeError
        If the estimator does not end in a ForwardTRF or RidgeDecoder.

    See Also
    --------
    plot_trf_joint : Weights over lags with topographies.
    plot_trf_features : Weights of several feature sets.
    plot_topography : Plot the weights of all channels at one lag.
    sk_b2s.ForwardTRF.to_evoked : Joint plots of MNE.

    Notes
    -----
    Weights at negative lags show the size of sampling errors.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.decoding import ForwardTRF
    >>> rng = np.random.default_rng(0)
    >>> speech, eeg = rng.standard_normal((2, 40, 1, 30))
    >>> trf = ForwardTRF(lags=(0, 0.5), alphas=(1.0,), sfreq=10)
    >>> plot_trf(trf.fit(eeg, speech)).get_xlabel()
    'lag (s)'
    """
    found = find_plotted_trf(trf, "plot_trf")
    weights = scale * select_trf_weights(found, feature, subject)
    names = [str(name) for name in found.ch_names_ or range(weights.shape[1])]
    emphasized = find_plotted_trf_channels(channels, names, weights)
    ax = get_styled_axes(ax, figsize=(5.6, 3.4))
    ax.fill_between(
        found.lags_, weights.std(1), color=MUTED, alpha=ALPHA, linewidth=0, label="global field power"
    )
    for index in np.setdiff1d(np.arange(len(names)), emphasized):
        ax.plot(found.lags_, weights[:, index], color=MUTED, alpha=0.5, linewidth=0.7)
    for place, index in enumerate(emphasized):
        ax.plot(
            found.lags_,
            weights[:, index],
            color=COLORS[place % len(COLORS)],
            linewidth=1.8,
            label=names[index],
        )
    ax.axvline(0.0, **DASHED)
    ax.axhline(0.0, color=MUTED, linewidth=0.6, zorder=1)
    ax.margins(x=0)
    kind = "pattern" if hasattr(found, "patterns_") else "weight"
    ax.set(xlabel="lag (s)", ylabel=f"{kind} ({unit})" if unit else kind)
    if clusters is not None:
        _mark_clusters(ax, clusters)
    place_style_legend(ax)
    return ax


def _mark_clusters(ax, clusters):
    """Draw a bar below the weights at the lags of each significant cluster."""
    found = clusters.table[clusters.table["p"] <= SIGNIFICANT]
    half = np.diff(clusters.lags).mean() / 2 if len(clusters.lags) > 1 else 0.0
    for place, row in enumerate(found.itertuples()):
        height = 0.02 + 0.03 * place
        ax.plot(
            [row.start - half, row.stop + half], [height] * 2, transform=ax.get_xaxis_transform(), color=COLORS[1], linewidth=3,
            solid_capstyle="butt", label=f"clusters with p ≤ {SIGNIFICANT:g}" if place == 0 else None,
        )  # fmt: skip


def find_plotted_trf(estimator, owner):
    """Return the fitted ForwardTRF or RidgeDecoder at the end."""
    found, _ = find_innermost_estimator(estimator, fitted=True)
    if not isinstance(found, TRFWeightsMixin):
        raise TypeError(
            f"{owner} requires a fitted ForwardTRF or RidgeDecoder, or a Pipeline that ends in one. Got "
            f"{type(found).__name__}."
        )
    return found


def find_plotted_trf_channels(channels, names, weights):
    """Return the indices of channels by names or indices."""
    if channels is None:
        return [int(abs(weights).max(0).argmax())]
    channels = [channels] if isinstance(channels, (str, int, np.integer)) else channels
    found = []
    for channel in channels:
        is_index = isinstance(channel, (int, np.integer)) and 0 <= channel < len(names)
        if not is_index and channel not in names:
            raise ValueError(
                f"channels must be names or indices of the {len(names)} channels of fit, {', '.join(names[:5])}... "
                f"Got {channel!r}."
            )
        found.append(int(channel) if is_index else names.index(channel))
    return found
