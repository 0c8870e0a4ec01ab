"""Classifiers of EEG/MEG windows: any of scikit-learn, and decoders."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._estimators import find_innermost_estimator, unwrap_decoder_of_estimator
from sk_b2s.evaluation._fit_score import fit_fold
from sk_b2s.metrics._tiled import CHUNK_BYTES
from sk_b2s.metrics._word_timing import timing_probabilities


class TemplateClassifier:
    """Classify estimates by the mean true features of each class.

    The similarity of a centered estimate z to the centered template t is
    ``<z, t> / |t|``. Templates are centered by their mean over classes.
    Estimates are centered by their mean over training windows, because
    estimates of held-out windows are shrunk towards it. With the mean over
    classes, nearly all of them would be on the side of a frequent class.
    """

    def __init__(self, estimates, targets, labels):
        self.classes_ = np.unique(labels)
        self.center_ = estimates.mean(0)
        means = np.stack([targets[labels == name].mean(0) for name in self.classes_])
        centered = means - means.mean(0)
        norm = np.linalg.norm(centered, axis=1, keepdims=True)
        self.templates_ = np.divide(centered, norm, out=np.zeros_like(centered), where=norm > 0)

    def decision_function(self, estimates):
        """Compute similarities with templates: (n_windows, n_classes)."""
        return (estimates - self.center_) @ self.templates_.T

    def predict(self, estimates):
        """Predict the class of each estimate: (n_windows,)."""
        return self.classes_[self.decision_function(estimates).argmax(1)]


class TimingClassifier:
    """Classify by the mean log-probability of words from their timing."""

    def __init__(self, classes):
        self.classes_ = np.asarray(classes)

    def predict(self, log_probabilities):
        """Predict the class of each row: (n_windows,)."""
        return self.classes_[log_probabilities.argmax(1)]


def is_template_classifier(estimator):
    """Return whether an estimator ends in a decoder of speech features."""
    return hasattr(find_innermost_estimator(estimator)[0], "ranks")


def fit_classifier_features(estimator, X, y, train, test, labeled):
    """Fit the steps before the classifier, or the decoder, on one fold.

    Parameters
    ----------
    estimator : estimator
    X, y : DataFrame, Windows or array-like of shape (n_windows, ...)
    train, test : ndarray of int
        Rows of the fold. A decoder is fitted to all rows of ``train``.
    labeled : ndarray of bool of shape (n_windows,)
        Rows with a label. Only their features are returned.

    Returns
    -------
    make : callable
        ``make(rows)`` returns features of shape (n_rows, n_features).
    fit : callable
        ``fit(rows, labels)`` returns a classifier fitted to training rows.
    """
    if is_template_classifier(estimator):
        return _fit_decoder_of_classes(estimator, X, y, train, test)
    steps = estimator.steps if isinstance(estimator, Pipeline) else [("classifier", estimator)]
    classifier = steps[-1][1]
    if not hasattr(classifier, "predict"):
        raise TypeError(
            f"The estimator must be a classifier or decoder, or a Pipeline that ends in one. Got "
            f"{type(classifier).__name__} instead."
        )
    first = None
    if len(steps) > 1:
        rows = train[labeled[train]]
        first = clone(Pipeline(steps[:-1])).fit(_safe_indexing(X, rows), _safe_indexing(y, rows))

    def make(rows):
        windows = _safe_indexing(X, rows)
        windows = windows if first is None else first.transform(windows)
        return np.asarray(windows, np.float32).reshape(len(rows), -1)

    def fit(rows, labels):
        return balance_classifier(clone(classifier), labels).fit(make(rows), labels)

    return make, fit


def balance_classifier(classifier, labels):
    """Set equal prior probabilities of classes, unless a parameter is set."""
    params = classifier.get_params(deep=False)
    n_classes = len(np.unique(labels))
    if "priors" in params and params["priors"] is None:
        return classifier.set_params(priors=np.full(n_classes, 1 / n_classes))
    if "class_weight" in params and params["class_weight"] is None:
        return classifier.set_params(class_weight="balanced")
    return classifier


def _fit_decoder_of_classes(estimator, X, y, train, test):
    """Fit a decoder, whose estimates are compared with class templates."""
    return make_template_classifier(fit_fold(estimator, X, y, train, test), X, y)


def make_template_classifier(fitted, X, y):
    """Make functions that compare estimates with templates of classes.

    Parameters
    ----------
    fitted : estimator
        Fitted decoder of speech features.
    X, y : DataFrame, Windows or array-like of shape (n_windows, ...)

    Returns
    -------
    make : callable
        ``make(rows, X=X)`` returns estimates of shape (n_rows, n_features).
    fit : callable
        ``fit(rows, labels)`` returns a :class:`TemplateClassifier`.
    """
    last, _ = find_innermost_estimator(fitted, fitted=True)
    if not hasattr(last, "transform") or getattr(last, "speech_architecture_", None) is not None:
        raise TypeError(
            f"{type(last).__name__} does not estimate speech features, which the templates of classes consist of. "
            f"Use RidgeDecoder, BrainEncoder without target_dim and speech_embedding_dim, or a classifier."
        )

    def make(rows, X=X):
        decoder, windows = unwrap_decoder_of_estimator(
            fitted, _safe_indexing(X, rows), "cross_val_classification"
        )
        return decoder.transform(windows).reshape(len(rows), -1)

    def fit(rows, labels):
        targets = last._targets(last._check_y(_safe_indexing(y, rows)))
        true = np.empty((len(rows), targets.shape[1] * targets.shape[2]), np.float32)
        for part in slice_rows_into_chunks(len(rows), count_chunk_rows(CHUNK_BYTES, *targets.shape[1:])):
            batch = targets.gather(np.arange(part.start, part.stop))
            true[part] = batch.cpu().numpy().reshape(len(batch), -1)
        return TemplateClassifier(make(rows), true, labels)

    return make, fit


def classify_with_timing_classifier(rows, labels, train, test):
    """Return log-probabilities from timing alone, and their classifier.

    Parameters
    ----------
    rows : DataFrame of shape (n_windows, ...)
        ``subject, recording, onset``.
    labels : ndarray of shape (n_windows,)
    train, test : ndarray of int
        Rows.

    Returns
    -------
    log_probabilities : ndarray of shape (n_test, n_classes)
    classifier : TimingClassifier
    """
    classes = np.unique(labels[train])
    known = rows.iloc[train].assign(word=labels[train])
    found = timing_probabilities(rows.iloc[test], labels[test], classes, known)
    return np.log(np.maximum(found, 1e-30)), TimingClassifier(classes)
