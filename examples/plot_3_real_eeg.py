"""
Which three seconds of a story did this brain hear?
===================================================

Eight people listened to the same 50 seconds of a story, ten times each, while 64 electrodes recorded their EEG
[1]_. We train on one half of the story, show the decoder three seconds of EEG from the other half, and ask which
of its eight stretches of three seconds was heard. Guessing is right in 12.5 % of cases.

.. [1] Fuglsang, Wong, Hjortkjær (2018). EEG and audio dataset for auditory attention decoding. Zenodo.
   https://doi.org/10.5281/zenodo.1199011
"""

# %%
# The recordings
# --------------
# They are not shipped: their license is unconfirmed. ``SK_B2S_TEST_DATA`` names the folder that holds
# ``eeg_dtu``. The EEG comes at 64 Hz, cleaned of blinks, with the envelope of the speech. There are no tables or
# files MNE could read, just arrays, and that is one of the ways in.
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import butter, sosfiltfilt
from threadpoolctl import threadpool_limits

from sk_b2s import BrainEncoder, RidgeDecoder, StimulusArray, Windows
from sk_b2s.metrics._ranking import ranks

SFREQ = 64  # Hz, of the recordings
SECONDS = 3  # of a window
HALVES = {"first": (0.0, 24.0), "second": (25.5, 49.5)}  # s, of the story


def data_folder():
    """Folder of the recordings."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" if "__file__" in globals() else "data"
    return Path(os.environ.get("SK_B2S_TEST_DATA", beside)) / "eeg_dtu"


def load_people(folder, n_people=8):
    """EEG in microvolts of each person, (10 repeats, 3200 times, 64 channels), and the envelope, (3200,)."""
    people = {}
    for person in range(1, n_people + 1):
        with np.load(Path(folder) / f"DTU_S{person}.npz") as file:
            people[f"S{person}"] = (file["eeg_int16"] * file["eeg_scale"]).astype(np.float32)
            envelope = file["envelope"][:, 0]
    return people, envelope


# %%
# The only honest split
# ---------------------
# All repeats are of one stimulus. A split by repeat or by person would train and test on the same sound, so we
# split the story: 24 s to train on, 24 s to test on, a second and a half between them, and then the other way
# round. Each half is filtered by itself (1 to 8 Hz), so that no filter carries the one into the other, and kept
# at 32 Hz. The brain is read an eighth of a second after the sound, as ``Epocher(lag=0.125)`` would.
#
# For the network the channels of each person are decorrelated by the covariance of the *training* half, whose weak
# directions are left weak. That uses no labels, nor the test half of anybody. Ridge regression has a closed form and
# takes the channels as they are; a network that makes a few hundred steps would spend them on the strongest.
LAG = 8  # steps
DOWN = 2


def prepare(signal, axis):
    """Band-pass 1 to 8 Hz."""
    return sosfiltfilt(butter(2, (1, 8), "bandpass", fs=SFREQ, output="sos"), signal, axis=axis)


def brain_of(eeg, half):
    """EEG of one half in units of each channel's deviation: (10 repeats, 768 times, 64 channels)."""
    start, stop = (int(t * SFREQ) for t in HALVES[half])
    signal = prepare(eeg[:, start : stop + LAG], axis=1)[:, LAG::DOWN]
    return signal / signal.std(axis=1, keepdims=True)


def decorrelation(brain, floor=0.1):
    """Symmetric matrix that evens out the channels' covariance, (64, 64)."""
    values, vectors = np.linalg.eigh(np.cov(brain.reshape(-1, brain.shape[-1]).T))
    return vectors / np.sqrt(values + floor * values.mean()) @ vectors.T


def cut(people, envelope, half, step, even_out=None):
    """Windows of brain and envelope, every ``step`` s of each repeat; channels evened out as in one half, or not."""
    start, stop = (int(t * SFREQ) for t in HALVES[half])
    heard = prepare(envelope[start:stop], axis=0)[::DOWN, None]
    n_times = SECONDS * SFREQ // DOWN
    first = np.arange(0, len(heard) - n_times + 1, int(step * SFREQ / DOWN))
    signals, tables = [], []
    for person, eeg in people.items():
        mix = np.eye(64) if even_out is None else decorrelation(brain_of(eeg, even_out))
        for repeat, signal in enumerate(brain_of(eeg, half) @ mix):
            signals.append(np.ascontiguousarray(signal, np.float32))
            tables.append(
                pd.DataFrame({"subject": person, "recording": f"{person}/{repeat}", "first": first})
            )
    rows = pd.concat(tables, ignore_index=True)
    onset = HALVES[half][0] + rows["first"] * DOWN / SFREQ
    sounds = pd.DataFrame({
        "sound": [StimulusArray(envelope, sfreq=SFREQ)] * len(rows), "sound_onset": onset, "duration": SECONDS,
        "segment": (onset * SFREQ).astype(int), "block": (onset // 8).astype(int),
    })  # fmt: skip
    which = np.repeat(np.arange(len(signals)), len(first))
    heard = np.ascontiguousarray(heard / heard.std(), np.float32)
    X = Windows(signals, which, rows["first"], n_times, SFREQ / DOWN, rows=rows)
    y = Windows([heard], np.zeros(len(rows), int), rows["first"], n_times, SFREQ / DOWN, rows=sounds)
    return X, y


# %%
# Two decoders
# ------------
# Ridge regression reads the brain from 0 to 250 ms after each frame; an eighth of a second of that is the windows'
# own lag, the rest is the decoder's. Its strength is chosen inside the training half. ``within`` fits one model for
# each person; for a stranger one model is fitted on all the others.
#
# The encoder has to be small: 25 s of speech are very little. It is one network for all people, without subject
# layers, seeing a window every quarter of a second: 85 sounds, each heard eighty times. The same sound
# twice in a batch costs the contrastive loss nothing but a constant, since equal candidates score equally and no
# estimate can prefer one; but *overlapping* sounds are each other's negatives, and batches of 64 have many. There is no
# room for a validation split, so the number of epochs has to come from elsewhere: see below.
EPOCHS = 3


def make_decoder(name, left_out=False, epochs=EPOCHS):
    """Ridge or encoder, for people it knows or for a stranger."""
    if name == "ridge":
        return RidgeDecoder(lags=(-0.125, 0.125), per_subject=not left_out, k=1)
    return BrainEncoder(
        hidden=32, depth=2, kernel_size=5, n_virtual_channels=16, spatial_attention=False, subject_layer=None,
        glu=False, head=False, batch_size=64, max_epochs=epochs, validation=None, k=1, random_state=0, verbose=0,
    )  # fmt: skip


def similarities(name, people, envelope, left_out=False, step=None, **settings):
    """Similarity of each window to the eight candidates of its half: (n_people, 10, 2 halves, 8, 8)."""
    step = step or {"ridge": 1.5, "encoder": 0.25}[name]
    found = []
    for train_half, test_half in (("second", "first"), ("first", "second")):
        even_out = train_half if name == "encoder" else None
        X, y = cut(people, envelope, train_half, step, even_out)
        X_test, y_test = cut(people, envelope, test_half, SECONDS, even_out)
        known, tested = X.rows["subject"].to_numpy(), X_test.rows["subject"].to_numpy()
        scores = []
        if not left_out:
            scores.append(make_decoder(name, **settings).fit(X, y).similarity(X_test, y_test))
        for person in people if left_out else ():
            decoder = make_decoder(name, left_out, **settings).fit(X[known != person], y[known != person])
            scores.append(decoder.similarity(X_test[tested == person], y_test[tested == person]))
        found.append(np.concatenate(scores).reshape(len(people), -1, 8, 8))
    return np.stack(found, axis=2)


# %%
# How to read a score
# -------------------
# ``single`` is the share of single windows whose stretch was named. ``averaged`` first takes the mean of the ten
# repeats' similarities: for ridge, which is linear, that is the answer to the averaged EEG. Both are shares for one
# person, and the table has their mean and standard error over people.
#
# The null keeps everything, the similarities too, but moves the labels along in time, by 1 to 7 windows in either
# half, *equally for everybody*, because all heard the same and confuse the same stretches: 49 shifts. If a decoder
# is right in a share p of cases, exactly the rest of its guesses is spread over the seven shifts, so the mean of the
# null is (1 - p) / 7, a little below chance.


def accuracies(scores, shifts=(0, 0)):
    """Share of windows that are right, one by one and averaged over repeats, for each person."""
    shape = scores.shape
    target = np.stack([(np.arange(8) + shift) % 8 for shift in shifts])
    out = []
    for matrix in (scores, scores.mean(axis=1, keepdims=True)):
        labels = np.broadcast_to(target, matrix.shape[:-1])
        right = ranks(matrix.reshape(-1, 8), labels.ravel()) == 0
        out.append(right.reshape(shape[0], -1).mean(axis=1))
    return np.array(out)


def summary(scores):
    """Table of both accuracies in per cent, with the null."""
    found = 100 * accuracies(scores)
    null = np.array([100 * accuracies(scores, (a, b)).mean(1) for a in range(1, 8) for b in range(1, 8)])
    return pd.DataFrame({
        "mean": found.mean(1), "s.e.m.": found.std(1, ddof=1) / np.sqrt(found.shape[1]), "null": null.mean(0),
        "null 97.5 %": np.quantile(null, 0.975, axis=0),
    }, index=["single", "averaged"])  # fmt: skip


# %%
# How long to train
# -----------------
# The number of epochs, and the few settings above, were chosen on made-up people: the real EEG with its phases drawn
# anew, so that every trace of the story is gone while spectra and the channels' covariance stay, plus a planted
# response to the envelope, as deep in the noise as makes ridge right in one case of four.


def made_up(people, envelope, gain=0.018, seed=0):
    """People with the noise of these and a response that is known."""
    random = np.random.default_rng(seed)
    times = np.arange(26) / SFREQ
    common = random.standard_normal(64)
    out = {}
    for person, eeg in people.items():
        spectrum = np.fft.rfft(eeg, axis=1)
        phase = np.exp(2j * np.pi * random.random((len(eeg), spectrum.shape[1], 1)))
        noise = np.fft.irfft(spectrum * phase, n=eeg.shape[1], axis=1)
        values, vectors = np.linalg.eigh(np.cov(eeg.reshape(-1, 64).T))
        own = common + 0.7 * random.standard_normal(64)
        pattern = vectors @ (np.sqrt(np.maximum(values, 0)) * (vectors.T @ own)) / 1.2
        late = random.normal(0, 0.015)
        bumps = [(0.05, 0.015, 0.5), (0.1, 0.025, -1.2), (0.2, 0.04, 1.0)]  # latency s, width s, weight
        kernel = sum(w * np.exp(-0.5 * ((times - t - late) / s) ** 2) for t, s, w in bumps)
        response = np.convolve(envelope - envelope.mean(), kernel)[: len(envelope)]
        out[person] = (noise + gain * (response / response.std())[:, None] * pattern).astype(np.float32)
    return out


if __name__ == "__main__":
    if not data_folder().is_dir():
        sys.exit(f"No recordings in {data_folder()}: set SK_B2S_TEST_DATA to the folder that holds eeg_dtu.")
    threadpool_limits(1)  # matrices as small as these are not worth sharing between cores
    people, envelope = load_people(data_folder())
    planted = made_up(people, envelope)
    print("Made-up people, ridge\n", summary(similarities("ridge", planted, envelope)).round(1), "\n")
    learning = {
        epochs: 100 * accuracies(similarities("encoder", planted, envelope, epochs=epochs)).mean(1)
        for epochs in (1, 3, 5)
    }
    learning = pd.DataFrame(learning, index=["single", "averaged"]).rename_axis(columns="epochs")
    print("Made-up people, encoder\n", learning.round(1), "\n")

# %%
# One epoch is too few, and then the network starts to learn the noise: three it is.
#
# Real people
# -----------
# Each decoder on the half it was not trained on, both halves in turn, for people it was trained on and for a person
# left out; and the first once more with the envelope moved by 21 s, fitted and tested anew. That last row should be
# at chance, 12.5 %: there is nothing to find.
if __name__ == "__main__":
    found = {
        (name, listener): similarities(name, people, envelope, left_out=listener == "new")
        for listener in ("known", "new")
        for name in ("ridge", "encoder")
    }
    moved = np.roll(envelope, 21 * SFREQ)
    for name in ("ridge", "encoder"):
        found[name, "moved"] = similarities(name, people, moved)
    table = pd.concat(
        {key: summary(scores) for key, scores in found.items()}, names=["decoder", "listener", ""]
    )
    print(f"Per cent right among 8, mean over {len(people)} people\n{table.round(1).to_string()}")

# %%
# Every point is a person.
if __name__ == "__main__":
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sk_b2s.plotting import plot_scores

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    columns = {f"{name}\n{listener}": accuracies(s) for (name, listener), s in found.items()}
    for axis, index, title in zip(axes, (0, 1), ("single windows", "ten repeats averaged"), strict=True):
        plot_scores(
            pd.DataFrame({c: v[index] for c, v in columns.items()}, index=list(people)), 1 / 8, ax=axis
        )
        axis.set(title=title, ylabel="share right among 8")
    out = Path("demo_output")
    out.mkdir(exist_ok=True)
    figure.savefig(out / "real_eeg.png", dpi=120)

# %%
# What this shows, and what it cannot
# -----------------------------------
# Both decoders find the story in real EEG, in a half of it they never heard and in people they never met, and find
# nothing where nothing is. Three seconds of a single recording are right about one time in five; the average of ten
# recordings two times in five to every second time. Made-up people, whose response is linear and nearly the same in
# everybody, are kinder to the network than real ones: settings that won there need not win here.
# (Given the network's decorrelated channels, ridge is right in 22.7 ± 1.4 and 43.8 ± 9.0 % for people it knows: its
# strength, chosen on 24 s, is chosen badly.)
#
# It cannot show that one decoder is better than the other. There are sixteen distinct windows, of one story: eight
# people and ten repeats make their answers steadier, not more. Which of the two wins would need other stories.
