"""Meta-estimator that combines the similarities of several decoders."""

from __future__ import annotations

import copy
from functools import reduce
from numbers import Integral
from operator import or_

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.base import _fit_context
from sklearn.utils import Bunch, _safe_indexing, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import _BaseComposition, available_if
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._estimators import (
    copy_estimator_adapted,
    find_decoder_in_estimator,
    find_innermost_estimator,
    list_estimators_inside,
)
from sk_b2s._utils._logging import iterate_with_logged_progress
from sk_b2s._utils._validation import validate_rows_in_step, validate_table
from sk_b2s.decoding._candidates import find_distinct_candidates
from sk_b2s.decoding._ensemble._members import (
    MemberFit,
    compute_ensemble_member_scores,
    count_ensemble_member_fits,
    fit_ensemble_member,
    summarize_ensemble_members,
)
from sk_b2s.decoding._ensemble._weights import learn_ensemble_weights, standardize_weighted_ensemble_scores
from sk_b2s.decoding._mixins import RetrievalMixin
from sk_b2s.model_selection._split import iter_inner_split_folds, list_split_folds
from sk_b2s.preprocessing._windows._windows import Windows

N_BLOCKS = 5  # of cv=None, one of which is held out
MOST_WINDOWS = 4000  # of an inner fold that the weights are learned on
CHUNK_BYTES = 2**28  # of similarities that are returned at a time


def _members_can_adapt(ensemble):
    """Return whether the decoders of all members have a method adapt."""
    fitted = getattr(ensemble, "estimators_", None)
    if fitted is not None:
        decoders = [find_innermost_estimator(one, fitted=True)[0] for copies in fitted for one in copies]
    else:
        decoders = [find_innermost_estimator(one)[0] for _, one in list_estimators_inside(ensemble)]
    return bool(decoders) and all(hasattr(decoder, "adapt") for decoder in decoders)


class EnsembleDecoder(RetrievalMixin, _BaseComposition):
    r"""Meta-estimator that combines the similarities of several decoders.

    Each member estimates its own features of the same windows. Similarities
    of a member are standardized for each window, so that they have the mean 0
    and the standard deviation 1 over candidates, and

    .. math:: s_{ic} = \sum_m w_m \, z_{mic}

    is the similarity of the ensemble, where :math:`z_{mic}` is the
    standardized similarity of window i with candidate c by member m.

    Networks that differ only in their seed, and decoders of different kinds,
    make different errors, which this sum averages out.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and decoders, or Pipelines that end in one, so that members can
        have different epochs, sampling rates and features. "drop" in place of
        an estimator leaves it out.
    weights : {"cv", "equal"} or array-like of float, default="cv"
        Weights of the members. "cv" refits every member on inner folds without
        a shared stimulus, and learns weights of at least 0 that minimize the
        cross-entropy of the targets of the held-out windows. "equal" is
        1 / n_members. Numbers of at least 0, one for each of ``estimators``,
        are used as they are.
    n_seeds : int, default=1
        Number of fits of each member whose decoder has a ``random_state``. Fit
        s uses ``random_state + 1000 * s``, so that ensembles with neighboring
        seeds share no fit. None draws differently each time. The member is the
        standardized mean of their standardized similarities.
    cv : None, int or splitter, default=None
        Inner folds of ``weights="cv"``. If None, a fifth of the stimuli is
        held out once, which costs one more fit of each member. An int is the
        number of folds of stimulus blocks, or of contiguous runs of distinct
        segments if ``y`` has no blocks. A splitter is given the rows of
        ``fit``.
    k : int, default=10
        Number of candidates that count as a hit in :meth:`score`.
    n_jobs : int or None, default=None
        Number of fits that run in parallel processes.
    verbose : int, default=0
        If above 0, print a line for each fit.

    Attributes
    ----------
    estimators_ : list of list of estimator
        Fitted copies of each member that is not dropped.
    named_estimators_ : Bunch
        First fitted copy of each member, by name.
    weights_ : ndarray of shape (n_members,)
        Weights :math:`w_m`.
    summary_ : DataFrame of shape (n_members + 1, 7)
        Cost and gain of each member and, in the last row, of the "ensemble":
        ``weight``, ``n_fits`` and ``seconds`` of all fits including those on
        inner folds, and ``n_parameters`` of the copies in use, NaN if unknown.
        ``inner_top_1``, ``inner_top_k`` and the chance level ``inner_chance``
        of the latter are accuracies of one seed on the held-out windows of the
        inner folds. That of the ensemble is slightly optimistic, because the
        weights were learned on the same windows. They are NaN without inner
        folds, and ``inner_top_k`` if there are at most ``k`` candidates.
    segments_ : DataFrame, Windows or ndarray
        Distinct segments of ``fit``, the default candidates.
    recording_intervals_ : StimulusIntervals or None
        Intervals of the recordings in ``fit``.
    stimulus_intervals_ : StimulusIntervals or None
        Intervals of the stimuli in ``fit`` and of those that members were
        fitted on before. :meth:`score` warns if it is given the same stimuli.
    n_features_in_ : int
        Number of features that the first member was fitted on.

    Raises
    ------
    ValueError
        If ``estimators`` is empty, names are not unique, weights do not match
        the members, or the stimuli cannot be split into inner folds.
    TypeError
        If a member is not a decoder.
    KeyboardInterrupt
        If the training of a member is interrupted by Ctrl-C.

    Warns
    -----
    ConvergenceWarning
        If no member is above the chance level on the inner folds.

    See Also
    --------
    sklearn.ensemble.VotingClassifier : The same for classifiers.
    CalibratedDecoder : A member that adapts to a new subject.

    Notes
    -----
    A fit costs ``n_seeds`` fits of each member, and one more for each inner
    fold with ``weights="cv"``, where only the first seed is fitted. Weights of
    members with several seeds are thus slightly too small. Use ``memory`` of
    the steps so that recordings and features are computed once.

    With learned weights, similarities are log-probabilities up to a constant,
    so that :meth:`predict_proba` is calibrated if the test windows resemble
    the training windows. With "equal", probabilities are nearly flat. At most
    4000 windows of each inner fold are used, evenly spaced.

    Standardization discards the norm of an estimate, which differs between
    windows, together with its units. It has no ``transform``, because members
    estimate different features. The matrix of all similarities is held
    in memory.

    A member can be placed behind the steps of a Pipeline that it shares with
    the others, ``make_pipeline(Epocher(), EnsembleDecoder(...))``, or be a
    Pipeline with its own steps.

    ``calibration`` of :meth:`fit` is passed to members that take it, such as
    :class:`CalibratedDecoder`. In inner folds it is limited to their training
    rows, so that few calibration data may be missing in a fold. Use
    ``weights="equal"`` or numbers in this case.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_b2s.decoding import EnsembleDecoder, RidgeDecoder
    >>> rng = np.random.default_rng(0)
    >>> speech = rng.standard_normal((300, 3)).astype("float32")
    >>> noise = 0.5 * rng.standard_normal((300, 8))
    >>> eeg = speech @ rng.standard_normal((3, 8)) + noise
    >>> few = make_column_transformer(("passthrough", slice(3)))
    >>> more = make_column_transformer(("passthrough", slice(3, 8)))
    >>> members = [
    ...     ("few", make_pipeline(few, RidgeDecoder())),
    ...     ("more", make_pipeline(more, RidgeDecoder())),
    ... ]
    >>> ensemble = EnsembleDecoder(members, k=1).fit(eeg[:200], speech[:200])
    >>> ensemble.summary_[["weight", "n_fits", "inner_top_1"]].round(2)
              weight  n_fits  inner_top_1
    member
    few         3.34       2         0.32
    more        5.49       2         0.42
    ensemble    8.83       4         0.42
    >>> ensemble.score(eeg[200:], speech[200:])
    0.3
    """

    __metadata_request__fit = {"calibration": True}

    _parameter_constraints = {
        "estimators": [list],
        "weights": [StrOptions({"cv", "equal"}), "array-like"],
        "n_seeds": [Interval(Integral, 1, None, closed="left")],
        "cv": [None, Interval(Integral, 2, None, closed="left"), HasMethods(["split"])],
        "k": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(self, estimators, weights="cv", n_seeds=1, cv=None, k=10, n_jobs=None, verbose=0):
        self.estimators = estimators
        self.weights = weights
        self.n_seeds = n_seeds
        self.cv = cv
        self.k = k
        self.n_jobs = n_jobs
        self.verbose = verbose

    # --- parameters --------------------------------------------------------------------------------

    def get_params(self, deep=True):
        """Get the parameters of the ensemble and of its members.

        Parameters
        ----------
        deep : bool, default=True
            If True, also return the members and their parameters.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params):
        """Set parameters of the ensemble or of its members.

        Parameters
        ----------
        **params : dict
            ``name`` replaces a member, and ``name="drop"`` leaves it out.
            ``name__parameter`` sets one of its parameters.

        Returns
        -------
        self : EnsembleDecoder
            The ensemble.
        """
        self._set_params("estimators", **params)
        return self

    @property
    def named_estimators(self):
        """Members by name, not fitted."""
        return Bunch(**dict(self.estimators))

    @property
    def named_estimators_(self):
        """First fitted copy of each member, by name."""
        check_is_fitted(self)
        names = [name for name, _ in list_estimators_inside(self)]
        return Bunch(**{name: copies[0] for name, copies in zip(names, self.estimators_, strict=True)})

    def _check_members(self):
        """Check members and weights: the names, members and weights in use."""
        if not self.estimators:
            raise ValueError(
                "The 'estimators' parameter of EnsembleDecoder is empty. Give pairs of a name and a decoder."
            )
        self._validate_names([name for name, _ in self.estimators])
        for name, member in self.estimators:
            if isinstance(member, str) and member == "drop":
                continue
            try:
                find_decoder_in_estimator(member)
            except TypeError as error:
                raise TypeError(f"Member {name!r} of EnsembleDecoder cannot be used. {error}") from error
        is_used = np.array([not isinstance(member, str) for _, member in self.estimators])
        if not is_used.any():
            raise ValueError("All members of EnsembleDecoder are 'drop'. Use at least one decoder.")
        return [
            pair for pair, used in zip(self.estimators, is_used, strict=True) if used
        ], self._check_weights(is_used)

    def _check_weights(self, is_used):
        """Return the weights of members in use, None if they are learned."""
        if isinstance(self.weights, str):
            return None if self.weights == "cv" else np.full(is_used.sum(), 1 / is_used.sum())
        weights = np.asarray(self.weights, float)
        if weights.shape != is_used.shape or not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(
                f"The 'weights' parameter of EnsembleDecoder must be 'cv', 'equal' or {len(is_used)} numbers of at "
                f"least 0, one for each of 'estimators'. Got {self.weights!r} instead."
            )
        if not weights[is_used].any():
            raise ValueError(
                f"All weights of the members in use are 0: {self.weights!r}. Use at least one above 0."
            )
        return weights[is_used]

    # --- fitting -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, calibration=None):
        """Fit all members and learn their weights.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            EEG/MEG windows, as the members expect them: the table of
            ``make_segments`` for Pipelines with an Epocher, else Windows or an
            array.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Target segments, one row per window.
        calibration : array-like of bool of shape (n_windows,), default=None
            Mask of the rows of a new subject, for members whose ``fit`` takes
            ``calibration``. If None, it is not passed.

        Returns
        -------
        self : EnsembleDecoder
            The fitted ensemble.
        """
        members, weights = self._check_members()
        y = self._check_y(y)
        validate_rows_in_step(X, y)
        segments = self._fit_segments(y).target
        folds = self._make_inner_folds(X, y, segments) if weights is None else []
        fits = list(self._iter_fits(members, X, y, calibration, folds))
        self.estimators_ = [
            [fit.fitted for fit in fits if fit.fold is None and fit.member == index]
            for index in range(len(members))
        ]
        inner = self._combine_inner(fits, folds, y, len(members))
        self.weights_ = learn_ensemble_weights(inner) if weights is None else weights
        self.summary_ = summarize_ensemble_members(
            [name for name, _ in members], self.weights_, fits, inner, self.k
        )
        self._fit_stimulus_intervals(y)
        self._add_member_intervals()
        self._fit_recording_intervals(X)
        vars(self).pop("adaptation_rows_", None)
        for name in ("n_features_in_", "feature_names_in_"):
            if (value := getattr(self.estimators_[0][0], name, None)) is not None:
                setattr(self, name, value)
        return self

    def _make_inner_folds(self, X, y, segments):
        """Return the rows of the inner folds: list of (train, test)."""
        if hasattr(self.cv, "split"):
            table = validate_table(X)
            folds = list_split_folds(self.cv, X if table is None else table, y)
        else:
            n_folds = N_BLOCKS if self.cv is None else self.cv
            folds = list(iter_inner_split_folds(y, segments, np.arange(len(segments)), n_folds))
            folds = folds[:1] if self.cv is None else folds
        folds = [(train, test) for train, test in folds if len(train) and len(np.unique(segments[test])) > 1]
        if not folds:
            raise ValueError(
                f"EnsembleDecoder(weights='cv') requires inner folds with at least two held-out segments that are "
                f"separated from the training stimuli. y has {len(np.unique(segments))} distinct segments in "
                f"{len(segments)} rows. Use more stimuli, shorter blocks (block= in make_segments or Windows.from_trials), or weights='equal'."
            )
        return [(train, _thin_ensemble_rows(test)) for train, test in folds]

    def _iter_fits(self, members, X, y, calibration, folds):
        """Fit all members on all rows, then one seed on inner folds."""
        n_copies = [count_ensemble_member_fits(member, self.n_seeds) for _, member in members]
        jobs = [
            (MemberFit(index, seed, fold), members[index])
            for fold in [None, *range(len(folds))]
            for index in range(len(members))
            for seed in range(n_copies[index] if fold is None else 1)
        ]
        parallel = joblib.Parallel(self.n_jobs, return_as="generator")
        done = parallel(
            joblib.delayed(fit_ensemble_member)(
                fit, member, X, y, calibration, None if fit.fold is None else folds[fit.fold]
            )
            for fit, (_, member) in jobs
        )
        shown = iterate_with_logged_progress(
            done, "fits of members", len(jobs), "ERROR" if self.verbose else None, n_ahead=1
        )
        for fit, (_, (name, _)) in zip(shown, jobs, strict=True):
            if self.verbose:
                n_seeds = n_copies[fit.member] if fit.fold is None else 1
                seed = f", seed {fit.seed + 1} of {n_seeds}" * (n_seeds > 1)
                fold = "" if fit.fold is None else f", inner fold {fit.fold + 1} of {len(folds)}"
                print(f"{name}{seed}{fold}: {fit.seconds:.1f} s")
            yield fit

    def _combine_inner(self, fits, folds, y, n_members):
        """Return the standardized similarities and targets of each fold."""
        out = []
        for fold, (_, test) in enumerate(folds):
            target = find_distinct_candidates(_safe_indexing(y, test)).target
            scores = np.zeros((n_members, len(target), target.max() + 1), np.float32)
            for fit in fits:
                if fit.fold == fold:
                    scores[fit.member] += fit.scores
            out.append((np.stack([standardize_weighted_ensemble_scores(one) for one in scores]), target))
        return out

    def _add_member_intervals(self):
        """Add the stimuli that the decoders of members were fitted on."""
        decoders = [
            find_innermost_estimator(one, fitted=True)[0] for copies in self.estimators_ for one in copies
        ]
        known = [self.stimulus_intervals_, *(getattr(one, "stimulus_intervals_", None) for one in decoders)]
        if known := [one for one in known if one is not None]:
            self.stimulus_intervals_ = reduce(or_, known)

    # --- adaptation --------------------------------------------------------------------------------

    @available_if(_members_can_adapt)
    def adapt(self, X, y, **params):
        """Adapt all members to new subjects with labeled calibration data.

        Available if the decoders of all members have a method ``adapt``. This
        ensemble is not changed, and the weights stay the same.

        Parameters
        ----------
        X : DataFrame, Windows or array-like of shape (n_windows, ...)
            EEG/MEG windows of the new subjects.
        y : DataFrame, Windows or array-like of shape (n_windows, ...)
            Target segments, one row per window.
        **params : dict
            Parameters of ``adapt`` of all members, such as ``method``.

        Returns
        -------
        adapted : EnsembleDecoder
            Ensemble of the adapted members.
        """
        check_is_fitted(self)
        new = copy.copy(self)
        new.estimators_ = [
            [copy_estimator_adapted(fitted, X, y, **params) for fitted in copies]
            for copies in self.estimators_
        ]
        new._add_member_intervals()
        decoder = find_innermost_estimator(new.estimators_[0][0], fitted=True)[0]
        if hasattr(decoder, "adaptation_rows_"):
            new.adaptation_rows_ = decoder.adaptation_rows_
        return new

    # --- hooks of RetrievalMixin -------------------------------------------------------------------

    @property
    def transform(self):
        """Not available, because members estimate different features."""
        raise AttributeError(
            "EnsembleDecoder has no method transform, because its members estimate different features. Use similarity, "
            "or transform of one of named_estimators_."
        )

    speech = None  # members have their own

    def _check_y(self, y):
        return y if isinstance(y, (Windows, pd.DataFrame)) else super()._check_y(y)

    def _candidates(self, candidates):
        """Return the identities of the candidates, and their rows."""
        y = self.segments_ if candidates is None else self._check_y(candidates)
        found = find_distinct_candidates(y)
        return found, _safe_indexing(y, found.first)

    def _scores(self, X, candidates):
        scores = self._combine(X, candidates)
        for rows in slice_rows_into_chunks(len(scores), count_chunk_rows(CHUNK_BYTES, len(candidates))):
            yield np.arange(rows.start, rows.stop), torch.from_numpy(scores[rows])

    def _combine(self, X, candidates):
        """Compute the weighted sum of standardized similarities."""
        total = None
        for weight, copies in zip(self.weights_, self.estimators_, strict=True):
            if weight == 0:
                continue
            scores = compute_ensemble_member_scores(copies, X, candidates)
            scores *= np.float32(weight)
            total = scores if total is None else np.add(total, scores, out=total)
        return total

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        inner = [get_tags(member) for _, member in list_estimators_inside(self)]
        if inner:
            tags.input_tags = inner[0].input_tags
            tags.non_deterministic = any(one.non_deterministic for one in inner)
        return tags


def _thin_ensemble_rows(rows):
    """Return evenly spaced rows if there are many."""
    if len(rows) <= MOST_WINDOWS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MOST_WINDOWS).astype(int)]
