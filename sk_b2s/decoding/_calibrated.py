"""Meta-estimator that pretrains on subjects and calibrates to another."""

from __future__ import annotations

import warnings
from functools import wraps
from pathlib import Path

import joblib
import numpy as np
from filelock import FileLock
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import _num_samples, check_is_fitted

from sk_b2s._utils._caching import cached
from sk_b2s._utils._estimators import (
    DocLinkMixin,
    copy_estimator_adapted,
    find_decoder_in_estimator,
    find_innermost_estimator,
    unwrap_decoder_of_estimator,
    was_estimator_interrupted,
)
from sk_b2s._utils._validation import validate_rows_in_step, validate_table
from sk_b2s.decoding._adaptation import METHODS
from sk_b2s.decoding._mixins import RetrievalMixin
from sk_b2s.preprocessing._fingerprint import fingerprint_rows, make_code_fingerprint, make_fingerprint

WITHOUT_ADAPT = ("none", "scratch")  # methods that do not call adapt


def _delegate_to_fitted_decoder(name):
    """Make a method that calls the method of the fitted decoder."""

    @wraps(getattr(RetrievalMixin, name))
    def method(self, X, *args, **kwargs):
        check_is_fitted(self)
        decoder, X = unwrap_decoder_of_estimator(self.estimator_, X, type(self).__name__)
        return getattr(decoder, name)(X, *args, **kwargs)

    return method


class CalibratedDecoder(DocLinkMixin, TransformerMixin, BaseEstimator):
    """Meta-estimator that fits other subjects and adapts to a new one.

    ``fit(X, y, calibration=mask)`` fits a clone of ``estimator`` on the rows
    outside the mask, and adapts it to the rows of the new subject inside the
    mask with the method ``adapt`` of the decoder.

    :func:`benchmark` passes the mask, which marks the training rows of tested
    subjects. Methods of adaptation can thus be compared like other decoders,
    controls included, on the folds of
    ``LeaveOneSubjectOut(calibration_minutes=[0, 1, 5, np.inf])``.

    Parameters
    ----------
    estimator : estimator
        :class:`BrainEncoder`, or a Pipeline or search that ends in one. The
        best estimator of a search is adapted. For ``method="none"`` and
        ``"scratch"``, any decoder of this package.
    method : {"auto", "ridge", "layer", "all", "none", "scratch"}, \
default="auto"
        Method of adaptation. The first four are those of
        :meth:`BrainEncoder.adapt`. Without calibration rows, they are the same
        as "none". "none" fits the other subjects only, so that
        ``unseen_subject`` of the decoder determines the prediction. "scratch"
        fits the calibration rows only.
    memory : None, str, Path or joblib.Memory, default=None
        Cache folder for fits on other subjects. All methods and amounts of
        calibration data share one fit for the same rows, ``estimator`` and
        version of this code. Other processes wait until it is complete. The
        folder contains pickle files, which can execute code. Use a folder that
        only you can write to.

    Attributes
    ----------
    estimator_ : estimator
        Fitted and adapted clone. A Pipeline if ``estimator`` is a search over
        one.
    decoder_ : estimator
        Fitted decoder at the end of ``estimator_``.
    n_calibration_ : int
        Number of calibration rows.
    interrupted_ : bool
        Whether the training on other subjects was interrupted by Ctrl-C.
        Interrupted fits are not stored in ``memory``.

    Raises
    ------
    ValueError
        If ``calibration`` is not a mask of the rows, if it marks only a part
        of the rows of a subject that is adapted to, or if no rows are left to
        fit.
    TypeError
        If the decoder has no method ``adapt`` and ``method`` requires it.

    Warns
    -----
    UserWarning
        If ``fit`` gets no ``calibration``, so that it does not adapt.

    See Also
    --------
    LeaveOneSubjectOut : Folds with calibration rows.
    BrainEncoder.adapt : Adapt a fitted encoder.

    Notes
    -----
    In a Pipeline, this estimator can be the last step or contain the Pipeline.
    If it contains the Pipeline, the other steps are fitted on other subjects
    only. If it is the last step, they are fitted on all training rows.

    :func:`~sklearn.model_selection.cross_validate` and searches do not pass
    ``calibration``. Inside them, nothing is adapted and the calibration rows
    are used together with the other subjects. Use :func:`benchmark`, or pass
    the mask with ``search.fit(X, y, calibration=mask)``.

    Set ``random_state`` of the decoder for reproducible fits. Without it,
    ``memory`` returns the first fit.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s.decoding import CalibratedDecoder, RidgeDecoder
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((60, 3)).astype("float32")
    >>> noise = rng.standard_normal((60, 8))
    >>> eeg = speech @ rng.standard_normal((3, 8)) + 0.1 * noise
    >>> is_new = np.arange(60) >= 40
    >>> decoder = CalibratedDecoder(RidgeDecoder(k=1), method="scratch")
    >>> decoder = decoder.fit(eeg, speech, calibration=is_new)
    >>> len(decoder.decoder_.segments_), decoder.n_calibration_
    (20, 20)
    """

    __metadata_request__fit = {"calibration": True}
    __metadata_request__predict = {"candidates": True}
    __metadata_request__predict_proba = {"candidates": True}
    __metadata_request__score = {"sample_weight": True}

    _parameter_constraints = {
        "estimator": [HasMethods(["fit"])],
        "method": [StrOptions({*METHODS, *WITHOUT_ADAPT})],
        "memory": [str, Path, joblib.Memory, None],
    }

    def __init__(self, estimator, method="auto", memory=None):
        self.estimator = estimator
        self.method = method
        self.memory = memory

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, calibration=None):
        """Fit the other subjects, and adapt to the new one.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            EEG/MEG windows.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Target segments, one row per window.
        calibration : array-like of bool of shape (n_windows,), default=None
            Mask of the rows of the new subject. If None, no row is. Pass a
            mask that is False everywhere if all subjects are known.

        Returns
        -------
        self : CalibratedDecoder
            The fitted decoder.
        """
        if y is None:
            raise ValueError(f"CalibratedDecoder requires y to be passed, but the target y is {y}.")
        validate_rows_in_step(X, y)
        own = self._mask(calibration, _num_samples(y))
        if self.method in METHODS:
            self._check_adapts(X, own, calibration is None)
        self.n_calibration_ = int(own.sum())
        base = self._fit_base(X, y, np.flatnonzero(own if self.method == "scratch" else ~own))
        self.interrupted_ = was_estimator_interrupted(base)
        if self.method in WITHOUT_ADAPT or not own.any():
            self.estimator_ = base
        else:
            rows = np.flatnonzero(own)
            self.estimator_ = copy_estimator_adapted(
                base, _safe_indexing(X, rows), _safe_indexing(y, rows), method=self.method
            )
        return self

    def _mask(self, calibration, n_rows):
        """Check the mask of the calibration rows."""
        own = np.zeros(n_rows, bool) if calibration is None else np.asarray(calibration)
        if own.shape != (n_rows,) or own.dtype != bool:
            raise ValueError(
                f"calibration must be a boolean mask of {n_rows} rows. Got {own.dtype} of shape {own.shape}. For "
                f"example, calibration=(X['subject'] == 'new').to_numpy()."
            )
        if self.method == "scratch" and not own.any():
            raise ValueError(
                "method='scratch' fits the calibration rows only, and calibration marks no rows. Leave 0 minutes out for this "
                "method, or pass calibration, a mask of the rows."
            )
        if self.method != "scratch" and own.all():
            raise ValueError(
                f"All {n_rows} rows are calibration rows, so that no rows of other subjects are left. Use "
                f"LeaveOneSubjectOut(calibration_minutes=...), or method='scratch'."
            )
        return own

    def _check_adapts(self, X, own, is_missing):
        """Raise unless the decoder can adapt and its subjects are new."""
        decoder = find_decoder_in_estimator(self.estimator)[0]
        if not hasattr(decoder, "adapt"):
            raise TypeError(
                f"method={self.method!r} requires a decoder with a method adapt, such as BrainEncoder. "
                f"{type(decoder).__name__} does not have it. Use method='scratch' or 'none'."
            )
        if is_missing:
            warnings.warn(
                f"Nothing is adapted (method={self.method!r}), because fit got no calibration rows. It uses all rows "
                f"for the fit. benchmark(cv=LeaveOneSubjectOut(calibration_minutes=...)) passes them, cross_validate "
                f"does not. Pass calibration=(X['subject'] == 'new').to_numpy(). If all subjects are known, pass "
                f"calibration with all rows False.",
                stacklevel=4,
            )
        subjects = _get_calibration_subjects(X, len(own))
        if both := sorted(set(subjects[own]) & set(subjects[~own])):
            rows, way_out = (
                subjects == both[0],
                "Mark all rows of a new subject, or leave the other rows out.",
            )
            if both == [""]:
                way_out = "Name the subject of each row with Windows.from_array(X, rows=DataFrame({'subject': ...}))."
            raise ValueError(
                f"calibration marks {(own & rows).sum()} of {rows.sum()} rows of subject {both[0]!r}, and the other "
                f"rows are used for the fit, so that the subject is not new. {way_out}"
            )

    def _fit_base(self, X, y, rows):
        """Fit a clone on some rows, or load it from the cache."""
        if len(rows) < _num_samples(y):
            X, y = _safe_indexing(X, rows), _safe_indexing(y, rows)
        memory = (
            self.memory if isinstance(self.memory, joblib.Memory) else joblib.Memory(self.memory, verbose=0)
        )
        if memory.location is None:
            return clone(self.estimator).fit(X, y)
        key = make_fingerprint(
            self.estimator,
            fingerprint_rows(X),
            fingerprint_rows(y),
            make_code_fingerprint(roots=("_persistence._save_load",)),
        )
        with FileLock(Path(memory.location) / f"{key}.lock"):  # other processes wait for the same fit
            return cached(_fit_uncalibrated_decoder, memory, ignore=("estimator", "X", "y"))(
                key, self.estimator, X, y
            )

    # --- methods of the fitted decoder -------------------------------------------------------------

    @property
    def decoder_(self):
        """Fitted decoder at the end of ``estimator_``."""
        check_is_fitted(self)
        return find_innermost_estimator(self.estimator_, fitted=True)[0]

    @property
    def k(self):
        """Number of candidates that count as a hit in :meth:`score`."""
        return find_decoder_in_estimator(self.estimator)[0].k

    @property
    def n_features_in_(self):
        """Number of channels in ``fit``."""
        return self.estimator_.n_features_in_

    transform = _delegate_to_fitted_decoder("transform")
    similarity = _delegate_to_fitted_decoder("similarity")
    predict = _delegate_to_fitted_decoder("predict")
    predict_proba = _delegate_to_fitted_decoder("predict_proba")
    ranks = _delegate_to_fitted_decoder("ranks")
    score = _delegate_to_fitted_decoder("score")

    def __sklearn_tags__(self):
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        tags.non_deterministic = inner.non_deterministic
        tags.transformer_tags.preserves_dtype = []
        return tags


def _get_calibration_subjects(X, n_rows):
    """Return the subject of each row, "" if unnamed."""
    table = validate_table(X)
    if table is None or "subject" not in table:
        return np.full(n_rows, "", dtype=object)
    return table["subject"].astype(str).to_numpy(dtype=object)


def _fit_uncalibrated_decoder(key, estimator, X, y):
    """Fit a clone. ``key`` identifies all other arguments in the cache."""
    fitted = clone(estimator).fit(X, y)
    if was_estimator_interrupted(fitted):
        raise KeyboardInterrupt  # incomplete fits are not cached
    return fitted
