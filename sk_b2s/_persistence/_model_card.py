"""Model card of a fitted estimator: data, parameters and use."""

from __future__ import annotations

import inspect

import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._estimators import find_innermost_estimator, iter_nested_estimators
from sk_b2s._utils._versions import get_versions

LOCAL = ("callbacks", "checkpoint", "device", "memory", "n_jobs", "verbose")  # parameters of one machine
TAGS = ("sk_b2s", "scikit-learn", "safetensors", "eeg", "meg", "speech-decoding")


def make_model_card(estimator, repo_id, license_id=None, description=None):
    """Return the text of a model card, in Markdown.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    repo_id : str
        "owner/name".
    license_id : str or None
        Identifier of the license.
    description : str or None
        Text of the user.
    """
    try:
        check_is_fitted(find_innermost_estimator(estimator, fitted=True)[0])
    except Exception as error:
        raise ValueError(
            f"push_to_hub requires a fitted estimator, and this {type(estimator).__name__} is not: {error}"
        ) from error
    kinds = ", ".join(f"`{type(one).__name__}`" for one in iter_nested_estimators(estimator))
    header = ["---", "library_name: sk_b2s", "tags:", *(f"- {tag}" for tag in TAGS)]
    header += [f"license: {_make_card_line(license_id)}"] if license_id else []
    versions = ", ".join(f"{name} {version}" for name, version in get_versions().items())
    facts = _list_training_facts(estimator)
    return "\n".join([
        *header, "---", "",
        f"# {repo_id.partition('/')[2]}", "",
        *([description.strip(), ""] if description else []),
        f"{kinds} of the Python package sk_b2s, which decodes perceived speech from EEG and MEG. The file contains no code.",
        "",
        "```python", "from sk_b2s import load", "", f'estimator = load("hf://{repo_id}")', "```", "",
        "Append `@` and a commit hash to the address to pin the version.", "",
        "## Training", "",
        "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts), "",
        "## Parameters", "",
        "```text", *_list_changed_parameters(estimator), "```", "",
        "## Use", "",
        "Windows must have the channels, the sampling rate and the length of training. A score depends on the number of "
        "candidates and on the split of the stimuli. Report it with its chance level, for stimuli that were not in training.",
        "",
        f"Versions: {versions}.", "",
    ])  # fmt: skip


def _list_training_facts(estimator):
    """List names and values of what an estimator was trained on."""
    last, _ = find_innermost_estimator(estimator, fitted=True)
    facts = []

    def add(name, value):
        if value is not None:
            facts.append((name, value))

    subjects = getattr(last, "subjects_", None)
    add("subjects", None if subjects is None else len(subjects))
    add("channels", getattr(last, "n_features_in_", None))
    sfreq, n_times = getattr(last, "sfreq_in_", None), getattr(last, "n_times_in_", None)
    add("sampling rate", None if sfreq is None else f"{sfreq:g} Hz")
    add("samples in a window", n_times)
    if sfreq and n_times:
        add("length of a window", f"{(n_times - 1) / sfreq:.2f} s")
    add("speech features", getattr(last, "n_speech_features_", None))
    segments = getattr(last, "segments_", None)
    add("distinct segments", None if segments is None else len(segments))
    intervals = getattr(last, "stimulus_intervals_", None)
    add("distinct stimuli", None if intervals is None else f"{intervals.seconds / 60:.1f} min")
    if isinstance(segments, pd.DataFrame) and "language" in segments:
        add("languages", ", ".join(sorted(set(segments["language"].dropna().map(_make_card_line)))) or None)
    if (history := getattr(last, "history_", None)) is not None and len(history):
        add("epochs", len(history))
        add("training loss", f"{history[-1]['train_loss']:.4g}")
        losses = [row["valid_loss"] for row in history if "valid_loss" in row]
        add("best validation loss", f"{min(losses):.4g}" if losses else None)
    if hasattr(last, "net_"):
        add("weights", f"{sum(value.numel() for value in last.net_.state().values()):,}")
    return facts


def _list_changed_parameters(estimator):
    """List the parameters that differ from their defaults."""
    lines, params = [], estimator.get_params()
    for name, value in list(params.items()):  # the parameters of init cannot be set, and are not listed
        if name.rpartition("__")[2] == "init" and hasattr(value, "get_params"):
            params |= {f"{name}__{key}": part for key, part in value.get_params().items()}
    for name, value in sorted(params.items()):
        owner, _, own = name.rpartition("__")
        holder = params[owner] if owner else estimator
        known = inspect.signature(type(holder)).parameters
        is_plain = value is None or isinstance(value, (bool, int, float, str, tuple))
        default = known[own].default if own in known else inspect.Parameter.empty
        if own in LOCAL or not is_plain or isinstance(holder, Pipeline) or _equals_default(value, default):
            continue
        lines.append(f"{name}={_make_card_line(repr(value))}")
    return lines or ["defaults"]


def _equals_default(value, default):
    return type(value) is type(default) and value == default


def _make_card_line(text):
    """Return text that cannot end a line, a table cell or a code block."""
    return " ".join(str(text).split()).replace("|", "/").replace("```", "'''")[:200]
