"""Simulated recordings and results of the figures in the documentation."""

import warnings
from functools import cached_property
from pathlib import Path

import joblib
import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

import sk_b2s
from sk_b2s.datasets import make_listening, make_viewing

SEED = 0


def make_speech(n_mels=20):
    """Return mel bands at 25 Hz, scaled."""
    return make_pipeline(sk_b2s.MelSpectrogram(n_mels=n_mels, sfreq=25), sk_b2s.FeatureScaler())


def add_steps(decoder, lag=0.0):
    """Return the pipeline of a decoder with epochs at 25 Hz."""
    epochs = sk_b2s.Epocher(sfreq=25, lag=lag, baseline=None)
    return Pipeline(
        [("epochs", epochs), ("scale", sk_b2s.RobustChannelScaler(clip=20)), ("decoder", decoder)]
    )


def make_ridge():
    """Return the linear decoder of the figures."""
    return add_steps(sk_b2s.RidgeDecoder(speech=make_speech(), n_components=16))


def make_network(epochs):
    """Return a small network that trains for some epochs."""
    return sk_b2s.BrainEncoder(
        speech=make_speech(), hidden=24, depth=2, n_virtual_channels=16, lr=2e-3, batch_size=64,
        max_epochs=epochs, patience=20, random_state=SEED, verbose=0,
    )  # fmt: skip


class SimulatedResults:
    """Results that several figures share, each computed at its first use.

    ``folder`` keeps recordings and results, so that a second run only draws.
    """

    def __init__(self, folder):
        self._memory = joblib.Memory(Path(folder) / "results", verbose=0)
        self._root = Path(folder) / "recordings"

    def _compute(self, function, *inputs):
        """Compute and store a result without warnings."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._memory.cache(function)(*inputs)

    @cached_property
    def events(self):
        """Events of four subjects who hear four minutes of a story."""
        return make_listening(
            4, 4, modality="eeg", n_channels=32, snr_db=-8, artifacts=False, random_state=SEED,
            root=self._root / "listening",
        )  # fmt: skip

    @cached_property
    def segments(self):
        """Windows at words and their segments."""
        return sk_b2s.make_segments(self.events, anchor="word")

    @cached_property
    def raw(self):
        """Recording of the first subject."""
        import mne

        return mne.io.read_raw(self.events["recording"].iloc[0], preload=True, verbose="ERROR")

    @cached_property
    def windows(self):
        """Windows of the first subjects, with sensor positions."""
        X, _ = self.segments
        return self._compute(cut_windows, X.iloc[:20])

    @cached_property
    def retrieved(self):
        """Retrieval results of two decoders on held-out stimuli."""
        return self._compute(retrieve_held_out, *self.segments)

    @cached_property
    def words(self):
        """Decoded words."""
        return self.retrieved["ridge"].to_words()

    @cached_property
    def results(self):
        """Benchmark of two decoders with controls."""
        return self._compute(run_benchmark, *self.segments)

    @cached_property
    def calibration(self):
        """Benchmark of an unseen subject by calibration minutes."""
        X, y = sk_b2s.make_segments(self.events, anchor=1.0)
        return self._compute(run_calibration, X, y)

    @cached_property
    def network(self):
        """Network with its training history, and its attention."""
        return self._compute(fit_network, *self.segments)

    @cached_property
    def trf(self):
        """Forward model of the envelope."""
        X, y = sk_b2s.make_segments(self.events, anchor=3.0, tmin=0, tmax=3)
        return self._compute(fit_trf, X, y)

    @cached_property
    def trf_of_sets(self):
        """Forward model of the envelope and of a spectrogram."""
        X, y = sk_b2s.make_segments(self.events, anchor=3.0, tmin=0, tmax=3)
        return self._compute(fit_trf_of_sets, X, y)

    @cached_property
    def alignment(self):
        """Alignment of recordings of which one is 0.4 s late."""
        return self._compute(check_one_late, self.events)

    @cached_property
    def curve(self):
        """Learning curve of the linear decoder."""
        return self._compute(compute_learning_curve, *self.segments)

    @cached_property
    def reconstruction(self):
        """True and estimated spectrogram of a held-out minute."""
        X, y = sk_b2s.make_segments(self.events, anchor=0.5, tmin=0, tmax=3)
        return self._compute(reconstruct, X, y)

    @cached_property
    def viewing(self):
        """Mean response and similarities to simulated images."""
        return self._compute(view_images, self._root / "viewing")

    @cached_property
    def stream(self):
        """Predictions of which passage is presented, over a minute."""
        return self._compute(decode_stream, self.events)


def cut_windows(X):
    """Cut windows at 128 Hz."""
    return sk_b2s.Epocher(sfreq=128, lag=0, baseline=None).fit_transform(X)


def retrieve_held_out(X, y):
    """Retrieve held-out segments with two decoders."""
    train, test = next(sk_b2s.StimulusKFold(3).split(X, y))
    decoders = {
        "envelope": add_steps(sk_b2s.RidgeDecoder(speech=sk_b2s.Envelope(sfreq=25), n_components=16)),
        "ridge": make_ridge(),
    }
    return {
        name: sk_b2s.retrieve(decoder.fit(X.iloc[train], y.iloc[train]), X.iloc[test], y.iloc[test])
        for name, decoder in decoders.items()
    }


def run_benchmark(X, y):
    """Compare two decoders with controls on two folds."""
    decoders = {
        "envelope": add_steps(sk_b2s.RidgeDecoder(speech=sk_b2s.Envelope(sfreq=25), n_components=16)),
        "mel": make_ridge(),
    }
    controls = ["phase_randomized", "shifted_labels", "silence_truth", "envelope_only"]
    return sk_b2s.benchmark(
        decoders, X, y, sk_b2s.StimulusKFold(2), controls=controls, n_shifts=200, verbose=0
    )


def run_calibration(X, y):
    """Score an unseen subject by its minutes of calibration data."""
    methods = {
        "closed form": sk_b2s.CalibratedDecoder(add_steps(make_network(4), lag=0.15), "ridge"),
        "subject layer": sk_b2s.CalibratedDecoder(add_steps(make_network(4), lag=0.15), "layer"),
    }
    splitter = sk_b2s.LeaveOneSubjectOut(1, calibration_minutes=[0.5, 1, 2], test_size=0.3)
    return sk_b2s.benchmark(
        methods, X, y, splitter, controls=False, n_candidates=None, n_shifts=200, verbose=0
    )


def fit_network(X, y):
    """Fit the network on held-out stimuli, and return it with positions."""
    train, _ = next(sk_b2s.StimulusKFold(3).split(X, y))
    pipe = add_steps(make_network(12), lag=0.15).fit(X.iloc[train], y.iloc[train])
    return pipe[-1], pipe[0].transform(X.iloc[:1]).positions[0]


def fit_trf(X, y):
    """Fit a forward model, and return it with its sensor positions."""
    pipe = make_pipeline(
        sk_b2s.Epocher(sfreq=64, lag=0, l_freq=1, h_freq=12, baseline=None),
        sk_b2s.RobustChannelScaler(clip=20),
        sk_b2s.ForwardTRF(sk_b2s.Envelope(sfreq=64), lags=(-0.1, 0.4)),
    )
    return pipe.fit(X, y)[-1], pipe[0].transform(X.iloc[:1]).positions[0]


def fit_trf_of_sets(X, y):
    """Fit a forward model of two feature sets with separate regularization."""
    sets = [
        ("envelope", sk_b2s.Envelope(sfreq=32)),
        ("spectrogram", sk_b2s.MelSpectrogram(n_mels=5, sfreq=32)),
    ]
    speech = make_pipeline(sk_b2s.SpeechFeatureUnion(sets), sk_b2s.FeatureScaler())
    pipe = make_pipeline(
        sk_b2s.Epocher(sfreq=32, lag=0, l_freq=1, h_freq=12, baseline=None),
        sk_b2s.RobustChannelScaler(clip=20),
        sk_b2s.ForwardTRF(speech, lags=(-0.1, 0.4), bands="union"),
    )
    return pipe.fit(X, y)[-1]


def check_one_late(events):
    """Check recordings after the events of one were moved by 0.4 s."""
    late = events["subject"] == events["subject"].iloc[-1]
    return sk_b2s.check_alignment(events.assign(onset=events["onset"] + 0.4 * late))


def compute_learning_curve(X, y):
    """Score the linear decoder by minutes of training data."""
    return sk_b2s.retrieval_learning_curve(
        make_ridge(), X, y, sk_b2s.StimulusKFold(3), minutes=[1, 1.5, 2, 2.5]
    )


def reconstruct(X, y):
    """Return 12 s of true and estimated mel bands of one recording."""
    train, test = next(sk_b2s.StimulusKFold(2).split(X, y))
    X_test, y_test = X.iloc[test].iloc[::6], y.iloc[test].iloc[::6]
    first = (X_test["recording"] == X_test["recording"].iloc[0]).to_numpy()
    pipe = make_ridge().fit(X.iloc[train], y.iloc[train])
    estimated = np.asarray(pipe.transform(X_test[first]))[:4]
    true = np.asarray(pipe[-1].speech_.transform(y_test[first]))[:4]
    return [np.concatenate(list(features), axis=-1) for features in (true, estimated)]


def view_images(root):
    """Return times, mean responses by channel, and similarities of images."""
    events, vectors = make_viewing(
        2,
        n_concepts=40,
        repetitions=2,
        n_channels=32,
        snr_db=10,
        artifacts=["drift"],
        random_state=SEED,
        root=root,
    )
    X, y = sk_b2s.make_segments(events, anchor="image", tmin=-0.1, tmax=0.7)
    pipe = Pipeline([
        ("epochs", sk_b2s.Epocher(sfreq=64, lag=0, baseline=(0, 0.1))),
        ("scale", sk_b2s.RobustChannelScaler(clip=20)),
        ("decoder", sk_b2s.LikelihoodDecoder(speech=sk_b2s.PrecomputedFeatures(vectors), k=5)),
    ])  # fmt: skip
    train, test = next(sk_b2s.StimulusKFold(4).split(X, y))
    pipe.fit(X.iloc[train], y.iloc[train])
    own = (X["subject"] == X["subject"].iloc[0]).to_numpy()
    mean = np.asarray(pipe[0].transform(X[own])).mean(0)
    return np.arange(mean.shape[1]) / 64 - 0.1, mean, sk_b2s.retrieve(pipe, X.iloc[test], y.iloc[test])


def decode_stream(events):
    """Decode a minute of a recording as it is streamed in chunks."""
    import mne

    X, y = sk_b2s.make_segments(events, anchor=0.5, tmin=0, tmax=3)
    sounds = events[events["type"] == "sound"].drop_duplicates("sound")["sound"].tolist()
    train = (y["sound"].map(str) != str(sounds[0])).to_numpy()
    pipe = make_pipeline(
        sk_b2s.Epocher(sfreq=25, lag=0.1, l_freq=0.5, h_freq=10, causal=True),
        sk_b2s.RobustChannelScaler(calibration=20),
        sk_b2s.LikelihoodDecoder(speech=make_speech(8), lags=(-0.1, 0.2)),
    ).fit(X[train], y[train])
    played = events[(events["type"] == "sound") & (events["sound"].map(str) == str(sounds[0]))].iloc[0]
    raw = mne.io.read_raw(played["recording"], verbose="ERROR")
    names = {"presented": sounds[0], "other": sounds[1]}
    live = sk_b2s.StreamingDecoder(
        pipe, names, sfreq=raw.info["sfreq"], duration=3.0, step=0.2, subject=played["subject"]
    )
    live.start(played["onset"] - played["sound_onset"])
    data = raw.get_data(picks=pipe[0].ch_names_)
    chunk = int(raw.info["sfreq"] // 5)
    parts = [live.push(data[:, first : first + chunk]) for first in range(0, 70 * 5 * chunk, chunk)]
    import pandas as pd

    return pd.concat([part for part in parts if len(part)], ignore_index=True)
