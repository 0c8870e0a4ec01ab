"""Figures of temporal response functions."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._estimators import find_innermost_estimator
from sk_b2s._utils._text import with_visible_text
from sk_b2s.decoding._trf._weights import TRFWeightsMixin, list_trf_feature_names, select_trf_weights
from sk_b2s.plotting._style import ALPHA, COLORS, DASHED, MUTED, get_styled_axes, place_style_legend
from sk_b2s.plotting._topomap import draw_topography, project_to_topomap

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
        _mark_trf_clusters(ax, clusters)
    place_style_legend(ax)
    return ax


def _mark_trf_clusters(ax, clusters):
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


@with_visible_text
def plot_trf_features(
    trf, features=None, subject=None, channels=None, scale=1.0, unit="", clusters=None, axes=None
):
    """Plot the weights of several feature sets, one panel each.

    A set of one feature is drawn by :func:`plot_trf`. A set of several, such
    as the bands of a spectrogram, is an image of lags and features.

    Parameters
    ----------
    trf : ForwardTRF or RidgeDecoder, Pipeline that ends in one, or search
        Fitted.
    features : sequence of str or int, default=None
        Names of feature sets (``feature_sets_``), or names or indices of
        single features. If None, all feature sets.
    subject : str, default=None
        One of ``subjects_``. If None, the mean over models, without masked
        channels.
    channels : sequence of str or int, default=None
        Channels to emphasize. Images show the mean over them, or the global
        field power if None.
    scale : float, default=1.0
        Factor of the weights, such as 1e6 from volts to microvolts.
    unit : str, default=""
        Unit of the scaled weights.
    clusters : dict of str to TRFClusters, default=None
        Results of :func:`~sk_b2s.trf_cluster_test` by the name in
        ``features``.
    axes : sequence of matplotlib.axes.Axes, default=None
        Axes to draw on, one per panel. If None, new axes are made.

    Returns
    -------
    axes : ndarray of matplotlib.axes.Axes of shape (n_panels,)
        Panels of single features share the limits of weights.

    Raises
    ------
    ValueError
        If a feature, the subject or a channel is not one of ``fit``.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.decoding import ForwardTRF
    >>> rng = np.random.default_rng(0)
    >>> speech, eeg = rng.standard_normal((2, 40, 3, 30))
    >>> bands = {"envelope": 1, "pitch": 2}
    >>> trf = ForwardTRF(lags=(0, 0.5), alphas=(1.0,), sfreq=10, bands=bands)
    >>> axes = plot_trf_features(trf.fit(eeg, speech))
    >>> [ax.get_title() for ax in axes]
    ['envelope', 'pitch']
    """
    found = find_plotted_trf(trf, "plot_trf_features")
    sets = getattr(found, "feature_sets_", {})
    features = list(features if features is not None else sets or range(found.n_features_out_))
    axes = _make_trf_panels(axes, len(features))
    names = [str(name) for name in found.ch_names_ or range(found.n_features_in_)]
    single = []
    for ax, feature in zip(axes, features, strict=True):
        first, stop = sets.get(feature, (0, 1)) if isinstance(feature, str) else (0, 1)
        if stop - first > 1:
            weights = np.stack([scale * select_trf_weights(found, i, subject) for i in range(first, stop)])
            _draw_trf_feature_image(ax, found, weights, names, channels, unit)
        else:
            of_feature = (clusters or {}).get(feature)
            plot_trf(found, feature, subject, channels, scale, unit, of_feature, ax)
            single.append(ax)
        name = feature if isinstance(feature, str) else list_trf_feature_names(found)[feature]
        ax.set_title(name, fontsize="medium")
    if single:
        limits = [ax.get_ylim() for ax in single]
        for place, ax in enumerate(single):
            ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
            if place:
                ax.get_legend().remove()
    return axes


def _make_trf_panels(axes, n_panels):
    """Return axes in a row, new ones if None."""
    if axes is None:
        return np.ravel(get_styled_axes(None, ncols=n_panels, figsize=(3.2 * n_panels + 1.0, 3.2)))
    axes = np.ravel(axes)
    if len(axes) != n_panels:
        raise ValueError(f"axes must have one entry for each of {n_panels} features. Got {len(axes)}.")
    return axes


def _draw_trf_feature_image(ax, trf, weights, names, channels, unit):
    """Draw weights of shape (n_features, n_lags, n_channels) as an image."""
    channels = [0] if channels is None and len(names) == 1 else channels
    image, label = weights.std(2), "global field power"
    if channels is not None:
        at = find_plotted_trf_channels(channels, names, weights[0])
        image, label = weights[:, :, at].mean(2), ", ".join(names[i] for i in at)
    low, high = (0.0, image.max()) if channels is None else (-abs(image).max(), abs(image).max())
    cmap = "viridis" if channels is None else "PuOr_r"
    mesh = ax.pcolormesh(
        trf.lags_, np.arange(len(image)), image, cmap=cmap, vmin=low, vmax=high, shading="nearest"
    )
    ax.set(xlabel="lag (s)", ylabel="feature")
    ax.figure.colorbar(mesh, ax=ax, label=f"{label} ({unit})" if unit else label)


@with_visible_text
def plot_trf_joint(
    trf, feature=0, subject=None, lags=None, channels=None, scale=1.0, unit="", clusters=None, fig=None
):
    """Plot weights over lags, with topographies at some lags above.

    Parameters
    ----------
    trf : ForwardTRF or RidgeDecoder, Pipeline that ends in one, or search
        Fitted on windows with positions of sensors.
    feature : int or str, default=0
        Index or name of the speech feature.
    subject : str, default=None
        One of ``subjects_``. If None, the mean over models, without masked
        channels.
    lags : sequence of float, default=None
        Lags of the topographies in seconds. If None, those of the three
        largest peaks of the global field power, of positive lags if any.
    channels : sequence of str or int, default=None
        Channels to emphasize, see :func:`plot_trf`.
    scale : float, default=1.0
        Factor of the weights, such as 1e6 from volts to microvolts.
    unit : str, default=""
        Unit of the scaled weights.
    clusters : TRFClusters, default=None
        Result of :func:`~sk_b2s.trf_cluster_test`.
    fig : matplotlib.figure.Figure, default=None
        Empty figure to draw on. If None, a new figure is made.

    Returns
    -------
    axes : ndarray of matplotlib.axes.Axes of shape (1 + n_lags,)
        Weights over lags, then topographies with common limits, which a color
        bar shows.

    Raises
    ------
    ValueError
        If fewer than four positions are known, or a lag is not one of the
        model.
    """
    import matplotlib.pyplot as plt

    found = find_plotted_trf(trf, "plot_trf_joint")
    weights = scale * select_trf_weights(found, feature, subject)
    if found.positions_ is None:
        raise ValueError(
            "plot_trf_joint requires positions of sensors. Set Epocher(montage=...) or "
            "Windows.from_trials(ch_names=..., montage=...), or use plot_trf."
        )
    at = _find_trf_peaks(weights.std(1), found.lags_) if lags is None else _find_trf_lags(found.lags_, lags)
    fig = plt.figure(figsize=(6.4, 5.2), layout="constrained") if fig is None else fig
    grid = fig.add_gridspec(2, len(at), height_ratios=(1, 1.6))
    ax = fig.add_subplot(grid[1, :])
    plot_trf(found, feature, subject, channels, scale, unit, clusters, ax)
    limit = abs(weights[at]).max() or 1.0
    maps = []
    for place, index in enumerate(at):
        one = fig.add_subplot(grid[0, place])
        image = draw_topography(*project_to_topomap(weights[index], found.positions_), (-limit, limit), one)
        one.set_title(f"{found.lags_[index]:.3g} s", fontsize="small")
        ax.axvline(found.lags_[index], color=MUTED, linewidth=0.7, linestyle=":", zorder=0)
        maps.append(one)
    fig.colorbar(image, ax=maps, shrink=0.7, pad=0.02, ticks=[-limit, 0, limit], format="{x:.2g}")
    return np.array([ax, *maps], dtype=object)


def _find_trf_peaks(power, lags, n_peaks=3):
    """Return the indices of the largest local maxima, in order of lags."""
    padded = np.r_[-np.inf, power, -np.inf]
    is_peak = (power > padded[:-2]) & (power >= padded[2:])
    peaks = np.flatnonzero(is_peak & (lags >= 0) if (is_peak & (lags >= 0)).any() else is_peak)
    return np.sort(peaks[np.argsort(-power[peaks], kind="stable")[:n_peaks]])


def _find_trf_lags(known, lags):
    """Return the indices of the lags that are closest to some lags."""
    lags = np.atleast_1d(np.asarray(lags, float))
    step = np.diff(known).mean() if len(known) > 1 else 0.0
    beyond = (lags < known[0] - step) | (lags > known[-1] + step)
    if beyond.any() or not len(lags):
        raise ValueError(f"lags must be from {known[0]:g} to {known[-1]:g} s. Got {lags.tolist()}.")
    return abs(known[:, None] - lags).argmin(0)
