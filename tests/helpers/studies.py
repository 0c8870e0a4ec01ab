"""Folders of the studies: real tables, and stand-ins for other files."""

import gzip
import json
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import soundfile

from helpers.raw_files import simulate_channels, write_ctf, write_speech, write_textgrid
from sk_b2s import Envelope, Epocher, HashedBlockSplit, check_events, make_segments
from sk_b2s.events._paper_blocks import find_paper_block_sentences, merge_paper_block_sentences

AFTER = 10.0  # s from the last event to the end of a recording


def write_noise(path, seconds, rate=8000):
    """Write noise as a WAV file that stands in for an audio file."""
    rng = np.random.default_rng(zlib.crc32(Path(path).name.encode()))
    soundfile.write(path, 0.1 * rng.standard_normal(int(np.ceil(seconds * rate))), rate)


def masc_folder(data, root, subjects=("04",)):
    """Make MEG-MASC with real tables and noise, without recordings."""
    lengths = {}
    for subject in subjects:
        for path in sorted((data / f"meg_masc/sub-{subject}").rglob("*_events.tsv.gz")):
            folder = root / path.parent.relative_to(data / "meg_masc")
            folder.mkdir(parents=True, exist_ok=True)
            content = gzip.decompress(path.read_bytes())
            (folder / path.stem).write_bytes(content)
            lines = content.decode("utf-8-sig").splitlines()
            onset, duration = (float(value) for value in lines[-1].split("\t")[:2])
            said = folder / path.name.replace("_events.tsv.gz", "_meg.json")
            said.write_text(json.dumps({"RecordingDuration": onset + duration + AFTER}))
            for line in lines[1:]:
                for name in re.findall(r"audio/(\w+_\d+)(?:\.0)?\.wav", line):
                    start = re.search(r"'start': ([\d.]+)", line)
                    cells = line.split("\t")
                    start = float(start[1]) if start else float(cells[9])
                    lengths[name.lower()] = max(lengths.get(name.lower(), 0), start + float(cells[1]))
    (root / "stimuli/audio").mkdir(parents=True, exist_ok=True)
    for name, seconds in lengths.items():
        write_noise(root / f"stimuli/audio/{name}.wav", seconds + 0.5)
    return root


def brennan_folder(data, root, subjects=None):
    """Make the study of Brennan & Hale with real tables and noise."""
    (root / "proc").mkdir(parents=True)
    (root / "audio").mkdir()
    shutil.copy(data / "brennan2019/AliceChapterOne-EEG.csv", root)
    for path in (data / "brennan2019/proc").glob("S??.mat"):
        if subjects is None or path.stem in subjects:
            (root / "proc" / path.name).symlink_to(path)
    for path in (data / "brennan2019/textgrids").glob("*.TextGrid"):
        seconds = float(re.search(r"xmax = ([\d.]+)", path.read_text())[1])
        write_noise(root / "audio" / f"{path.stem}.wav", seconds)
    return root


def broderick_folder(data, root, people=2, runs=2):
    """Make the study of Broderick et al. in the layout of OpenNeuro.

    Words and audio files are those of Brennan & Hale. Recordings are missing,
    and have the durations of four real ones in turn.
    """
    grids = sorted(
        (data / "brennan2019/textgrids").glob("*.TextGrid"),
        key=lambda path: int(re.findall(r"\d+", path.stem)[-1]),
    )
    about = sorted((data / "broderick_bids").rglob("*_eeg.json"))
    (root / "stimuli").mkdir(parents=True)
    for run in range(1, runs + 1):
        grid = grids[(run - 1) % len(grids)]
        shutil.copy(grid, root / f"stimuli/audio{run:02d}.TextGrid")
        write_noise(
            root / f"stimuli/audio{run:02d}.wav", float(re.search(r"xmax = ([\d.]+)", grid.read_text())[1])
        )
        for person in range(1, people + 1):
            stem = root / f"sub-{person:03d}/eeg/sub-{person:03d}_task-listening_run-{run:02d}"
            stem.parent.mkdir(parents=True, exist_ok=True)
            table = next((data / "broderick_bids/sub-001/eeg").glob("*_channels.tsv"))
            shutil.copy(table, f"{stem}_channels.tsv")
            shutil.copy(about[(run + person) % len(about)], f"{stem}_eeg.json")
    return root


LOG_HEAD = ["Subject", "Trial", "Event Type", "Code", "Time", "TTime", "Uncertainty", "Duration", "Uncertainty",
            "ReqTime", "ReqDur", "Stim Type", "Pair Index"]  # fmt: skip


def write_mous_stimuli(root, n_sounds):
    """Make audio files of MOUS: noise of 4.5 s, eight words, and texts."""
    texts = []
    for number in range(1, n_sounds + 1):
        name = f"EQ_Ramp_Int2_Int1LPF{number:03d}"
        write_speech(root / f"stimuli/audio_files/{name}.wav", 4.5, number)
        words = [(0.2 + 0.5 * i, 0.4, f"woord{number}{'abcdefgh'[i]}") for i in range(8)]
        write_textgrid(root / f"derivatives/phonemes/{name}.TextGrid", words, 4.5, ("ORT-MAU", "MAU"))
        texts.append(f"{number} {' '.join(word for *_, word in words)} en nog.")
    (root / "stimuli/stimuli.txt").write_text("\n".join(texts))


def write_mous_subject(
    data, root, n_sounds, subject="A2002", lose=(), add=(), scale=1.0 - 40e-6, sfreq=1200.0, seed=0
):
    """Make a subject of MOUS: log, CTF recording with triggers and responses.

    The clock of the log began 12.3456 s before that of the recording and is
    40 ppm slow. Returns [(number of the audio file, s)].
    """
    rng = np.random.default_rng(seed)
    now, rows, sent, played = 15.0, [], [], []
    for order, number in enumerate(rng.permutation(n_sounds) + 1):
        if order % 3 == 0:
            rows.append(("Picture", ["ZINNEN", "WOORDEN"][order // 3 % 2], now))
            sent.append((now, 10))
            now += 0.6
        rows.append(("Picture", "FIX", now))
        sent.append((now, 20))
        now += 0.5
        rows.append(("Nothing", f"14 Start File {number}.wav", now))
        rows.append(("Sound", "1 Audio onset", now + 0.013))
        played.append((number, now + 0.013))
        now += 4.6 + 0.2 * rng.random()
        rows.append(("Picture", "blank", now))
    lines = ["Scenario -\tMOUS", "Logfile written - 01/01/2013", "", "\t".join(LOG_HEAD), ""]
    for trial, (kind, code, time) in enumerate(rows):
        cells = [subject, str(trial), kind, code, str(round((time * scale + 12.3456) * 1e4)), "0", "1"]
        lines.append("\t".join(cells + [""] * 6))
    lines += ["", "", "Event Type\tCode\tUncertainty", "Picture\tFIX\t1", "Scenario -\tagain"]
    path = root / f"sourcedata/meg_task/10-MEG-MOUS-Aud{subject}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    seconds = now + 2
    triggers = np.zeros(int(seconds * 1200))
    for time, code in [*(s for index, s in enumerate(sent) if index not in lose), *add]:
        triggers[round(time * 1200) : round(time * 1200) + 6] = code
    sounds = [
        (root / f"stimuli/audio_files/EQ_Ramp_Int2_Int1LPF{number:03d}.wav", onset)
        for number, onset in played
    ]
    brain = simulate_channels(sounds, seconds, 1200, 6)[:, : len(triggers)]
    recording = root / f"sub-{subject}/meg/sub-{subject}_task-auditory_meg.ds"
    write_ctf(data / "formats/ctf/somMDYO-18av.ds", recording, brain, triggers, sfreq)
    return played


def count_as_published(events, min_duration=6.0):
    """Count segments and words as the published code lays its windows.

    A grid in each recording's own time, windows over two sounds, and segments
    named by the word at sample 62.
    """
    found = {"train": set(), "test": set()}
    words_of = {"train": set(), "test": set()}
    for _, spoken in events[events["type"] == "word"].groupby("recording"):
        words = spoken.sort_values("onset")
        words = words.assign(condition=words["condition"] if "condition" in words else None)
        onset, text = words["onset"].to_numpy(), words["text"].to_numpy(object)
        end = onset + words["duration"].to_numpy()
        name = list(zip(words["sequence"], words["word_index"], strict=True))
        grid = np.arange(0.5, onset[-1] + 7.5, 0.5)
        for start, stop, uid in merge_paper_block_sentences(
            find_paper_block_sentences(words), min_duration
        ).itertuples(index=False):
            part = HashedBlockSplit().assign(None, groups=[uid])[0]
            anchors = {"train": grid, "test": onset}.get(part, grid[:0])
            for t in anchors[(anchors - 0.5 >= start) & (anchors + 2.5 - 0.5 / 120 < stop)]:
                heard = slice(np.searchsorted(end, t - 0.5), np.searchsorted(onset, t + 2.5))
                first = np.round((onset[heard] - t + 0.5) * 120)
                covers = (first <= 62) & (62 <= first + np.round((end - onset)[heard] * 120))
                if covers.any():
                    found[part].add(name[heard][np.flatnonzero(covers)[-1]])
                words_of[part].update(text[heard])
    counts = {f"{part} segments": len(segments) for part, segments in found.items()}
    return {**counts, **{f"{part} words": len(words) for part, words in words_of.items()}}


LAG, SECONDS, N_CHANNELS = 0.1, 60.0, 12


def find_response_lag(events, **epocher):
    """Return the lag (s) of the largest covariance with the envelope."""
    return find_lag_of_windows(*cut_windows(events), **epocher)


def cut_windows(events):
    """Return windows of 4 s and their envelopes, (n_windows, n_times)."""
    X, y = make_segments(events, anchor=1.0, tmin=0.0, tmax=4.0, margin=0.1, block=8.0)
    return X, np.asarray(Envelope(sfreq=100).fit_transform(y), float)[:, 0]


def find_lag_of_windows(X, sound, **epocher):
    """Return the lag (s) of the largest covariance with envelopes."""
    data = np.asarray(Epocher(sfreq=100, lag=0.0, baseline=None, **epocher).fit_transform(X), float)
    data -= data.mean(2, keepdims=True)
    sound = sound - sound.mean(1, keepdims=True)
    power = {}
    for step in range(-60, 61):
        a, b = max(step, 0), min(step, 0)
        stimulus, response = sound[:, -b : sound.shape[1] - a], data[:, :, a : data.shape[2] + b]
        n_times = min(stimulus.shape[1], response.shape[2])
        covariance = np.einsum("nt,nct->c", stimulus[:, :n_times], response[:, :, :n_times]) / n_times
        power[step / 100] = (covariance**2).sum()
    return max(power, key=power.get)


def check_lag(events, **epocher):
    """Check that the lag is found, and not with onsets 300 ms late."""
    check_events(events)
    X, sound = cut_windows(events)
    assert abs(find_lag_of_windows(X, sound, **epocher) - LAG) <= 0.02
    inside = (X["onset"] + 0.3 <= X.groupby("recording")["onset"].transform("max")).to_numpy()
    late = X[inside].assign(onset=X["onset"] + 0.3)
    assert abs(find_lag_of_windows(late, sound[inside], **epocher) - LAG) > 0.2
