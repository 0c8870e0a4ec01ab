"""Channels and sensor layouts that recordings of one table share."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd


def find_channel_layout_columns(header, path, ch_names):
    """Return the index of channels in ``ch_names``, -1 if missing."""
    columns = tuple(pd.Index(ch_names).get_indexer(header.ch_names).tolist())
    unknown = [name for name, column in zip(header.ch_names, columns, strict=True) if column < 0]
    if len(unknown) == len(columns):
        raise ValueError(
            f"The recording {path!r} has none of the channels seen in fit ({', '.join(ch_names[:5])}, ...) "
            f"but {', '.join(unknown[:5])}, ... Call fit with recordings of both kinds."
        )
    if unknown:
        warnings.warn(
            f"The recording {path!r} has {len(unknown)} channels that no recording in fit had. They are not used: "
            f"{', '.join(unknown[:8])}. Select channels with picks=[...] or include such a recording in fit.",
            stacklevel=5,
        )
    return columns


def place_in_channel_layout(read, columns, n_channels):
    """Return a signal with all channels, zero if the recording lacks them."""
    signal = read()
    whole = np.zeros((len(signal), n_channels), np.float32)
    own = np.flatnonzero(np.asarray(columns) >= 0)
    whole[:, np.asarray(columns)[own]] = signal[:, own]
    return whole


def make_channel_layouts(headers, ch_names, is_masked):
    """Return distinct sensor layouts and the layout of each recording.

    Parameters
    ----------
    headers : dict of str to header
        Channels, positions and bad channels of each recording.
    ch_names : sequence of str
        Channels of all windows.
    is_masked : bool
        Whether bad channels have no position.

    Returns
    -------
    positions : ndarray of shape (n_layouts, n_channels, 2)
        NaN where a channel is missing, masked or without a position.
    layout : ndarray of int of shape (n_recordings,)
        Index of the layout of each recording.
    """
    places, index = [], pd.Index(ch_names)
    for path, header in headers.items():
        whole = np.full((len(ch_names), 2), np.nan)
        columns = index.get_indexer(header.ch_names)
        seen = (columns >= 0) & ~(is_masked & np.isin(header.ch_names, header.bads))
        whole[columns[seen]] = header.positions[seen]
        places.append(whole.tobytes())
        if np.isnan(whole).all() and is_masked and set(header.bads) == set(header.ch_names):
            raise ValueError(
                f"All channels of the recording {path!r} are marked as bad. Exclude it or correct its bad channels."
            )
    layout, distinct = pd.factorize(pd.Series(places))
    positions = np.stack([np.frombuffer(place).reshape(-1, 2) for place in distinct])
    return positions, layout
