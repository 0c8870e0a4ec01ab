"""Retrieval results: similarities of windows with candidate segments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from sk_b2s._utils._text import make_plain_text
from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.metrics._confidence import (
    compute_confidence_of_best,
    fit_confidence_weights,
    fit_temperature,
    reliability_curve,
    risk_coverage_curve,
)
from sk_b2s.metrics._group_context import (
    average_agreeing_groups,
    average_context_groups,
    causal_context_bias,
    group_context_bias,
    make_sentence_context_groups,
)
from sk_b2s.metrics._null import circular_shift_null
from sk_b2s.metrics._ranking import chance_level, median_relative_rank, ranks, top_k_accuracy
from sk_b2s.metrics._word_timing import timing_scores
from sk_b2s.metrics._words import word_scores

LEAST_WEIGHT = 1e-3  # of a window itself, so that candidates of a sentence do not tie


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """Similarities of windows to candidate segments, with their tables.

    Returned by :func:`retrieve`. :meth:`summary`, :meth:`null` and
    :meth:`score_words` average over the windows of each subject and then over
    subjects. :meth:`top_k` and :meth:`median_relative_rank` are computed over
    all windows, like the ``score`` of a decoder. Ties count as errors.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Similarities, float32.
    target : ndarray of int of shape (n_windows,)
        Column of the target segment of each window.
    candidates : DataFrame of shape (n_candidates, ...)
        Distinct segments, in the order of the columns of ``scores``.
    rows : DataFrame of shape (n_windows, ...)
        Metadata of each window: recording, subject, session, onset, duration,
        and the columns of its target segment such as sequence and word.
    k : int
        Number of candidates that count as a hit, as set in the decoder.
    """

    scores: np.ndarray
    target: np.ndarray
    candidates: pd.DataFrame
    rows: pd.DataFrame
    k: int = 10

    def __post_init__(self):
        n_windows, n_candidates = self.scores.shape
        lengths = (len(self.target), len(self.rows), len(self.candidates))
        if lengths != (n_windows, n_windows, n_candidates):
            raise ValueError(
                f"scores have the shape {self.scores.shape}, but target, rows and candidates have {lengths} entries."
            )

    # --- scores ------------------------------------------------------------------------------------

    @property
    def n_candidates(self):
        """Number of distinct segments among which each window is ranked."""
        return self.scores.shape[1]

    @property
    def chance(self):
        """Chance level of the top-k accuracy, k / n_candidates."""
        return chance_level(self.k, self.n_candidates)

    @cached_property
    def ranks(self):
        """Number of other candidates with at least the target's similarity."""
        return ranks(self.scores, self.target)

    def _k(self, k):
        return self.k if k is None else k

    def top_k(self, k=None):
        """Compute the top-k accuracy over all windows.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.

        Returns
        -------
        accuracy : float
            Fraction of windows whose target is among the k most similar
            candidates.
        """
        return top_k_accuracy(self.ranks, self._k(k), self.n_candidates)

    def median_relative_rank(self):
        """Compute the median of rank / (n_candidates - 1) over all windows.

        Returns
        -------
        median : float
            0 is best, 0.5 is the chance level.
        """
        return median_relative_rank(self.ranks, self.n_candidates)

    def by_subject(self, k=None):
        """Compute the scores of each subject.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.

        Returns
        -------
        scores : DataFrame of shape (n_subjects, 3)
            Columns ``top_1``, ``top_k`` and ``median_relative_rank``, indexed
            by subject.
        """
        k = self._k(k)
        return pd.DataFrame({
            subject: {
                "top_1": top_k_accuracy(own, 1, self.n_candidates),
                "top_k": top_k_accuracy(own, k, self.n_candidates),
                "median_relative_rank": median_relative_rank(own, self.n_candidates),
            }
            for subject, own in pd.Series(self.ranks).groupby(self.rows["subject"].to_numpy())
        }).T.rename_axis("subject")  # fmt: skip

    def summary(self, k=None, n_shifts=1000, random_state=0):
        """Compute scores over subjects, with chance level and null.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.
        n_shifts : int, default=1000
            Number of circular shifts for the null distribution. If 0, do not
            compute it.
        random_state : None, int or RandomState, default=0
            Seed of the shifts.

        Returns
        -------
        summary : Series
            Means over subjects ``top_1``, ``top_k`` and
            ``median_relative_rank``, each with its standard error ``..._sem``
            (NaN for a single subject). ``k``, ``n_subjects``, ``n_windows``,
            ``n_candidates`` and ``chance``. ``null_low``, ``null_mean`` and
            ``null_high``, the 2.5 % quantile, mean and 97.5 % quantile of
            :meth:`null`.

        Raises
        ------
        ValueError
            If there are at most ``k`` candidates, or if ``n_shifts`` is not 0
            and the null cannot be computed.
        """
        k = self._k(k)
        subjects = self.by_subject(k)
        out = {}
        for name in subjects:
            out[name], out[f"{name}_sem"] = subjects[name].mean(), subjects[name].sem()
        out |= {
            "k": k, "n_subjects": len(subjects), "n_windows": len(self.rows), "n_candidates": self.n_candidates,
            "chance": chance_level(k, self.n_candidates),
        }  # fmt: skip
        if n_shifts:
            try:
                null = self.null(k, n_shifts, random_state)
            except ValueError as error:
                raise ValueError(f"{error} Use summary(n_shifts=0) to skip the null.") from error
            low, high = np.quantile(null, [0.025, 0.975])
            out |= {"null_low": low, "null_mean": null.mean(), "null_high": high}
        return pd.Series(out)

    def null(self, k=None, n_shifts=1000, random_state=0):
        """Compute top-k accuracies of labels shifted within each recording.

        Parameters
        ----------
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.
        n_shifts : int, default=1000
            Number of circular shifts.
        random_state : None, int or RandomState, default=0
            Seed of the shifts.

        Returns
        -------
        null : ndarray of shape (n_shifts,)
            Means over subjects, see :func:`circular_shift_null`.

        Raises
        ------
        ValueError
            If the times of the windows are unknown, or if a recording is too
            short for a shift.
        """
        self._check_columns(["onset", "duration"], self.rows, "The null shifts labels in time")
        subject = self.rows["subject"].to_numpy()
        return circular_shift_null(
            self.scores, self.target, self.rows["recording"], self.rows["onset"], self.rows["duration"].max(),
            k=self._k(k), n_shifts=n_shifts, random_state=random_state,
            sample_weight=1 / pd.Series(subject).map(pd.Series(subject).value_counts()), subject=subject,
        )  # fmt: skip

    def _check_columns(self, columns, table, purpose):
        """Raise if a table lacks columns."""
        if missing := [column for column in columns if column not in table]:
            raise ValueError(
                f"{purpose}, but columns {missing} are missing. Pass X and y as returned by make_segments, or Windows "
                f"with these columns in rows."
            )

    # --- other candidates, averages, groups and words ----------------------------------------------

    def score_within_recording(self, by="recording", k=None):
        """Score with candidates from the window's own recording only.

        A decoder that identifies the recording, for example by its noise, and
        not the speech, is above the chance level among all candidates and at
        the chance level here.

        Parameters
        ----------
        by : str, default="recording"
            Column of ``rows``. Windows with equal values in it and the same
            subject share their candidates.
        k : int, default=None
            Number of candidates that count as a hit. If None, use the ``k`` of
            the decoder.

        Returns
        -------
        pools : DataFrame of shape (n_pools, 8)
            Columns ``subject``, ``by``, ``n_windows``, ``n_candidates``,
            ``chance``, ``top_1``, ``top_k`` and ``median_relative_rank``.
            ``n_candidates`` and ``chance`` differ between pools. If the pools
            of a subject have similar sizes, the mean over subjects is
            ``pools.groupby("subject")[["top_k", "chance"]].mean().mean()``.

        Raises
        ------
        ValueError
            If a pool has at most ``k`` candidates.
        """
        k = self._k(k)
        self._check_columns(
            [by], self.rows, f"score_within_recording(by={by!r}) groups windows by that column"
        )
        pools = []
        for pool in split_retrieval_pools(self, by):
            subject, name = pool.rows[["subject", by]].iloc[0]
            if pool.n_candidates <= k:
                raise ValueError(
                    f"The windows of {by} {name!r} have {pool.n_candidates} distinct segments, so top-{k} accuracy is "
                    f"always 1. Score more windows of it together, or use a smaller k."
                )
            pools.append({
                "subject": subject, by: name, "n_windows": len(pool.rows), "n_candidates": pool.n_candidates,
                "chance": chance_level(k, pool.n_candidates), "top_1": pool.top_k(1), "top_k": pool.top_k(k),
                "median_relative_rank": pool.median_relative_rank(),
            })  # fmt: skip
        return pd.DataFrame(pools)

    def average(self, over="subject", agreement=None, total=False):
        r"""Average the similarities of windows with the same target segment.

        This requires knowledge of which windows had the same stimulus, as in
        an experiment that repeats it. The score is then the accuracy of
        several subjects or repetitions together. Similarities are linear in
        the estimate, so that their mean is the similarity of the mean
        estimate. Subjects with larger estimates have a larger weight.

        Parameters
        ----------
        over : {"subject", "repeat"}, default="subject"
            "repeat" averages the windows of each subject. "subject" averages
            the windows of all subjects, which become one subject "average"
            without a standard error over subjects.
        agreement : float, default=None
            If None, average the similarities as they are. A number alpha of at
            least 0 gives all windows the same norm, and averages with more
            agreement more weight in later sums and probabilities, see Notes.
        total : bool, default=False
            If True, return sums instead of means. Ranks are the same, but
            probabilities become those of all evidence. This suits the
            log-likelihoods of :class:`LikelihoodDecoder`, whose windows have
            independent noise.

        Returns
        -------
        result : RetrievalResult
            One row per segment (and subject), with the column ``n_averaged``.
            Stimuli may come from several recordings, so ``recording`` becomes
            subject and stimulus, and ``onset`` the time in the stimulus.

        Notes
        -----
        With ``agreement``, let :math:`z_k` be the similarities of window k,
        standardized over candidates, and r the standard deviation over
        candidates of their mean :math:`m`. The average is
        :math:`(1 + \alpha r) \, m / r`. The agreement r is 1 if all windows
        have the same similarities up to scale, and about
        :math:`1 / \sqrt K` for K unrelated windows.

        This applies [1]_, the direction of the mean of unit estimates times
        :math:`1 + \alpha r`, to similarities. Centered similarities are the
        estimate in the metric of the candidates, so that parts of an estimate
        that no candidate distinguishes do not count. Within an average the
        factor does not change ranks. It changes ranks after
        :meth:`pool_groups` or a second average, and the confidence.

        References
        ----------
        .. [1] arXiv:2609.40359, for averages of estimates by agreement.
        """
        if over not in ("subject", "repeat"):
            raise ValueError(f"over must be 'subject' or 'repeat'. Got {over!r} instead.")
        if agreement is not None and not agreement >= 0:
            raise ValueError(f"agreement must be None or at least 0. Got {agreement!r} instead.")
        subject = self.rows["subject"] if over == "repeat" else pd.Series("average", index=self.rows.index)
        codes = self.rows.groupby([subject, self.target], sort=False).ngroup().to_numpy()
        first = np.unique(codes, return_index=True)[1]
        target = self.target[first]
        rows = self.rows.iloc[first].assign(subject=subject.iloc[first], n_averaged=np.bincount(codes))
        rows = rows.reset_index(drop=True).drop(columns=["onset"], errors="ignore")
        if {"sound", "sound_onset"} <= set(self.candidates):
            segments = self.candidates.iloc[target].reset_index(drop=True)
            rows = rows.assign(
                recording=rows["subject"].astype(str) + ", " + segments["sound"].astype(str),
                onset=segments["sound_onset"],
            )
        if agreement is None:
            scores = average_context_groups(self.scores, codes)
        else:
            scores = average_agreeing_groups(self.scores, codes, agreement).astype(self.scores.dtype)
        if total:
            scores = scores * rows["n_averaged"].to_numpy(scores.dtype)[:, None]
        return replace(self, scores=scores, target=target, rows=rows)

    def pool_groups(self, by="sequence", weight=1.0, *, causal=False, decay=0.1, n_before=0, reference=None):
        """Combine the windows of each sentence by Group Context Bias.

        This requires knowledge of which windows belong to one sentence, for
        example from silences or triggers, but not of which sentence it is. No
        parameter is trained, and targets are used only for the grouping. See
        :func:`sk_b2s.metrics.group_context_bias` for the formula. If
        candidates come from several recordings, a part of the gain comes from
        identifying the recording. That part is the gain of groups drawn at
        random within each recording.

        Parameters
        ----------
        by : str, default="sequence"
            Column of both tables that identifies sentences. Windows form a
            group if they have the same value, subject and recording and follow
            each other with a gap of less than one window. A repeated sentence
            is a separate group. Windows without a value are not changed.
        weight : float, default=1.0
            Weight of the mean of the other windows, relative to the window
            itself. Longer sentences and noisier windows allow larger weights.
        causal : bool, default=False
            If True, only windows that begin earlier are evidence, and their
            weights decay with time. The score is then available at the end of
            each window. See :func:`sk_b2s.metrics.causal_context_bias`.
        decay : float, default=0.1
            Decay per second with ``causal=True``.
        n_before : int, default=0
            Number of preceding sentences that are evidence as well with
            ``causal=True``. This requires that sentences were presented in the
            order of the stimulus.
        reference : RetrievalResult, default=None
            Result of other windows with the same columns. If given, its
            targets determine the temperature of the similarities, and the
            weights of window and evidence that minimize its cross-entropy.
            ``weight`` is not used.

        Returns
        -------
        result : RetrievalResult
            With the combined similarities. Their softmax is reliable with a
            ``reference``, if both have the same distribution.

        Raises
        ------
        ValueError
            If a column is missing, or if ``reference`` contains windows of
            this result.

        Notes
        -----
        Similarities are used as logits. If they are not, for example those of
        :class:`RidgeDecoder`, pass a ``reference``, or apply
        :meth:`scale_temperature` before. Evidence of neighbors is not
        independent, so that a large ``weight`` makes errors surer. One
        temperature cannot correct this afterwards, since windows differ in
        their evidence. Check :meth:`reliability`.
        """
        if reference is None:
            return replace(self, scores=self._pool_scores(by, weight, causal, decay, n_before))
        self._check_other_windows(reference, "pool_groups")
        temperature = self.scores.dtype.type(fit_temperature(reference.scores, reference.target))
        parts = []
        for one in (reference, self):
            scaled = replace(one, scores=one.scores / temperature)
            bias = scaled._pool_scores(by, 1.0, causal, decay, n_before) - scaled.scores
            parts.append(np.stack([scaled.scores, bias]))
        weights = np.maximum(fit_confidence_weights([(parts[0], reference.target)]), [LEAST_WEIGHT, 0])
        return replace(self, scores=np.tensordot(weights, parts[1], 1).astype(self.scores.dtype))

    def _pool_scores(self, by, weight, causal, decay, n_before):
        """Return similarities with evidence of the windows of a group."""
        for table in (self.candidates, self.rows):
            self._check_columns(
                [by], table, f"pool_groups(by={by!r}) combines windows that are equal in that column"
            )
        sentence = pd.factorize(self.candidates[by].to_numpy(dtype=object), use_na_sentinel=False)[0]
        groups = make_sentence_context_groups(self.rows, by)
        if not causal:
            return group_context_bias(self.scores, sentence, groups, weight)
        self._check_columns(["onset"], self.rows, "pool_groups(causal=True) orders windows in time")
        before = self._find_sentences_before(sentence) if n_before else None
        return causal_context_bias(
            self.scores, sentence, groups, self.rows["onset"], get_validated_recordings(self.rows), weight, decay,
            n_before, before,
        )  # fmt: skip

    def _find_sentences_before(self, sentence):
        """Return the sentence before each one in its stimulus, -1 if none."""
        needed = ["sound", "sound_onset"]
        self._check_columns(needed, self.candidates, "pool_groups(n_before=...) orders sentences in stimuli")
        table = pd.DataFrame({
            "sound": pd.factorize(self.candidates["sound"].astype(str))[0],
            "onset": self.candidates["sound_onset"].to_numpy(float), "sentence": sentence,
        })  # fmt: skip
        first = table.sort_values(["sound", "onset"]).drop_duplicates("sentence")
        before = first["sentence"].shift(fill_value=-1).where(first["sound"].diff() == 0, -1)
        return before.to_numpy()[np.argsort(first["sentence"].to_numpy())]

    # --- confidence --------------------------------------------------------------------------------

    def select(self, rows):
        """Select windows, with all candidates.

        Parameters
        ----------
        rows : array-like of bool or int
            Mask or positions of the windows.

        Returns
        -------
        result : RetrievalResult
            With these windows.
        """
        rows = np.arange(len(self.rows))[np.asarray(rows)]
        table = self.rows.iloc[rows].reset_index(drop=True)
        return replace(self, scores=self.scores[rows], target=self.target[rows], rows=table)

    def _check_other_windows(self, reference, owner):
        """Raise if a reference contains windows of this result."""
        keys = [name for name in ("subject", "recording", "onset") if name in self.rows]
        n_shared = len(self.rows) if reference is self else 0
        if not n_shared and "onset" in keys and "onset" in reference.rows:
            own, other = (pd.MultiIndex.from_frame(one.rows[keys]) for one in (self, reference))
            n_shared = int(own.isin(other).sum())
        if n_shared:
            raise ValueError(
                f"The 'reference' parameter of {owner} must contain other windows than those that are scored. It contains "
                f"{n_shared} of {len(self.rows)}. Use results.select(...) of other stimuli, such as training blocks."
            )

    def scale_temperature(self, reference=None, by="sequence", n_folds=5):
        """Divide the similarities by a temperature learned on other windows.

        The softmax of the result is reliable if the other windows have the
        same distribution of similarities. Ranks do not change. Apply it after
        :meth:`average` and :meth:`pool_groups`, which change the scale.

        Parameters
        ----------
        reference : RetrievalResult, default=None
            Result of other windows, averaged and pooled in the same way, whose
            targets determine the temperature. If None, groups are assigned to
            folds, and the temperature of a fold is learned on the others.
        by : str, default="sequence"
            Column of the groups without ``reference``.
        n_folds : int, default=5
            Number of folds without ``reference``, at most that of groups.

        Returns
        -------
        result : RetrievalResult
            With scaled similarities and the column ``temperature`` in
            ``rows``.

        Raises
        ------
        ValueError
            If ``reference`` contains windows of this result, or if there are
            fewer than two groups.

        See Also
        --------
        sk_b2s.metrics.fit_temperature : Definition of the temperature.
        """
        if reference is not None:
            self._check_other_windows(reference, "scale_temperature")
            temperature = np.full(len(self.rows), fit_temperature(reference.scores, reference.target))
        else:
            self._check_columns([by], self.rows, f"scale_temperature(by={by!r}) holds out groups")
            codes, names = pd.factorize(self.rows[by].to_numpy(dtype=object), use_na_sentinel=False)
            if len(names) < 2:
                raise ValueError(
                    f"scale_temperature requires at least two groups in column {by!r}. Got {len(names)}. Pass a reference "
                    f"or another column."
                )
            fold = codes * min(n_folds, len(names)) // len(names)
            temperature = np.empty(len(codes))
            for index in np.unique(fold):
                others = fold != index
                temperature[~others] = fit_temperature(self.scores[others], self.target[others])
        scores = (self.scores / temperature[:, None]).astype(self.scores.dtype)
        return replace(self, scores=scores, rows=self.rows.assign(temperature=temperature))

    def confidence(self, kind="probability"):
        """Compute the confidence in the most similar candidate.

        Parameters
        ----------
        kind : {"probability", "margin"}, default="probability"
            "probability" is its softmax over candidates, which is reliable
            after :meth:`scale_temperature`. "margin" is the difference between
            the two largest similarities.

        Returns
        -------
        confidence : ndarray of shape (n_windows,)
        """
        return compute_confidence_of_best(self.scores, kind)

    def reliability(self, n_bins=10):
        """Compute the accuracy of the best candidate by its probability.

        Parameters
        ----------
        n_bins : int, default=10
            Number of bins with nearly equal numbers of windows.

        Returns
        -------
        table : DataFrame of shape (n_bins, 3)
            Mean ``probability``, ``accuracy`` and ``n_windows`` of each bin.
            The first two are equal for reliable probabilities.
        """
        parts = reliability_curve(self.confidence(), self.ranks < 1, n_bins)
        return pd.DataFrame(dict(zip(("probability", "accuracy", "n_windows"), parts, strict=True)))

    def risk_coverage(self, k=1, confidence="probability"):
        """Compute the accuracy of the most confident windows by their share.

        Parameters
        ----------
        k : int, default=1
            Number of candidates that count as a hit.
        confidence : {"probability", "margin"}, default="probability"
            Kind of :meth:`confidence`.

        Returns
        -------
        table : DataFrame of shape (n_thresholds, 3)
            ``coverage``, the share of windows with at least the confidence
            ``threshold``, rising to 1, and their ``accuracy``.
        """
        parts = risk_coverage_curve(self.confidence(confidence), self.ranks < k)
        return pd.DataFrame(dict(zip(("coverage", "accuracy", "threshold"), parts, strict=True)))

    def abstain(self, reference, coverage=0.9, confidence="probability"):
        """Select the windows that are confident enough to be accepted.

        Parameters
        ----------
        reference : RetrievalResult
            Result of other windows, averaged and pooled in the same way. The
            threshold is the confidence that a share ``coverage`` of them
            reaches.
        coverage : float, default=0.9
            Share of the windows of ``reference`` that are accepted, above 0
            and at most 1. The share of this result is ``len(accepted.rows) /
            len(result.rows)``, and can differ from it.
        confidence : {"probability", "margin"}, default="probability"
            Kind of :meth:`confidence`.

        Returns
        -------
        accepted : RetrievalResult
            Windows with at least this confidence, with the column
            ``confidence`` in ``rows``.

        Raises
        ------
        ValueError
            If ``reference`` contains windows of this result, if ``coverage``
            is not above 0 and at most 1, or if no window is accepted.

        See Also
        --------
        risk_coverage : Accuracy at all coverages, with known targets.
        """
        if not 0 < coverage <= 1:
            raise ValueError(f"coverage must be above 0 and at most 1. Got {coverage!r} instead.")
        self._check_other_windows(reference, "abstain")
        ordered = np.sort(reference.confidence(confidence))[::-1]
        threshold = ordered[int(np.ceil(coverage * len(ordered))) - 1]
        own = self.confidence(confidence)
        if not (own >= threshold).any():
            raise ValueError(
                f"No window has the confidence {threshold:.3g} that {coverage:.0%} of the windows of reference have. "
                f"Scale both with scale_temperature, and average and pool both in the same way."
            )
        return replace(self, rows=self.rows.assign(confidence=own)).select(own >= threshold)

    def score_words(self, k=None, timing=True, train=None):
        """Score words by the summed probabilities of their segments.

        Parameters
        ----------
        k : int, default=None
            Number of words that count as a hit. If None, use the ``k`` of the
            decoder.
        timing : bool, default=True
            If True, compute the row "timing alone".
        train : DataFrame, default=None
            Training rows with the columns ``subject``, ``recording``,
            ``onset`` and ``word``, for example ``X.join(y["word"])``, to fit
            the classifier of timing. If None, each fifth of the windows is
            predicted from the other four fifths.

        Returns
        -------
        scores : DataFrame of shape (3, 8)
            Row "balanced" is the main result: the mean over distinct words of
            the mean over their windows. Row "plain" is the mean over windows.
            Row "timing alone" is the balanced score of a classifier without
            EEG/MEG (see Notes). ``top_k`` and ``chance`` are means over
            subjects, ``sem`` is the standard error of ``top_k``. ``guess`` is
            k / n_words. Words are compared in lower case without punctuation.
            ``n_words`` is their number among the candidates. ``n_wordless``
            windows without a word at their anchor, of
            ``n_windows + n_wordless``, are left out.

        Raises
        ------
        ValueError
            If there are at most ``k`` words, or no column ``word``.

        Notes
        -----
        ``chance`` is the expected score if all segments have the same
        probability. Words are then ranked by their number of candidates, with
        ties broken at random. In row "plain" it is far above ``guess`` for
        natural speech. Probabilities that are noisy but not flat score below
        it, since they reflect word frequency less. In row "balanced" it equals
        ``guess`` if each subject was presented all words. In ``top_k`` itself,
        ties count as errors.

        The classifier of row "timing alone" receives the intervals to the two
        preceding and the two following window onsets and the number of words
        since a silence. Its ``chance`` is ``guess``, the score for words at
        equal intervals. A decoder that scores no higher may have decoded only
        rhythm. ``top_k`` is NaN if ``onset`` is unknown.
        """
        k = self._k(k)
        self._check_columns(["word"], self.candidates, "score_words() sums over the segments of each word")
        words = [make_plain_text([word]) or None for word in self.candidates["word"]]
        table = word_scores(self.scores, words, self.target, self.rows["subject"], k)
        return self._with_timing(table, words, k, train) if timing else table

    def _with_timing(self, table, words, k, train):
        """Add the row "timing alone" to a table of words."""
        of_subjects = pd.Series(dtype=float)
        if {"subject", "recording", "onset"} <= set(self.rows):
            targets = np.asarray(words, dtype=object)[self.target]
            if train is not None:
                self._check_columns(
                    ["subject", "recording", "onset", "word"], train, "The timing is fitted on train"
                )
                train = train.assign(word=[make_plain_text([word]) or None for word in train["word"]])
            rows = self.rows.reset_index(drop=True)
            hits = timing_scores(rows, targets, sorted({word for word in words if word}), k, train)
            groups = [rows["subject"], pd.Series(targets, dtype=object)]
            of_subjects = hits.groupby(groups).mean().groupby(level=0).mean()  # without wordless windows
        row = table.loc["balanced"].to_dict() | {
            "top_k": of_subjects.mean(), "sem": of_subjects.sem(), "chance": table.loc["balanced", "guess"],
        }  # fmt: skip
        return pd.concat([table, pd.DataFrame(row, index=["timing alone"])]).astype(table.dtypes)


def split_retrieval_pools(result, by="recording"):
    """Split a result by subject and a column, with own candidates.

    Returns a list of RetrievalResult in order of appearance.
    """
    pools = []
    groups = result.rows.groupby(["subject", by], sort=False, dropna=False)
    for rows in groups.indices.values():
        columns, target = np.unique(result.target[rows], return_inverse=True)
        pools.append(
            replace(
                result, scores=result.scores[np.ix_(rows, columns)], target=target,
                candidates=result.candidates.iloc[columns].reset_index(drop=True),
                rows=result.rows.iloc[rows].reset_index(drop=True),
            )
        )  # fmt: skip
    return pools
