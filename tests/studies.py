"""Folders of the real studies as the loaders find them: real tables, and stand-ins for what is not at hand."""

import gzip
import json
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import soundfile

AFTER = 10.0  # s that stand-in recordings last after their last event


def write_noise(path, seconds, rate=1000):
    """Write noise of its own as a wav file that stands for a sound not at hand."""
    rng = np.random.default_rng(zlib.crc32(Path(path).name.encode()))
    soundfile.write(path, 0.1 * rng.standard_normal(int(np.ceil(seconds * rate))), rate)


def masc_folder(data, root, subjects=("04",)):
    """MEG-MASC with the real tables of some people, sounds of noise, and no recordings."""
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
    """Brennan's study with the real words and trials, sounds of noise and of their length, and no recordings."""
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
