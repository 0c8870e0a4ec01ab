"""Load hundreds of changed files, in a process that does nothing else."""

import copy
import json
import re
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save, save_file
from sklearn.base import BaseEstimator
from torch._subclasses import schema_check_mode  # noqa: F401, which torch imports when a shape is wrong

from sk_b2s import load

SPARE = 400 * 2**20  # bytes beyond what the process has
SECONDS = 2.0  # of the processor that a load may take
FORBIDDEN = re.compile(
    r"os\.(system|exec|fork|posix_spawn|spawn|remove|rename|rmdir|mkdir|link|symlink|chmod|putenv)|subprocess|exec$|compile|"
    r"import$|pickle|socket|shutil|ctypes|open$|marshal|code\.__new__|function\.__new__"
)
LONG = "x" * 100_000
JUNK = [
    None, True, 0, -1, 1, 2**31, 2**62, 10**19, 10**400, -(2**63), 1e9, 0.5, -0.0, float("nan"), float("inf"), 1e308,
    "", "x", LONG, "\0", "\ud800", "../../x", "/etc/passwd", "os.system", "__init__", [], {}, [[]], [1, 2], ["a"] * 9,
    {"x": 1}, {"a": 1, "b": 2}, {"memory": None}, {"memory": "x"}, {"path": "x"}, {"float": "nan"}, {"float": "x"},
    {"tuple": []}, {"dict": [[1, 2]]}, {"trusted": "sk_b2s.Epocher"}, {"trusted": "os.system"}, {"missing": "NA"},
    {"device": "meta"}, {"array": {"tensor": "nowhere"}}, {"array": {"shape": [2**40], "width": 1, "values": []}},
    {"array": {"shape": [1], "width": 2**30, "values": ["a"]}},
    {"random_state": {"tuple": ["MT19937", [], 9**9, 0, 0]}},
    {"table": {"index": [0, 2**40, 1], "index_name": None, "columns": []}},
    {"estimator": {"class": "sk_b2s.FeatureScaler", "params": {}, "fitted": []}},
    {"estimator": {"class": "sk_b2s.BrainEncoder", "params": {"hidden": 10**9, "depth": 10**9}, "fitted": []}},
]  # fmt: skip
ACTIVE, DONE = False, []


def watch(event, args):
    """Note whatever a load should not do."""
    of_source = event == "open" and str(args[0]).endswith(".py") and args[1] == "r"  # for a traceback
    if ACTIVE and FORBIDDEN.match(event) and not of_source:
        DONE.append(f"{event}{str(args)[:100]}")


def places(tree):
    """Every place in a JSON text, as (holder, key)."""
    pairs = (
        list(tree.items()) if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    )
    for key, value in pairs:
        yield tree, key
        yield from places(value)


def header(text):
    """Encode JSON, with lists nested deeper than Python can write."""
    nests = re.sub(
        '"nest ([0-9]+)"', lambda found: "[" * int(found[1]) + "]" * int(found[1]), json.dumps(text)
    )
    return {"sk_b2s": nests}


def change_text(text, random):
    """Change, remove or double one value, or exchange it for another."""
    text = copy.deepcopy(text)
    found = list(places(text["estimator"]))
    holder, key = found[random.integers(len(found))]
    other, place = found[random.integers(len(found))]
    kind = random.integers(10)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = copy.deepcopy(other[place])
    elif kind == 2:
        holder[key] = f"nest {random.choice([50, 500, 900, 5000, 100_000])}"
    elif kind == 3 and isinstance(holder, list):
        holder.append(holder[key])
    elif kind == 4 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = holder[key] * -1000 - 1
    else:
        holder[key] = JUNK[random.integers(len(JUNK))]
    return text


def change_tensors(tensors, random):
    """Change one tensor, or exchange two."""
    tensors, names = dict(tensors), list(tensors)
    name, other = names[random.integers(len(names))], names[random.integers(len(names))]
    array, kind = tensors[name], random.integers(8)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[name], tensors[other] = tensors[other], array
    elif kind == 2:
        tensors[name] = np.concatenate([array.reshape(-1)] * 2)
    elif kind == 3:
        tensors[name] = array.reshape(-1)[:-1].copy()
    elif kind == 4:
        tensors[name] = array[None].copy()
    elif kind == 5:
        tensors[name] = np.full_like(
            array, np.nan if array.dtype.kind == "f" else -1 if array.dtype.kind == "i" else 255
        )
    elif kind == 6:
        tensors[name] = array.astype(np.float64 if array.dtype != np.float64 else np.int8)
    else:
        tensors[name] = np.zeros((0, 2**40), np.float32)
    return tensors


def change_bytes(whole, random):
    """Flip bits, cut, or write noise."""
    kind, place = random.integers(4), int(random.integers(len(whole)))
    changed = bytearray(whole)
    if kind == 0:
        return whole[:place]
    if kind == 1:
        changed[place : place + 8] = random.bytes(8)
    elif kind == 2:
        place = int(random.integers(min(2000, len(whole))))
    changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def written(estimator):
    """Parameters as text, without addresses in memory."""
    return re.sub(" at 0x[0-9A-Fa-f]+", "", repr(estimator.get_params()))


def attempt(path, what, same=None):
    """Load a file; return what is wrong with the outcome, or None."""
    global ACTIVE
    began, ACTIVE = time.process_time(), True
    try:
        loaded = load(path)
    except (ValueError, FileNotFoundError) as error:
        wrong = None if str(path) in str(error) else f"does not name the file: {error}"
        wrong = wrong or (None if len(str(error)) < 5000 else f"says {len(str(error))} letters")
    except BaseException as error:  # noqa: BLE001, whatever it is
        wrong = f"{type(error).__name__}: {str(error)[:200]}"
    else:
        ACTIVE = False
        wrong = None if isinstance(loaded, BaseEstimator) else "is no estimator"
        if same is not None and wrong is None and written(loaded) != same:
            wrong = "loads as another estimator"
    finally:
        ACTIVE = False
    if time.process_time() - began > SECONDS:
        wrong = f"took {time.process_time() - began:.1f} s"
    if DONE:
        wrong = f"did {DONE[:3]}"
        DONE.clear()
    return None if wrong is None else f"{what} {wrong}"


def load_changed_files(source, seed, n):
    """Load ``n`` changes of each kind of a saved estimator: the failures.

    The process cannot be used for other things afterwards.
    """
    warnings.simplefilter("ignore")
    source, random = Path(source), np.random.default_rng(seed)
    whole, path = source.read_bytes(), source.with_name("changed.safetensors")
    with safe_open(source, "numpy") as file:
        tensors, text = (
            {name: file.get_tensor(name) for name in file.keys()},
            json.loads(file.metadata()["sk_b2s"]),
        )  # noqa: SIM118
    unsigned = {name: value for name, value in text.items() if name != "checksum"}
    same = written(load(source))
    for tree in (
        change_text(unsigned, random) for _ in range(20)
    ):  # whatever they import is imported by then
        save_file(tensors, path, metadata=header(tree))
        attempt(path, "")
    sys.addaudithook(watch)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + SPARE, in_use + SPARE))
    found = []
    for index in range(n):
        changed = change_text(unsigned, random)
        save_file(tensors, path, metadata=header(changed))
        found.append(attempt(path, f"text {index}"))
        changed = change_text(text, random)
        save_file(tensors, path, metadata=header(changed))
        found.append(attempt(path, f"signed text {index}", same))
    for index in range(n // 2):
        path.write_bytes(save(change_tensors(tensors, random), metadata=header(unsigned)))
        found.append(attempt(path, f"tensors {index}"))
        path.write_bytes(save(change_tensors(tensors, random), metadata=header(text)))
        found.append(attempt(path, f"signed tensors {index}", same))
        path.write_bytes(change_bytes(whole, random))
        found.append(attempt(path, f"bytes {index}", same))
    return {"tried": len(found), "wrong": [wrong for wrong in found if wrong]}
