"""Meta-estimator that pretrains on subjects and calibrates to another."""

from __future__ import annotations

import time
import warnings
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import _num_samples, check_is_fitted

from sk_b2s._utils._caching import cached
from sk_b2s._utils._estimators import (
    find_decoder,
    find_last,
    replace_last,
    unwrap_decoder,
    unwrap_last,
    was_interrupted,
)
from sk_b2s._utils._json_lines import JsonLinesFile
from sk_b2s._utils._validation import check_in_step, table_of
from sk_b2s.decoding._adaptation import METHODS
from sk_b2s.decoding._base import RetrievalMixin
from sk_b2s.preprocessing._fingerprint import digest_code, digest_rows, key_of

WITHOUT = ("none", "scratch")  # methods that ask nothing of the decoder
WAIT = 0.5  # s between looks at a fit that another process is at


def _asked(question):
    """Make a method that asks the fitted decoder, at the end of its steps, what its namesake is asked."""

    @wraps(getattr(RetrievalMixin, question))
    def ask(self, X, *args, **kwargs):
        check_is_fitted(self)
        decoder, X = unwrap_decoder(self.estimator_, X, type(self).__name__)
        return getattr(decoder, question)(X, *args, **kwargs)

    return ask


class CalibratedDecoder(TransformerMixin, BaseEstimator):
    """Learn from everybody else, then adapt to the few minutes of a new listener.

    ``fit(X, y, calibration=mask)`` fits a clone of ``estimator`` on the rows that are not the new listener's and
    adapts it to those that are, by the ``adapt`` of the decoder at its end. :func:`~sk_b2s.benchmark` gives the
    mask by itself, of the training rows whose subject is tested, so that methods of adaptation are decoders to be
    compared like others, with all their controls, over the folds of
    ``LeaveOneSubjectOut(calibration_minutes=[0, 1, 5, np.inf])``.

    Parameters
    ----------
    estimator : estimator
        A :class:`~sk_b2s.BrainEncoder`, or a Pipeline or search that ends in one; of a search the best is adapted.
        With "none" and "scratch" any decoder of the package.
    method : {"auto", "ridge", "layer", "all", "none", "scratch"}, default="auto"
        How it is adapted; the first four are those of :meth:`sk_b2s.BrainEncoder.adapt`. "none" learns from the
        others alone, and ``unseen_subject`` decides what is done for the new listener, which is also what all of
        the four do without calibration. "scratch" learns from the calibration alone.
    memory : None, str, Path or joblib.Memory, default=None
        Where fits on the others are kept. All methods and amounts of calibration, in this process and others, then
        share one fit for each set of other people's rows; whoever comes second waits for it. It is known by its
        rows, ``estimator`` and the code of this package.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone, adapted; a Pipeline where ``estimator`` is a search over one.
    n_calibration_ : int
        Rows of the new listener.
    interrupted_ : bool
        Whether Ctrl-C ended the training on the others; such a fit is not kept in ``memory``.

    Raises
    ------
    ValueError
        From ``fit``: if ``calibration`` is no mask of the rows, marks part of a person's rows where there is something
        to adapt, or leaves nothing to learn from: no row of others, or none of the new listener's with "scratch".
    TypeError
        From ``fit``: if the decoder cannot be adapted.

    Warns
    -----
    UserWarning
        From ``fit``: if nobody says by ``calibration`` whose rows there are to adapt to, so that nothing is adapted.

    See Also
    --------
    LeaveOneSubjectOut : Folds with calibration.

    Notes
    -----
    In a Pipeline it may stand last or around all of it. Around it, steps that learn see the others alone, and
    the calibration goes through them; last, they see all training rows.

    :func:`~sklearn.model_selection.cross_validate` and searches give no ``calibration`` of their own, so that inside
    them nothing is adapted and the minutes of a new listener are learned from together with the others: compare by
    ``benchmark``, or hand the mask over, ``search.fit(X, y, calibration=mask)``.

    Equal bases need a fixed ``random_state``; with None and a ``memory`` the first that was drawn serves all.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_b2s import CalibratedDecoder, RidgeDecoder
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((60, 3)).astype("f4")
    >>> brain = speech @ rng.standard_normal((3, 8)) + 0.1 * rng.standard_normal((60, 8))
    >>> new = np.arange(60) >= 40
    >>> decoder = CalibratedDecoder(RidgeDecoder(k=1), method="scratch").fit(brain, speech, calibration=new)
    >>> len(decoder.decoder_.segments_), decoder.n_calibration_
    (20, 20)
    """

    __metadata_request__fit = {"calibration": True}
    __metadata_request__predict = {"candidates": True}
    __metadata_request__predict_proba = {"candidates": True}
    __metadata_request__score = {"sample_weight": True}

    _parameter_constraints = {
        "estimator": [HasMethods(["fit"])],
        "method": [StrOptions({*METHODS, *WITHOUT})],
        "memory": [str, Path, joblib.Memory, None],
    }

    def __init__(self, estimator, method="auto", memory=None):
        self.estimator = estimator
        self.method = method
        self.memory = memory

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, calibration=None):
        """Fit to the others, and adapt to the new listener.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            What the brain did.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            What was heard.
        calibration : array-like of bool of shape (n_windows,), default=None
            Which rows are the new listener's; none by default. A mask that is False everywhere says that none are.

        Returns
        -------
        self : CalibratedDecoder
        """
        if y is None:
            raise ValueError("CalibratedDecoder requires y to be passed, but the target y is None.")
        check_in_step(X, y)
        own = self._mask(calibration, _num_samples(y))
        if self.method in METHODS:
            self._check_adapts(X, own, calibration is None)
        self.n_calibration_ = int(own.sum())
        base = self._fitted(X, y, np.flatnonzero(own if self.method == "scratch" else ~own))
        self.interrupted_ = was_interrupted(base)
        if self.method in WITHOUT or not own.any():
            self.estimator_ = base
        else:
            rows = np.flatnonzero(own)
            self.estimator_ = _adapt_last(base, _safe_indexing(X, rows), _safe_indexing(y, rows), self.method)
        return self

    def _mask(self, calibration, n_rows):
        """Rows of the new listener, checked."""
        own = np.zeros(n_rows, bool) if calibration is None else np.asarray(calibration)
        if own.shape != (n_rows,) or own.dtype != bool:
            raise ValueError(
                f"calibration must say True or False of each of {n_rows} rows, got {own.dtype} of shape {own.shape}; "
                f"for example calibration=(X['subject'] == 'new').to_numpy()."
            )
        if self.method == "scratch" and not own.any():
            raise ValueError(
                "method='scratch' learns from calibration alone, and no row is: it cannot decode after 0 minutes. "
                "Leave that amount out for it, or give calibration=, a mask of the rows."
            )
        if self.method != "scratch" and own.all():
            raise ValueError(
                f"all {n_rows} rows are calibration, so there is nobody else to learn from: use "
                f"LeaveOneSubjectOut(calibration_minutes=...), or method='scratch'."
            )
        return own

    def _check_adapts(self, X, own, unasked):
        """Raise unless there is a decoder that adapts, and people who are wholly new to it."""
        decoder = find_decoder(self.estimator)[0]
        if not hasattr(decoder, "adapt"):
            raise TypeError(
                f"method={self.method!r} needs a decoder that adapts, such as BrainEncoder, and "
                f"{type(decoder).__name__} does not: use method='scratch' or 'none'."
            )
        if unasked:
            warnings.warn(
                f"nothing is adapted (method={self.method!r}): fit was not told which rows are the new listener's, and "
                f"learns from all alike. benchmark(cv=LeaveOneSubjectOut(calibration_minutes=...)) tells it, which "
                f"cross_validate does not; or give calibration=(X['subject'] == 'new').to_numpy(). False for all rows "
                f"says that there is nobody new.",
                stacklevel=4,
            )
        people = _people(X, len(own))
        if both := sorted(set(people[own]) & set(people[~own])):
            rows, way_out = people == both[0], "mark all rows of a new listener, or leave the others out."
            if both == [""]:
                way_out = "say whose rows are whose, Windows.from_array(X, rows=DataFrame({'subject': ...}))."
            raise ValueError(
                f"calibration= marks {(own & rows).sum()} of {rows.sum()} rows of subject {both[0]!r}, and the others "
                f"are learned from, so that nobody new is left to adapt to: {way_out}"
            )

    def _fitted(self, X, y, rows):
        """Fit a clone on some rows, or find one that was fitted on the same."""
        if len(rows) < _num_samples(y):
            X, y = _safe_indexing(X, rows), _safe_indexing(y, rows)
        memory = (
            self.memory if isinstance(self.memory, joblib.Memory) else joblib.Memory(self.memory, verbose=0)
        )
        if memory.location is None:
            return clone(self.estimator).fit(X, y)
        key = key_of(
            self.estimator, digest_rows(X), digest_rows(y), digest_code(roots=("_persistence._save_load",))
        )
        with _alone(memory.location, key):
            return cached(_fit, memory, ignore=("estimator", "X", "y"))(key, self.estimator, X, y)

    # --- asking ------------------------------------------------------------------------------------

    @property
    def decoder_(self):
        """The fitted decoder at the end of ``estimator_``."""
        check_is_fitted(self)
        return find_last(self.estimator_, fitted=True)[0]

    @property
    def k(self):
        """The decoder's: ``score`` is top-k accuracy."""
        return find_decoder(self.estimator)[0].k

    @property
    def n_features_in_(self):
        """Number of channels, where the fitted estimator knows it."""
        return self.estimator_.n_features_in_

    transform = _asked("transform")
    similarity = _asked("similarity")
    predict = _asked("predict")
    predict_proba = _asked("predict_proba")
    ranks = _asked("ranks")
    score = _asked("score")

    def __sklearn_tags__(self):
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        tags.non_deterministic = inner.non_deterministic
        tags.transformer_tags.preserves_dtype = []
        return tags


def _people(X, n_rows):
    """Subject of each row, "" where nobody is named: (n_rows,) array of str."""
    table = table_of(X)
    if table is None or "subject" not in table:
        return np.full(n_rows, "", dtype=object)
    return table["subject"].astype(str).to_numpy(dtype=object)


def _fit(key, estimator, X, y):
    """Fit a clone; ``key`` stands for all the rest."""
    fitted = clone(estimator).fit(X, y)
    if was_interrupted(fitted):
        raise KeyboardInterrupt  # half a training is not to be kept
    return fitted


@contextmanager
def _alone(folder, key):
    """Wait until no other process is at a piece of work."""
    while True:
        with JsonLinesFile(Path(folder) / "fits.jsonl").claim(key) as claim:
            if claim is not None:
                yield
                return
        time.sleep(WAIT)


def _adapt_last(fitted, X, y, method):
    """Adapt the decoder at the end of a fitted estimator, which is not changed."""
    decoder, X = unwrap_last(fitted, X)
    return replace_last(fitted, decoder.adapt(X, y, method=method))
