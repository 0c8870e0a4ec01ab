"""Simulated artifacts such as blinks, jumps, line noise and drifts.

Each is a name of ``ARTIFACTS``. Some change the response and are simulated
with it (``_recording``). The others are added to the recording by the
functions of ``ADDED``. Each has its own random number generator, so that
switching one on or off does not change the others.
"""

from typing import NamedTuple

import numpy as np

ARTIFACTS = {
    "blinks": "10 to 20 per minute, 60 to 150 µV at frontal sensors (1 to 2.5 pT in MEG)",
    "jumps": "jumps of one sensor by 20 to 1,000 s.d., followed by a slow return, 0.5 % of the time",
    "bursts": "movement artifacts of 20 to 1,000 s.d. in all sensors, 0.5 % of the time",
    "shift": "head position that differs by 5 mm and 5° in a random direction in each session",
    "gain": "gain of 0.7 to 1.4 in each session",
    "attention": "slow changes of the response amplitude, by a factor of 0.5 to 1.3",
    "line": "line noise of 50 Hz and its harmonics, with a slowly changing frequency",
    "drift": "drift of each channel by three times its noise (s.d.) within a minute",
    "clock": "clock of the recording that differs by 10 to 50 ppm, 0.02 to 0.1 s after 40 minutes",
    "jitter": "response amplitude and latency that vary between sentences, by 30 % and 15 ms (s.d.)",
    "fingerprint": "brain noise with a different covariance and spectrum in each recording",
    "earphones": "stimulus artifact: the audio envelope in sensors near the ears, without delay",
    "ignored": "an ignored second talker, with a response amplitude of 0.4",
}
# artifacts=True excludes two traps for decoders and the experiment with a second talker.
USUAL = tuple(name for name in ARTIFACTS if name not in ("fingerprint", "earphones", "ignored"))
EVENT_SHARE = 0.005  # share of the time with jumps, and with bursts
AMPLITUDE = (20.0, 1000.0)  # noise s.d.
BLINK = {"eeg": (60e-6, 150e-6), "meg": (1e-12, 2.5e-12)}  # V, T at the channel with the largest amplitude
ATTENTION = (0.5, 1.3)
EARPHONES = 0.2  # noise s.d. at the channel with the largest amplitude, root mean square during audio


class ArtifactContext(NamedTuple):
    """Properties of a recording that added artifacts depend on.

    Attributes
    ----------
    modality : {"meg", "eeg"}
        Type of the sensors.
    sfreq : float
        Sampling rate in Hz.
    noise_sd : ndarray of shape (n_channels,)
        Standard deviation of the noise of each channel, in T or V.
    directions : ndarray of shape (n_channels, 3)
        Unit vectors from the center of the head to the sensors.
    eyes : ndarray of shape (n_channels,)
        Sensor pattern of a blink.
    loudness : ndarray of shape (n_times,)
        Envelope of the audio, with a root mean square of 1 during audio.
    """

    modality: str
    sfreq: float
    noise_sd: np.ndarray
    directions: np.ndarray
    eyes: np.ndarray
    loudness: np.ndarray


def check_artifact_names(artifacts):
    """Return the names of artifacts in the order of ``ARTIFACTS``."""
    if isinstance(artifacts, bool):
        return list(USUAL) if artifacts else []
    requested = list(artifacts) if isinstance(artifacts, list | tuple | set) else [artifacts]
    for name in requested:
        if not isinstance(name, str) or name not in ARTIFACTS:
            raise ValueError(
                f"'artifacts' must be True, False or names of {list(ARTIFACTS)}. Got {name!r} instead. True selects "
                f"{list(USUAL)}."
            )
    return [name for name in ARTIFACTS if name in requested]


def add_artifacts(data, names, make_rng, context):
    """Add artifacts to a recording, in place.

    Parameters
    ----------
    data : ndarray of shape (n_channels, n_times)
        Recording in T or V.
    names : list of str
        Names of ``ARTIFACTS``. Those not in ``ADDED`` are ignored.
    make_rng : callable
        Function of a name that returns its random number generator.
    context : ArtifactContext
        Properties of the recording.
    """
    for name, add in ADDED.items():
        if name in names:
            add(make_rng(name), data, context)


def _draw_log_uniform(rng, low, high):
    return np.exp(rng.uniform(np.log(low), np.log(high)))


def _draw_artifact_events(rng, n_times, sfreq, shortest, longest):
    """Draw (start, n_samples) of events of a total share of EVENT_SHARE."""
    n_events = rng.poisson(EVENT_SHARE * n_times / sfreq / ((shortest + longest) / 2))
    for _ in range(n_events):
        length = min(round(rng.uniform(shortest, longest) * sfreq), n_times)
        yield int(rng.integers(0, n_times - length + 1)), length


def add_blink_artifacts(rng, data, context):
    """Add blinks of a third of a second."""
    low, high = BLINK[context.modality]
    pattern = context.eyes / np.abs(context.eyes).max()
    shape = np.exp(-0.5 * (np.arange(-0.25, 0.25, 1 / context.sfreq) / 0.06) ** 2)
    minutes = data.shape[1] / context.sfreq / 60
    course = np.zeros(data.shape[1] + len(shape))
    for _ in range(rng.poisson(rng.uniform(10, 20) * minutes)):
        start = int(rng.integers(0, data.shape[1]))
        course[start : start + len(shape)] += rng.uniform(low, high) * shape
    data += np.outer(pattern, course[: data.shape[1]]).astype(np.float32)


def add_jump_artifacts(rng, data, context):
    """Add jumps of one channel, with a slow return."""
    for start, length in _draw_artifact_events(rng, data.shape[1], context.sfreq, 0.2, 2.0):
        channel = int(rng.integers(len(data)))
        height = _draw_log_uniform(rng, *AMPLITUDE) * context.noise_sd[channel] * rng.choice([-1, 1])
        data[channel, start : start + length] += height * np.exp(-3 * np.arange(length) / length)


def add_burst_artifacts(rng, data, context):
    """Add movement artifacts below 15 Hz, strongest on one side."""
    for start, length in _draw_artifact_events(rng, data.shape[1], context.sfreq, 0.3, 2.0):
        pattern = context.directions @ rng.standard_normal(3) + 0.3 * rng.standard_normal()
        times = np.arange(length) / context.sfreq
        waves = np.sin(2 * np.pi * (rng.uniform(1, 15, (4, 1)) * times + rng.random((4, 1)))).mean(axis=0)
        waves *= np.sin(np.pi * np.arange(length) / length) ** 2
        height = _draw_log_uniform(rng, *AMPLITUDE) * np.median(context.noise_sd)
        data[:, start : start + length] += (height * np.outer(pattern / np.abs(pattern).max(), waves)).astype(
            "f4"
        )


def add_line_artifact(rng, data, context, frequency=50.0):
    """Add line noise below the Nyquist frequency, in phase in all channels."""
    times = np.arange(data.shape[1]) / context.sfreq
    wander = np.cumsum(rng.standard_normal(data.shape[1])) * 0.02 / np.sqrt(context.sfreq)  # rad
    for harmonic in range(1, int(context.sfreq / 2 / frequency * (1 - 1e-9)) + 1):
        pattern = context.noise_sd * rng.lognormal(0, 0.5, len(data)) * 2 / harmonic
        wave = np.sin(harmonic * (2 * np.pi * frequency * times + wander))
        for row, strength in zip(data, pattern, strict=True):
            row += (strength * wave).astype(np.float32)


def add_drift_artifact(rng, data, context, step=10.0, seconds=60.0, height=3.0):
    """Add drifts, a piecewise linear random walk that returns to zero."""
    n_knots = int(data.shape[1] / context.sfreq / step) + 2
    keep = np.exp(-step / seconds)
    walk = np.empty((len(data), n_knots))
    walk[:, 0] = rng.standard_normal(len(data))
    for i in range(1, n_knots):
        walk[:, i] = keep * walk[:, i - 1] + np.sqrt(1 - keep**2) * rng.standard_normal(len(data))
    times = np.arange(data.shape[1]) / context.sfreq
    for row, knots, sd in zip(data, walk, context.noise_sd, strict=True):
        row += (height * sd * np.interp(times, step * np.arange(n_knots), knots)).astype(np.float32)


def add_earphone_artifacts(rng, data, context):
    """Add the audio envelope at sensors near both ears."""
    ears = np.array([[-1.0, 0.0, -0.2], [1.0, 0.0, -0.2]]) / np.sqrt(1.04)
    closeness = np.exp(4 * ((context.directions @ ears.T) - 1)) @ rng.choice([-1.0, 1.0], 2)
    pattern = EARPHONES * closeness / np.abs(closeness).max() * context.noise_sd
    data += np.outer(pattern, context.loudness).astype(np.float32)


ADDED = {
    "blinks": add_blink_artifacts,
    "jumps": add_jump_artifacts,
    "bursts": add_burst_artifacts,
    "line": add_line_artifact,
    "drift": add_drift_artifact,
    "earphones": add_earphone_artifacts,
}


def draw_attention_artifact(rng, times):
    """Draw response amplitudes at ascending times (s).

    The amplitude is a random walk, reflected at 0.5 and 1.3.
    """
    low, high = ATTENTION
    knots = np.arange(0, times[-1] + 20, 10.0)
    walk = rng.uniform(low, high) + np.cumsum(0.08 * rng.standard_normal(len(knots)))
    folded = np.abs((walk - low) % (2 * (high - low)) - (high - low))  # a triangle wave reflects the walk
    return np.interp(times, knots, high - folded)
