"""Walk through nested estimators.

Pipelines, searches, FrozenEstimator, CalibratedDecoder and EnsembleDecoder are
supported. A TransformedTargetRegressor is not. Its decoder compares
transformed targets, and candidates are not transformed.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, metadata

from sklearn import get_config
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import has_fit_parameter


def get_inner_estimator(estimator, fitted=False):
    """Return name and estimator of the last step, or None at the end.

    If ``fitted`` is True, the name is that of the attribute that ``fit`` sets,
    such as "best_estimator_".
    """
    if isinstance(estimator, Pipeline):
        return estimator.steps[-1]
    if isinstance(estimator, FrozenEstimator):  # first: it has the attributes of the estimator in it
        return "estimator", estimator.estimator
    for name in ("best_estimator_", "estimator_") if fitted else ("estimator",):
        if hasattr(inner := getattr(estimator, name, None), "fit"):
            return name, inner
    return None


def iter_estimator_levels(estimator, fitted=True):
    """Yield an estimator, its last step, and so on to the innermost one."""
    while True:
        yield estimator
        if (found := get_inner_estimator(estimator, fitted)) is None:
            return
        estimator = found[1]


def list_estimators_inside(estimator):
    """Return the (name, estimator) pairs of an ensemble, else an empty list.

    Dropped members are left out.
    """
    members = getattr(estimator, "estimators", None)
    return [pair for pair in members if hasattr(pair[1], "fit")] if isinstance(members, list) else []


def iter_nested_estimators(estimator):
    """Yield an estimator and all estimators in it, outermost first.

    Of wrapped estimators, the fitted one is used if there is one. Parts of
    unions, column transformers and other meta-estimators are their parameters.
    ``speech`` and ``init`` of a decoder are left out.
    """
    yield estimator
    for part in _list_held_estimators(estimator):
        yield from iter_nested_estimators(part)


def _list_held_estimators(estimator):
    """Return the estimators that an estimator holds, the decoder last."""
    if isinstance(estimator, Pipeline):
        return [step for _, step in estimator.steps if hasattr(step, "fit")]
    found = get_inner_estimator(estimator, fitted=True) or get_inner_estimator(estimator)
    inner = [] if found is None else [found[1]]
    if isinstance(estimator, FrozenEstimator) or (hasattr(estimator, "ranks") and inner):
        return inner
    params = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    parts = [
        _find_estimators_in_container(getattr(estimator, f"{name}_", None))
        or _find_estimators_in_container(value)
        for name, value in params.items()
        if name not in ("estimator", "speech", "init")
    ]
    return [*(one for found in parts for one in found), *inner]


def _find_estimators_in_container(value):
    """Return the estimators in nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        return [one for part in value for one in _find_estimators_in_container(part)]
    return [value] if hasattr(value, "fit") and not isinstance(value, type) else []


def find_innermost_estimator(estimator, fitted=False):
    """Return the innermost estimator, and the prefix of its parameters."""
    prefix = ""
    while (found := get_inner_estimator(estimator, fitted)) is not None:
        prefix, estimator = f"{prefix}{found[0]}__", found[1]
    return estimator, prefix


def find_decoder_in_estimator(estimator, fitted=False):
    """Return the decoder at the end, and the prefix of its parameters.

    Raises
    ------
    TypeError
        If the last step is not a decoder.
    """
    last, prefix = find_innermost_estimator(estimator, fitted)
    if not hasattr(last, "ranks"):
        raise TypeError(
            f"The estimator must be a decoder, such as BrainEncoder or RidgeDecoder, or a Pipeline or search that "
            f"ends in one. Got {type(last).__name__} instead."
        )
    return last, prefix


def list_decoders_in_estimator(estimator):
    """Return all decoders with the prefixes of their parameters.

    The decoder at the end, or those of the members if it is an ensemble.
    """
    last, prefix = find_decoder_in_estimator(estimator)
    members = list_estimators_inside(last)
    if not members:
        return [(last, prefix)]
    return [
        (decoder, f"{prefix}{name}__{inner}")
        for name, member in members
        for decoder, inner in list_decoders_in_estimator(member)
    ]


def find_estimator_speech(estimator):
    """Return the first speech features of the decoders, or None."""
    found = (getattr(decoder, "speech", None) for decoder, _ in list_decoders_in_estimator(estimator))
    return next((speech for speech in found if speech is not None), None)


def clone_estimator_speech(speech):
    """Clone speech features, or raise if they hold a FeatureUnion."""
    for part in iter_nested_estimators(speech):
        if isinstance(part, FeatureUnion):
            raise TypeError(
                "FeatureUnion of scikit-learn joins matrices, and speech features have three dimensions. Use "
                "SpeechFeatureUnion with the same list of names and transformers."
            )
    return clone(speech)


def unwrap_innermost_estimator(estimator, X):
    """Return the innermost fitted estimator, and X transformed for it."""
    for last in iter_estimator_levels(estimator):
        if isinstance(last, Pipeline) and len(last.steps) > 1:
            X = last[:-1].transform(X)
    return last, X


def unwrap_decoder_of_estimator(estimator, X, owner):
    """Return the fitted decoder at the end, and X transformed for it.

    Raises
    ------
    TypeError
        If the last step is not a decoder. The message begins with ``owner``.
    """
    *_, last = iter_estimator_levels(estimator)
    if not hasattr(last, "ranks"):
        raise TypeError(
            f"{owner} needs a decoder, such as BrainEncoder or RidgeDecoder, or a Pipeline or search that ends in "
            f"one. Got {type(last).__name__} instead."
            f"{' Use cross_val_encoding for forward models.' * (type(last).__name__ == 'ForwardTRF')}"
        )
    return unwrap_innermost_estimator(estimator, X)


def replace_innermost_estimator(estimator, last):
    """Copy a fitted estimator with another estimator at its end.

    A search is replaced by its best estimator.
    """
    if (found := get_inner_estimator(estimator, fitted=True)) is None:
        return last
    name, inner = found
    new = replace_innermost_estimator(inner, last)
    if name == "best_estimator_":
        return new
    copied = copy.copy(estimator)
    if isinstance(estimator, Pipeline):
        copied.steps = [*estimator.steps[:-1], (name, new)]
        return copied
    if name == "estimator_":
        copied.estimator = clone(estimator.estimator)  # the parameter may hold a fitted estimator
    setattr(copied, name, new)
    return copied


def copy_estimator_adapted(fitted, X, y, **params):
    """Copy a fitted estimator, with the decoder at its end adapted."""
    decoder, X = unwrap_innermost_estimator(fitted, X)
    return replace_innermost_estimator(fitted, decoder.adapt(X, y, **params))


def was_estimator_interrupted(estimator):
    """Return whether Ctrl-C ended the training of an estimator."""
    return any(getattr(level, "interrupted_", False) for level in iter_estimator_levels(estimator))


def make_estimator_fit_params(estimator, calibration):
    """Return the ``fit`` parameters that mark calibration rows: dict."""
    prefix = ""
    while not has_fit_parameter(estimator, "calibration"):
        if (found := get_inner_estimator(estimator)) is None:
            return {}
        prefix += f"{found[0]}__" if isinstance(estimator, Pipeline) else ""  # searches pass names on
        estimator = found[1]
    routed = get_config()["enable_metadata_routing"]
    return {"calibration" if routed else f"{prefix}calibration": calibration}


# --- documentation -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def find_documentation_url():
    """Return the address of the documentation, "" if the package has none.

    It is the entry Documentation of project.urls in pyproject.toml.
    """
    try:
        entries = metadata("sk_b2s").get_all("Project-URL") or []
    except PackageNotFoundError:  # a checkout that is not installed
        return ""
    pairs = (entry.partition(",") for entry in entries)
    return next((url.strip().rstrip("/") for name, _, url in pairs if name.strip() == "Documentation"), "")


class DocLinkMixin:
    """Links from HTML diagrams of scikit-learn to the documentation."""

    @property
    def _doc_link_module(self):
        return "sk_b2s" if find_documentation_url() else ""

    @property
    def _doc_link_template(self):
        return find_documentation_url() + "/generated/{estimator_module}.{estimator_name}.html"
