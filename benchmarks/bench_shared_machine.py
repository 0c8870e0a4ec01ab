"""Cost of other processes for training, by OpenMP wait policy.

Run as ``python benchmarks/bench_shared_machine.py``. Each policy is a set of
environment variables. OpenMP reads them when torch loads it, so each
measurement is a process of its own. The other processes only count, and each
takes one core. The best of several repetitions counts.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from _machine import machine, markdown

from sk_b2s import BrainEncoder, Windows

POLICIES = {
    "nothing set": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "KMP_BLOCKTIME=0": {"KMP_BLOCKTIME": "0"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
SIZES = {  # windows, channels, steps of a window, features, frames, parameters of the encoder
    "small": (256, 32, 90, 8, 90, {"hidden": 32, "depth": 4, "n_virtual_channels": 32, "batch_size": 64}),
    "paper": (32, 208, 343, 120, 343, {"batch_size": 16}),
}
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with this process
VARIABLES = {name for policy in POLICIES.values() for name in policy}


def openmp():
    """Return the file names of the OpenMP libraries in this process."""
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_info

        return sorted(
            {i["filepath"].rsplit("/", 1)[-1] for i in threadpool_info() if i["user_api"] == "openmp"}
        )
    return []


def measure(size, repeats):
    """Return the best training rate in windows per second."""
    n_windows, n_channels, n_times, n_features, n_frames, parameters = SIZES[size]
    rng = np.random.default_rng(0)
    brain = rng.standard_normal((n_windows, n_channels, n_times), dtype=np.float32)
    speech = rng.standard_normal((n_windows, n_features, n_frames), dtype=np.float32)
    rows = pd.DataFrame({"subject": [str(i % 4) for i in range(n_windows)], "recording": "0"})
    X = Windows.from_array(brain, sfreq=120, positions=rng.random((n_channels, 2)), rows=rows)
    encoder = BrainEncoder(
        **parameters, max_epochs=1 + repeats, validation=None, precision="float32", random_state=0, verbose=0
    )
    seconds = encoder.fit(X, speech).history_[1:, "dur"]  # without the first, which includes the setup
    return n_windows / min(seconds), n_windows / float(np.median(seconds))


def in_own_process(policy, size, repeats):
    """Measure in a new interpreter under a policy."""
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | POLICIES[policy]
    command = [sys.executable, __file__, "--one", size, "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def neighbors(n_processes):
    """Keep some cores busy."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n_processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main(sizes, policies, busy, repeats):
    """Measure all cases and print the table."""
    print(f"{machine()}, {', '.join(openmp())}\nwindows per second, best and (median) epoch of {repeats}\n")
    rows = []
    for size in sizes:
        for policy in policies:
            row = [size, policy]
            for n_processes in busy:
                with neighbors(n_processes):
                    time.sleep(0.2)
                    best, median = in_own_process(policy, size, repeats)
                row.append(f"{best:,.0f} ({median:,.0f})" if best > 20 else f"{best:.1f} ({median:.1f})")
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    names = ["no other load" if n == 0 else f"with {n} busy process{'es' * (n > 1)}" for n in busy]
    print(markdown(["network", "environment", *names], rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 2], help="numbers of busy processes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", choices=SIZES, help="measure this size here and print it")
    given = parser.parse_args()
    if given.one is None:
        main(given.sizes, given.policies, given.busy, given.repeats)
    else:
        print(json.dumps(measure(given.one, given.repeats)))
