"""How long imports and the command line take.

Run as ``python benchmarks/bench_import.py [ROOT]``, where ROOT is a checkout
of the package, by default this one. Each measurement is a new process, of
which the fastest of several counts, next to a process that does nothing.
"""

import subprocess
import sys
import time
from pathlib import Path

from _machine import machine, markdown

RUNS = 7
CODES = {
    "nothing": ["-c", "pass"],
    "import sk_b2s": ["-c", "import sk_b2s"],
    "from sk_b2s import check_events": ["-c", "from sk_b2s import check_events"],
    "from sk_b2s import StimulusKFold": ["-c", "from sk_b2s import StimulusKFold"],
    "from sk_b2s.metrics import similarity": ["-c", "from sk_b2s.metrics import similarity"],
    "from sk_b2s import BrainEncoder": ["-c", "from sk_b2s import BrainEncoder"],
    "sk-b2s --help": ["-m", "sk_b2s", "--help"],
}


def seconds_of(arguments, root):
    """Least seconds that a new Python process takes."""
    seconds = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, cwd=root, capture_output=True)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def main(root):
    """Print a table of seconds and heavy libraries."""
    rows = []
    for name, arguments in CODES.items():
        seconds = seconds_of(arguments, root)
        heavy = []
        if arguments[0] == "-c":
            code = f"{arguments[1]}; import sys; print(*sys.modules)"
            loaded = subprocess.run(
                [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
            )
            heavy = [one for one in ("torch", "mne", "pandas", "sklearn") if one in loaded.stdout.split()]
        rows.append([name, f"{seconds:.2f}", ", ".join(heavy)])
    print(machine(), end="\n\n")
    print(markdown(["code", "seconds", "of torch, mne, pandas, sklearn it imports"], rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
