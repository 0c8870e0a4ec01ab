"""Device, number of threads and precision of torch networks."""

from __future__ import annotations

import contextlib

import joblib
import torch


def choose_device(device):
    """Resolve "auto" to the GPU where there is one, and check that another is there: a torch.device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={str(device)!r} is not on this machine; 'auto' takes what is there."
        ) from error
    return device


def choose_precision(precision, device):
    """Resolve "auto" to bfloat16 where the chip multiplies it natively: a torch.dtype."""
    if precision != "auto":
        return getattr(torch, precision)
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)  # is_bf16_supported counts emulation in
    else:
        native = device.type == "cpu" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
    return torch.bfloat16 if native else torch.float32


@contextlib.contextmanager
def allowed_threads():
    """Compute with no more threads of torch than this process may use processors.

    Torch counts the processors of the machine. Affinity and the quota of a container may allow fewer, and threads
    beyond those wait for each other at every operation. Fewer threads are left as they are, and so is the number
    afterwards. As a decorator it does so in each call.
    """
    before, allowed = torch.get_num_threads(), max(1, joblib.cpu_count())
    if before <= allowed:
        yield
        return
    torch.set_num_threads(allowed)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def free_bytes(device):
    """Bytes of a GPU that are free, with those that torch holds in store for tensors to come."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
