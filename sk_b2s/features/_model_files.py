"""Files of pretrained speech models in folders and on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sk_b2s._utils._caching import digest_cached_content
from sk_b2s._utils._extras import import_extra

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
CONFIG, EXTRACTOR = "config.json", "preprocessor_config.json"
# In order of preference. Pickled weights are read by torch.load(weights_only=True), which runs no code.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


class PackagedModelFiles(NamedTuple):
    """Model that is part of the package."""

    folder: Path
    layers: tuple  # hidden states of layers="auto"
    sha256: dict  # digest of each file


# A name stands for these files in every installation. A model with other weights needs another name.
PACKAGED = {
    "whisper-tiny.en": PackagedModelFiles(
        folder=Path(__file__).parent / "_models" / "whisper_tiny_en",
        layers=(2, 3),
        sha256={
            CONFIG: "b9451430f447b89d427a54925a764e78348034069184f7103d157785cd80f0da",
            EXTRACTOR: "f9b635b4827a71ce8c6269cff0253bb485e7a20d7d04f21cd94dfae8e4118028",
            WEIGHTS[0]: "07cd205bba5220b6900fbe39b96cd177d3b244f25b9e3d0fcc7a68b5e44c2e5e",
        },
    )
}


def resolve_model_files(model):
    """Return the folder of a model of the package, or the model as it is."""
    return _check_packaged_model(str(model)) if str(model) in PACKAGED else model


@lru_cache(maxsize=len(PACKAGED))
def _check_packaged_model(name):
    """Return the folder of a model of the package with its files intact."""
    packaged = PACKAGED[name]
    for file, expected in packaged.sha256.items():
        path = packaged.folder / file
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        if found != expected:
            raise OSError(
                f"model={name!r}: {str(path)!r} is missing or damaged. Its SHA-256 must be {expected}. Got {found} "
                f"instead. Install sk_b2s again."
            )
    return packaged.folder


def find_model_file(model, name, revision=None):
    """Find a file of a model in its folder, in the hub cache or on the hub.

    Parameters
    ----------
    model : str or Path
        Folder, or name of a model of the package or on the hub.
    name : str
        Name of the file.
    revision : str, default=None
        Branch, tag or commit on the hub. The cache takes precedence over the
        hub.

    Returns
    -------
    path : Path or None
        None if the model does not have the file.

    Raises
    ------
    OSError
        If the model is not a folder, not in the cache and cannot be
        downloaded.
    """
    folder = Path(model := resolve_model_files(model))
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    if folder.is_absolute() or str(model).startswith((".", "~")) or str(model).count("/") > 1:
        raise FileNotFoundError(f"model={str(model)!r}: this folder does not exist.")
    hf_hub_download = import_extra("huggingface_hub", "A pretrained speech model").hf_hub_download
    errors = import_extra("huggingface_hub.errors", "A pretrained speech model")
    try:
        return Path(hf_hub_download(str(model), name, revision=revision, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        pass
    except ValueError as error:
        raise ValueError(
            f"model={model!r} must be a folder or the name of a model on the hub: {error}"
        ) from error
    except Exception as error:
        raise _make_download_error(model, revision, error) from error
    try:
        return Path(hf_hub_download(str(model), name, revision=revision))
    except Exception as error:  # types differ between versions of the hub client, and not all are OSErrors
        if isinstance(error, errors.EntryNotFoundError) and not isinstance(
            error, errors.LocalEntryNotFoundError
        ):
            return None
        raise _make_download_error(model, revision, error) from error


def _make_download_error(model, revision, error):
    """Make an error that describes how to get the model elsewhere."""
    option = f" --revision {revision}" if revision else ""
    cause = re.sub(r"//[^/@\s]*@", "//...@", " ".join(str(error).split()))[:300]  # hides proxy passwords
    proxies = [name for name in PROXY_VARIABLES if os.environ.get(name)]
    offline = " or ".join(f"model={name!r}" for name in PACKAGED)
    hint = f" A proxy is set by {', '.join(proxies)}. Correct or remove it if it is wrong." if proxies else ""
    return OSError(
        f"model={str(model)!r} is not a folder, is not in the cache of huggingface_hub and cannot be downloaded "
        f"({type(error).__name__}: {cause}). On a computer with network access, run\n"
        f"    hf download {model}{option} --local-dir FOLDER\n"
        f"copy the folder to this computer and pass model='FOLDER', or set HF_HOME to a cache that contains the "
        f"model. Without a network, use {offline}, which is part of sk_b2s. Check the name, and set HF_TOKEN if the model is private.{hint}"
    )


def require_model_file(model, name, revision):
    """Find a file of a model, or raise an error that names it."""
    if (path := find_model_file(model, name, revision)) is None:
        raise FileNotFoundError(
            f"model={str(model)!r} lacks {name}. The folder of a model contains {CONFIG}, {EXTRACTOR} and "
            f"{WEIGHTS[0]}, as written by save_pretrained of the model and of its feature extractor."
        )
    return path


def find_model_weights(model, revision):
    """Find the weights of a model, downloading them if needed."""
    folder = require_model_file(model := resolve_model_files(model), CONFIG, revision).parent
    local = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if local or folder == Path(model):
        path = local[0] if local else require_model_file(model, WEIGHTS[0], revision)
    else:
        found = (find_model_file(model, name, folder.name) for name in WEIGHTS)
        path = next((p for p in found if p is not None), None) or require_model_file(
            model, WEIGHTS[0], folder.name
        )
    if path.suffix == ".json":
        for part in _read_model_index(path, model):
            require_model_file(model, part, revision if folder == Path(model) else folder.name)
    return path


def _read_model_index(index, model):
    """Read the names of the weight files from their index."""
    try:
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OSError(
            f"model={str(model)!r}: {str(index)!r} is not an index of weights: {type(error).__name__}: "
            f"{error}. Download it again."
        ) from error
    if wrong := [part for part in parts if not isinstance(part, str) or Path(part).name != part]:
        raise OSError(
            f"model={str(model)!r}: {str(index)!r} lists files outside of the folder of the model: {wrong[:3]}. "
            f"Download it again."
        )
    return sorted(parts)


def identify_model_files(model, revision=None):
    """Return digests of the files of a model, or its name and commit."""
    config = require_model_file(model := resolve_model_files(model), CONFIG, revision)
    if config.parent != Path(model):
        return str(model), config.parent.name  # huggingface_hub names a snapshot by its commit
    weights = find_model_weights(model, revision)
    parts = sorted(config.parent.glob("*.safetensors" if "safetensors" in weights.name else "*.bin"))
    files = [config, require_model_file(model, EXTRACTOR, revision), *parts]
    return tuple(digest_cached_content(file) for file in files)
