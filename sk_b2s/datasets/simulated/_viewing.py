"""Simulated image experiment with simulated EEG/MEG.

Subjects view images. Visual sources respond to each image with a response that
is common to all images, and with a part that is linear in the vector of the
image, at latencies of the visual cortex [1]_. Head model, noise and artifacts
are those of :func:`~sk_b2s.datasets.make_listening`.

References
----------
.. [1] Cichy, Pantazis, Oliva (2014). Resolving human object recognition in
   space and time. Nature Neuroscience 17:455-462.
   https://doi.org/10.1038/nn.3635
"""

import numpy as np
import pandas as pd

from sk_b2s.datasets.simulated._artifacts import check_artifact_names
from sk_b2s.datasets.simulated._folder import (
    find_simulation_folder_truth,
    locate_simulation_folder,
    name_simulation_folder_files,
    read_simulation_folder_events,
    read_simulation_folder_truth,
    write_simulation_folder,
    write_simulation_folder_recording,
)
from sk_b2s.datasets.simulated._ground_truth import SubjectTruth, make_ground_truth_rng, write_ground_truth
from sk_b2s.datasets.simulated._head import make_sensors_on_head
from sk_b2s.datasets.simulated._parameters import (
    check_simulation_parameters,
    is_parameter_count,
    is_parameter_number,
)
from sk_b2s.datasets.simulated._recording import simulate_recording
from sk_b2s.datasets.simulated._sources import (
    compute_source_levels,
    compute_source_response,
    draw_subject_sources,
)

VERSION = 1  # of files and simulation; folders of other versions are not reused
MODALITIES = {"meg": {"n_channels": 208, "snr_db": 4.0}, "eeg": {"n_channels": 128, "snr_db": 4.0}}
ORDERS = ("random", "block")
N_FEATURES = 16
SHARES = (0.25, 0.25, 0.5)  # of the variance of vectors, of categories, concepts and images
OWN_WEIGHTS = 0.5  # share of the variance of weights that differs between subjects
DURATION, JITTER = 0.1, 0.1  # s, of images, and largest delay of an onset
SILENCE = (3.5, 6.0)  # s, between runs of trials and at both ends of a recording
DRIFT_SECONDS = 60.0  # time constant
COLUMNS = """study subject session task run recording type onset duration image category superordinate repetition
recording_duration""".split()
# Positions (mm) in the right hemisphere, amplitude and peaks (s, s, weight), as those of speech.
SOURCES = {
    "early": {"position": (10, -72, 8), "amplitude": 1.0,
              "peaks": [(0.075, 0.012, 0.6), (0.105, 0.018, -1.0), (0.165, 0.030, 0.5)]},
    "lateral": {"position": (36, -62, 4), "amplitude": 0.9,
                "peaks": [(0.130, 0.018, -0.6), (0.175, 0.025, 1.0), (0.260, 0.050, -0.4)]},
    "ventral": {"position": (34, -46, -10), "amplitude": 0.8,
                "peaks": [(0.175, 0.025, -1.0), (0.300, 0.060, 0.6)]},
    "late": {"position": (28, -52, 34), "amplitude": 0.6,
             "peaks": [(0.300, 0.050, 0.5), (0.430, 0.070, 1.0)]},
}  # fmt: skip


def make_viewing(
    n_subjects=2,
    n_concepts=40,
    *,
    images_per_concept=5,
    repetitions=4,
    n_categories=8,
    order="random",
    drift=0.5,
    interval=0.6,
    modality="eeg",
    snr_db=None,
    sessions=1,
    artifacts=True,
    n_channels=None,
    sfreq=128.0,
    random_state=0,
    root=None,
    return_truth=False,
):
    """Simulate subjects who view images, and write their recordings.

    Each image has a vector of 16 features, the sum of deviations of its
    category, its concept and the image (25, 25 and 50 % of the variance). Four
    visual sources in each hemisphere ("early", "lateral", "ventral" and
    "late", 0.1 to 0.43 s after the onset) respond with kernels times
    ``weights @ [1, vector]``. Half of the variance of the weights differs
    between subjects. The response to any image drifts slowly over the
    recording. Anatomy, latencies, noise and artifacts are as in
    :func:`make_listening`.

    With ``order="block"`` all images of a category are presented in one block.
    The time of a window then predicts its category, and a decoder of slow
    drifts is above chance without any response to an image [1]_. With
    ``order="random"`` it is not. Both orders have the same images and times.

    Responses are linear in the vectors, which favors linear decoders. A better
    decoder of the simulation is not necessarily better on real recordings.

    Parameters
    ----------
    n_subjects : int, default=2
        Number of subjects. The first subjects do not depend on it.
    n_concepts : int, default=40
        Number of concepts, at least ``n_categories``.
    images_per_concept : int, default=5
        Number of images of each concept.
    repetitions : int, default=4
        Number of presentations of each image in each session.
    n_categories : int, default=8
        Number of superordinate categories, to which concepts belong in turn.
    order : {"random", "block"}, default="random"
        Whether all trials have a random order, or the categories are presented
        in blocks, in a random order of blocks and of trials in a block.
    drift : float, default=0.5
        Standard deviation of the change of the common response of each source,
        relative to that response, with a time constant of 60 s.
    interval : float, default=0.6
        Time between onsets in s, to which up to 0.1 s is added at random. In
        place of the boundaries of blocks, there are 3.5 to 6 s in both orders.
    modality : {"meg", "eeg"}, default="eeg"
        As in :func:`make_listening`.
    snr_db : float, default=None
        Mean signal-to-noise ratio over subjects, see :class:`SubjectTruth`,
        from image onsets to 0.6 s later. If None, 4, which is not calibrated
        to real recordings.
        With -inf, recordings have noise only.
    sessions : int, default=1
        Number of recordings of each subject, with all images in each.
    artifacts : bool or list of str, default=True
        Artifacts as in :func:`make_listening`, except "earphones" and
        "ignored", which are those of sound. "jitter" changes the responses of
        trials in place of sentences.
    n_channels : int, default=None
        Number of sensors: 4 to 208 for MEG, and 16, 32, 64 or 128 for EEG. If
        None, the largest number.
    sfreq : float, default=128.0
        Sampling rate of the recordings in Hz, 50 to 1000.
    random_state : int, default=0
        Seed. The global random state is not used.
    root : path-like, default=None
        Parent of the folder of the experiment. If None, the environment
        variable ``SK_B2S_CACHE``, else the cache folder of the user.
    return_truth : bool, default=False
        If True, also return the ground truth, for :func:`oracle_scores`.

    Returns
    -------
    events : DataFrame
        Events table of all recordings, with the columns ``study``,
        ``subject``, ``session``, ``task``, ``run``, ``recording`` (path),
        ``type`` ("image"), ``onset`` and ``duration`` (s, in the recording),
        ``image`` (identifier), ``category`` (the concept, by which splitters
        separate), ``superordinate`` (the category of the concept),
        ``repetition`` and ``recording_duration`` (s).
    vectors : DataFrame of shape (n_images, 16)
        Vector of each image, indexed by identifier, for
        :class:`~sk_b2s.PrecomputedFeatures`.
    truth : dict of str to SubjectTruth
        Ground truth of each subject, only if ``return_truth``.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    make_listening : Simulated listening to speech.

    References
    ----------
    .. [1] Li, Johansen, Ahmed, Ilyevsky, Wilbur, Bharadwaj, Siskind (2021).
       The perils and pitfalls of block design for EEG classification
       experiments. IEEE Transactions on Pattern Analysis and Machine
       Intelligence 43:316-333. https://doi.org/10.1109/TPAMI.2020.2973153

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s.datasets import make_viewing
    >>> with TemporaryDirectory() as root:
    ...     events, vectors = make_viewing(1, 8, n_channels=16, root=root)
    >>> len(events), vectors.shape
    (160, (40, 16))
    """
    parameters = _check_viewing_parameters(
        n_subjects=n_subjects, n_concepts=n_concepts, images_per_concept=images_per_concept,
        repetitions=repetitions, n_categories=n_categories, order=order, drift=drift, interval=interval,
        modality=modality, snr_db=snr_db, sessions=sessions, artifacts=artifacts, n_channels=n_channels,
        sfreq=sfreq, random_state=random_state,
    )  # fmt: skip
    folder = locate_simulation_folder(root, "viewing", parameters)
    images = _draw_viewing_images(parameters)
    write_simulation_folder(
        folder, parameters, lambda temporary: _write_viewing(temporary, images, parameters), "make_viewing"
    )
    stems = {
        i: list(name_simulation_folder_files(folder, i, parameters, "viewing").values())
        for i in range(n_subjects)
    }
    events = pd.concat(
        [read_simulation_folder_events(stem, modality)[COLUMNS] for i in stems for stem in stems[i]],
        ignore_index=True,
    )
    vectors = images[list(range(N_FEATURES))]
    if not return_truth:
        return events, vectors
    truth = {f"{i + 1:02d}": read_simulation_folder_truth(folder, i, stems[i], modality) for i in stems}
    return events, vectors, truth


def _check_viewing_parameters(modality, snr_db, artifacts, n_channels, **others):
    """Check the parameters and fill in defaults, which identify the folder."""
    default = MODALITIES.get(modality, {}) if isinstance(modality, str) else {}
    snr_db = default.get("snr_db") if snr_db is None else snr_db
    n_channels = default.get("n_channels") if n_channels is None else n_channels
    counts = {name: others[name] for name in ("images_per_concept", "repetitions", "n_categories")}
    extra = [(name, is_parameter_count(value), "an integer above 0") for name, value in counts.items()]
    extra += [
        ("n_concepts", is_parameter_count(others["n_concepts"])
         and not (extra[-1][1] and others["n_concepts"] < others["n_categories"]),
         f"an integer of at least n_categories={others['n_categories']}"),
        ("order", isinstance(others["order"], str) and others["order"] in ORDERS, f"one of {list(ORDERS)}"),
        ("drift", is_parameter_number(others["drift"]) and others["drift"] >= 0, "a number of at least 0"),
        ("interval", is_parameter_number(others["interval"]) and others["interval"] >= DURATION,
         f"a number of seconds of at least {DURATION}"),
    ]  # fmt: skip
    given = {"modality": modality, "snr_db": snr_db, "n_channels": n_channels, **others}
    check_simulation_parameters(
        "make_viewing", given, {name: values["n_channels"] for name, values in MODALITIES.items()}, extra
    )
    names = check_artifact_names(artifacts)
    if of_sound := [name for name in names if name in ("earphones", "ignored")]:
        raise ValueError(
            f"The artifact {of_sound[0]!r} requires sound. Remove it from the 'artifacts' parameter of make_viewing."
        )
    floats = {name: float(others.pop(name)) for name in ("drift", "interval", "sfreq")}
    order = others.pop("order")
    return {
        "version": VERSION, "modality": modality, "snr_db": float(snr_db), "n_channels": int(n_channels),
        "artifacts": names, "order": order, **floats, **{name: int(value) for name, value in others.items()},
    }  # fmt: skip


def _draw_viewing_images(parameters):
    """Return vector, concept and category of each image, by identifier."""
    rng = make_ground_truth_rng([parameters["random_state"]], "images")
    n_each, concept = parameters["images_per_concept"], np.arange(parameters["n_concepts"])
    sizes = parameters["n_categories"], len(concept), len(concept) * n_each
    of_category, of_concept, of_image = (
        np.sqrt(share) * rng.standard_normal((size, N_FEATURES))
        for share, size in zip(SHARES, sizes, strict=True)
    )
    concept = np.repeat(concept, n_each)
    category = concept % parameters["n_categories"]
    number = np.tile(np.arange(n_each), parameters["n_concepts"])
    table = pd.DataFrame(
        (of_category[category] + of_concept[concept] + of_image).astype(np.float32),
        index=[f"concept{c:04d}_{i + 1:02d}" for c, i in zip(concept, number, strict=True)],
    )
    names = {
        "category": [f"concept {c:04d}" for c in concept],
        "superordinate": [f"category {c:02d}" for c in category],
    }
    return pd.concat([table, pd.DataFrame(names, index=table.index)], axis=1)


def _write_viewing(folder, images, parameters):
    folder.mkdir(parents=True)
    sensors = make_sensors_on_head(parameters["modality"], parameters["n_channels"], parameters["sfreq"])
    vectors = images[list(range(N_FEATURES))].to_numpy(float)
    constant = np.ones((len(images), 1))
    features = [dict.fromkeys(SOURCES, row[:, None]) for row in np.hstack([constant, vectors])]
    for index in range(parameters["n_subjects"]):
        _write_viewing_subject(folder, index, sensors, images, features, parameters)


def _draw_viewing_weights(rng, population):
    """Draw the weights of a subject, (2, 1 + n_features) of each source."""
    weights = {}
    for name in SOURCES:
        common, own = (one.standard_normal((2, 1 + N_FEATURES)) for one in (population, rng))
        weights[name] = np.sqrt(1 - OWN_WEIGHTS) * common + np.sqrt(OWN_WEIGHTS) * own
        weights[name][:, 1:] /= np.sqrt(N_FEATURES)
    return weights


def _write_viewing_subject(folder, index, sensors, images, features, parameters):
    """Write the recordings of a subject, with tables and ground truth."""
    seed, modality = [parameters["random_state"], index], parameters["modality"]
    population = make_ground_truth_rng(seed[:1], "population")
    subject = draw_subject_sources(
        make_ground_truth_rng(seed, "viewer"), parameters["snr_db"], SOURCES,
        lambda rng: _draw_viewing_weights(rng, population),
    )  # fmt: skip
    level = compute_source_levels(subject, features)
    truth = SubjectTruth(*subject[:5], responses={
        name: np.concatenate([
            compute_source_response(subject, source, feature) * (SOURCES[source]["amplitude"] / level[source])
            for source in SOURCES
        ])
        for name, feature in zip(images.index, features, strict=True)
    })  # fmt: skip
    write_ground_truth(find_simulation_folder_truth(folder, f"sub-{index + 1:02d}"), truth)
    scale = None
    for (session, run), stem in name_simulation_folder_files(folder, index, parameters, "viewing").items():
        stem.parent.mkdir(parents=True, exist_ok=True)
        own = [*seed, session, run]
        events, seconds = _plan_viewing_recording(own, images, parameters)
        drawn = images.index.get_indexer(events["image"])
        drift = parameters["drift"] * _draw_drift(
            make_ground_truth_rng(own, "response drift"), events["onset"]
        )
        schedule = {"onsets": events["onset"].to_numpy(), "sentences": events["onset"].to_numpy(), "drifting": [
            {name: features[i][name] + np.eye(1 + N_FEATURES, 1) * change for name, change in zip(SOURCES, row, strict=True)}
            for i, row in zip(drawn, drift, strict=True)
        ]}  # fmt: skip
        data, truth, scale = simulate_recording(
            own, subject, sensors, modality, parameters["artifacts"], [features[i] for i in drawn], schedule,
            int(np.ceil(seconds * parameters["sfreq"])), scale, SOURCES,
        )  # fmt: skip
        write_ground_truth(find_simulation_folder_truth(folder, stem.name), truth)
        write_simulation_folder_recording(stem, data, sensors[0], modality, "viewing", events)


def _draw_drift(rng, onsets):
    """Draw a random walk of each source that returns to zero, at onsets."""
    onsets = np.asarray(onsets)
    keep = np.exp(-np.diff(onsets) / DRIFT_SECONDS)
    walk = rng.standard_normal((len(onsets), len(SOURCES)))
    for i, share in enumerate(keep, 1):
        walk[i] = share * walk[i - 1] + np.sqrt(1 - share**2) * walk[i]
    return walk


def _plan_viewing_recording(seed, images, parameters):
    """Return the events and the duration (s) of a recording."""
    rng = make_ground_truth_rng(seed, "schedule")
    drawn = rng.permutation(np.repeat(np.arange(len(images)), parameters["repetitions"]))
    blocks = rng.permutation(parameters["n_categories"])
    category = pd.factorize(images["superordinate"], sort=True)[0]
    if parameters["order"] == "block":
        drawn = drawn[np.argsort(blocks[category[drawn]], kind="stable")]
    sizes = np.bincount(blocks[category], minlength=len(blocks)) * parameters["repetitions"]
    gaps = np.full(len(drawn) + 1, parameters["interval"]) + rng.uniform(0, JITTER, len(drawn) + 1)
    gaps[np.cumsum([0, *sizes])] = rng.uniform(*SILENCE, len(sizes) + 1)
    onsets = np.cumsum(gaps)
    table = images.iloc[drawn]
    events = pd.DataFrame({
        "onset": onsets[:-1].round(4), "duration": DURATION, "trial_type": "image", "image": table.index,
        "category": table["category"].to_numpy(), "superordinate": table["superordinate"].to_numpy(),
        "repetition": pd.Series(drawn).groupby(drawn).cumcount() + seed[-2] * parameters["repetitions"],
    })  # fmt: skip
    return events, onsets[-1]
