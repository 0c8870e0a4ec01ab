"""Averages of retrieval results and evidence of the windows of a sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sk_b2s._utils._validation import get_validated_recordings
from sk_b2s.decoding._retrieval._checks import check_other_retrieval_windows, check_retrieval_columns
from sk_b2s.metrics._confidence import fit_confidence_weights, fit_temperature
from sk_b2s.metrics._group_context import (
    average_agreeing_groups,
    average_context_groups,
    causal_context_bias,
    group_context_bias,
    make_sentence_context_groups,
)

LEAST_WEIGHT = 1e-3  # of a window itself, so that candidates of a sentence do not tie


class CombinationMixin:
    """Combinations of the windows of retrieval results."""

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
            One row per segment (and subject), with the columns ``n_averaged``
            and ``single_ranks``, the ranks of the windows before averaging.
            :meth:`summary` reports their scores next to those of the averages.
            Stimuli may come from several recordings, so ``recording`` becomes
            subject and stimulus, and ``onset`` the time in the stimulus. If
            each stimulus is one segment, such as an image, ``recording``
            becomes the subject, and segments follow each other.

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
        rows = self.rows.iloc[first].assign(
            subject=subject.iloc[first], n_averaged=np.bincount(codes), single_ranks=self._group_ranks(codes)
        )
        rows = rows.reset_index(drop=True).drop(columns=["onset"], errors="ignore")
        if {"sound", "sound_onset"} <= set(self.candidates):
            segments = self.candidates.iloc[target].reset_index(drop=True)
            is_trial = not self.candidates["sound"].astype(str).duplicated().any()
            seconds = rows["duration"].max() if "duration" in rows else 1.0
            rows = (
                rows.assign(
                    recording=rows["subject"].astype(str), onset=seconds * rows.groupby("subject").cumcount()
                )
                if is_trial
                else rows.assign(
                    recording=rows["subject"].astype(str) + ", " + segments["sound"].astype(str),
                    onset=segments["sound_onset"],
                )
            )
        if agreement is None:
            scores = average_context_groups(self.scores, codes)
        else:
            scores = average_agreeing_groups(self.scores, codes, agreement).astype(self.scores.dtype)
        if total:
            scores = scores * rows["n_averaged"].to_numpy(scores.dtype)[:, None]
        return replace(self, scores=scores, target=target, rows=rows)

    def _group_ranks(self, codes):
        """Return the ranks of the windows of each group, a list of tuples."""
        single = self.rows.get("single_ranks", [(rank,) for rank in self.ranks.tolist()])
        return pd.Series(list(single)).groupby(codes).agg(lambda parts: sum(parts, ())).tolist()

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
        check_other_retrieval_windows(self, reference, "pool_groups")
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
            check_retrieval_columns(
                [by], table, f"pool_groups(by={by!r}) combines windows that are equal in that column"
            )
        sentence = pd.factorize(self.candidates[by].to_numpy(dtype=object), use_na_sentinel=False)[0]
        groups = make_sentence_context_groups(self.rows, by)
        if not causal:
            return group_context_bias(self.scores, sentence, groups, weight)
        check_retrieval_columns(["onset"], self.rows, "pool_groups(causal=True) orders windows in time")
        before = self._find_sentences_before(sentence) if n_before else None
        return causal_context_bias(
            self.scores, sentence, groups, self.rows["onset"], get_validated_recordings(self.rows), weight, decay,
            n_before, before,
        )  # fmt: skip

    def _find_sentences_before(self, sentence):
        """Return the sentence before each one in its stimulus, -1 if none."""
        needed = ["sound", "sound_onset"]
        check_retrieval_columns(
            needed, self.candidates, "pool_groups(n_before=...) orders sentences in stimuli"
        )
        table = pd.DataFrame({
            "sound": pd.factorize(self.candidates["sound"].astype(str))[0],
            "onset": self.candidates["sound_onset"].to_numpy(float), "sentence": sentence,
        })  # fmt: skip
        first = table.sort_values(["sound", "onset"]).drop_duplicates("sentence")
        before = first["sentence"].shift(fill_value=-1).where(first["sound"].diff() == 0, -1)
        return before.to_numpy()[np.argsort(first["sentence"].to_numpy())]
