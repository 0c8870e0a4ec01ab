"""Spherical head model with sensors and lead field."""

import mne
import numpy as np
from mne.io.constants import FIFF

EEG_CAPS = (16, 32, 64, 128)  # numbers of channels of the BioSemi montages of MNE
HEAD_CENTER, HEAD_RADIUS, HELMET_RADIUS = np.array([0.0, 0.0, 0.040]), 0.095, 0.115


def normalize_head_vectors(vectors):
    """Scale vectors along the last axis to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_sensors_on_head(modality, n_channels, sfreq):
    """Make sensors around a spherical head.

    Parameters
    ----------
    modality : {"meg", "eeg"}
        Axial gradiometers of KIT (50 mm baseline) on a sphere of 115 mm, or a
        BioSemi cap on a four-layer head of 95 mm.
    n_channels : int
        Number of channels. For EEG, one of ``EEG_CAPS``.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    info : Info
        Measurement info with the positions of the sensors.
    sphere : ConductorModel
        Head model.
    """
    if modality == "eeg":
        montage = mne.channels.make_standard_montage(f"biosemi{n_channels}")
        info = mne.create_info(montage.ch_names, sfreq, "eeg", verbose="ERROR")
        info.set_montage(montage, verbose="ERROR")
        return info, mne.make_sphere_model(HEAD_CENTER, HEAD_RADIUS, info, verbose="ERROR")
    info = mne.create_info([f"MEG {i + 1:03d}" for i in range(n_channels)], sfreq, "mag", verbose="ERROR")
    for channel, normal in zip(info["chs"], _spread_sensors(n_channels), strict=True):
        ex = normalize_head_vectors(np.cross(np.eye(3)[np.argmin(np.abs(normal))], normal))
        position = HEAD_CENTER + HELMET_RADIUS * normal
        channel["loc"] = np.concatenate([position, ex, np.cross(normal, ex), normal])
        channel["coil_type"] = FIFF.FIFFV_COIL_KIT_GRAD
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head")
    return info, mne.make_sphere_model(HEAD_CENTER, None, verbose="ERROR")


def _spread_sensors(n_points, lowest=-0.2):
    """Spread points evenly on the unit sphere above ``lowest``.

    The points lie on a Fibonacci spiral.
    """
    i = np.arange(n_points) + 0.5
    z = 1 - (1 - lowest) * i / n_points
    angle = np.pi * (3 - np.sqrt(5)) * i
    return np.column_stack([np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z])


def find_head_sensor_directions(info):
    """Return unit vectors from the center of the head to each sensor."""
    return normalize_head_vectors(np.array([channel["loc"][:3] for channel in info["chs"]]) - HEAD_CENTER)


def move_into_head(positions):
    """Move dipoles to the edge of the source volume, where MNE keeps them."""
    radius = np.linalg.norm(positions, axis=1, keepdims=True)
    return positions * np.minimum(1, 0.85 * HEAD_RADIUS / radius)


def move_head(rng, positions, orientations, meters=0.005, degrees=5.0):
    """Move and rotate dipoles relative to the sensors, in a random direction.

    Parameters
    ----------
    rng : Generator
        Random number generator.
    positions, orientations : ndarray of shape (n_dipoles, 3)
        Positions in m from the center of the head, and unit vectors.
    meters, degrees : float, default=0.005, 5.0
        Distance, and angle around a random axis.

    Returns
    -------
    positions, orientations : ndarray of shape (n_dipoles, 3)
        Moved dipoles.
    """
    axis, angle = normalize_head_vectors(rng.standard_normal(3)), np.deg2rad(degrees)
    cross = np.cross(np.eye(3), axis)  # Rodrigues' rotation formula
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    step = meters * normalize_head_vectors(rng.standard_normal(3))
    return move_into_head(positions @ rotation + step), orientations @ rotation


def compute_head_lead_field(info, sphere, positions, orientations):
    """Compute the sensor pattern of a dipole moment of 1 Am.

    Parameters
    ----------
    info, sphere : Info, ConductorModel
        Sensors and head model of :func:`make_sensors_on_head`.
    positions, orientations : ndarray of shape (n_dipoles, 3)
        Positions in m from the center of the head, and unit vectors.

    Returns
    -------
    gain : ndarray of shape (n_channels, n_dipoles)
        Lead field in T or V. EEG has an average reference.
    """
    is_eeg = info.get_channel_types(unique=True) == ["eeg"]
    source = {"rr": HEAD_CENTER + positions, "nn": orientations}
    source = mne.setup_volume_source_space(pos=source, verbose="ERROR")
    forward = mne.make_forward_solution(
        info, None, source, sphere, meg=not is_eeg, eeg=is_eeg, mindist=0.0, verbose="ERROR"
    )
    forward = mne.convert_forward_solution(forward, force_fixed=True, use_cps=False, verbose="ERROR")
    gain = forward["sol"]["data"]
    return gain - gain.mean(axis=0) if is_eeg else gain
