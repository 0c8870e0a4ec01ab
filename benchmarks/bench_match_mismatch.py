"""Match-mismatch on real EEG of eight participants, by the challenge rules.

``SK_B2S_TEST_DATA=folder python benchmarks/bench_match_mismatch.py`` reads
``eeg_dtu`` and trains ridge and likelihood decoders of the envelope like
``bench_dtu.py``: each half of a 50-second story is decoded by decoders that
were trained on the other half. Windows begin every second. The candidates of
a window are those of the match-mismatch tasks of the auditory EEG challenges
of 2023 (one impostor, 3 s) and 2024 (four impostors of the same story, 5 s),
and one impostor with 5 s. Each decoder is also fitted and tested with the
stimulus shifted by 21 s. Settings were developed on participants 1 to 8.
"""

import argparse
import sys
import time

import numpy as np
import pandas as pd
from _machine import machine, markdown
from bench_dtu import add_onsets, load_page, load_subjects
from threadpoolctl import threadpool_limits

from sk_b2s import LikelihoodDecoder, RowCandidates, retrieve

TASKS = {
    "2023: 3 s, 1 impostor, 1 s away": (3, RowCandidates(2, "balanced"), "82.1 (2023, winner)"),
    "5 s, 1 impostor, 1 s away": (5, RowCandidates(2, "balanced"), ""),
    "5 s, 1 impostor, always 1 s later": (5, RowCandidates(2, "next"), ""),
    "2024: 5 s, 4 impostors of the story": (5, RowCandidates(5, "random", gap=0), "62.8 (2024, winner)"),
}
HALVES = (("second", "first"), ("first", "second"))


def cut(page, name, subjects, envelope, half, step):
    """Cut windows of one half, with their times."""
    X, y = page.cut(subjects, envelope, half, step)
    onset = X.rows["first"] * page.DOWN / page.SFREQ
    X.rows = X.rows.assign(onset=onset, duration=float(page.SECONDS), recording=X.rows["recording"] + half)
    return X, add_onsets(y) if name == "likelihood" else y


def fit_halves(page, name, subjects, envelope):
    """Fit a decoder to either half: list of (decoder, X, y) to test."""
    out = []
    for train, test in HALVES:
        decoder = LikelihoodDecoder(lags=(-0.125, 0.25), k=1)
        decoder = decoder if name == "likelihood" else page.make_decoder("ridge")
        decoder.fit(*cut(page, name, subjects, envelope, train, 1.5))
        out.append((decoder, *cut(page, name, subjects, envelope, test, 1.0)))
    return out


def score(fitted, rule):
    """Score both halves: accuracy of each subject, null, and windows."""
    found = [retrieve(decoder, X, y, candidates_per_row=rule) for decoder, X, y in fitted]
    subjects = pd.concat([one.by_subject(1)["top_1"] for one in found], axis=1).mean(axis=1)
    null = np.mean([one.null(1) for one in found], axis=0)
    return subjects, null, sum(len(one.rows) for one in found), sum(one.n_left_out for one in found)


def main(numbers, decoders):
    """Print one table of all tasks and decoders."""
    page, lines = load_page(), []
    if not page.data_folder().is_dir():
        sys.exit(f"No recordings in {page.data_folder()}: set SK_B2S_TEST_DATA to the folder of eeg_dtu.")
    subjects, envelope = load_subjects(page, numbers)
    moved = np.roll(envelope, 21 * page.SFREQ)
    for task, (seconds, rule, published) in TASKS.items():
        page.SECONDS = seconds
        for name in decoders:
            began = time.perf_counter()
            own, null, n, left_out = score(fit_halves(page, name, subjects, envelope), rule)
            spent = time.perf_counter() - began
            control = score(fit_halves(page, name, subjects, moved), rule)[0]
            lines.append([
                task, name, f"{100 * own.mean():.1f} ± {100 * own.sem():.1f}",
                f"{100 * own.min():.0f} to {100 * own.max():.0f}", f"{100 / rule.n_candidates:.0f}",
                f"{100 * np.quantile(null, 0.025):.1f} to {100 * np.quantile(null, 0.975):.1f}",
                f"{100 * control.mean():.1f}", n, left_out, f"{spent:.0f}", published,
            ])  # fmt: skip
    columns = [
        "task", "decoder", "correct, %", "subjects", "chance", "null, 95 %", "stimulus shifted by 21 s",
        "windows", "left out", "s", "published",
    ]  # fmt: skip
    print(markdown(columns, lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="*", default=list(range(1, 9)))
    parser.add_argument("--decoders", nargs="*", default=["ridge", "likelihood"])
    given = parser.parse_args()
    with threadpool_limits(1):
        main(given.subjects, given.decoders)
    print(f"\n{time.process_time():.0f} s of one core on {machine()}")
