"""Versions of the package and of the libraries it uses, and the machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

# Libraries whose version decides the output of an estimator: module name by name in files.
DECISIVE = {name: name for name in ("sklearn", "skorch", "torch", "numpy", "pandas", "mne")}
DEVELOPMENT = tuple(f"extra == {quote}{name}{quote}" for name in ("test", "docs", "dev") for quote in "'\"")
# Instructions that decide how fast matrices are multiplied, as /proc/cpuinfo names them.
INSTRUCTIONS = {
    "avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16",
    "asimd": "NEON", "sve": "SVE", "bf16": "BF16",
}  # fmt: skip


def get_versions():
    """Return the versions of all that decides the output of an estimator."""
    others = {name: str(import_module(module).__version__) for name, module in DECISIVE.items()}
    return {"sk_b2s": sys.modules["sk_b2s"].__version__, **others, "python": platform.python_version()}


def show_versions(file=None):
    """Print the system, the processor and the versions of libraries.

    Paste the output into bug reports, as it names what results and speed
    depend on.

    Parameters
    ----------
    file : file-like, default=None
        Where the text is written. If None, it is printed to standard output.

    See Also
    --------
    mne.sys_info : The same for MNE and the libraries that it can use.

    Examples
    --------
    >>> import sk_b2s
    >>> sk_b2s.show_versions()  # doctest: +SKIP
    """
    rows = [*_list_system_rows(), ("", ""), *_list_torch_rows(), ("", ""), *_list_library_rows()]
    text = "\n".join(f"{name:<20} {value}".rstrip() for name, value in rows)
    print(text, file=file or sys.stdout)


def _list_system_rows():
    """Rows about the system: (name, value)."""
    field, flags = _name_processor()
    known = [name for flag, name in INSTRUCTIONS.items() if flag in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        ("Platform", platform.platform()),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("Processor", ", ".join([field, f"{cores} cores available", *known])),
        ("Memory", _get_physical_memory()),
    ]


def _name_processor():
    """Name of the processor and the set of its instructions."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, set((fields.get("flags") or fields.get("Features") or "").split())


def _get_physical_memory():
    """Return the physical memory in GiB, if known."""
    try:
        n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return "unknown"
    return f"{n_bytes / 2**30:.1f} GiB"


def _list_torch_rows():
    """Rows about torch: threads, environment, devices and precision."""
    import torch

    from sk_b2s._utils._devices import choose_device, choose_dtype_of_device

    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "SK_B2S_CACHE")
    chosen = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("Apple MPS")
    device = choose_device("auto")
    precision = str(choose_dtype_of_device("auto", device)).removeprefix("torch.")
    return [
        ("torch threads", str(torch.get_num_threads())),
        ("Environment", ", ".join(chosen) or "nothing set"),
        ("Accelerators", ", ".join(devices) or "none found"),
        ("Default", f"device {str(device)!r}, precision {precision!r}"),
    ]


def _list_library_rows():
    """Rows of the package and of its dependencies, optional ones included."""
    try:
        found = [one for one in requires("sk_b2s") or () if not one.endswith(DEVELOPMENT)]
        names = {_get_distribution_name(requirement): "extra ==" in requirement for requirement in found}
    except PackageNotFoundError:  # a checkout that is not installed
        names = dict.fromkeys(DECISIVE, False)
    rows = [("sk_b2s", sys.modules["sk_b2s"].__version__)]
    for name in sorted(names, key=str.lower):
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "not installed" + " (optional)" * names[name]))
    return rows


def _get_distribution_name(requirement):
    """Name of the distribution in a requirement such as ``"mne>=1.8"``."""
    return "".join(letter if letter.isalnum() or letter in "-_." else " " for letter in requirement).split()[
        0
    ]
