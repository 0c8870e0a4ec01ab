"""Channel selection, montages and sensor positions."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._caching import code_of
from sk_b2s._utils._text import shorten_list

CODE = code_of(__file__)
# Channels that files often type as EEG although they are none: other physiology, triggers, and recorded sound.
SIDE = r"(?:[ _.-]?(?:L|R|LEFT|RIGHT|IN|OUT|CH|CHANNEL|MIX))*[ _.-]?\d*"
NOT_EEG = re.compile(
    r"^(?:.*[ _.:/-])?(?:EXG\d+|.*EOG.*|EMG.*|E[CK]G.*|STATUS|STI.*|TRIG.*|GSR.*|RESP|PLET|TEMP|ERG\d*"
    r"|AUX.*|AUD.*|MISC.*|.*AUDIO.*|SPEECH.*|VOICE.*|SPEAKER.*|(?:HEAD|EAR)PHONES?.*|PHOTO.*|DIODE.*|LIGHT.*|TTL.*|MARKER.*|GYRO.*"
    rf"|(?:SOUNDS?|SND|MIC(?:ROPHONE)?S?|WAVE?(?:FORM)?|ENV(?:ELOPE)?S?|LINE){SIDE}|(?:BIP|DC|DIN)[ _.-]?\d*"
    r"|ACC[ _.-]?[XYZ])$",
    re.IGNORECASE,
)
SENSORS = ("eeg", "mag", "grad")
HEAD_CENTRE = np.array([0.0, 0.0, 0.04])  # m, of a sphere in the head's place, in its coordinates
KIT_COIL = 6001  # FIFF's number for KIT's axial gradiometer


def set_montage(inst, montage):
    """Place the sensors of a Raw or Epochs, in place, by a montage as :func:`montage_key` gives it."""
    if montage is not None:
        inst.set_montage(montage, match_case=False, on_missing="ignore", verbose="ERROR")
        kinds = dict(zip(inst.ch_names, inst.get_channel_types(), strict=True))
        electrodes = [name for name, kind in kinds.items() if kind == "eeg" and not NOT_EEG.match(name)]
        lost = [name for name in electrodes if not _has_place(inst, name)]
        if lost:
            warnings.warn(
                f"montage={montage if isinstance(montage, str) else '...'} has no place for {len(lost)} of "
                f"{len(electrodes)} electrodes of {name_of(inst)}, {shorten_list(lost)}; spatial attention does not see "
                "them.",
                stacklevel=3,
            )
    return inst


def _has_place(inst, name):
    place = inst.info["chs"][inst.ch_names.index(name)]["loc"][:3]
    return bool(np.isfinite(place).all() and np.any(place != 0))


def montage_key(montage):
    """Read a montage from its file, so that its content is the key. Names and montages of MNE are returned as they are.

    Raises
    ------
    FileNotFoundError
        If a Path is none of a file.
    """
    if isinstance(montage, (str, Path)) and Path(montage).is_file():
        return mne.channels.read_custom_montage(montage, verbose="ERROR")
    if isinstance(montage, Path):
        raise FileNotFoundError(
            f"montage={str(montage)!r} is not a file; give one that mne.channels.read_custom_montage reads, or "
            f"the name of a standard montage as a str."
        )
    return montage


def pick_channels(raw, picks=None):
    """Choose channel names: by default every EEG and MEG sensor, never EXG, EOG, EMG or triggers.

    Parameters
    ----------
    raw : mne.io.Raw
    picks : None | str | tuple of str, default=None
        Types ("eeg", "meg", "mag", "grad", ...) or names; names are taken as they are, in their order.

    Returns
    -------
    names : list of str

    Raises
    ------
    ValueError
        If a name is not in the recording or nothing is left.
    """
    if picks is None:
        index = mne.pick_types(raw.info, meg=True, eeg=True, ref_meg=False, exclude=[])
        names, asked = [raw.ch_names[i] for i in index], set()
    else:
        wanted = picks if isinstance(picks, str) else list(picks)
        asked = {picks} if isinstance(picks, str) else set(picks)
        try:
            names = raw.copy().pick(wanted, exclude=(), verbose="ERROR").ch_names
        except ValueError as error:
            raise ValueError(
                f"picks={picks!r} names channels or types that {name_of(raw)} does not have; it has "
                f"{shorten_list(raw.ch_names)}."
            ) from error
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    names = [n for n in names if n in asked or types[n] not in SENSORS or not NOT_EEG.match(n)]
    if not names:
        raise ValueError(f"{name_of(raw)} has no EEG or MEG channel; name channels by picks=[...].")
    return names


def name_of(raw):
    """Name a recording in a message."""
    files = getattr(raw, "filenames", None)  # epochs and hooks' own Raw have none
    return f"recording {Path(files[0]).name!r}" if files and files[0] else "the recording"


def sensor_positions(info, names):
    r"""Lay sensors out on the unit square, each by itself: no other sensor moves it.

    MEG sensors go where the layout that MNE ships for their system puts them
    (:func:`mne.channels.find_layout`, as in the paper), each axis of the whole layout scaled to [0, 1],
    if it knows all of the file's (that of CTF's 275 does not know those of CTF's 151).
    All others are seen from a fixed point, 4 cm above the origin of the head's coordinates for
    electrodes and the origin of the device's for magnetic sensors: one at the azimuth
    :math:`\alpha` and the angle :math:`\delta` from the vertex goes to :math:`\frac12 + \frac12
    \sin\frac\delta2 (\cos\alpha, \sin\alpha)`, the equal-area projection, which maps the whole
    sphere into the square. So an electrode has one place in every recording, whatever others a cap
    or ``picks`` holds; the paper scales each recording by its own sensors, which moves them by up to
    twice the radius of the spatial dropout when a cap has fewer.

    A projected magnetic sensor is moved by up to 0.02 in the direction in which it measures, as seen
    from above, so that those at one place (triaxial magnetometers) are told apart: a radial one
    stays, a tangential one and a planar gradiometer move.

    Parameters
    ----------
    info : mne.Info
        Holds the sensors' places.
    names : sequence of str of length n_channels

    Returns
    -------
    positions : ndarray of shape (n_channels, 2)
        Within [0, 1]; NaN where the place is unknown.
    """
    index = [info["ch_names"].index(name) for name in names]
    kinds = np.array([mne.channel_type(info, i) for i in index])
    magnetic = np.isin(kinds, ("mag", "grad"))
    loc = np.array([info["chs"][i]["loc"] for i in index])
    place = loc[:, :3].astype(float)
    place[~np.isfinite(place).all(1) | (np.abs(place).sum(1) == 0)] = np.nan
    x, y, z = (place - np.where(magnetic[:, None], 0.0, HEAD_CENTRE)).T
    around, down = np.arctan2(y, x), np.arctan2(np.hypot(x, y), z)
    shift = np.where(magnetic[:, None], 0.02 * _tangential(loc, around, down, kinds == "grad"), 0.0)
    radius = np.sin(down / 2) * (0.5 - 0.02 * magnetic)  # leaves the border to the shift
    flat = 0.5 + radius[:, None] * np.column_stack([np.cos(around), np.sin(around)]) + shift
    if magnetic.any() and (shipped := _shipped_layout(info)):
        flat[magnetic] = [shipped[_bare(names[row])] for row in np.flatnonzero(magnetic)]
    return flat


def _bare(name):
    """Name of a sensor without what CTF adds to it for a site."""
    return name.split("-")[0]


def _shipped_layout(info):
    """Position of each sensor in the layout MNE ships for this MEG system: {name: (x, y)}, empty if none."""
    if info["kit_system_id"] is None and KIT_COIL in {channel["coil_type"] for channel in info["chs"]}:
        return {}  # which KIT system it is MNE would guess from the number of channels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layout = mne.channels.find_layout(info, ch_type="meg", exclude=())
    except (RuntimeError, ValueError):
        return {}
    if layout is None or layout.kind == "custom":  # a projection of what is in the file
        return {}
    low, high = layout.pos[:, :2].min(0), layout.pos[:, :2].max(0)
    flat = (layout.pos[:, :2] - low) / (high - low)
    sensors = [info["ch_names"][i] for i in mne.pick_types(info, meg=True, ref_meg=False, exclude=[])]
    if not {_bare(name) for name in sensors} <= {_bare(name) for name in layout.names}:
        return {}
    return {_bare(name): xy for name, xy in zip(layout.names, flat, strict=True)}


def _tangential(loc, around, down, planar):
    """Direction in which sensors measure, on the head's surface laid flat: (n_channels, 2).

    A planar gradiometer measures along its own x axis, all others along their normal. The radial
    part is left away, so no two sensors of one place that stand at right angles meet.
    """
    a, d = around, down
    direction = np.where(planar[:, None], loc[:, 3:6], loc[:, 9:12])
    outward = (direction * np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), -np.sin(d)])).sum(1)
    across = -direction[:, 0] * np.sin(a) + direction[:, 1] * np.cos(a)
    return np.column_stack(
        [outward * np.cos(a) - across * np.sin(a), outward * np.sin(a) + across * np.cos(a)]
    )
