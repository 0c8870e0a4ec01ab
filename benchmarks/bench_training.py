"""Training speed at the size of the paper, compared with the machine's limit.

``python benchmarks/bench_training.py`` fits a ``BrainEncoder`` with its
defaults on windows of 343 samples of 208 channels and 1,024 speech features at
50 Hz, from continuous signals, and times whole epochs: filling the batch,
forward, backward, optimizer. The limit is two operations for each multiply-add
of the *unpooled* network (2.45 G per window forward, three times that for
training) over the best rate of a matrix product in the same run. The package
pools before the last layer and mixes channels by one matrix, which saves some
5 % of the counted operations.

With ``--profile`` a second table lists the shares of a training step by kind
of operation.

"plain torch" is a straightforward implementation of the same network:
channel-major, attention and subject matrices applied to each window, features
repeated to 120 Hz. Its step is timed without data loading.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from _machine import machine, markdown, matrix_rate, peak_mib, threads, training_operations
from skorch.callbacks import Callback
from torch import nn

from sk_b2s import BrainEncoder
from sk_b2s.metrics._frames import find_frames_of_samples
from sk_b2s.nn._channel_mixing import embed_channel_mixing_positions
from sk_b2s.nn.functional import clip_loss
from sk_b2s.preprocessing._windows._windows import Windows

N_CHANNELS, N_TIMES, N_OUTPUTS, N_FRAMES, SFREQ, FRAMES_PER_SECOND = 208, 343, 1024, 143, 120.0, 50.0
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KINDS = {  # kinds of operations by parts of their names, the first match counts
    "convolutions": ("conv",),
    "matrix products": ("::mm", "::bmm", "addmm", "baddbmm", "linear"),
    "GELU": ("gelu",),
    "batch norm": ("batch_norm",),
    "gates": ("glu", "sigmoid", "mul_"),
    "copies": ("copy", "clone", "::cat"),
    "selection": ("index", "scatter", "gather"),
    "optimizer": ("adam", "Optimizer"),
    "additions": ("::add", "::sum"),
}


def experiment(n_windows, n_subjects, rng):
    """Make windows of noise and features, one recording per subject."""
    n_each = -(-n_windows // n_subjects)
    n_steps, step = N_TIMES + 60 * n_each, 60
    which = np.repeat(np.arange(n_subjects), n_each)[:n_windows]
    start = np.tile(np.arange(n_each), n_subjects)[:n_windows]
    rows = pd.DataFrame({"subject": which.astype(str), "recording": which.astype(str)})
    signals = [rng.standard_normal((n_steps, N_CHANNELS), dtype=np.float32) for _ in range(n_subjects)]
    layouts = rng.random((n_subjects, N_CHANNELS, 2))
    brain = Windows(
        signals,
        which,
        start * step,
        N_TIMES,
        SFREQ,
        rows=rows,
        positions=layouts,
        layout=np.arange(n_subjects),
    )
    sound = rng.standard_normal((N_FRAMES + 25 * n_each, N_OUTPUTS), dtype=np.float32)
    return brain, Windows([sound], np.zeros(n_windows, int), start * 25, N_FRAMES, FRAMES_PER_SECOND)


def fitted_rate(precision, args):
    """Return windows per second of the best epoch of a fit."""
    brain, speech = experiment(args.batches * args.batch, args.subjects, np.random.default_rng(0))
    encoder = BrainEncoder(
        batch_size=args.batch, max_epochs=args.epochs, validation=None, precision=precision, device=args.device,
        random_state=0, verbose=0,
    )  # fmt: skip
    encoder.fit(brain, speech)
    return len(brain) / min(encoder.history_[1:, "dur"])


class StepProfile(Callback):
    """Profile of the third step of training."""

    def __init__(self, device):
        self.device = device

    def on_train_begin(self, net, **kwargs):
        """Start counting steps."""
        self.n_steps, self.profile_ = 0, None

    def on_batch_begin(self, net, **kwargs):
        """Start before the third step."""
        self.n_steps += 1
        if self.n_steps == 3:
            self.profile_ = torch.profiler.profile().__enter__()

    def on_batch_end(self, net, **kwargs):
        """Stop after the third step."""
        if self.n_steps == 3:
            self.profile_.__exit__(None, None, None)

    def shares(self):
        """Return the share of each kind of operation in the step."""
        kind_of_time = "self_cpu_time_total" if self.device == "cpu" else "self_device_time_total"
        spent = dict.fromkeys([*KINDS, "rest"], 0.0)
        for event in self.profile_.key_averages():
            kinds = (kind for kind, names in KINDS.items() if any(name in event.key for name in names))
            spent[next(kinds, "rest")] += getattr(event, kind_of_time)
        total = sum(spent.values())
        return {kind: seconds / total for kind, seconds in spent.items()}


def step_shares(precision, args):
    """Return the share of each kind of operation in a training step."""
    brain, speech = experiment(3 * args.batch, args.subjects, np.random.default_rng(0))
    profile = StepProfile(args.device)
    encoder = BrainEncoder(
        batch_size=args.batch, max_epochs=1, validation=None, precision=precision, device=args.device,
        callbacks=[profile], random_state=0, verbose=0,
    )  # fmt: skip
    encoder.fit(brain, speech)
    return profile.shares()


class PlainModule(nn.Module):
    """Straightforward implementation of the network of the paper."""

    def __init__(self, n_subjects, hidden=320, virtual=270, depth=10):
        super().__init__()
        self.heads = nn.Parameter(torch.randn(virtual, 2048) / 2048**0.5)
        self.initial = nn.Conv1d(virtual, virtual, 1)
        self.people = nn.Parameter(torch.randn(n_subjects, virtual, virtual) / virtual**0.5)
        widths = [virtual] + depth * [hidden]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(widths[i], hidden, 3, padding=2 ** (i % 5), dilation=2 ** (i % 5)) for i in range(depth)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Conv1d(hidden, 2 * hidden, 3, padding=1) for _ in range(depth // 2))
        self.head = nn.Sequential(
            nn.Conv1d(hidden, 2 * hidden, 1), nn.GELU(), nn.Conv1d(2 * hidden, N_OUTPUTS, 1)
        )

    def forward(self, x, subject, positions):
        """Return features, (n_windows, n_outputs, n_times)."""
        scores = torch.einsum("od,bcd->boc", self.heads, embed_channel_mixing_positions(positions))
        h = torch.einsum("boc,bct->bot", scores.softmax(-1), x)
        h = torch.einsum("bct,bcd->bdt", self.initial(h), self.people[subject])
        for i, (convolve, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            out = nn.functional.gelu(norm(convolve(h)))
            h = out + h if i else out
            if i % 2:
                h = nn.functional.glu(self.gates[i // 2](h), dim=1)
        return self.head(h)


def plain_rate(precision, args):
    """Return windows per second of plain torch on a fixed batch."""
    device = torch.device(args.device)
    module = PlainModule(args.subjects).to(device)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-4)
    x = torch.randn(args.batch, N_CHANNELS, N_TIMES, device=device)
    frames = torch.as_tensor(find_frames_of_samples(N_TIMES, SFREQ, FRAMES_PER_SECOND), device=device)
    y = torch.randn(args.batch, N_OUTPUTS, N_FRAMES, device=device)[:, :, frames]
    subject = torch.arange(args.batch, device=device) % args.subjects
    positions = torch.rand(args.batch, N_CHANNELS, 2, device=device)
    seconds = []
    for _ in range(args.epochs + 1):
        began = time.perf_counter()
        with torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32"):
            estimates = module(x, subject, positions)
        loss = clip_loss(estimates, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return args.batch / min(seconds[1:])


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=4, help="batches per epoch")
    parser.add_argument("--epochs", type=int, default=4, help="the first is not counted")
    parser.add_argument("--subjects", type=int, default=27)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--profile", action="store_true", help="add the shares of kinds of operations")
    parser.add_argument("--no-plain", action="store_true", help="leave out plain torch")
    args = parser.parse_args()
    with threads(args.threads):
        rows = []
        for precision in args.precision:
            rate = matrix_rate(DTYPES[precision], device=args.device)
            ours = fitted_rate(precision, args)
            plain = None if args.no_plain else plain_rate(precision, args)
            rate = max(rate, matrix_rate(DTYPES[precision], device=args.device))
            limit = rate / training_operations(N_CHANNELS, N_TIMES, N_OUTPUTS)
            for name, speed in [("plain torch, no feeding", plain), ("sk_b2s, whole epochs", ours)]:
                if speed is not None:
                    share = f"{speed / limit:.0%}"
                    rows.append([precision, name, f"{rate / 1e9:.0f}", f"{limit:.1f}", f"{speed:.1f}", share])
        print(
            f"{machine()}; batch {args.batch}, {args.subjects} subjects; peak {peak_mib():,.0f} MiB, of all rows\n"
        )
        columns = [
            "precision",
            "training",
            "matrix GFLOP/s",
            "limit windows/s",
            "windows/s",
            "share of limit",
        ]
        print(markdown(columns, rows))
        if args.profile:
            shares = [[precision, *step_shares(precision, args).values()] for precision in args.precision]
            print()
            print(
                markdown(
                    ["precision", *KINDS, "rest"], [[p, *(f"{v:.1%}" for v in row)] for p, *row in shares]
                )
            )


if __name__ == "__main__":
    main()
