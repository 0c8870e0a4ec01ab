"""Samples beyond the ends of windows: decoders with ``context=True``.

``SK_B2S_TEST_DATA=folder python benchmarks/bench_window_edges.py eeg`` reads
the real EEG of ``bench_dtu.py``. The envelope is estimated in the half of the
story that was not in training, from adjoining windows of several durations,
with one regularization parameter. mTRFpy is trained on whole halves. The
second table is the accuracy of windows of three seconds among eight. The
settings are those of ``examples/plot_3_real_eeg.py`` and the default of
``alphas``.

``simulated --seeds 0`` fits the preset "ridge" or "likelihood" of
``make_decoders`` to subjects of ``make_listening`` and ranks the test words of
the first fold of five. "fit only" fits with context and predicts without it.
"""

import argparse
import tempfile
from itertools import product

import numpy as np
import pandas as pd
from _machine import machine, markdown
from bench_dtu import add_onsets, hits, load_page, load_subjects
from threadpoolctl import threadpool_limits

from sk_b2s import LikelihoodDecoder, RidgeDecoder, StimulusKFold, make_decoders, make_segments, reconstruct
from sk_b2s.datasets import make_listening

ALPHA, LAGS = 0.1, (0.0, 0.25)
HALF = 24.0  # s
SNR = {"meg": -12.0, "eeg": -15.0}  # dB


def correlate(estimates, truth):
    """Return the mean correlation over recordings."""
    return np.mean(
        [np.corrcoef(np.ravel(e), np.ravel(t))[0, 1] for e, t in zip(estimates, truth, strict=True)]
    )


def run_mtrf(X, y, X_test, y_test):
    """Return r and weights of mTRFpy, trained on whole trials."""
    import mtrf

    trials, stimuli = ([window.T for window in np.asarray(part, float)] for part in (X, y))
    joined = np.concatenate(trials)
    mean, penalty = joined.mean(0), ALPHA * joined.var(0).mean() * len(trials[0]) / X.sfreq
    trf = mtrf.TRF(direction=-1)
    trf.train(stimuli, [trial - mean for trial in trials], int(X.sfreq), *LAGS, penalty)
    tests, targets = ([window.T for window in np.asarray(part, float)] for part in (X_test, y_test))
    estimates, _ = trf.predict(targets, [trial - mean for trial in tests])
    return correlate(estimates, targets), trf.weights[:, ::-1].transpose(1, 0, 2)


def compare_r(page, people, envelope):
    """Print r and weights by duration of windows."""
    found = []
    for subject, eeg in people.items():
        for train, test in (("second", "first"), ("first", "second")):
            whole = [
                part for half in (train, test) for part in page.cut({subject: eeg}, envelope, half, HALF)
            ]
            r, weights = run_mtrf(*whole)
            found.append({"windows": "mTRFpy, 24 s", "subject": subject, "r": r, "w": 1.0})
            for seconds in (0.5, 1.0, 3.0, HALF):
                page.SECONDS = seconds
                X, y = page.cut({subject: eeg}, envelope, train, seconds)
                X_test, y_test = page.cut({subject: eeg}, envelope, test, seconds)
                for context in (False, True):
                    ridge = RidgeDecoder(lags=LAGS, alphas=(ALPHA,), k=1, context=context).fit(X, y)
                    result = reconstruct(ridge, X_test, y_test)
                    found.append({
                        "windows": f"{seconds:g} s, context={context}", "subject": subject,
                        "r": correlate(result.estimate, result.target),
                        "w": np.corrcoef(ridge.coef_.ravel(), weights.ravel())[0, 1],
                    })  # fmt: skip
            page.SECONDS = HALF
    table = pd.DataFrame(found).groupby(["windows", "subject"], sort=False)[["r", "w"]].mean()
    lines = []
    for name, part in table.groupby("windows", sort=False):
        lines.append([name, describe(part["r"], 4), f"{part['w'].mean():.4f}"])
    print(markdown(["", "r", "correlation of weights with mTRFpy"], lines), flush=True)


def compare_top(page, people, envelope):
    """Print the accuracy of windows of three seconds."""
    lines, page.SECONDS = [], 3
    for decoder in ("ridge", "likelihood"):
        found = {}
        for train, test in (("second", "first"), ("first", "second")):
            X, y = page.cut(people, envelope, train, 1.5)
            X_test, y_test = page.cut(people, envelope, test, page.SECONDS)
            if decoder == "likelihood":
                y, y_test = add_onsets(y), add_onsets(y_test)
            one = (
                page.make_decoder("ridge")
                if decoder == "ridge"
                else LikelihoodDecoder(lags=(-0.125, 0.25), k=1)
            )
            for name, fitted in fit_variants(one, X, y):
                scores = fitted.similarity(X_test, y_test).reshape(len(people), -1, 8, 8)
                found.setdefault(name, []).append(scores)
        scores = {name: np.stack(parts, axis=2) for name, parts in found.items()}
        top = {n: [100 * hits(s, a).mean((1, 2, 3)) for a in (False, True)] for n, s in scores.items()}
        lines += compare(decoder, top)
    columns = ["", "single windows, %", "minus window", "ten repeats averaged, %", "minus window"]
    print("\n" + markdown(columns, lines))


def fit_variants(decoder, X, y):
    """Yield names and fitted decoders, with and without context."""
    yield "window", decoder.set_params(context=False).fit(X, y)
    yield "context", decoder.set_params(context=True).fit(X, y)
    if isinstance(decoder, RidgeDecoder):
        del decoder._context_frames
        yield "fit only", decoder


def compare(title, scores):
    """Return rows of text: two scores of each variant and differences."""
    lines = []
    for name, pair in scores.items():
        line = [f"{title}, {name}"]
        for own, reference in zip(pair, scores["window"], strict=True):
            line += [describe(own), describe(own - reference) if name != "window" else ""]
        lines.append(line)
    return lines


def describe(values, digits=1):
    """Format the mean and the standard error over subjects."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def run_eeg(given):
    """Compare with mTRFpy, and count correct windows."""
    page = load_page()
    people, envelope = load_subjects(page, range(1, 9))
    page.SECONDS = HALF
    compare_r(page, people, envelope)
    compare_top(page, people, envelope)


def rank_words(modality, seed, given, root):
    """Return the top-10 and top-1 accuracy of each subject, by variant."""
    events = make_listening(
        n_subjects=4, minutes=10, modality=modality, snr_db=SNR[modality], random_state=seed, root=root
    )
    X, y = make_segments(events, tmin=-0.5, tmax=given.seconds - 0.5)
    train, test = next(StimulusKFold(5).split(X, y))
    pipeline, found = make_decoders(given.decoder, memory=f"{root}/cache")[given.decoder], {}
    windows = pipeline[:-1].fit(X.iloc[train], y.iloc[train]).transform(X.iloc[train])
    windows_test, subject = pipeline[:-1].transform(X.iloc[test]), X["subject"].to_numpy()[test]
    for name, fitted in fit_variants(pipeline[-1], windows, y.iloc[train]):
        ranks, n_candidates = fitted.ranks(windows_test, y.iloc[test])
        hit = pd.DataFrame({k: 100.0 * (ranks < k) for k in (10, 1)}).groupby(subject).mean()
        found[name] = [hit[k] for k in (10, 1)]
    return found, n_candidates


def run_simulated(given):
    """Print top-10 and top-1 accuracy of a preset of ``make_decoders``."""
    for modality, seed in product(given.modalities, given.seeds):
        with tempfile.TemporaryDirectory() as root:
            found, n_candidates = rank_words(modality, seed, given, root)
        columns = [f"{n_candidates} words", "top-10, %", "minus window", "top-1, %", "minus window"]
        lines = compare(f"{modality}, seed {seed}, {given.decoder}", found)
        print(markdown(columns, lines) + "\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=("eeg", "simulated"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--modalities", nargs="*", choices=SNR, default=list(SNR))
    parser.add_argument("--decoder", choices=("ridge", "likelihood"), default="ridge")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of the windows")
    given = parser.parse_args()
    with threadpool_limits(1):
        (run_eeg if given.data == "eeg" else run_simulated)(given)
    print(f"\n{machine()}")
