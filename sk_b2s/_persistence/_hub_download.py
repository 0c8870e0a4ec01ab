"""Download of safetensors files from the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from sk_b2s._utils._extras import import_extra

FILE = "model.safetensors"
SCHEME = "hf://"
NAME = r"[A-Za-z0-9][\w.-]*"
ADDRESS = re.compile(rf"hf://(?P<repo>{NAME}/{NAME})(@(?P<revision>[^/]+))?(/(?P<file>.+))?", re.ASCII)
HUB = {"extra": ("huggingface_hub", "hub")}


def is_hub_download_address(path):
    """Return whether a path is an address on the hub."""
    return isinstance(path, str) and path.startswith(SCHEME)


def download_from_hub(address):
    """Download the file at an address, and return its path in the cache."""
    found = ADDRESS.fullmatch(address)
    if found is None or ".." in (found["file"] or "").split("/"):
        raise ValueError(
            f"The address must be 'hf://owner/name', 'hf://owner/name@revision' or 'hf://owner/name@revision/file'. Got "
            f"{address!r} instead."
        )
    repo, file = found["repo"], found["file"] or FILE
    revision = None if found["revision"] is None else unquote(found["revision"])
    if not file.endswith(".safetensors"):
        raise ValueError(
            f"{address!r} names the file {file!r}, but load only opens safetensors files. Pickle files and others can "
            f"execute code. The owner can upload the estimator with push_to_hub."
        )
    hub = import_extra("huggingface_hub", f"load({address!r})", **HUB)
    errors = import_extra(
        "huggingface_hub.errors", f"load({address!r})", **HUB
    )  # no attribute before its import
    try:
        return Path(hub.HfApi(library_name="sk_b2s").hf_hub_download(repo, file, revision=revision))
    except errors.LocalEntryNotFoundError as error:
        raise OSError(
            f"{address} is not in the cache of huggingface_hub, and the hub cannot be reached ({shorten_hub_download_error(error)}). Check "
            f"the network, or copy the file and pass its path."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(
            f"{repo} has no revision {revision!r}. Use a branch, a tag or a complete commit hash."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"The repository {repo} does not exist on the hub, or is private. Check the name, and log in with `hf auth "
            f"login` or set HF_TOKEN."
        ) from error
    except errors.EntryNotFoundError as error:
        raise FileNotFoundError(
            f"{repo} has no file {file!r}. Only files of sk_b2s.save can be loaded, which push_to_hub uploads as {FILE}. "
            f"For another name use 'hf://{repo}/NAME.safetensors'."
        ) from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise OSError(f"{address} cannot be downloaded ({shorten_hub_download_error(error)}).") from error


def shorten_hub_download_error(error):
    """Return type and beginning of a message, without proxy passwords."""
    text = re.sub(r"//[^/@\s]*@", "//...@", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:300]}"
