"""Ground truth of a simulated recording, stored next to it."""

import json
from dataclasses import dataclass, field

import numpy as np

from sk_b2s.datasets.simulated._artifacts import SimulationContext, add_artifacts
from sk_b2s.datasets.simulated._noise import NoiseModel


def make_rng(seed, purpose):
    """Make the generator of one purpose: what one draws does not depend on what another one drew.

    Parameters
    ----------
    seed : list of int
        Of the experiment, and the number of subject, session and run as far as the purpose has them.
    purpose : str

    Returns
    -------
    rng : Generator
    """
    return np.random.default_rng([*seed, *purpose.encode()])


@dataclass
class RecordingTruth:
    """What one recording was made from.

    The recording is ``patterns.T @ sources`` plus noise plus :meth:`artifacts`, in the order of its channels.

    Attributes
    ----------
    patterns : ndarray of shape (5, n_channels)
        What one unit of each course of the response (``COURSES``: onset, envelope, phonetic classes left and
        right, word) does to the sensors, in T or V.
    sources : ndarray of shape (5, n_times)
        The courses, at the recording's rate, as they happened.
    expected : ndarray of shape (5, n_times)
        The same without attention, jitter, clock and ignored talker: what knowledge of the listener and of
        the sound predicts.
    noise : NoiseModel
        Of brain noise, alpha and sensors.
    names : list of str
        Artifacts that are on.
    seed : list of int
        From which the added ones are drawn.
    bench : Bench
        What they need to know.
    """

    patterns: np.ndarray
    sources: np.ndarray
    expected: np.ndarray
    noise: NoiseModel
    names: list
    seed: list
    bench: SimulationContext

    def artifacts(self):
        """Draw the added artifacts again: (n_channels, n_times), float32, in T or V."""
        data = np.zeros((self.patterns.shape[1], self.sources.shape[1]), np.float32)
        add_artifacts(data, self.names, lambda name: make_rng(self.seed, name), self.bench)
        return data


@dataclass
class SubjectTruth:
    """What a simulated listener's recordings were made from.

    Attributes
    ----------
    snr_db : float
        20 log10 of evoked over noise amplitude (root mean square, 0.5 to 20 Hz, evoked while sound was
        heard, without artifacts) at the channel where it is largest, in the listener's first recording.
    lags : ndarray of shape (n_lags,)
        Lags of the kernels after the sound, in s.
    kernels : dict of str to ndarray of shape (n_lags,)
        By source ("onset", "envelope", "phonetic", "word"), without unit.
    latencies : dict of str to ndarray of shape (n_bumps,)
        Centers of the bumps of each kernel, in s.
    weights : dict of str to ndarray of shape (n_courses, n_features)
        Of the eight bands of onsets and envelope, and the twelve phonetic classes in either hemisphere.
    recordings : dict of str to RecordingTruth
        By path.
    """

    snr_db: float
    lags: np.ndarray
    kernels: dict
    latencies: dict
    weights: dict
    recordings: dict = field(default_factory=dict)


def write_truth(path, truth):
    """Write the truth about a listener or a recording as one npz file, without pickle."""
    arrays = {}
    for name, value in vars(truth).items():
        if isinstance(value, dict):
            arrays.update({f"{name}/{key}": array for key, array in value.items()})
        elif isinstance(value, NoiseModel | SimulationContext):
            arrays.update({f"{name}/{key}": array for key, array in value._asdict().items()})
        elif isinstance(value, list):
            arrays[name] = json.dumps(value)
        elif name != "expected" or value is not truth.sources:  # most often they are one
            arrays[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def read_truth(path, kind):
    """Read what :func:`write_truth` wrote; ``kind`` is SubjectTruth or RecordingTruth."""
    fields, groups = {}, {}
    with np.load(path) as file:
        for name in file.files:
            first, _, key = name.partition("/")
            value = file[name]
            value = value.item() if value.ndim == 0 else value
            if key:
                groups.setdefault(first, {})[key] = value
            else:
                fields[first] = json.loads(value) if isinstance(value, str) else value
    if kind is RecordingTruth:
        fields.setdefault("expected", fields["sources"])
        groups = {"noise": NoiseModel(**groups["noise"]), "bench": SimulationContext(**groups["bench"])}
    return kind(**fields, **groups)
