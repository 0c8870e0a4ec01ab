"""What was recorded: any file MNE reads, as one continuous, filtered, resampled float32 signal."""

from __future__ import annotations

import re
import warnings
from fractions import Fraction
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np
import scipy
from scipy.signal import firwin, resample_poly

from sk_b2s.caching import code_of
from sk_b2s.stimuli import file_stamp

__all__ = ["Header", "Processing", "read_header", "read_signal", "resample", "sensor_positions"]

# Channels that files often type as EEG although no brain speaks through them.
NOT_EEG = re.compile(
    r"^(EXG\d+|.*EOG.*|EMG.*|E[CK]G.*|STATUS|STI.*|TRIG.*|GSR.*|RESP|PLET|TEMP|ERG\d*|AUX.*|AUD.*|MISC.*)$",
    re.IGNORECASE,
)
SENSORS = ("eeg", "mag", "grad")
ELECTRIC = ("eeg", "seeg", "ecog", "dbs")
HEAD_CENTRE = np.array([0.0, 0.0, 0.04])  # m, of a sphere in the head's place, in its coordinates
KIT_COIL = 6001  # FIFF's number for KIT's axial gradiometer
HEAD_POINTS = (3, 4)  # FIFF's numbers for digitised electrodes and extra points
CHUNK_BYTES = 2**30  # float64 bytes of one group of channels that is filtered at a time


CODE = code_of(__file__, mne, scipy)


class Processing(NamedTuple):
    """All that decides a recording's signal, besides its file; the key under which it is cached."""

    sfreq: float = 120.0
    picks: tuple | str | None = None
    reference: tuple | str | None = None
    l_freq: float | None = None
    h_freq: float | None = None
    notch: tuple | None = None
    phase: str = "zero"
    montage: object = None  # of MNE, its name, or the file_stamp of its file
    bads: str = "mask"
    raw_hook: object = None
    code: str = CODE  # of these readers and the libraries they call


class Header(NamedTuple):
    """What a recording's file says of itself before any sample is read."""

    ch_names: tuple  # the channels that will be read
    positions: np.ndarray  # (n_channels, 2) in [0, 1], NaN where unknown
    bads: tuple  # those of ch_names that are marked bad
    sfreq: float  # Hz, in the file
    n_times: int  # samples, in the file


def open_raw(path, processing=None):
    """Open a recording through the door MNE has for its format."""
    if not Path(path).exists():
        raise FileNotFoundError(
            f"recording {str(path)!r} does not exist; the column 'recording' must hold the path of a "
            f"file that mne.io.read_raw reads."
        )
    raw = mne.io.read_raw(path, preload=False, verbose="ERROR")
    if processing is None:
        return raw
    if processing.raw_hook is not None:
        raw = processing.raw_hook(raw)
        if not isinstance(raw, mne.io.BaseRaw):
            raise TypeError(
                f"raw_hook must return the mne Raw it was given or a new one, got {type(raw).__name__} "
                f"for {str(path)!r}."
            )
    return set_montage(raw, processing.montage)


def set_montage(inst, montage):
    """Place the sensors of a Raw or Epochs, in place, by a montage as :func:`montage_key` gives it."""
    if isinstance(montage, tuple):
        montage = mne.channels.read_custom_montage(montage[0], verbose="ERROR")
    if montage is not None:
        inst.set_montage(montage, match_case=False, on_missing="ignore", verbose="ERROR")
    return inst


def montage_key(montage):
    """Tell a montage's file by its present content; names and montages of MNE stay what they are.

    Raises
    ------
    FileNotFoundError
        If a Path is none of a file.
    """
    if isinstance(montage, (str, Path)) and Path(montage).is_file():
        return file_stamp(montage)
    if isinstance(montage, Path):
        raise FileNotFoundError(
            f"montage={str(montage)!r} is not a file; give one that mne.channels.read_custom_montage reads, or "
            f"the name of a standard montage as a str."
        )
    return montage


def recording_stamp(path):
    """Identify the present content of a recording: (path, bytes, last change in ns).

    Files beside it that share its stem count as well: the samples of a BrainVision header, the
    ``.fdt`` of a ``.set``, the further parts of a split FIF (``x_raw-1.fif``, ``x_split-02_meg.fif``).
    A file that is missing gets its clear error when it is opened.
    """
    path = Path(path)
    if not path.exists():
        return str(path), 0, 0
    files = set(path.parent.glob(f"{escape(path.stem)}.*"))
    if path.suffix == ".fif":
        parts = re.escape(path.stem) + r"-\d+"
        if "_split-" in path.stem:
            parts += "|" + re.sub(r"_split\\?-\d+", lambda _: r"_split-\d+", re.escape(path.stem))
        files |= {file for file in path.parent.glob("*.fif") if re.fullmatch(parts, file.stem)}
    stamps = [file_stamp(file) for file in files]
    return str(path), sum(stamp[1] for stamp in stamps), max(stamp[2] for stamp in stamps)


@lru_cache(maxsize=65536)
def _extent(stamp):
    raw = open_raw(stamp[0])
    bad = [
        (a["onset"] - raw.first_time, a["duration"])  # MNE counts from the start of acquisition
        for a in raw.annotations
        if a["description"].lower().startswith("bad")
    ]
    return raw.n_times / raw.info["sfreq"], tuple(bad)


def recording_extent(path):
    """Duration of a recording and its stretches annotated as bad.

    Parameters
    ----------
    path : str
        A file that :func:`mne.io.read_raw` reads.

    Returns
    -------
    duration : float
        Seconds.
    bad : tuple of (onset, duration)
        Annotations whose description begins with "bad", in seconds from the first sample.
    """
    if not Path(path).exists():
        open_raw(path)
    return _extent(recording_stamp(path))


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
                f"picks={picks!r} names channels or types that {_name(raw)} does not have; it has "
                f"{_shorten(raw.ch_names)}."
            ) from error
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    names = [n for n in names if n in asked or types[n] not in SENSORS or not NOT_EEG.match(n)]
    if not names:
        raise ValueError(f"{_name(raw)} has no EEG or MEG channel; name channels by picks=[...].")
    return names


def _name(raw):
    files = getattr(raw, "filenames", None)  # epochs and hooks' own Raw have none
    return f"recording {Path(files[0]).name!r}" if files and files[0] else "the recording"


def _shorten(names, most=8):
    names = list(map(str, names))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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


def read_header(path, stamp, processing):
    """Read channels, positions, rate and length without the samples.

    Parameters
    ----------
    path : str
        A file that :func:`mne.io.read_raw` reads.
    stamp : tuple
        :func:`recording_stamp` of the file: a changed file is another cache entry.
    processing : Processing
        What will be done to it.

    Returns
    -------
    header : Header

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If ``picks`` names what is not there or the wanted rate exceeds the file's.
    """
    raw = open_raw(path, processing)
    names = pick_channels(raw, processing.picks)
    file_sfreq = float(raw.info["sfreq"])
    if processing.sfreq > file_sfreq * (1 + 1e-6):
        raise ValueError(
            f"sfreq={processing.sfreq:g} Hz is above the {file_sfreq:g} Hz of {_name(raw)}: resampling "
            f"upwards invents no information; take Epocher(sfreq={file_sfreq:g}) or less."
        )
    bads = tuple(name for name in raw.info["bads"] if name in names)
    return Header(tuple(names), sensor_positions(raw.info, names), bads, file_sfreq, raw.n_times)


def resampled_length(n_times, sfreq_in, sfreq_out):
    """Samples after resampling: floor(n_times · sfreq_out / sfreq_in)."""
    ratio = Fraction(sfreq_out / sfreq_in).limit_denominator(10000)
    return n_times * ratio.numerator // ratio.denominator


def resample(data, sfreq_in, sfreq_out):
    """Resample the last axis by a polyphase windowed sinc.

    The paper's filter: 24 zero crossings on either side, cut at 0.945 of the new Nyquist frequency
    (56.7 Hz for 120 Hz), a Hann window, edges continued by their last value.

    Parameters
    ----------
    data : ndarray of shape (..., n_times)
    sfreq_in, sfreq_out : float
        Rates in Hz.

    Returns
    -------
    data : ndarray of shape (..., floor(n_times * sfreq_out / sfreq_in))
    """
    ratio = Fraction(sfreq_out / sfreq_in).limit_denominator(10000)
    up, down = ratio.numerator, ratio.denominator
    if up == down:
        return data
    taps = firwin(2 * 24 * max(up, down) + 1, 0.945 / max(up, down), window="hann")
    out = resample_poly(data, up, down, axis=-1, window=taps, padtype="edge")
    return out[..., : resampled_length(data.shape[-1], sfreq_in, sfreq_out)]


def read_signal(path, stamp, processing):
    """Read, filter, resample and re-reference a recording once.

    Channels are worked on in groups, so that a long recording at a high rate never stands in memory
    in double precision as a whole. Re-referencing and interpolation mix channels only, filters mix
    times only, so doing the former at the low rate changes nothing.

    Parameters
    ----------
    path : str
        A file that :func:`mne.io.read_raw` reads.
    stamp : tuple
        :func:`recording_stamp` of the file: a changed file is another cache entry.
    processing : Processing
        What is done to it.

    Returns
    -------
    signal : ndarray of shape (n_times, n_channels)
        float32, time-major, in volt or tesla; columns as in the header's ``ch_names``, zero in bad
        channels where ``bads="mask"``.

    Raises
    ------
    ValueError
        If samples are NaN or infinite, or a reference channel is missing.
    """
    raw = open_raw(path, processing)
    names = pick_channels(raw, processing.picks)
    bads = [name for name in names if name in raw.info["bads"]]
    reference = _reference_channels(raw, names, processing.reference)
    wanted = names + [name for name in reference if name not in names]
    sfreq = float(raw.info["sfreq"])
    signal = np.empty((resampled_length(raw.n_times, sfreq, processing.sfreq), len(wanted)), np.float32)
    unheard = [name for name in bads if name not in reference]  # replaced below, whatever they hold
    step = max(1, CHUNK_BYTES // (8 * raw.n_times))
    for first in range(0, len(wanted), step):
        data = raw.get_data(picks=wanted[first : first + step], verbose="ERROR")
        data[np.isin(wanted[first : first + step], unheard)] = 0.0
        _check_finite(data, raw, wanted[first : first + step])
        data = _filter(data, sfreq, processing)
        signal[:, first : first + step] = resample(data, sfreq, processing.sfreq).T
    _rereference(signal, raw, wanted, reference)
    signal = signal[:, : len(names)]
    if bads and processing.bads == "interpolate":
        interpolate(signal, raw, names, bads, processing.sfreq)
    elif bads:
        signal[:, [names.index(name) for name in bads]] = 0.0
    return np.ascontiguousarray(signal)


def _check_finite(data, raw, names):
    bad = ~np.isfinite(data)
    if bad.any():
        channel, sample = np.argwhere(bad)[0]
        raise ValueError(
            f"{_name(raw)} holds {np.count_nonzero(bad)} NaN or infinite samples, the first in channel "
            f"{names[channel]!r} at {sample / raw.info['sfreq']:.3f} s. Mark the channel bad "
            f"(raw.info['bads']), leave it out by picks=, or cut the stretch out of the file."
        )


def _filter(data, sfreq, processing):
    """Notch, then band-pass, as asked."""
    options = {"phase": processing.phase, "verbose": "ERROR"}
    if processing.notch is not None:
        data = mne.filter.notch_filter(data, sfreq, processing.notch, **options)
    if processing.l_freq is not None or processing.h_freq is not None:
        data = mne.filter.filter_data(data, sfreq, processing.l_freq, processing.h_freq, **options)
    return data


def _reference_channels(raw, names, reference):
    """Channels whose mean is subtracted; for "average" all good ones like those picked, picked or not."""
    if reference is None:
        return []
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    if reference == "average":
        kinds = {types[name] for name in names} & set(ELECTRIC)
        good = [name for name in raw.ch_names if types[name] in kinds and name not in raw.info["bads"]]
        chosen = [name for name in good if not NOT_EEG.match(name)]
    else:
        if missing := [name for name in reference if name not in raw.ch_names]:
            raise ValueError(
                f"reference={list(reference)!r}: {_name(raw)} has no channel {missing}; it has "
                f"{_shorten(raw.ch_names)}."
            )
        chosen = list(reference)
    if all(types[name] in ("mag", "grad") for name in chosen):
        raise ValueError(
            f"reference={reference!r}: {_name(raw)} has no good electric channel to take it from; use reference=None."
        )
    return chosen


def _rereference(signal, raw, wanted, reference):
    """Subtract the mean of the reference channels in place; magnetic sensors have no reference."""
    if not reference:
        return
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    electric = np.array([types[name] not in ("mag", "grad") for name in wanted])
    index = [wanted.index(name) for name in reference]
    signal[:, electric] -= signal[:, index].mean(1, keepdims=True, dtype=np.float64)


def interpolate(signal, raw, names, bads, sfreq):
    """Replace bad channels by MNE's interpolation in place, from the good channels whose place is known."""
    known = np.isfinite(sensor_positions(raw.info, names)).all(1)
    names = np.array(names)
    if lost := [name for name in names[~known] if name in bads]:
        raise ValueError(
            f"bads='interpolate': {_name(raw)} has no position for the bad channels {lost}; give it by montage=..., "
            f"or take bads='mask'."
        )
    info = mne.pick_info(raw.info, [raw.ch_names.index(name) for name in names[known]], verbose="ERROR")
    with info._unlock():
        info["sfreq"] = sfreq
        info["lowpass"] = min(info["lowpass"], sfreq / 2)
    info["bads"] = bads
    head = [point for point in info["dig"] or () if int(point["kind"]) in HEAD_POINTS]
    origin = "auto" if len(head) > 3 else tuple(HEAD_CENTRE)
    located = mne.io.RawArray(signal[:, known].T.astype(float), info, verbose="ERROR")
    located.interpolate_bads(reset_bads=False, origin=origin, verbose="ERROR")
    signal[:, np.isin(names, bads)] = located.get_data(picks=[n for n in names if n in bads]).T
