"""Acoustic fingerprints that find one recording in several audio files.

Each 20 ms of audio have 24 bits. A bit is set if the level of a band rises
faster over 160 ms than that of the next band. Encoding, resampling and level
change few of the bits (Haitsma & Kalker, 2002). Another reading of the same
text by the same voice has other timing and agrees at chance level.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.fft import rfft
from scipy.ndimage import convolve1d

from sk_b2s.events._audio._resampling import resample_audio

RATE, HOP, WINDOW = 8000, 160, 1024  # Hz and samples
FRAME = HOP / RATE  # s
BAND = (200.0, 3200.0)  # Hz, still present in a copy at 8 kHz
N_BITS = 24
SMOOTHING, LAG = 15, 8  # frames
FLOOR = 10**-4.5  # of the energy of loud frames; softer frames are ignored
STEADY = 0.05  # standard deviation of the rises (nepers) below which a frame is a steady tone and is ignored
VALID = 1 << N_BITS  # set in frames that are not ignored
LENGTH, SHORTEST = 150, 75  # frames that must agree, and the minimum for shorter stimuli
DIFFER, DIFFER_SHORT = 0.18, 0.12  # share of bits that may differ in the most similar stretch
AROUND = 0.25  # share that may differ around such a stretch, because of noise or gaps
NEAR = 25  # frames around a frame that determine the ends of a stretch
MANY = 30  # frames of equal bits that are compared with each other
HITS = 4  # equal frames at one offset that start a full comparison
BATCH = 4096


class FingerprintMatch(NamedTuple):
    """Stretch of recording that two stimuli share.

    Attributes
    ----------
    first, second : int
        Positions of the stimuli.
    shift : float
        Seconds to add to a time in the second stimulus for the time in the
        first.
    start, stop : float
        Seconds in the first stimulus.
    share : float
        Share of the audible frames of the shorter stimulus that match at this
        shift.
    """

    first: int
    second: int
    shift: float
    start: float
    stop: float
    share: float


def _make_fingerprint_bands():
    """Make triangular filters at logarithmic distances."""
    freqs = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    edges = np.geomspace(*BAND, N_BITS + 2)
    center, width = np.sqrt(edges[:-1] * edges[1:]), np.diff(edges)
    return np.clip(1 - np.abs(freqs - center) / width, 0, None).astype(np.float32)


def compute_audio_fingerprint(samples, rate):
    """Compute the fingerprint of an audio track.

    Parameters
    ----------
    samples : ndarray of float32 of shape (n_samples,)
    rate : int
        In Hz.

    Returns
    -------
    bits : ndarray of uint32 of shape (n_frames,)
        24 bits for each 20 ms, and another one if the frame is audible.
    """
    if rate != RATE:
        samples = resample_audio(samples, rate, RATE, "MQ")
    n_frames = len(samples) // HOP + 1
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, (WINDOW // 2, WINDOW)), WINDOW)
    frames, taper, bands = (
        frames[::HOP][:n_frames],
        np.hanning(WINDOW).astype(np.float32),
        _make_fingerprint_bands(),
    )
    level = np.empty((n_frames, N_BITS + 1), np.float32)
    for first in range(0, n_frames, BATCH):
        spectrum = rfft(frames[first : first + BATCH] * taper, axis=1)
        level[first : first + BATCH] = (spectrum.real**2 + spectrum.imag**2) @ bands
    total = level.sum(1)
    loud = float(np.percentile(total, 95))
    valid = total > FLOOR * loud
    valid[:LAG] = False
    kernel = np.hanning(SMOOTHING + 2)[1:-1]
    level = convolve1d(
        np.log(level + FLOOR / N_BITS * loud + 1e-30), kernel / kernel.sum(), axis=0, mode="nearest"
    )
    rise = np.zeros_like(level)
    rise[LAG:] = level[LAG:] - level[:-LAG]
    valid &= rise.std(1) > STEADY
    return ((rise[:, :-1] > rise[:, 1:]) @ (1 << np.arange(N_BITS)) + VALID * valid).astype(np.uint32)


def match_audio_fingerprints(prints):
    """Find stretches of recording that two stimuli share.

    Frames with equal bits in different stimuli, at one offset, are
    candidates. At that offset all frames are compared. A stretch of 3 s, or a
    shorter stimulus as a whole, is the same recording if at most 18 % of its
    bits differ. A copy in MP3 differs in 3 %, a copy with noise 20 dB below
    in 14 %, the same phrase by one synthetic voice in 24 % or more, other
    stimuli in 40 to 50 %.

    Parameters
    ----------
    prints : list of ndarray of uint32
        Fingerprints of distinct stimuli.

    Returns
    -------
    matches : list of FingerprintMatch
    """
    matches = []
    for first, second, offset in _find_fingerprint_candidates(prints):
        at, differing = _find_best_fingerprint_offset(prints[first], prints[second], offset)
        if at is not None:
            matches += _make_fingerprint_matches(first, second, prints, at, _interpolate_offset(*differing))
    return _remove_duplicate_fingerprint_matches(matches)


def _find_fingerprint_candidates(prints):
    """Yield pairs of stimuli and offsets with several equal frames."""
    stimulus = np.repeat(np.arange(len(prints)), [len(bits) for bits in prints])
    frame = np.concatenate([np.arange(len(bits)) for bits in prints])
    bits = np.concatenate(prints)
    keep = np.flatnonzero(bits & VALID)
    keep = keep[np.argsort(bits[keep], kind="stable")]  # equal bits of one stimulus are adjacent
    bits, stimulus, frame = bits[keep], stimulus[keep], frame[keep]
    pairs = []
    for step in range(1, MANY):
        same = np.flatnonzero((bits[:-step] == bits[step:]) & (stimulus[:-step] != stimulus[step:]))
        pairs.append(
            np.column_stack([stimulus[same], stimulus[same + step], frame[same] - frame[same + step]])
        )
    pairs = np.concatenate(pairs)
    pairs[:, 2] //= 2  # neighbors count together
    found, hits = np.unique(pairs, axis=0, return_counts=True)
    for first, second, offset in found[hits >= HITS].tolist():
        yield first, second, 2 * offset


def _compare_fingerprints(one, other, offset):
    """Count differing bits of audible frames where fingerprints overlap."""
    begin = max(0, offset)
    stop = min(len(one), len(other) + offset)
    a, b = one[begin:stop], other[begin - offset : max(stop - offset, 0)]
    valid = (a & b & VALID) > 0
    return np.bitwise_count((a ^ b) & (VALID - 1)) * valid, valid, begin


def _find_best_fingerprint_offset(one, other, offset):
    """Find the best offset near a candidate, and the differences around it."""
    length = min(LENGTH, len(one), len(other))
    allowed = DIFFER if length == LENGTH else DIFFER_SHORT
    if length < SHORTEST:
        return None, None
    tried = [_find_min_fingerprint_share(one, other, offset + step, length, allowed) for step in range(-2, 4)]
    best = int(np.argmin(tried))
    if tried[best] > allowed:
        return None, None
    at = offset - 2 + best
    return at, [_find_min_fingerprint_share(one, other, at + step, length) for step in (-1, 0, 1)]


def _share_of_differing_bits(differ, valid, length):
    """Compute the share of differing bits in each stretch, 1 if inaudible."""
    if len(differ) < length:
        return np.ones(0)
    wrong, count = _sum_fingerprint_stretches(differ, length), _sum_fingerprint_stretches(valid, length)
    return np.where(count >= 0.5 * length, wrong / np.maximum(count, 1) / N_BITS, 1.0)


def _sum_fingerprint_stretches(part, length):
    """Sum each stretch of ``length`` frames."""
    total = np.zeros(len(part) + 1, np.int64)
    np.cumsum(part, out=total[1:])
    return total[length:] - total[:-length]


def _find_min_fingerprint_share(one, other, offset, length, allowed=1.0):
    """Compute the lowest share of all stretches, or 1 if above ``allowed``.

    Each stretch contains a whole block of half its length, which differs in
    no more bits. This excludes most offsets at a fraction of the cost.
    """
    differ, valid, _ = _compare_fingerprints(one, other, offset)
    half = (length + 1) // 2
    blocks = differ[: len(differ) // half * half].reshape(-1, half).sum(1, dtype=np.uint32)
    if blocks.min(initial=N_BITS * half) > allowed * N_BITS * length:
        return 1.0
    return float(_share_of_differing_bits(differ, valid, length).min(initial=1.0))


def _interpolate_offset(before, at, after):
    """Interpolate the best offset between frames, by two lines."""
    rise = max(before, after) - at
    return 0.5 * (before - after) / rise if rise > 0 else 0.0


def _make_fingerprint_matches(first, second, prints, offset, part):
    """Make the matches of two stimuli at one offset."""
    one, other = prints[first], prints[second]
    length = min(LENGTH, len(one), len(other))
    differ, valid, begin = _compare_fingerprints(one, other, offset)
    similar = _share_of_differing_bits(differ, valid, length) <= (
        AROUND if length == LENGTH else DIFFER_SHORT
    )
    covered = np.zeros(len(differ) + 1, int)
    np.add.at(covered, np.flatnonzero(similar), 1)
    np.add.at(covered, np.flatnonzero(similar) + length, -1)
    covered = np.cumsum(covered)[:-1] > 0
    if length == LENGTH:
        covered = _trim_fingerprint_matches(covered, differ, valid)
    shorter = one if len(one) <= len(other) else other
    share = np.count_nonzero(covered & valid) / max(np.count_nonzero(shorter & VALID), 1)
    edges = np.flatnonzero(np.diff(np.r_[False, covered, False].astype(int)))
    shift = (offset + part) * FRAME
    shift = 0.0 if abs(shift) < 0.004 else round(shift, 3)
    return [
        FingerprintMatch(first, second, shift, (begin + a) * FRAME, (begin + b) * FRAME, min(share, 1.0))
        for a, b in edges.reshape(-1, 2).tolist()
    ]


def _trim_fingerprint_matches(covered, differ, valid):
    """Remove ends of stretches that do not match by themselves."""
    wrong, count = (
        convolve1d(part.astype(float), np.ones(NEAR), mode="constant") for part in (differ, valid)
    )
    similar = covered & (wrong <= AROUND * N_BITS * count)
    edges = np.flatnonzero(np.diff(np.r_[False, covered, False].astype(int))).reshape(-1, 2)
    out = np.zeros_like(covered)
    for begin, stop in edges.tolist():
        inside = begin + np.flatnonzero(similar[begin:stop])
        if len(inside):
            out[inside[0] : inside[-1] + 1] = True
    return out


def _remove_duplicate_fingerprint_matches(matches):
    """Remove matches that were found from several candidates."""
    kept: dict = {}
    for match in sorted(matches, key=lambda match: -match.share):
        key = match.first, match.second, round(match.start)
        near = [(*key[:2], key[2] + step) for step in (-1, 0, 1)]
        if not any(one in kept and abs(kept[one].shift - match.shift) < 0.1 for one in near):
            kept[key] = match
    return list(kept.values())
