"""Retrieval of word types by templates of training rows."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._estimators import unwrap_decoder_of_estimator
from sk_b2s._utils._validation import join_validated_tables, validate_rows_in_step, validate_table
from sk_b2s.decoding._ensemble._weights import standardize_weighted_ensemble_scores
from sk_b2s.decoding._mixins import RetrievalMixin
from sk_b2s.decoding._retrieval._checks import count_windows_for_retrieval_checks
from sk_b2s.decoding._retrieval._word_result import WordResult
from sk_b2s.events._intervals import StimulusIntervals
from sk_b2s.features._word_types import average_word_type_features, find_word_type_segments, make_word_types
from sk_b2s.metrics._vocabulary import WordVocabulary, check_vocabulary, make_vocabulary_words
from sk_b2s.model_selection._exposure import warn_of_exposure
from sk_b2s.model_selection._leak_warning import warn_of_stimulus_leak

TEMPLATES = ("features", "estimates")


def retrieve_words(estimator, X, y, X_train=None, y_train=None, vocabulary=50, templates="features"):
    """Compare windows with one template per word, made of training rows.

    In contrast to :meth:`RetrievalResult.to_words`, no segment of the test set
    is a candidate, so that a word is decoded only by what its tokens share.

    Parameters
    ----------
    estimator : estimator
        Fitted decoder, a Pipeline that ends in one, or a fitted search over
        either.
    X : DataFrame or Windows of shape (n_windows, ...)
        EEG/MEG windows, as the estimator expects them.
    y : DataFrame or Windows of shape (n_windows, ...)
        Target segments with the column ``word``, one row per window.
    X_train, y_train : DataFrame or Windows of shape (n_train, ...), \
default=None
        Training rows that the vocabulary and the templates are made of. Use
        those of ``fit``. They also train the classifier of timing. If None,
        the distinct segments of ``fit`` are used, and timing is fitted on the
        other windows of ``X``.
    vocabulary : int, WordVocabulary, sequence of str or None, default=50
        Words that are decoded. An int is the number of most frequent words of
        the training rows, and None selects all of them.
    templates : {"features", "estimates"}, default="features"
        "features" averages the speech features of the training segments of a
        word. "estimates" averages the features that the decoder estimates from
        its training windows, over all subjects. These are fitted values of
        training windows, and the decoder needs a method ``transform``.

    Returns
    -------
    words : WordResult
        All windows. Windows of words outside the vocabulary have the target
        -1. Words of the vocabulary without a training segment have no
        template. They are left out, count as outside the vocabulary, and are
        named in ``missing``. Probabilities are the softmax of similarities.

    Raises
    ------
    TypeError
        If the last step is not a decoder.
    ValueError
        If ``X_train`` contains windows of ``X``, if a column or one of the
        training tables is missing, or if no window has a word of the
        vocabulary.

    Warns
    -----
    StimulusLeakWarning
        If ``y`` contains stimuli of ``y_train`` or of ``fit``.

    See Also
    --------
    retrieve : Compare windows with the distinct segments of ``y``.
    make_word_types : Templates of mean speech features.

    Notes
    -----
    Words differ in duration and neighbors, so compare scores with the row
    "timing alone". A template of windows that overlap also contains the words
    that typically follow.
    """
    if templates not in TEMPLATES:
        raise ValueError(f"The 'templates' parameter must be one of {TEMPLATES}. Got {templates!r} instead.")
    decoder, windows = unwrap_decoder_of_estimator(estimator, X, "retrieve_words")
    validate_rows_in_step(windows, y)
    y_train = _check_word_training(decoder, X_train, y_train, templates)
    segments, known = validate_table(y), validate_table(y_train)
    requested = check_vocabulary(vocabulary, y_train)
    codes = find_word_type_segments(y_train, requested)[0]  # checks the columns
    if segments is None or "word" not in segments:
        raise ValueError("retrieve_words requires the column 'word' in y. Make segments with anchor='word'.")
    table = validate_table(X)
    rows = join_validated_tables(validate_table(windows) if table is None else table, segments)
    train = None if X_train is None else join_validated_tables(validate_table(X_train), known)
    _warn_of_shared_words(decoder, estimator, rows, y, train, known)
    present = np.isin(np.arange(len(requested)), codes)
    kept = [word for word, there in zip(requested, present, strict=True) if there]
    names = WordVocabulary(kept) if len(kept) > 1 else requested  # average_word_type_features raisess
    used = np.flatnonzero(codes >= 0)
    pool = None if X_train is None else _safe_indexing(X_train, used), _safe_indexing(y_train, used)
    scores = _compare_word_types(estimator, X, pool, names, templates)
    return WordResult(
        log_probabilities=log_softmax(scores.astype(float), axis=1), target=names.encode(segments["word"]),
        rows=rows.assign(word=make_vocabulary_words(segments["word"])), vocabulary=names,
        counts=np.ones(len(names), int), kind="types",
        missing=tuple(word for word, there in zip(requested, present, strict=True) if not there), train=train,
        k=decoder.k,
    )  # fmt: skip


def _check_word_training(decoder, X_train, y_train, templates):
    """Check training rows, and return targets or the segments of fit."""
    check_is_fitted(decoder)
    if (X_train is None) != (y_train is None) or (X_train is None and templates == "estimates"):
        raise ValueError(
            "retrieve_words requires both X_train and y_train, or none of them with templates='features'."
        )
    if X_train is None:
        return decoder.segments_
    validate_rows_in_step(X_train, y_train)
    return y_train


def _warn_of_shared_words(decoder, estimator, rows, y, train, known):
    """Raise for shared windows, and warn of shared stimuli."""
    if n_shared := 0 if train is None else count_windows_for_retrieval_checks(rows, train):
        raise ValueError(
            f"X_train must contain other windows than X. It contains {n_shared} of {len(rows)}. Pass the training rows of "
            f"the split."
        )
    if "sound_onset" in known and "sound_onset" in rows:
        intervals = StimulusIntervals.from_table(known)
        if (fitted := getattr(decoder, "stimulus_intervals_", None)) is not None:
            intervals = intervals | fitted
        warn_of_stimulus_leak(intervals, validate_table(y), "retrieve_words", 4)
    warn_of_exposure(estimator, decoder, y, stacklevel=4)


def _compare_word_types(estimator, X, train, vocabulary, templates):
    """Compute similarities with word types: (n_windows, n_words)."""
    decoder, windows = unwrap_decoder_of_estimator(estimator, X, "retrieve_words")
    check_is_fitted(decoder)
    X_train, y_train = train
    if templates == "estimates":
        X_train = unwrap_decoder_of_estimator(estimator, X_train, "retrieve_words")[1]
    if hasattr(decoder, "estimators_"):  # an ensemble, whose members have their own features
        return _compare_word_types_of_members(decoder, windows, (X_train, y_train), vocabulary, templates)
    if templates == "estimates":
        embed, _ = decoder._make_embedder(X_train)
        codes = find_word_type_segments(y_train, vocabulary)[0]
        shape = decoder.n_features_out_, len(decoder.frame_weights_)
        types = average_word_type_features(embed, codes, vocabulary, shape, None)
        pieces = RetrievalMixin._scores(decoder, windows, types)
    else:
        types = make_word_types(y_train, decoder.speech_, vocabulary)
        decoder._check_targets_shape(types)
        pieces = decoder._score_targets(windows, types)
    return np.concatenate([scores.cpu().numpy() for _, scores in pieces])


def _compare_word_types_of_members(ensemble, windows, train, vocabulary, templates):
    """Combine the members of an ensemble as its similarities of segments."""
    total = 0
    for weight, copies in zip(ensemble.weights_, ensemble.estimators_, strict=True):
        if weight:
            parts = [
                standardize_weighted_ensemble_scores(
                    _compare_word_types(one, windows, train, vocabulary, templates)
                )
                for one in copies
            ]
            total = total + np.float32(weight) * standardize_weighted_ensemble_scores(np.sum(parts, axis=0))
    return total
