"""Tiny recordings in the formats of the studies, with a known response."""

import struct
from pathlib import Path

import numpy as np
import soundfile
from scipy.io import savemat
from scipy.ndimage import gaussian_filter1d

RATE = 8000  # Hz of the sounds
SLOW = 100  # Hz of their loudness


def write_speech(path, seconds, seed):
    """Write noise with an amplitude modulation of 4 Hz, like speech."""
    rng = np.random.default_rng(seed)
    loud = gaussian_filter1d(rng.standard_normal(int(seconds * SLOW)), 0.06 * SLOW)
    loud = np.repeat(np.clip(loud / loud.std(), 0, None), RATE // SLOW)
    audio = loud * rng.standard_normal(len(loud))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * audio, RATE)


def simulate_channels(sounds, seconds, sfreq, n_channels, lag=0.1, noise=1.0, seed=0):
    """Simulate channels that follow the envelope of audio after ``lag`` s."""
    rng = np.random.default_rng(seed)
    response = np.zeros(int(seconds * sfreq))
    time = np.arange(len(response)) / sfreq
    for path, onset in sounds:
        audio, _ = soundfile.read(path)
        loud = np.abs(audio).reshape(-1, RATE // SLOW).mean(1)
        at = (np.arange(len(loud)) + 0.5) / SLOW + onset + lag
        response += np.interp(time, at, loud, left=0, right=0)
    response /= response.std()
    weights = rng.uniform(0.5, 1.5, n_channels) * rng.choice([-1, 1], n_channels)
    return weights[:, None] * response + noise * rng.standard_normal((n_channels, len(response)))


def write_kit(template, path, brain, sfreq):
    """Write a KIT file with given samples in its first channels."""
    content = bytearray(template.read_bytes())
    offset = [struct.unpack_from("<I", content, 16 * entry)[0] for entry in range(10)]
    (n_channels,) = struct.unpack_from("<i", content, offset[1] + 12 + 256)
    struct.pack_into("<d", content, offset[8] + 4, sfreq)
    struct.pack_into("<i", content, offset[8] + 16, brain.shape[1])
    samples = np.zeros((brain.shape[1], n_channels), "<i2")
    samples[:, : len(brain)] = np.round(200 * brain.T)
    struct.pack_into("<I", content, 16 * 9, len(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(content) + samples.tobytes())


def write_ctf(template, path, brain, triggers, sfreq):
    """Write a CTF folder with a trigger channel and given samples."""
    head = (template / f"{template.stem}.res4").read_bytes()
    (n_channels,) = struct.unpack_from(">h", head, 1292)
    names_at = 1844 + struct.unpack_from(">i", head, 1836)[0]
    (n_filters,) = struct.unpack_from(">h", head, names_at)
    names_at += 2
    for _ in range(n_filters):
        names_at += 18 + 8 * struct.unpack_from(">h", head, names_at + 16)[0]
    names = [head[names_at + 32 * i :][:32].split(b"\0")[0] for i in range(n_channels)]
    chosen = [names.index(b"STIM"), *[i for i, name in enumerate(names) if name.startswith(b"ML")]]
    chosen = chosen[: 1 + len(brain)]
    records_at, size = names_at + 32 * n_channels, 1328
    new = bytearray(head[:names_at])
    new += b"".join(head[names_at + 32 * i :][:32] for i in chosen)
    new += b"".join(head[records_at + size * i :][:size] for i in chosen)
    for sensor in range(len(chosen)):
        struct.pack_into(">h", new, len(new) - size * (sensor + 1) + 42, 0)
    new += struct.pack(">h32siih", 1, names[chosen[1]], 0x47314252, 0, 0) + bytes(
        1950
    )  # one without coefficients
    struct.pack_into(">i", new, 1288, brain.shape[1])
    struct.pack_into(">h", new, 1292, len(chosen))
    struct.pack_into(">dd", new, 1296, sfreq, brain.shape[1] / sfreq)
    struct.pack_into(">h", new, 1312, 1)
    path.mkdir(parents=True)
    for file in template.iterdir():
        if file.suffix in (".hc", ".newds", ".hist"):
            (path / f"{path.stem}{file.suffix}").write_bytes(file.read_bytes())
    (path / f"{path.stem}.res4").write_bytes(bytes(new))
    samples = np.concatenate([triggers[None], np.round(1000 * brain)]).astype(">i4")
    (path / f"{path.stem}.meg4").write_bytes(b"MEG41CP\0" + samples.tobytes())


def write_brainvision(path, brain, names, sfreq):
    """Write BrainVision header, markers and samples in V, as in ds004408."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = [f"Ch{i}={name},,1,V" for i, name in enumerate(names, start=1)]
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.with_suffix('.eeg').name}\nMarkerFile={path.with_suffix('.vmrk').name}\n"
        f"DataFormat=BINARY\nDataOrientation=MULTIPLEXED\nNumberOfChannels={len(names)}\n"
        f"SamplingInterval={1e6 / sfreq:.9g}\n\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n\n[Channel Infos]\n"
        + "\n".join(channels)
        + "\n"
    )
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.with_suffix('.eeg').name}\n\n[Marker Infos]\nMk1=New Segment,,1,1,0,0\n"
    )
    path.with_suffix(".eeg").write_bytes((1e-5 * brain.T).astype("<f4").tobytes())


def write_fieldtrip(path, brain, sfreq):
    """Write a struct ``raw`` in µV like those of Brennan & Hale."""
    labels = [str(number) for number in range(1, 62) if number != 29][: len(brain)] + ["VEOG", "AUD"]
    n_channels, n_times = len(labels), brain.shape[1]
    data = np.concatenate([10 * brain, 1000 * np.ones((2, n_times))])
    cells = np.array(labels, object)[:, None]
    header = {"Fs": sfreq, "nChans": n_channels, "nSamples": n_times, "nSamplesPre": 0, "nTrials": 1, "label": cells,
              "chantype": np.full((n_channels, 1), "eeg", object),
              "chanunit": np.full((n_channels, 1), "uV", object)}  # fmt: skip
    raw = {"hdr": header, "label": cells, "fsample": sfreq, "sampleinfo": [[1, n_times]], "trial": _cell(data),
           "time": _cell(np.arange(n_times) / sfreq)}  # fmt: skip
    savemat(path, {"raw": raw})


def _cell(array):
    cell = np.empty((1, 1), object)
    cell[0, 0] = array
    return cell


def write_textgrid(path, words, seconds, tiers=("words", "phones")):
    """Write words (onset, duration, text) of one phone as a TextGrid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, last = [], 0.0
    for onset, duration, text in words:
        rows += [(last, onset, "")] if onset > last + 1e-6 else []
        rows.append((onset, onset + duration, text))
        last = onset + duration
    rows.append((last, seconds, ""))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        f"0 {seconds} <exists> {len(tiers)}",
    ]
    for tier in tiers:
        lines += [f'"IntervalTier" "{tier}" 0 {seconds} {len(rows)}']
        lines += [f'{begin:.6f} {end:.6f} "{text}"' for begin, end, text in rows]
    path.write_text("\n".join(lines))


def spoken_words(seconds, seed, sentence=6):
    """List words (onset, duration, text) with a silence after sentences."""
    rng = np.random.default_rng(seed)
    words, onset = [], 0.3
    while onset < seconds - 1:
        words.append((round(onset, 3), 0.25, f"w{rng.integers(1000)}"))
        onset += 0.33 + 0.6 * (len(words) % sentence == 0)
    return words


def write_eeglab(path, brain, sfreq, events=()):
    """Write an EEGLAB set; events are (type, latency from 1, samples)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.array([(f"E{i}",) for i in range(len(brain))], dtype=[("labels", object)])
    names = [("type", object), ("latency", float), ("duration", float)]
    table = np.array([(kind, float(at), float(lasts)) for kind, at, lasts in events], dtype=names)
    seconds = (brain.shape[1] - 1) / sfreq
    savemat(path, {"EEG": {
        "setname": "", "nbchan": len(brain), "pnts": brain.shape[1], "trials": 1, "srate": float(sfreq), "xmin": 0.0,
        "xmax": seconds, "data": (1e6 * brain).astype(np.float32), "chanlocs": labels, "event": table, "icawinv": [],
        "icaweights": [], "icasphere": [], "icaact": [], "epoch": [], "ref": "common",
    }})  # fmt: skip


def write_edf(path, brain, sfreq, starts=None, notes=(), status=None, encoding="utf-8"):
    """Write EDF records of 1 s, discontinuous if they have ``starts``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_bdf, n_records = path.suffix == ".bdf", brain.shape[1] // sfreq
    width, top = (3, 2**23 - 1) if is_bdf else (2, 2**15 - 1)
    named = f"{'BDF' if is_bdf else 'EDF'} Annotations"
    labels = [f"E{i}" for i in range(len(brain))] + ["Status"] * (status is not None) + [named]
    n_signals, note_bytes = len(labels), 120
    counts = [sfreq] * (n_signals - 1) + [note_bytes // width]
    kind = f"{'BDF' if is_bdf else 'EDF'}+{'C' if starts is None else 'D'}"
    starts = range(n_records) if starts is None else starts

    def field(value, size):
        return str(value).encode(encoding).ljust(size)[:size]

    head = (b"\xffBIOSEMI" if is_bdf else field("0", 8)) + field("X X X X", 80)
    head += field("Startdate 01-JAN-2020 X X X", 80) + b"01.01.2012.00.00" + field(256 * (n_signals + 1), 8)
    head += field(kind, 44) + field(n_records, 8) + field(1, 8) + field(n_signals, 4)
    for size, values in [
        (16, labels), (80, [""] * n_signals), (8, ["uV"] * (n_signals - 1) + [""]), (8, [-1000] * n_signals),
        (8, [1000] * n_signals), (8, [-top] * n_signals), (8, [top] * n_signals), (80, [""] * n_signals), (8, counts),
        (32, [""] * n_signals),
    ]:  # fmt: skip
        head += b"".join(field(value, size) for value in values)
    whole = np.round(brain * 1e6 / 1000 * top).astype("<i4")
    whole = whole if status is None else np.vstack([whole, status])
    body = []
    for record, start in enumerate(starts):
        samples = np.ascontiguousarray(whole[:, record * sfreq : (record + 1) * sfreq])
        texts = f"+{start}\x14\x14\0" + "".join(
            f"+{onset}\x14{text}\x14\0" for onset, text in notes if start <= onset < start + 1
        )
        body.append(samples.view(np.uint8).reshape(*samples.shape, 4)[..., :width].tobytes())
        body.append(texts.encode(encoding).ljust(note_bytes, b"\0"))
    path.write_bytes(head + b"".join(body))


def write_tiers(path, words, phones=None, stop=20.0):
    """Write tiers whose entries may be anything."""
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        f"0 {stop} <exists> {1 + (phones is not None)}",
    ]
    for name, rows in (("words", words), ("phones", phones)):
        if rows is not None:
            lines += [
                f'"IntervalTier" "{name}" 0 {stop} {len(rows)}',
                *(f'{a} {b} "{text}"' for a, b, text in rows),
            ]
    path.write_text("\n".join(lines))
    return path
