"""Describe the machine of a benchmark and measure its matrix rate."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import resource
import time
from pathlib import Path

import torch

MIB = 2**20
FEATURES = {
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
}  # names in /proc/cpuinfo


def _cpuinfo(field):
    """Return the first line of /proc/cpuinfo that begins with ``field``."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def machine():
    """Describe processor, instruction sets, threads, torch and GPU."""
    flags = _cpuinfo("flags").split()
    known = [name for flag, name in FEATURES.items() if flag in flags]
    parts = [_cpuinfo("model name") or platform.processor() or platform.machine(), *known]
    n_threads = torch.get_num_threads()
    parts += [f"{n_threads} thread{'s' * (n_threads > 1)}", f"torch {torch.__version__}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


@contextlib.contextmanager
def threads(n_threads):
    """Set the number of threads of torch, None for no change."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def best_seconds(function, repeats=5, device="cpu"):
    """Return the shortest time of several calls.

    Other processes can only slow a call.
    """
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    seconds = []
    for _ in range(repeats):
        wait()
        begin = time.perf_counter()
        function()
        wait()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def matrix_rate(dtype=torch.float32, n_threads=None, device="cpu", sizes=(2048, 3072), repeats=5):
    """Measure the rate of large matrix products in operations per second.

    Each multiply-add counts as two operations.

    Parameters
    ----------
    dtype : torch.dtype, default=torch.float32
    n_threads : int, default=None
        Threads for the product. If None, the setting of torch.
    device : str or torch.device, default="cpu"
    sizes : sequence of int, default=(2048, 3072)
        Sides of square matrices. The best of them counts.
    repeats : int, default=5
        Calls of each size, after one that is not counted.

    Returns
    -------
    rate : float
    """
    rates = []
    with threads(n_threads):
        for n in sizes:
            left, right = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
            out = torch.empty(n, n, dtype=dtype, device=device)

            def product(left=left, right=right, out=out):
                torch.mm(left, right.T, out=out)

            product()
            rates.append(2 * n**3 / best_seconds(product, repeats, device))
    return max(rates)


def training_operations(n_channels=208, n_times=343, n_outputs=1024, hidden=320, virtual=270, depth=10):
    """Count the operations of training on one window, without pooling.

    The backward pass takes two products for each of the forward pass, hence
    the factor of three.
    """
    mixing = n_channels * virtual + 2 * virtual**2
    convolutions = 3 * (virtual * hidden + (depth - 1) * hidden**2 + depth // 2 * 2 * hidden**2)
    head = 2 * hidden**2 + 2 * hidden * n_outputs
    return 2 * 3 * n_times * (mixing + convolutions + head)


def peak_mib():
    """Return the peak memory since :func:`reset_peak`, in MiB."""
    return _status_mib("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reset_peak():
    """Reset the peak, where possible, and return the memory in use in MiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_mib("VmRSS")


def held_mib():
    """Return the memory in use in MiB, after free memory is returned."""
    with contextlib.suppress(AttributeError, OSError):  # other C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
    return _status_mib("VmRSS")


def _status_mib(field):
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), 0.0)


def markdown(columns, rows):
    """Format a table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
