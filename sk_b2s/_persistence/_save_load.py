"""Save estimators to safetensors files without code, and load them.

Arrays and weights are the tensors of the file. Everything else is JSON text in
its header under the key ``sk_b2s``. A class is written by its name in
``ESTIMATORS``.
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
from sklearn.frozen import FrozenEstimator

from sk_b2s._persistence._deserialize import Deserializer, digest_deserialized_tensor
from sk_b2s._persistence._hub_download import download_from_hub, is_hub_download_address
from sk_b2s._persistence._registry import ESTIMATORS
from sk_b2s._persistence._serialize import Serializer
from sk_b2s._utils._estimators import find_innermost_estimator, replace_innermost_estimator
from sk_b2s._utils._versions import get_versions
from sk_b2s.decoding._encoder import BrainEncoder

FORMAT = 3  # increased if an older version cannot read new files
LARGEST_HEADER = 90_000_000  # bytes, safetensors does not read 100 MB
MOST_NODES = 2**22  # lists and objects of a header, each needs a hundred times the memory of its text
DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10)),
}  # reserved names on Windows
# Errors in addition to ValueError when objects are made from damaged nodes.
DAMAGE = (TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError)


def save(estimator, path, *, parent=None, trusted=None):
    """Save an estimator, fitted or not, to a safetensors file without code.

    Unlike a pickle file, the file is safe to load from an untrusted source.
    :func:`load` returns an estimator with the same results to the bit on the
    same machine. The state of the optimizer and callbacks are not saved.

    Parameters
    ----------
    estimator : estimator
        Estimator of this package, one of the supported estimators of
        scikit-learn, or a Pipeline or FeatureUnion of them.
    path : path-like
        Path of the file, by convention ``*.safetensors``. An existing file is
        replaced after the new one is complete.
    parent : path-like, default=None
        File of the encoder from which :meth:`BrainEncoder.adapt` made this
        one. Only the difference to it and its relative path are then saved
        (see Notes). If the encoder was adapted several times, pass the file of
        the encoder that was fitted. It may be inside a Pipeline or
        CalibratedDecoder. The parent should be in the folder of ``path`` or
        its parent folder, or in subfolders of these.
    trusted : dict of str to class or function, default=None
        Additional estimators, and functions used as parameters, such as
        ``Epocher(raw_hook=...)``, under names of your choice. :func:`load`
        requires the same dict.

    Raises
    ------
    TypeError
        If ``estimator`` is not an estimator or holds an object that cannot be
        saved.
    FileNotFoundError
        If the folder of ``path`` or the file ``parent`` does not exist.
    OSError
        If the file cannot be written.
    ValueError
        If this encoder was not adapted from ``parent``, if both are the same
        file, or if tables are too large.

    Warns
    -----
    UserWarning
        If ``callbacks`` are left out.

    See Also
    --------
    load : Load the estimator.
    push_to_hub : Upload the estimator to the Hugging Face hub.

    Notes
    -----
    ``memory``, ``checkpoint``, ``callbacks`` and the state of the optimizer
    are not saved, because they belong to one machine or to training. A
    ``RandomState`` is saved in its current state.

    The file of a decoder contains the names of its subjects and its default
    candidates (``segments_``) with words, sentences and paths of audio files,
    from which ``predict`` computes features. On a machine without these files,
    pass ``candidates``. With ``speech=None`` the features themselves are
    saved.

    With ``parent`` and default parameters at 1024 features, each new subject
    takes 0.29 MB after "ridge" or "layer" (3 kB with
    ``subject_layer="embedding"``), and 31 MB after "all", compared with 41 MB
    for a parent of 27 subjects.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from sk_b2s import FeatureScaler, load, save
    >>> scaler = FeatureScaler().fit(np.array([[1.0], [5.0]]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(scaler, Path(folder) / "scaler.safetensors")
    ...     loaded = load(Path(folder) / "scaler.safetensors")
    >>> loaded.transform(np.array([[7.0]]))
    array([[2.]])
    """
    if not isinstance(estimator, BaseEstimator):
        what = f"the class {estimator.__name__}" if isinstance(estimator, type) else type(estimator).__name__
        raise TypeError(f"estimator must be an instance of an estimator. Got {what} instead.")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {str(path.parent)!r} does not exist. Create it first.")
    writer, content = Serializer(_merge_trusted(trusted)), {"format": FORMAT, "versions": get_versions()}
    if parent is not None:
        if _is_one_file(path, parent):
            raise ValueError(
                f"path and parent are the same file, {str(path)!r}. The encoder in it is required to load the "
                f"difference. Save to another file."
            )
        estimator = _make_relative(
            estimator, _read_parent(parent, None, trusted), parent, _merge_trusted(trusted)
        )
        content["parent"] = Path(os.path.relpath(parent, path.parent)).as_posix()
    content["estimator"] = writer.encode(estimator, ())
    content["checksum"] = _compute_checksum(
        content["estimator"],
        {name: digest_deserialized_tensor(array) for name, array in writer.tensors.items()},
    )
    header = json.dumps(content, allow_nan=False, separators=(",", ":"))
    if len(header) > LARGEST_HEADER or header.count("[") + header.count("{") > MOST_NODES:
        raise ValueError(
            f"Tables and strings of this {type(estimator).__name__} take {len(header) / 1e6:.0f} MB, which is more "
            f"than the header of a file can hold. Remove unnecessary columns of y, such as text."
        )
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(writer.tensors, unfinished, metadata={"sk_b2s": header})
        os.replace(unfinished, path)
    except safetensors.SafetensorError as error:
        raise OSError(
            f"{path} cannot be written: {error}. Check the free disk space. An existing file was not changed."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def load(path, *, parent=None, memory=None, trusted=None):
    """Load an estimator from a file of :func:`save`.

    The file cannot execute code, even if it comes from an untrusted source.
    Only classes in ``ESTIMATORS`` and ``trusted`` are created. Names, types,
    shapes and the architecture of networks are checked before objects are
    built, and the memory is limited by the size of the file. Loaded estimators
    can be fitted again. An encoder trained on a GPU can be loaded on a CPU,
    and vice versa.

    Parameters
    ----------
    path : path-like
        Path of the file, or an address on the Hugging Face hub,
        "hf://owner/name". Append "@" and a branch, tag or commit to pin the
        revision, and "/" and a name for another file than model.safetensors.
    parent : path-like, default=None
        File of the parent encoder, for files saved with ``parent``. If None,
        use the relative path in the file. Required if that is outside of the
        folder of ``path`` and its parent folder.
    memory : None, str or joblib.Memory, default=None
        ``memory`` of all steps that had one when they were saved. It is not
        read from the file, because caches contain pickle files. Use a folder
        that only you can write to.
    trusted : dict of str to class or function, default=None
        The dict that was passed to :func:`save`.

    Returns
    -------
    estimator : estimator
        The loaded estimator.

    Raises
    ------
    ValueError
        If the file is truncated, damaged, has another format, names an unknown
        class, or holds parameters or arrays that do not match. If ``parent``
        holds another encoder than the one that was adapted.
    FileNotFoundError
        If the file or its parent does not exist.
    ImportError
        If the path is on the hub and huggingface_hub is not installed.
    OSError
        If the hub cannot be reached.
    MemoryError
        If its tensors do not fit into memory.

    Warns
    -----
    UserWarning
        If another minor version of sk_b2s, or of scikit-learn if the file has
        its estimators, wrote the file. If its device does not exist or its
        weights are NaN or infinite.

    See Also
    --------
    save : Save an estimator.
    push_to_hub : Upload an estimator to the Hugging Face hub.

    Notes
    -----
    A file can refer to the following external objects:

    - ``memory`` and ``callbacks``: none. The file does not set them.
    - Functions such as ``raw_hook`` and other classes: names in ``trusted``.
      The class or function of a ``module`` is called with arguments from the
      file. The memory that it needs is not limited.
    - ``validation`` and other estimators: names in ``ESTIMATORS``, with valid
      parameters.
    - The parent of an adapted encoder: a regular file in the folder of
      ``path``, its parent folder, or subfolders of these. It is read with the
      same checks.
    - Recordings, audio files, a ``montage`` and a speech ``model``: paths and
      names. :func:`load` does not open them. ``transform`` and ``predict``
      read them as data, like the paths in your own tables. For files from
      untrusted sources, pass ``candidates`` to ``predict``, and check
      ``segments_["sound"]`` and the parameters.

    A checksum detects accidental damage. It is not a signature, and does not
    detect intentional changes.
    """
    path, parent = _resolve_hub_path(path), None if parent is None else _resolve_hub_path(parent)
    estimator, parent_name = _read_saved_file(path, memory, trusted)
    if parent_name is None:
        return estimator
    parent = path.parent / _check_parent_name(parent_name, path) if parent is None else parent
    if not parent.is_file():
        raise FileNotFoundError(
            f"{path} was saved relative to the encoder in {parent_name!r}, but the file {str(parent)!r} does not "
            f"exist. Copy it there, or pass its location with parent=."
        )
    if _is_one_file(path, parent):
        raise ValueError(
            f"{path} cannot be loaded: it was saved relative to a parent encoder, but the path of the parent is this "
            f"file itself. Pass the location of the parent with parent=."
        )
    return _join_parent(estimator, _read_parent(parent, memory, trusted), path, parent)


def _resolve_hub_path(path):
    """Return the path of a file, downloaded if it is on the hub."""
    return download_from_hub(path) if is_hub_download_address(path) else Path(path)


def _read_saved_file(path, memory, trusted):
    """Read the estimator of a file, and the name of its parent or None."""
    if not path.is_file():
        raise FileNotFoundError(f"The file {str(path)!r} does not exist.")
    known = _merge_trusted(trusted)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            content = _read_saved_header(file)
            reader = Deserializer(file.get_tensor, known, memory, path.stat().st_size)
            estimator = reader.decode(content["estimator"])
            if not isinstance(estimator, BaseEstimator):
                raise ValueError("it is damaged and contains no estimator.")
            if content.get("checksum", "") not in (
                "",
                _compute_checksum(content["estimator"], reader.digests),
            ):
                raise ValueError(
                    "its checksum does not match its content, so the file was changed after it was saved. Copy it "
                    "again from its source, or save the estimator again."
                )
            _warn_saved_versions(content["versions"], reader.names, path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file, or truncated or damaged: {_truncate_load_error(error)}."
        ) from error
    except MemoryError as error:
        raise MemoryError(
            f"{path} has {path.stat().st_size / 1e6:,.0f} MB, and there is not enough memory to load it: "
            f"{_truncate_load_error(error)}"
        ) from error
    except (ValueError, *DAMAGE) as error:
        what = error if type(error) is ValueError else f"it is damaged, {type(error).__name__}: {error}"
        raise ValueError(f"{path} cannot be loaded: {_truncate_load_error(what)}") from error
    for nonfinite in reader.nonfinite:
        warnings.warn(
            f"{path}: the {nonfinite} contains NaN or infinite values, which lead to NaN or infinite results. Fit again "
            f"on data without such values.",
            stacklevel=3,
        )
    return estimator, content.get("parent")


def _truncate_load_error(error, most=2000):
    """Truncate the text of an error, which may repeat content of a file."""
    text = str(error)
    return text if len(text) <= most else f"{text[:most]} ..."


def _compute_checksum(node, digests):
    """Compute a checksum of the content, to detect accidental changes."""
    text = json.dumps([node, digests], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _check_parent_name(name, path):
    """Return the relative path of a parent, if it is in an allowed folder."""
    wrong = None
    if not isinstance(name, str) or not name or "\0" in name:
        wrong = "is not the name of a file"
    else:
        ways = PurePosixPath(name), PureWindowsPath(name)  # the file may come from another system
        stem = ways[1].name.split(".")[0].rstrip(" ").upper()
        up = any(way.anchor or ".." in way.parts[1:] for way in ways)
        if up or ":" in name or stem in DEVICES or not ways[0].name.strip("."):
            wrong = "is outside of its folder and the parent folder"
    if wrong:
        raise ValueError(
            f"{path} cannot be loaded: its parent file, {repr(name)[:200]}, {wrong}, where load does not open files. "
            f"If you trust that file, pass its location with parent=."
        )
    return ways[0]


# --- files relative to a parent ----------------------------------------------------------------------


def _read_parent(path, memory, trusted):
    """Read the estimator of a parent file, which has no parent itself."""
    path = Path(path)
    estimator, parent_name = _read_saved_file(path, memory, trusted)
    if parent_name is not None:
        raise ValueError(
            f"{str(path)!r} contains only the difference to the encoder in {parent_name!r}. Pass that file, of the "
            f"encoder that was fitted, as parent."
        )
    return estimator


def _is_one_file(path, other):
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def _get_encoder(estimator):
    """Return the BrainEncoder at the end of a fitted estimator, or None."""
    last, _ = find_innermost_estimator(estimator, fitted=True)
    return last if isinstance(last, BrainEncoder) else None


def _make_relative(estimator, parent, path, names):
    """Copy an adapted estimator without the state that its parent has."""
    encoder, known = _get_encoder(estimator), _get_encoder(parent)
    if getattr(encoder, "parent_", None) is None:
        raise ValueError(
            f"parent={str(path)!r} is only for an encoder returned by adapt, or a Pipeline or CalibratedDecoder that "
            f"ends in one, and this {type(estimator).__name__} was not adapted. Save it without parent."
        )
    _check_parent(encoder, known, path)
    shared = ["speech"] if _encode_equally(encoder.speech, known.speech, names) else []
    init = encoder.init.estimator if isinstance(encoder.init, FrozenEstimator) else encoder.init
    if init is not None and _encode_equally(init, known.init, names):
        shared.append("init")
    return replace_innermost_estimator(estimator, encoder._make_relative(known, shared))


def _encode_equally(one, other, names):
    """Return whether two parameters have equal text and arrays in a file."""
    writers = Serializer(names), Serializer(names)
    texts = [writer.encode(value, ()) for writer, value in zip(writers, (one, other), strict=True)]
    arrays = [{name: array.tobytes() for name, array in writer.tensors.items()} for writer in writers]
    return texts[0] == texts[1] and arrays[0] == arrays[1]


def _join_parent(estimator, parent, path, parent_path):
    """Combine the difference in a file with the encoder of its parent."""
    encoder, known = _get_encoder(estimator), _get_encoder(parent)
    if getattr(encoder, "parent_", None) is None or not hasattr(encoder, "added"):
        raise ValueError(
            f"{path} cannot be loaded: it has the parent file {str(parent_path)!r}, but contains no adapted encoder. "
            f"It is damaged. Save it again."
        )
    _check_parent(encoder, known, parent_path)
    try:
        return replace_innermost_estimator(estimator, encoder._join_parent(known))
    except (ValueError, *DAMAGE) as error:
        raise ValueError(
            f"{path} cannot be loaded: it is damaged, {type(error).__name__}: {_truncate_load_error(error)}"
        ) from error


def _check_parent(encoder, parent, path):
    """Raise unless an encoder was adapted from this parent."""
    if parent is not None and hasattr(parent, "net_") and parent.digest() == encoder.parent_:
        return
    if getattr(parent, "parent_", None) == encoder.parent_:
        raise ValueError(
            f"{str(path)!r} contains an encoder that was itself adapted from the same parent. Pass the file of that "
            f"parent, the encoder that was fitted."
        )
    raise ValueError(
        f"{str(path)!r} does not contain the encoder that this one was adapted from (digest {encoder.parent_[:9]}). "
        f"Pass the file of that encoder. An encoder that was fitted again has another digest."
    )


def _read_saved_header(file):
    """Parse the JSON text of the header, and check its size and format."""
    text = (file.metadata() or {}).get("sk_b2s")
    if text is None:
        raise ValueError("it is a safetensors file, but was not written by sk_b2s.save.")
    if text.count("[") + text.count("{") > MOST_NODES:
        raise ValueError(
            f"its tables and strings have more than {MOST_NODES:,} parts, which is more than save writes."
        )
    content = json.loads(text)
    if content["format"] != FORMAT:
        raise ValueError(
            f"its format is {content['format']!r}, written by sk_b2s {content['versions']['sk_b2s']}. This version, "
            f"sk_b2s {get_versions()['sk_b2s']}, reads format {FORMAT}. Install the version that wrote the file, or "
            f"fit the estimator again and save it."
        )
    return content


def _warn_saved_versions(written, names, path):
    """Warn if another minor version wrote classes of the file."""
    here = get_versions()
    for package in ("sk_b2s", "sklearn"):
        used = any(name.startswith(package + ".") for name in names)
        if used and written[package].split(".")[:2] != here[package].split(".")[:2]:
            warnings.warn(
                f"{path} was saved by {package} {written[package]}, but {here[package]} is installed. Results may "
                f"differ. Compare a score, or install that version.",
                stacklevel=4,
            )


def _merge_trusted(trusted):
    """Add the trusted classes and functions to the known estimators."""
    for name, thing in (trusted or {}).items():
        if not (isinstance(name, str) and callable(thing)):
            raise TypeError(f"trusted must map names to classes or functions, got {name!r}: {thing!r}.")
    return {**ESTIMATORS, **(trusted or {})}
