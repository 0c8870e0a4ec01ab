"""Simulated artifacts: blinks, jumps, line noise, drifts.

Each is a name of ``ARTIFACTS``. Some change how the brain's answer comes about and are read where that is
simulated (``scene.py``); the others are added to the recording by the functions of ``ADDED``, drawn from a generator of
their own each, so that turning one on or off leaves everything else as it was.
"""

from typing import NamedTuple

import numpy as np

ARTIFACTS = {
    "blinks": "10 to 20 a minute, 60 to 150 µV at the front (1 to 2.5 pT in MEG)",
    "jumps": "sensors that jump by 20 to 1,000 s.d. and creep back, one at a time, 0.5 % of the time",
    "bursts": "movements of 20 to 1,000 s.d. in all sensors, 0.5 % of the time",
    "shift": "in each session the head lies 5 mm and 5° off, in a direction of its own",
    "gain": "each session has a gain of 0.7 to 1.4",
    "attention": "the response waxes and wanes slowly, 0.5 to 1.3 times its strength",
    "line": "line noise of 50 Hz and its harmonics, wandering a little",
    "drift": "each channel drifts by three times its noise (s.d.) within a minute",
    "clock": "the recorder's clock is off by 10 to 50 ppm: 0.02 to 0.1 s after 40 minutes",
    "jitter": "from sentence to sentence responses vary by 30 % in strength and 15 ms in latency (s.d.)",
    "fingerprint": "each recording has brain noise of its own, in covariance and in spectrum",
    "earphones": "the sound's envelope leaks into sensors near the ears, without delay",
    "ignored": "a second talker is heard and not listened to, with a response of 0.4 times the strength",
}
# The last three are traps and another experiment, and are never meant by True.
USUAL = tuple(name for name in ARTIFACTS if name not in ("fingerprint", "earphones", "ignored"))
SHARE = 0.005  # of the time, of jumps and of bursts
AMPLITUDE = (20.0, 1000.0)  # noise s.d.
BLINK = {"eeg": (60e-6, 150e-6), "meg": (1e-12, 2.5e-12)}  # V, T at the channel that sees most
ATTENTION = (0.5, 1.3)
EARPHONES = 0.2  # noise s.d. at the channel that sees most, root mean square while sound is on


class SimulationContext(NamedTuple):
    """What the added artifacts need to know of a recording.

    Attributes
    ----------
    modality : "meg" or "eeg"
    sfreq : float
        Rate in Hz.
    noise_sd : ndarray of shape (n_channels,)
        Standard deviation of the noise of each channel, in T or V.
    directions : ndarray of shape (n_channels, 3)
        Of the sensors from the head's center, of length 1.
    eyes : ndarray of shape (n_channels,)
        Pattern of a blink.
    loudness : ndarray of shape (n_times,)
        Envelope of what the earphones play, of root mean square 1 while sound is on.
    """

    modality: str
    sfreq: float
    noise_sd: np.ndarray
    directions: np.ndarray
    eyes: np.ndarray
    loudness: np.ndarray


def check_artifacts(artifacts):
    """Turn what the user gave into the names that are on, in the order of ``ARTIFACTS``.

    Parameters
    ----------
    artifacts : bool, str or list of str
        True is ``USUAL``.

    Returns
    -------
    names : list of str

    Raises
    ------
    ValueError
        If a name is not known.
    """
    if isinstance(artifacts, bool):
        return list(USUAL) if artifacts else []
    named = list(artifacts) if isinstance(artifacts, list | tuple | set) else [artifacts]
    for name in named:
        if not isinstance(name, str) or name not in ARTIFACTS:
            raise ValueError(
                f"artifacts must be True, False or names out of {list(ARTIFACTS)}; got {name!r}. True is {list(USUAL)}."
            )
    return [name for name in ARTIFACTS if name in named]


def add_artifacts(data, names, make_rng, bench):
    """Add to a recording those artifacts that can be added, in place.

    Parameters
    ----------
    data : ndarray of shape (n_channels, n_times)
        T or V.
    names : list of str
        Out of ``ARTIFACTS``; those not in ``ADDED`` are none of its business.
    make_rng : callable
        From a name to a Generator: equal ones draw equal artifacts.
    bench : Bench
    """
    for name, add in ADDED.items():
        if name in names:
            add(make_rng(name), data, bench)


def _log_uniform(rng, low, high):
    return np.exp(rng.uniform(np.log(low), np.log(high)))


def _events(rng, n_times, sfreq, shortest, longest):
    """Yield (start, n_samples) of events that fill SHARE of a recording on average."""
    n_events = rng.poisson(SHARE * n_times / sfreq / ((shortest + longest) / 2))
    for _ in range(n_events):
        length = min(round(rng.uniform(shortest, longest) * sfreq), n_times)
        yield int(rng.integers(0, n_times - length + 1)), length


def add_blinks(rng, data, bench):
    """Lids that close and open within a third of a second."""
    low, high = BLINK[bench.modality]
    pattern = bench.eyes / np.abs(bench.eyes).max()
    shape = np.exp(-0.5 * (np.arange(-0.25, 0.25, 1 / bench.sfreq) / 0.06) ** 2)
    minutes = data.shape[1] / bench.sfreq / 60
    course = np.zeros(data.shape[1] + len(shape))
    for _ in range(rng.poisson(rng.uniform(10, 20) * minutes)):
        start = int(rng.integers(0, data.shape[1]))
        course[start : start + len(shape)] += rng.uniform(low, high) * shape
    data += np.outer(pattern, course[: data.shape[1]]).astype(np.float32)


def add_jumps(rng, data, bench):
    """One channel leaves at once and creeps back."""
    for start, length in _events(rng, data.shape[1], bench.sfreq, 0.2, 2.0):
        channel = int(rng.integers(len(data)))
        height = _log_uniform(rng, *AMPLITUDE) * bench.noise_sd[channel] * rng.choice([-1, 1])
        data[channel, start : start + length] += height * np.exp(-3 * np.arange(length) / length)


def add_bursts(rng, data, bench):
    """A movement seen by all channels, strongest on one side, below 15 Hz."""
    for start, length in _events(rng, data.shape[1], bench.sfreq, 0.3, 2.0):
        pattern = bench.directions @ rng.standard_normal(3) + 0.3 * rng.standard_normal()
        times = np.arange(length) / bench.sfreq
        waves = np.sin(2 * np.pi * (rng.uniform(1, 15, (4, 1)) * times + rng.random((4, 1)))).mean(axis=0)
        waves *= np.sin(np.pi * np.arange(length) / length) ** 2
        height = _log_uniform(rng, *AMPLITUDE) * np.median(bench.noise_sd)
        data[:, start : start + length] += (height * np.outer(pattern / np.abs(pattern).max(), waves)).astype(
            "f4"
        )


def add_line(rng, data, bench, frequency=50.0):
    """Mains in every channel, in phase; nothing where the rate leaves no room for it."""
    times = np.arange(data.shape[1]) / bench.sfreq
    wander = np.cumsum(rng.standard_normal(data.shape[1])) * 0.02 / np.sqrt(bench.sfreq)  # rad
    for harmonic in range(1, int(bench.sfreq / 2 / frequency * (1 - 1e-9)) + 1):
        pattern = bench.noise_sd * rng.lognormal(0, 0.5, len(data)) * 2 / harmonic
        wave = np.sin(harmonic * (2 * np.pi * frequency * times + wander))
        for row, strength in zip(data, pattern, strict=True):
            row += (strength * wave).astype(np.float32)


def add_drift(rng, data, bench, step=10.0, seconds=60.0, height=3.0):
    """Electrodes and amplifiers that wander within a minute, a slope at a time, and come back."""
    n_knots = int(data.shape[1] / bench.sfreq / step) + 2
    keep = np.exp(-step / seconds)
    walk = np.empty((len(data), n_knots))
    walk[:, 0] = rng.standard_normal(len(data))
    for i in range(1, n_knots):
        walk[:, i] = keep * walk[:, i - 1] + np.sqrt(1 - keep**2) * rng.standard_normal(len(data))
    times = np.arange(data.shape[1]) / bench.sfreq
    for row, knots, sd in zip(data, walk, bench.noise_sd, strict=True):
        row += (height * sd * np.interp(times, step * np.arange(n_knots), knots)).astype(np.float32)


def add_earphones(rng, data, bench):
    """Tubes or wires beside both ears that carry the sound's envelope."""
    ears = np.array([[-1.0, 0.0, -0.2], [1.0, 0.0, -0.2]]) / np.sqrt(1.04)
    closeness = np.exp(4 * ((bench.directions @ ears.T) - 1)) @ rng.choice([-1.0, 1.0], 2)
    pattern = EARPHONES * closeness / np.abs(closeness).max() * bench.noise_sd
    data += np.outer(pattern, bench.loudness).astype(np.float32)


ADDED = {
    "blinks": add_blinks,
    "jumps": add_jumps,
    "bursts": add_bursts,
    "line": add_line,
    "drift": add_drift,
    "earphones": add_earphones,
}


def attention_walk(rng, times):
    """Draw the strength of the response over time: a walk between 0.5 and 1.3, turned back at both.

    Parameters
    ----------
    rng : Generator
    times : ndarray of shape (n_times,)
        s, rising.

    Returns
    -------
    strength : ndarray of shape (n_times,)
    """
    low, high = ATTENTION
    knots = np.arange(0, times[-1] + 20, 10.0)
    walk = rng.uniform(low, high) + np.cumsum(0.08 * rng.standard_normal(len(knots)))
    folded = np.abs(
        (walk - low) % (2 * (high - low)) - (high - low)
    )  # a triangle wave folds it into the range
    return np.interp(times, knots, high - folded)
