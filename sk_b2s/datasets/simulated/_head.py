"""Spherical head model: sensors and lead field."""

import mne
import numpy as np
from mne.io.constants import FIFF

EEG_CAPS = (16, 32, 64, 128)  # BioSemi's, as MNE knows them
HEAD_CENTRE, HEAD_RADIUS, HELMET_RADIUS = np.array([0.0, 0.0, 0.040]), 0.095, 0.115


def unit(vectors):
    """Scale vectors along the last axis to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_sensors(modality, n_channels, sfreq):
    """Make sensors around a spherical head.

    Parameters
    ----------
    modality : "meg" or "eeg"
        Axial gradiometers (KIT's, of 50 mm baseline) spread over a sphere of 115 mm, or a BioSemi cap on
        a four-layer head of 95 mm.
    n_channels : int
        How many; for EEG one of the caps of that name.
    sfreq : float
        Rate in Hz.

    Returns
    -------
    info : Info
        With the sensors' positions.
    sphere : ConductorModel
    """
    if modality == "eeg":
        montage = mne.channels.make_standard_montage(f"biosemi{n_channels}")
        info = mne.create_info(montage.ch_names, sfreq, "eeg", verbose="ERROR")
        info.set_montage(montage, verbose="ERROR")
        return info, mne.make_sphere_model(HEAD_CENTRE, HEAD_RADIUS, info, verbose="ERROR")
    info = mne.create_info([f"MEG {i + 1:03d}" for i in range(n_channels)], sfreq, "mag", verbose="ERROR")
    for channel, normal in zip(info["chs"], _cap(n_channels), strict=True):
        ex = unit(np.cross(np.eye(3)[np.argmin(np.abs(normal))], normal))
        place = HEAD_CENTRE + HELMET_RADIUS * normal
        channel["loc"] = np.concatenate([place, ex, np.cross(normal, ex), normal])
        channel["coil_type"] = FIFF.FIFFV_COIL_KIT_GRAD
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head")
    return info, mne.make_sphere_model(HEAD_CENTRE, None, verbose="ERROR")


def _cap(n_points, lowest=-0.2):
    """Points spread evenly (along Fibonacci's spiral) over the unit sphere above ``lowest``."""
    i = np.arange(n_points) + 0.5
    z = 1 - (1 - lowest) * i / n_points
    angle = np.pi * (3 - np.sqrt(5)) * i
    return np.column_stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z])


def sensor_directions(info):
    """Direction of each sensor from the head's center: (n_channels, 3), of length 1."""
    return unit(np.array([channel["loc"][:3] for channel in info["chs"]]) - HEAD_CENTRE)


def inside_skull(positions):
    """Move what lies further out than the brain's edge to it: MNE would drop a dipole in the skull."""
    radius = np.linalg.norm(positions, axis=1, keepdims=True)
    return positions * np.minimum(1, 0.85 * HEAD_RADIUS / radius)


def move(rng, positions, orientations, meters=0.005, degrees=5.0):
    """Move a head under its sensors, or its brain under a cap, in a random direction.

    Parameters
    ----------
    rng : Generator
    positions, orientations : ndarray of shape (n_dipoles, 3)
        In m from the head's center; of length 1.
    meters, degrees : float, default=0.005, 5.0
        How far, and by what angle around a random axis.

    Returns
    -------
    positions, orientations : ndarray of shape (n_dipoles, 3)
    """
    axis, angle = unit(rng.standard_normal(3)), np.deg2rad(degrees)
    cross = np.cross(np.eye(3), axis)  # Rodrigues' formula
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    step = meters * unit(rng.standard_normal(3))
    return inside_skull(positions @ rotation + step), orientations @ rotation


def lead_field(info, sphere, positions, orientations):
    """Compute what a dipole moment of 1 Am does to each sensor.

    Parameters
    ----------
    info, sphere : Info, ConductorModel
        From :func:`make_sensors`.
    positions, orientations : ndarray of shape (n_dipoles, 3)
        In m from the head's center; of length 1.

    Returns
    -------
    gain : ndarray of shape (n_channels, n_dipoles)
        T or V; EEG with average reference.
    """
    is_eeg = info.get_channel_types(unique=True) == ["eeg"]
    source = {"rr": HEAD_CENTRE + positions, "nn": orientations}
    source = mne.setup_volume_source_space(pos=source, verbose="ERROR")
    forward = mne.make_forward_solution(
        info, None, source, sphere, meg=not is_eeg, eeg=is_eeg, mindist=0.0, verbose="ERROR"
    )
    forward = mne.convert_forward_solution(forward, force_fixed=True, use_cps=False, verbose="ERROR")
    gain = forward["sol"]["data"]
    return gain - gain.mean(axis=0) if is_eeg else gain
