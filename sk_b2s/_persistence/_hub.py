"""Upload of estimators to the Hugging Face hub, as safetensors files."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from sk_b2s._persistence._hub_download import FILE, HUB, NAME, SCHEME, shorten_hub_download_error
from sk_b2s._persistence._model_card import make_model_card
from sk_b2s._persistence._save_load import save
from sk_b2s._utils._extras import import_extra


def push_to_hub(
    estimator, repo_id, *, revision=None, private=True, license_id=None, description=None, trusted=None
):
    """Upload an estimator to the Hugging Face hub, without code.

    The repository gets the file of :func:`save`, ``model.safetensors``, and a
    model card, ``README.md``, with the data and parameters of training. An
    existing repository gets a new commit. Log in with ``hf auth login``, or
    set ``HF_TOKEN``.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator. See :func:`save` for what can be saved.
    repo_id : str
        Repository, "owner/name". It is created if it does not exist.
    revision : str, default=None
        Branch of the commit. It must exist. If None, the main branch.
    private : bool, default=True
        Whether a new repository is private. Has no effect on an existing one.
    license_id : str, default=None
        Identifier of the license in the model card, such as "cc-by-4.0".
    description : str, default=None
        Markdown text for the model card, for example the data set and scores.
    trusted : dict of str to class or function, default=None
        See :func:`save`.

    Returns
    -------
    address : str
        Address of this commit for :func:`load`, "hf://owner/name@commit".

    Raises
    ------
    ImportError
        If huggingface_hub is not installed.
    ValueError
        If ``repo_id`` is not "owner/name", or ``estimator`` is not fitted.
    TypeError
        If ``estimator`` cannot be saved.
    OSError
        If the hub cannot be reached or refuses the upload.

    See Also
    --------
    load : Load the estimator from the address.

    Notes
    -----
    The file of a decoder contains the names of its subjects, paths of their
    recordings, and its default candidates with words, sentences and paths of
    audio files. Check whether you may publish them before you set
    ``private=False``.

    Examples
    --------
    >>> address = push_to_hub(pipe, "me/speech-decoder")  # doctest: +SKIP
    >>> pipe = load(address)  # doctest: +SKIP
    """
    if not (isinstance(repo_id, str) and re.fullmatch(f"{NAME}/{NAME}", repo_id, re.ASCII)):
        raise ValueError(
            f"The 'repo_id' parameter of push_to_hub must be 'owner/name'. Got {repo_id!r} instead."
        )
    card = make_model_card(estimator, repo_id, license_id, description)
    hub = import_extra("huggingface_hub", "push_to_hub", **HUB)
    errors = import_extra("huggingface_hub.errors", "push_to_hub", **HUB)
    with tempfile.TemporaryDirectory() as folder:
        save(estimator, Path(folder) / FILE, trusted=trusted)
        (Path(folder) / "README.md").write_text(card, encoding="utf-8")
        try:
            api = hub.HfApi(library_name="sk_b2s")
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=f"Add {type(estimator).__name__} of sk_b2s",
            )
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError, RuntimeError) as error:
            raise OSError(
                f"{repo_id} cannot be written ({shorten_hub_download_error(error)}). Log in with `hf auth login` or set HF_TOKEN to a token "
                f"with write access, and check the owner, the name and the revision."
            ) from error
    return f"{SCHEME}{repo_id}@{commit.oid}"
