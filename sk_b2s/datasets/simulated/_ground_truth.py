"""Ground truth of simulated recordings, and its files."""

import json
from dataclasses import dataclass, field

import numpy as np

from sk_b2s.datasets.simulated._artifacts import ArtifactContext, add_artifacts
from sk_b2s.datasets.simulated._noise import SimulatedNoiseModel


def make_ground_truth_rng(seed, purpose):
    """Make an independent random number generator for one purpose.

    Parameters
    ----------
    seed : list of int
        Seed of the experiment, and indices of subject, session and run if the
        purpose depends on them.
    purpose : str
        Name of the purpose.

    Returns
    -------
    rng : Generator
        Random number generator.
    """
    return np.random.default_rng([*seed, *purpose.encode()])


@dataclass
class RecordingTruth:
    """Ground truth of a simulated recording.

    The recording is the sum of ``patterns.T @ sources``, noise and
    :meth:`artifacts`.

    Attributes
    ----------
    patterns : ndarray of shape (n_courses, n_channels)
        Sensor pattern of each source (onset, envelope, phonetic classes left
        and right, word, or left and right of each visual source), in T or V.
    sources : ndarray of shape (n_courses, n_times)
        Time courses of the sources, at the sampling rate of the recording.
    expected : ndarray of shape (n_courses, n_times)
        The same without effects of attention, jitter, clock, ignored talker
        and drift of the response, as predicted from subject and stimuli.
    noise : SimulatedNoiseModel
        Sources and levels of the noise.
    artifact_names : list of str
        Names of the simulated artifacts.
    seed : list of int
        Seed of the added artifacts.
    context : ArtifactContext
        Properties of the recording that added artifacts depend on.
    """

    patterns: np.ndarray
    sources: np.ndarray
    expected: np.ndarray
    noise: SimulatedNoiseModel
    artifact_names: list
    seed: list
    context: ArtifactContext

    def artifacts(self):
        """Draw the added artifacts again.

        Returns
        -------
        data : ndarray of shape (n_channels, n_times)
            Artifacts as float32, in T or V.
        """
        data = np.zeros((self.patterns.shape[1], self.sources.shape[1]), np.float32)
        add_artifacts(
            data, self.artifact_names, lambda name: make_ground_truth_rng(self.seed, name), self.context
        )
        return data


@dataclass
class SubjectTruth:
    """Ground truth of a simulated subject.

    Attributes
    ----------
    snr_db : float
        Signal-to-noise ratio, 20 log10 of evoked over noise amplitude (root
        mean square from 0.5 to 20 Hz, evoked during audio, without artifacts)
        at the channel where it is largest, in the first recording of the
        subject.
    lags : ndarray of shape (n_lags,)
        Lags of the kernels after the stimulus, in s.
    kernels : dict of str to ndarray of shape (n_lags,)
        Kernel of each source ("onset", "envelope", "phonetic", "word", or of
        images "early", "lateral", "ventral", "late"), without unit.
    latencies : dict of str to ndarray of shape (n_peaks,)
        Latencies of the peaks of each kernel, in s.
    weights : dict of str to ndarray of shape (n_courses, n_features)
        Weights of the eight bands of onsets and envelope, and of the twelve
        phonetic classes in each hemisphere. For images, weights of a constant
        and of the features in each hemisphere.
    recordings : dict of str to RecordingTruth
        Ground truth of each recording, by path.
    responses : dict of str to ndarray of shape (n_courses, n_lags)
        Expected response of the sources to each image, by identifier. Empty
        for speech.
    """

    snr_db: float
    lags: np.ndarray
    kernels: dict
    latencies: dict
    weights: dict
    recordings: dict = field(default_factory=dict)
    responses: dict = field(default_factory=dict)


def write_ground_truth(path, truth):
    """Write the ground truth of a subject or recording as an npz file."""
    arrays = {}
    for name, value in vars(truth).items():
        if isinstance(value, dict):
            arrays.update({f"{name}/{key}": array for key, array in value.items()})
        elif isinstance(value, SimulatedNoiseModel | ArtifactContext):
            arrays.update({f"{name}/{key}": array for key, array in value._asdict().items()})
        elif isinstance(value, list):
            arrays[name] = json.dumps(value)
        elif name != "expected" or value is not truth.sources:  # they are often the same array
            arrays[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def read_ground_truth(path, kind):
    """Read a file of :func:`write_ground_truth` as the class of its kind."""
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
        noise, context = SimulatedNoiseModel(**groups["noise"]), ArtifactContext(**groups["context"])
        groups = {"noise": noise, "context": context}
    return kind(**fields, **groups)
