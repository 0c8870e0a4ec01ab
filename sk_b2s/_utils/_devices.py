"""Device, number of threads and precision of torch networks."""

from __future__ import annotations

import contextlib
import re

import joblib
import torch

NO_MEMORY = re.compile("allocate memory|not enough memory|out of memory")  # in messages of torch on a CPU


def choose_device(device):
    """Return a torch.device, the GPU for "auto" if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
        torch.autocast(device.type, enabled=False)  # the meta device has no numbers
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={str(device)!r} is not available on this machine. Use device='auto' to take an available one."
        ) from error
    return device


@contextlib.contextmanager
def explain_lack_of_memory():
    """Raise a MemoryError that names parameters if a network lacks memory.

    Can be used as a decorator.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or NO_MEMORY.search(str(error))):
            raise
        raise MemoryError(
            f"The network needs more memory than there is ({' '.join(str(error).split())[:200]}). Reduce batch_size, the size "
            f"of the network or the length of windows, or set precision='bfloat16' on a GPU."
        ) from error


def choose_dtype_of_device(precision, device):
    """Return a torch.dtype, for "auto" bfloat16 if the chip supports it."""
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
    """Limit the threads of torch to the processors that this process may use.

    Torch counts the processors of the machine. Affinity and the quota of a
    container may allow fewer, and threads beyond those wait for each other at
    every operation. The number of threads is never raised, and is restored
    afterwards. Can be used as a decorator.
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


def get_free_device_bytes(device):
    """Return the free bytes of a GPU, with those that torch reserves."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
