"""Estimators saved to and loaded from safetensors files without code.

Arrays and weights are the file's tensors. All else is a JSON text in its header under the key
``sk_b2s``, in which a class stands by its name in ``ESTIMATORS``.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path, PurePosixPath, PureWindowsPath

import safetensors
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator

from sk_b2s._persistence._deserialize import Reader, compute_tensor_digest
from sk_b2s._persistence._registry import ESTIMATORS
from sk_b2s._persistence._serialize import Writer
from sk_b2s._utils._estimators import find_last, replace_last
from sk_b2s._utils._versions import get_versions
from sk_b2s.decoding._encoder import BrainEncoder

FORMAT = 3  # raised when an older load could not read the file
LARGEST_HEADER = 90_000_000  # bytes; safetensors refuses to read 100 MB
MOST_NODES = 2**22  # lists and objects of a header; each takes a hundred times the bytes of its text
DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10)),
}  # of Windows
# What making objects from damaged nodes may raise beside ValueError.
DAMAGE = (TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError)


def save(estimator, path, *, parent=None, trusted=None):
    """Write an estimator, fitted or not, to one safetensors file without code in it.

    Unlike a pickle the file can be opened without trusting who wrote it, and holds little beyond the
    weights: a network's optimizer, callbacks and torch objects are not in it. :func:`load` returns an
    estimator that answers equally to the bit, on the same machine.

    Parameters
    ----------
    estimator : estimator
        One of ``sk_b2s._persistence.ESTIMATORS``, which holds the estimators of this package and a few
        of scikit-learn, or a Pipeline or FeatureUnion of them.
    path : path-like
        The file, by custom ``*.safetensors``. An existing one is replaced once the new one is whole.
    parent : path-like, default=None
        File of the encoder that this one was adapted from (:meth:`~sk_b2s.BrainEncoder.adapt`), saved before by
        itself, in a Pipeline or in a CalibratedDecoder; also of an encoder adapted twice it is that of the one that
        was fitted. Keep it in the folder of ``path``, the one above, or one in these; else load needs its ``parent=``.
        Only what is new is written then, and a reference to that file. For each person, at 270 virtual
        channels and 1024 features, with all else at its default: 0.29 MB after "ridge" or "layer", a layer of
        n_virtual_channels² numbers (with ``subject_layer="embedding"`` 3 kB, a vector); 31 MB after "all", which
        "auto" takes from 2 minutes on, a network of their own, and a parent of 27 people has 41 MB.
    trusted : dict of str to class or function, default=None
        Further estimators, and functions that are parameters (``Epocher(raw_hook=...)``), under names
        of your choice. The same dict must be given to :func:`load`.

    Raises
    ------
    TypeError
        If ``estimator`` is none, or something in it cannot be saved; the message says what and where.
    FileNotFoundError
        If the folder does not exist, or ``parent``.
    OSError
        If the file cannot be written.
    ValueError
        If ``parent`` is not what this encoder was adapted from, or the same file as ``path``.

    Warns
    -----
    UserWarning
        If a list of ``callbacks`` is left out.

    Notes
    -----
    Not saved, because they belong to a machine or only to training: ``memory`` (see :func:`load`),
    ``callbacks`` and what the network's optimizer knew. A ``RandomState`` is saved as it stands.

    A decoder remembers the names of its subjects and its default candidates (``segments_``): words,
    sentences and paths of sounds, from which features are computed anew on ``predict``. On a machine
    without these sounds give ``candidates``. With ``speech=None`` the features themselves are saved;
    of Windows all sound that is in them, read from its files if need be.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from sk_b2s import FeatureScaler
    >>> scaler = FeatureScaler().fit(np.array([[1.0], [5.0]]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(scaler, Path(folder) / "scaler.safetensors")
    ...     load(Path(folder) / "scaler.safetensors").transform(np.array([[7.0]]))
    array([[2.]])
    """
    if not isinstance(estimator, BaseEstimator):
        what = f"the class {estimator.__name__}" if isinstance(estimator, type) else type(estimator).__name__
        raise TypeError(f"estimator must be an instance of an estimator, got {what}.")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {str(path.parent)!r} does not exist; make it first.")
    writer, content = Writer(_known(trusted)), {"format": FORMAT, "versions": get_versions()}
    if parent is not None:
        if _is_one_file(path, parent):
            raise ValueError(
                f"path and parent are one file, {str(path)!r}: the encoder in it is needed beside what is new; save to "
                f"another file."
            )
        estimator = _beside(estimator, _whole(parent, None, trusted), parent, _known(trusted))
        content["parent"] = Path(os.path.relpath(parent, path.parent)).as_posix()
    content["estimator"] = writer.encode(estimator, ())
    content["checksum"] = _checksum(
        content["estimator"], {name: compute_tensor_digest(array) for name, array in writer.tensors.items()}
    )
    header = json.dumps(content, allow_nan=False, separators=(",", ":"))
    if len(header) > LARGEST_HEADER or header.count("[") + header.count("{") > MOST_NODES:
        raise ValueError(
            f"the tables and texts of this {type(estimator).__name__} take {len(header) / 1e6:.0f} MB, more than a "
            f"file can have beside its arrays; drop columns of y that are not needed, such as text."
        )
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(writer.tensors, unfinished, metadata={"sk_b2s": header})
        os.replace(unfinished, path)
    except safetensors.SafetensorError as error:
        raise OSError(
            f"{path} cannot be written: {error}. Is the disk full? What was there is as it was."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def load(path, *, parent=None, memory=None, trusted=None):
    """Read an estimator that :func:`save` wrote.

    It runs no code of the file's choosing, whoever made the file: classes are those of ``ESTIMATORS`` and
    ``trusted`` alone. It asks for no more memory than the file's tensors need: names, types, shapes and the
    architecture of networks are checked before anything is built. What is loaded can be fitted again. An encoder
    trained on a GPU is loaded on a CPU and the other way round.

    Parameters
    ----------
    path : path-like
        The file.
    parent : path-like, default=None
        Where the file is that an adapted encoder was saved beside, if it is no longer where it was as seen from
        ``path``; without meaning for others. Needed where it is outside the folder of ``path`` and the one above: of
        names in a file, load follows no others.
    memory : None, str or joblib.Memory, default=None
        ``memory`` of every step that had one when it was saved. A file does not bring its own, since
        reading a cache is unpickling: name a folder that only you write to.
    trusted : dict of str to class or function, default=None
        As in :func:`save`.

    Returns
    -------
    estimator : estimator

    Raises
    ------
    ValueError
        If the file is truncated or changed, not one of :func:`save`, of a newer format, names a class that is
        neither known nor trusted, or holds parameters or arrays that do not fit together; or if ``parent`` holds
        another encoder than the one that was adapted.
    FileNotFoundError
        If there is no such file, or not the one that it was saved beside.
    MemoryError
        If its tensors do not fit into memory.

    Warns
    -----
    UserWarning
        If another minor version of sk_b2s wrote it (or of scikit-learn, where an estimator of that is
        in it), the device it names is not there, or its weights are NaN or infinite.

    Notes
    -----
    What a file may say of the world outside it:

    - ``memory``: nothing. It is that of ``memory=`` here, or None.
    - ``callbacks``: nothing. They are None.
    - ``raw_hook``, other functions, and classes that are not of this package: names in ``trusted`` alone.
    - ``validation`` and other estimators: those of ``ESTIMATORS``, with parameters that ``fit`` takes.
    - The parent of an adapted encoder: a file in the folder of ``path``, the one above, or one in these; regular, and
      read as this one is.
    - Recordings, sounds, a ``montage`` and a speech ``model``: paths and names as text. load opens none of them.
      ``transform`` and ``predict`` read them as data, as they do the paths of your own tables: sounds if they are
      regular files, models without code of theirs. Give ``candidates`` to ``predict`` if you do not want the sounds
      that a file names to be read, and look at ``segments_["sound"]`` and the parameters of a file from a stranger.

    A checksum tells damage on the way, but not what somebody changed who wrote a new one: it is no signature.
    """
    path = Path(path)
    estimator, beside = _read(path, memory, trusted)
    if beside is None:
        return estimator
    parent = path.parent / _inside(beside, path) if parent is None else Path(parent)
    if not parent.is_file():
        raise FileNotFoundError(
            f"{path} holds what was added to the encoder of {beside!r}, and there is no file {str(parent)!r}: put it "
            f"there, or say where it is by parent=."
        )
    if _is_one_file(path, parent):
        raise ValueError(
            f"{path} cannot be loaded: it stands where the encoder should be that it was saved beside; say where that "
            f"is by parent=."
        )
    return _joined(estimator, _whole(parent, memory, trusted), path, parent)


def _read(path, memory, trusted):
    """What stands in a file, and the name of the file that it was saved beside, or None."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}.")
    known = _known(trusted)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            content = _read_header(file)
            reader = Reader(file.get_tensor, known, memory, path.stat().st_size)
            estimator = reader.decode(content["estimator"])
            if not isinstance(estimator, BaseEstimator):
                raise ValueError("it is damaged, and holds no estimator.")
            if content.get("checksum", "") not in ("", _checksum(content["estimator"], reader.digests)):
                raise ValueError(
                    "its checksum is not that of its content, so that a byte or more of it has changed since it was "
                    "saved. Copy it anew from where it came, or save the estimator again."
                )
            _warn_of_versions(content["versions"], reader.names, path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file, or truncated or damaged: {_brief(error)}."
        ) from error
    except MemoryError as error:
        raise MemoryError(
            f"{path} has {path.stat().st_size / 1e6:,.0f} MB, and there is not enough memory to load it: "
            f"{_brief(error)}"
        ) from error
    except (ValueError, *DAMAGE) as error:
        what = error if type(error) is ValueError else f"it is damaged, {type(error).__name__}: {error}"
        raise ValueError(f"{path} cannot be loaded: {_brief(what)}") from error
    for doubt in reader.doubts:
        warnings.warn(
            f"{path}: the {doubt} holds NaN or infinite values, and so will what it returns: fit again on data without "
            f"such values.",
            stacklevel=3,
        )
    return estimator, content.get("parent")


def _brief(error, most=2000):
    """Text of an error that may repeat what a file holds."""
    text = str(error)
    return text if len(text) <= most else f"{text[:most]} ..."


def _checksum(node, digests):
    """Checksum of what a file holds, by which it is known that no byte of it has changed by accident."""
    text = json.dumps([node, digests], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _inside(beside, path):
    """Name of a parent's file as another file gives it, if it leads no further up than to the folder above."""
    wrong = None
    if not isinstance(beside, str) or not beside or "\0" in beside:
        wrong = "is not the name of a file"
    else:
        ways = PurePosixPath(beside), PureWindowsPath(beside)  # it may have been written on another system
        stem = ways[1].name.split(".")[0].rstrip(" ").upper()
        up = any(way.anchor or ".." in way.parts[1:] for way in ways)
        if up or ":" in beside or stem in DEVICES or not ways[0].name.strip("."):
            wrong = "leads elsewhere than into its folder, the one above, or one in these"
    if wrong:
        raise ValueError(
            f"{path} cannot be loaded: the file that it was saved next to, {repr(beside)[:200]}, {wrong}, and load "
            f"follows no such names. If you know that file, say where it is by parent=."
        )
    return ways[0]


# --- beside a parent ---------------------------------------------------------------------------------


def _whole(path, memory, trusted):
    """What stands in a parent's file, which has no parent itself."""
    path = Path(path)
    estimator, beside = _read(path, memory, trusted)
    if beside is not None:
        raise ValueError(
            f"{str(path)!r} holds only what was added to the encoder of {beside!r}: take that file, of the encoder "
            f"that was fitted, as parent."
        )
    return estimator


def _is_one_file(path, other):
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def _encoder_of(estimator):
    """Return the BrainEncoder at the end of a fitted estimator, or None."""
    last, _ = find_last(estimator, fitted=True)
    return last if isinstance(last, BrainEncoder) else None


def _beside(estimator, parent, path, names):
    """Copy of an adapted estimator that is saved without what its parent's file holds."""
    encoder, known = _encoder_of(estimator), _encoder_of(parent)
    if getattr(encoder, "parent_", None) is None:
        raise ValueError(
            f"parent={str(path)!r} is for an encoder that came of adapt, or a Pipeline or CalibratedDecoder that ends "
            f"in one; this {type(estimator).__name__} was not adapted. Save it without parent."
        )
    _check_parent(encoder, known, path)
    shared = ["speech"] if _is_written_alike(encoder.speech, known.speech, names) else []
    return replace_last(estimator, encoder._make_relative(known, shared))


def _is_written_alike(one, other, names):
    """Whether two parameters come to the same in a file: their texts, and their arrays to the bit."""
    writers = Writer(names), Writer(names)
    texts = [writer.encode(value, ()) for writer, value in zip(writers, (one, other), strict=True)]
    arrays = [{name: array.tobytes() for name, array in writer.tensors.items()} for writer in writers]
    return texts[0] == texts[1] and arrays[0] == arrays[1]


def _joined(estimator, parent, path, parent_path):
    """What was saved beside its parent, completed."""
    encoder, known = _encoder_of(estimator), _encoder_of(parent)
    if getattr(encoder, "parent_", None) is None or not hasattr(encoder, "added"):
        raise ValueError(
            f"{path} cannot be loaded: it names {str(parent_path)!r} as the file that it was saved next to, and holds "
            f"no encoder that was adapted. It is damaged; save it again."
        )
    _check_parent(encoder, known, parent_path)
    try:
        return replace_last(estimator, encoder._join_parent(known))
    except (ValueError, *DAMAGE) as error:
        raise ValueError(
            f"{path} cannot be loaded: it is damaged, {type(error).__name__}: {_brief(error)}"
        ) from error


def _check_parent(encoder, parent, path):
    """Raise unless an encoder was adapted from this one."""
    if parent is not None and hasattr(parent, "net_") and parent.digest() == encoder.parent_:
        return
    if getattr(parent, "parent_", None) == encoder.parent_:
        raise ValueError(
            f"{str(path)!r} holds an encoder that was itself adapted, from the same one: take the file of that, the "
            f"encoder that was fitted, as parent."
        )
    raise ValueError(
        f"{str(path)!r} does not hold the encoder that this one was adapted from (digest {encoder.parent_[:9]}): "
        f"take the file that was saved of it, not of one fitted anew."
    )


def _read_header(file):
    """Parse the JSON text and make sure that it can be read on."""
    text = (file.metadata() or {}).get("sk_b2s")
    if text is None:
        raise ValueError("it is a safetensors file, but none that sk_b2s.save wrote.")
    if text.count("[") + text.count("{") > MOST_NODES:
        raise ValueError(
            f"its tables and texts have more than {MOST_NODES:,} parts, which no file of save has."
        )
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise ValueError(
            f"its format is {content['format']!r}, written by sk_b2s {content['versions']['sk_b2s']}; this sk_b2s "
            f"{get_versions()['sk_b2s']} reads format {FORMAT}. Install that version."
        )
    return content


def _warn_of_versions(written, names, path):
    """Say so where another minor version wrote classes of the file."""
    here = get_versions()
    for package in ("sk_b2s", "sklearn"):
        used = any(name.startswith(package + ".") for name in names)
        if used and written[package].split(".")[:2] != here[package].split(".")[:2]:
            warnings.warn(
                f"{path} was saved by {package} {written[package]}, and this is {here[package]}: outputs may differ. "
                f"Compare a score, or install that version.",
                stacklevel=4,
            )


def _known(trusted):
    """Whitelist with what the caller adds to it."""
    for name, thing in (trusted or {}).items():
        if not (isinstance(name, str) and callable(thing)):
            raise TypeError(f"trusted must map names to classes or functions, got {name!r}: {thing!r}.")
    return {**ESTIMATORS, **(trusted or {})}
