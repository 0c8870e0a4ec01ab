"""Walk through nested estimators to the decoder that they hold."""

from __future__ import annotations

from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter


def iter_nested(estimator):
    """Go through fitted searches, pipelines and calibrations to what stands at their end.

    Parameters
    ----------
    estimator : estimator

    Yields
    ------
    estimator : estimator
        The one given, the one within, and so on; the last holds no other.
    """
    while estimator is not None:
        yield estimator
        inner = getattr(estimator, "best_estimator_", None) or getattr(estimator, "estimator_", None)
        estimator = estimator.steps[-1][1] if hasattr(estimator, "steps") else inner


def decoder_and_windows(estimator, X, owner):
    """Find the fitted decoder at the end of searches, pipelines and calibrations, and take X along.

    Parameters
    ----------
    estimator : estimator
    X : DataFrame, Windows or array-like of shape (n_windows, ...)
    owner : str
        What messages call the caller.

    Returns
    -------
    decoder : estimator
    X : Windows or array-like of shape (n_windows, ...)
        As the decoder takes it.

    Raises
    ------
    TypeError
        If there is no decoder at the end.
    """
    for last in iter_nested(estimator):
        if len(getattr(last, "steps", ())) > 1:
            X = last[:-1].transform(X)
    if not hasattr(last, "ranks"):
        raise TypeError(
            f"{owner} needs a decoder such as BrainEncoder or RidgeDecoder, or a Pipeline that ends in one; got "
            f"{type(last).__name__}."
        )
    return last, X


def was_interrupted(estimator):
    """Tell whether Ctrl-C ended the training of a fitted decoder, whatever it stands in.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    interrupted : bool
    """
    return any(getattr(level, "interrupted_", False) for level in iter_nested(estimator))


# --- taking an estimator apart ---------------------------------------------------------------------


def decoder_of(estimator):
    """Find the decoder at the end of a pipeline, or within a search or calibration.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    decoder : estimator
    prefix : str
        What stands before its parameters' names in ``set_params``: "encoder__", say.

    Raises
    ------
    TypeError
        If the last step is no decoder.
    """
    prefix = ""
    while True:
        if isinstance(estimator, Pipeline):
            prefix, estimator = f"{prefix}{estimator.steps[-1][0]}__", estimator.steps[-1][1]
        elif hasattr(getattr(estimator, "estimator", None), "fit"):
            prefix, estimator = f"{prefix}estimator__", estimator.estimator
        elif hasattr(estimator, "ranks"):
            return estimator, prefix
        else:
            raise TypeError(
                f"a decoder is needed, such as BrainEncoder or RidgeDecoder, or a Pipeline or search that ends in one; "
                f"got {type(estimator).__name__}."
            )


def calibration_params(estimator, calibration):
    """Parameters of ``fit`` that tell an estimator which training rows are of whom it will be asked about.

    Parameters
    ----------
    estimator : estimator
        One whose ``fit`` takes ``calibration``, or a Pipeline or search that ends in one; others get nothing.
    calibration : ndarray of bool of shape (n_windows,)

    Returns
    -------
    params : dict
    """
    prefix = ""
    while not has_fit_parameter(estimator, "calibration"):
        if isinstance(estimator, Pipeline):
            prefix, estimator = f"{prefix}{estimator.steps[-1][0]}__", estimator.steps[-1][1]
        elif hasattr(getattr(estimator, "estimator", None), "fit"):
            estimator = estimator.estimator
        else:
            return {}
    routed = get_config()["enable_metadata_routing"]
    return {"calibration" if routed else f"{prefix}calibration": calibration}
