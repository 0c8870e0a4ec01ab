"""Parameters of estimators by name, as ``--set`` gives them."""

from __future__ import annotations

import ast

from sk_b2s._utils._text import make_suggestion_text


def apply_settings(estimators, settings):
    """Set parameters of pipelines, of all that have the parameter or of one.

    Parameters
    ----------
    estimators : dict of str to Pipeline
        Modified in place.
    settings : sequence of str
        ``"encoder__hidden=64"`` or ``"clip-mel:encoder__hidden=64"``. A value
        is parsed as a Python literal, or else taken as text. No code is run.

    Raises
    ------
    ValueError
        If a setting cannot be parsed, no estimator has the parameter, or its
        value is not allowed.
    """
    for setting in settings:
        name, parameter, value = _parse_setting(setting, estimators)
        chosen = estimators if name is None else {name: estimators[name]}
        matching = [one for one in chosen.values() if parameter in one.get_params()]
        if not matching:
            known = sorted({key for one in chosen.values() for key in one.get_params()})
            hint = make_suggestion_text(parameter, known, n=3)
            raise ValueError(
                f"--set {setting}: {', '.join(chosen)} must have the parameter {parameter!r}, but does not{hint}."
            )
        for estimator in matching:
            estimator.set_params(**{parameter: value})
    for estimator in estimators.values():
        for part in estimator.get_params().values():
            if hasattr(part, "_parameter_constraints") and hasattr(part, "_validate_params"):
                part._validate_params()  # before the first fold, not in it


def _parse_setting(setting, estimators):
    """Split a setting into estimator name or None, parameter and value."""
    target, equals, text = setting.partition("=")
    name, colon, parameter = target.rpartition(":")
    if not equals or not parameter:
        raise ValueError(
            f"--set must be PARAMETER=VALUE, for example encoder__hidden=64. Got {setting} instead."
        )
    if colon and name not in estimators:
        raise ValueError(
            f"--set {setting}: the estimator must be one of {', '.join(estimators)}. Got {name!r} instead."
        )
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if not text or text[0] in "([{'\"":
            raise ValueError(
                f"--set {setting}: the value must be a Python literal. Got {text!r} instead. "
                f"Check brackets and quotes."
            ) from None
        value = text
    return name or None, parameter, value
