"""Channel selection, montages and sensor positions."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np

from sk_b2s._utils._caching import get_cache_code
from sk_b2s._utils._text import make_suggestion_text, shorten_list
from sk_b2s.io._recording_files import format_recording_file_name

CODE = get_cache_code(__file__)
# Channels that files often label as EEG: other physiology, triggers and recorded audio.
SUFFIX = r"(?:[ _.-]?(?:L|R|LEFT|RIGHT|IN|OUT|CH|CHANNEL|MIX))*[ _.-]?\d*"
NOT_EEG = re.compile(
    r"^(?:.*[ _.:/-])?(?:EXG\d+|.*EOG.*|EMG.*|E[CK]G.*|STATUS|STI.*|TRIG.*|GSR.*|RESP|PLET|TEMP|ERG\d*"
    r"|AUX.*|AUD.*|MISC.*|.*AUDIO.*|SPEECH.*|VOICE.*|SPEAKER.*|(?:HEAD|EAR)PHONES?.*|PHOTO.*|DIODE.*|LIGHT.*|TTL.*|MARKER.*|GYRO.*"
    rf"|(?:SOUNDS?|SND|MIC(?:ROPHONE)?S?|WAVE?(?:FORM)?|ENV(?:ELOPE)?S?|LINE){SUFFIX}|(?:BIP|DC|DIN)[ _.-]?\d*"
    r"|ACC[ _.-]?[XYZ])$",
    re.IGNORECASE,
)
SENSORS = ("eeg", "mag", "grad")
METERS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001}
HEAD_CENTER = np.array([0.0, 0.0, 0.04])  # m, center of a spherical head in head coordinates
HEAD_RADIUS = 0.095  # m, of electrodes whose distance is unknown
KIT_COIL = 6001  # FIFF coil type of KIT axial gradiometers


def set_sensor_montage(inst, montage):
    """Set the montage of a Raw or Epochs in place."""
    if montage is not None:
        inst.set_montage(montage, match_case=False, on_missing="ignore", verbose="ERROR")
        kinds = dict(zip(inst.ch_names, inst.get_channel_types(), strict=True))
        electrodes = [name for name, kind in kinds.items() if kind == "eeg" and not NOT_EEG.match(name)]
        missing = [name for name in electrodes if not _has_sensor_position(inst, name)]
        if missing:
            warnings.warn(
                f"montage={montage if isinstance(montage, str) else '...'} has no position for {len(missing)} of "
                f"{len(electrodes)} electrodes of {format_recording_file_name(inst)}, {shorten_list(missing)}. Spatial attention ignores "
                "these channels.",
                stacklevel=3,
            )
    return inst


def _has_sensor_position(inst, name):
    """Return whether a channel has a position."""
    place = inst.info["chs"][inst.ch_names.index(name)]["loc"][:3]
    return bool(np.isfinite(place).all() and np.any(place != 0))


def load_sensor_montage(montage):
    """Read a montage file, so that its content is part of the cache key.

    Names and montages of MNE are returned unchanged.

    Raises
    ------
    FileNotFoundError
        If a Path is not an existing file.
    ValueError
        If a name is not that of a standard montage of MNE.
    """
    if isinstance(montage, (str, Path)) and Path(montage).is_file():
        return mne.channels.read_custom_montage(montage, verbose="ERROR")
    if isinstance(montage, Path):
        raise FileNotFoundError(
            f"montage={str(montage)!r} is not an existing file. Pass a file that "
            "mne.channels.read_custom_montage reads, or the name of a standard montage as a str."
        )
    if isinstance(montage, str) and montage not in (known := mne.channels.get_builtin_montages()):
        raise ValueError(
            f"montage={montage!r} is not an existing file or a standard montage of MNE"
            f"{make_suggestion_text(montage, known)}. The montages are {', '.join(known)}."
        )
    return montage


def pick_sensor_channels(raw, picks=None):
    """Select channel names, by default all EEG and MEG sensors.

    EXG, EOG, EMG and trigger channels are excluded unless they are named.

    Parameters
    ----------
    raw : mne.io.Raw
    picks : None | str | tuple of str, default=None
        Types ("eeg", "meg", "mag", "grad", ...) or names, in their order.

    Returns
    -------
    names : list of str

    Raises
    ------
    ValueError
        If a name is not in the recording or no channel remains.
    """
    if picks is None:
        index = mne.pick_types(raw.info, meg=True, eeg=True, ref_meg=False, exclude=[])
        names, named = [raw.ch_names[i] for i in index], set()
    else:
        wanted = picks if isinstance(picks, str) else list(picks)
        named = {picks} if isinstance(picks, str) else set(picks)
        try:
            names = raw.copy().pick(wanted, exclude=(), verbose="ERROR").ch_names
        except ValueError as error:
            raise ValueError(
                f"picks={picks!r} names channels or types that {format_recording_file_name(raw)} does not have. It has "
                f"{shorten_list(raw.ch_names)}."
            ) from error
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    names = [n for n in names if n in named or types[n] not in SENSORS or not NOT_EEG.match(n)]
    if not names:
        raise ValueError(
            f"{format_recording_file_name(raw)} has no EEG or MEG channel. Name channels with picks=[...]."
        )
    return names


def project_sensors(info, names):
    r"""Project sensors onto the unit square, independently of each other.

    MEG sensors take their position in the layout that MNE provides for the
    system (:func:`mne.channels.find_layout`, as in the paper). Each axis of
    the whole layout is scaled to [0, 1]. The layout is used only if it has all
    sensors of the file. The layout of CTF275, for example, lacks sensors of
    CTF151.

    All other sensors are projected from a fixed point: 4 cm above the origin
    of head coordinates for electrodes, and the origin of device coordinates
    for magnetic sensors. A sensor at azimuth :math:`\alpha` and angle
    :math:`\delta` from the vertex has the position :math:`\frac12 + \frac12
    \sin\frac\delta2 (\cos\alpha, \sin\alpha)`. This equal-area projection maps
    the whole sphere into the square, so that an electrode has the same
    position in all recordings, whichever channels are selected. The paper
    scales the positions by the sensors of each recording, which moves them by
    up to twice the radius of the spatial dropout if a cap has fewer sensors.

    A projected magnetic sensor is shifted by up to 0.02 in its direction of
    measurement, as seen from above, to separate sensors at one location
    (triaxial magnetometers). Radial sensors are not shifted. Tangential
    sensors and planar gradiometers are.

    Parameters
    ----------
    info : mne.Info
        With the locations of the sensors.
    names : sequence of str of length n_channels

    Returns
    -------
    positions : ndarray of shape (n_channels, 2)
        Positions in [0, 1], NaN where the location is unknown.
    """
    index = [info["ch_names"].index(name) for name in names]
    kinds = np.array([mne.channel_type(info, i) for i in index])
    magnetic = np.isin(kinds, ("mag", "grad"))
    loc = np.array([info["chs"][i]["loc"] for i in index])
    place = loc[:, :3].astype(float)
    place[~np.isfinite(place).all(1) | (np.abs(place).sum(1) == 0)] = np.nan
    x, y, z = (place - np.where(magnetic[:, None], 0.0, HEAD_CENTER)).T
    around, down = np.arctan2(y, x), np.arctan2(np.hypot(x, y), z)
    shift = np.where(
        magnetic[:, None],
        0.02 * _compute_sensor_tangential_direction(loc, around, down, kinds == "grad"),
        0.0,
    )
    radius = np.sin(down / 2) * (0.5 - 0.02 * magnetic)  # leaves a margin for the shift
    flat = 0.5 + radius[:, None] * np.column_stack([np.cos(around), np.sin(around)]) + shift
    if magnetic.any() and (shipped := _find_shipped_sensor_layout(info)):
        flat[magnetic] = [shipped[_strip_sensor_site(names[row])] for row in np.flatnonzero(magnetic)]
    return flat


def _strip_sensor_site(name):
    """Return the name of a sensor without the suffix of CTF."""
    return name.split("-")[0]


def _find_shipped_sensor_layout(info):
    """Return MNE's layout of an MEG system as {name: (x, y)}, or {}."""
    if info["kit_system_id"] is None and KIT_COIL in {channel["coil_type"] for channel in info["chs"]}:
        return {}  # MNE would guess the KIT system from the number of channels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layout = mne.channels.find_layout(info, ch_type="meg", exclude=())
    except (RuntimeError, ValueError):
        return {}
    if layout is None or layout.kind == "custom":  # a projection of the sensors in the file
        return {}
    low, high = layout.pos[:, :2].min(0), layout.pos[:, :2].max(0)
    flat = (layout.pos[:, :2] - low) / (high - low)
    sensors = [info["ch_names"][i] for i in mne.pick_types(info, meg=True, ref_meg=False, exclude=[])]
    if not {_strip_sensor_site(name) for name in sensors} <= {
        _strip_sensor_site(name) for name in layout.names
    }:
        return {}
    return {_strip_sensor_site(name): xy for name, xy in zip(layout.names, flat, strict=True)}


def _compute_sensor_tangential_direction(loc, around, down, planar):
    """Return the direction of measurement on the projected head surface.

    Planar gradiometers measure along their x axis, all others along their
    normal. The radial part is dropped, so that two orthogonal sensors at one
    location remain separate. The shape is (n_channels, 2).
    """
    a, d = around, down
    direction = np.where(planar[:, None], loc[:, 3:6], loc[:, 9:12])
    outward = (direction * np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), -np.sin(d)])).sum(1)
    across = -direction[:, 0] * np.sin(a) + direction[:, 1] * np.cos(a)
    return np.column_stack(
        [outward * np.cos(a) - across * np.sin(a), outward * np.sin(a) + across * np.cos(a)]
    )


# --- windows without a recording -----------------------------------------------------------------------


def project_montage(montage, names):
    """Project the electrodes of a montage onto the unit square.

    Parameters
    ----------
    montage : str, Path or mne.channels.DigMontage
        Name of a standard montage of MNE, file, or montage.
    names : sequence of str of length n_channels
        Names of electrodes, in any case.

    Returns
    -------
    positions : ndarray of shape (n_channels, 2)
        NaN for electrodes that the montage does not have.

    Raises
    ------
    ValueError
        If the montage has none of the electrodes, or names are equal.
    """
    montage = load_sensor_montage(montage)
    if isinstance(montage, str):
        montage = mne.channels.make_standard_montage(montage)
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise ValueError(
            f"The names of channels must differ. {shorten_list(twice)} are there more than once."
        )
    info = mne.create_info(list(names), 1.0, "eeg", verbose="ERROR")
    info.set_montage(montage, match_case=False, on_missing="ignore", verbose="ERROR")
    positions = project_sensors(info, names)
    unknown = [name for name, place in zip(names, positions, strict=True) if not np.isfinite(place).all()]
    if len(unknown) == len(positions):
        raise ValueError(
            f"The montage has none of the channels: {shorten_list(unknown)}. It has "
            f"{shorten_list(montage.ch_names)}. Rename the channels, or pass another montage."
        )
    if unknown:
        warnings.warn(
            f"The montage has no position for {len(unknown)} of {len(positions)} channels: {shorten_list(unknown)}. "
            "Spatial attention ignores these channels.",
            stacklevel=4,
        )
    return positions


def make_sensor_info(names, sfreq, positions=None):
    """Make the info of EEG channels at projected positions.

    Parameters
    ----------
    names : sequence of str of length n_channels
    sfreq : float
    positions : ndarray of shape (n_channels, 2), default=None
        Positions on the unit square as of :func:`project_sensors`. Electrodes
        get the direction of their position, on a sphere.

    Returns
    -------
    info : mne.Info
    """
    info = mne.create_info(list(names), sfreq, "eeg", verbose="ERROR")
    if positions is None:
        return info
    x, y = (2 * (np.asarray(positions, float) - 0.5)).T
    half = np.arcsin(np.clip(np.hypot(x, y), 0, 1))  # half of the angle from the vertical
    around = np.arctan2(y, x)
    direction = np.column_stack([
        np.sin(2 * half) * np.cos(around), np.sin(2 * half) * np.sin(around), np.cos(2 * half)
    ])  # fmt: skip
    places = {
        name: HEAD_CENTER + HEAD_RADIUS * place
        for name, place in zip(names, direction, strict=True)
        if np.isfinite(place).all()
    }
    if places:
        montage = mne.channels.make_dig_montage(places, coord_frame="head")
        info.set_montage(montage, on_missing="ignore", verbose="ERROR")
    return info
