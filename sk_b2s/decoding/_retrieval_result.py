"""Retrieval results: similarities of windows with candidate segments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from sk_b2s._utils._text import plain_text
from sk_b2s.metrics._group_context import average_rows, group_context_bias, sentence_groups
from sk_b2s.metrics._null import circular_shift_null
from sk_b2s.metrics._ranking import chance_level, median_relative_rank, ranks, top_k_accuracy
from sk_b2s.metrics._word_timing import timing_scores
from sk_b2s.metrics._words import word_scores


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """Similarities of windows to candidates, with the tables that say what both are.

    Made by :func:`retrieve`. :meth:`summary`, :meth:`null` and :meth:`score_words` are means over subjects of the
    mean over the windows of each; :meth:`top_k` and :meth:`median_relative_rank` are over all windows, as is a
    decoder's ``score``. Ties count against, as everywhere.

    Parameters
    ----------
    scores : ndarray of shape (n_windows, n_candidates)
        Similarities, float32.
    target : ndarray of int of shape (n_windows,)
        Column of the segment that was heard.
    candidates : DataFrame of shape (n_candidates, ...)
        The distinct segments, in the order of the columns.
    rows : DataFrame of shape (n_windows, ...)
        Of each window, what the tables of the brain (recording, subject, session, onset, duration ...) and
        of what was heard (segment, sequence, word ...) say.
    k : int
        Number of guesses, the decoder's.
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
                f"scores have shape {self.scores.shape}, but target, rows and candidates have {lengths} entries."
            )

    # --- how well ----------------------------------------------------------------------------------

    @property
    def n_candidates(self):
        """Number of distinct segments to choose from."""
        return self.scores.shape[1]

    @property
    def chance(self):
        """Top-k accuracy of a guess, k / n_candidates."""
        return chance_level(self.k, self.n_candidates)

    @cached_property
    def ranks(self):
        """How many other candidates score as high as the segment heard, or higher: (n_windows,)."""
        return ranks(self.scores, self.target)

    def _k(self, k):
        return self.k if k is None else k

    def top_k(self, k=None):
        """Share of all windows whose segment is among the k best.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.

        Returns
        -------
        accuracy : float
        """
        return top_k_accuracy(self.ranks, self._k(k), self.n_candidates)

    def median_relative_rank(self):
        """Median over all windows of rank / (n_candidates - 1).

        Returns
        -------
        median : float
            0 is best, 0.5 is chance.
        """
        return median_relative_rank(self.ranks, self.n_candidates)

    def by_subject(self, k=None):
        """All scores of each subject.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.

        Returns
        -------
        scores : DataFrame of shape (n_subjects, 3)
            ``top_1, top_k, median_relative_rank``, indexed by subject.
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
        """Scores over subjects, with all that is needed to read them.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.
        n_shifts : int, default=1000
            Shifts of which the null is made; 0 leaves it out.
        random_state : None, int or RandomState, default=0
            Draws the shifts.

        Returns
        -------
        summary : Series
            ``top_1, top_k, median_relative_rank``, means over subjects, each with its standard error
            ``..._sem`` (NaN for a single subject); ``k, n_subjects, n_windows, n_candidates, chance``;
            ``null_low, null_mean`` and ``null_high``, 2.5 % quantile, mean and 97.5 % quantile of :meth:`null` of
            ``top_k``.

        Raises
        ------
        ValueError
            If there are no more candidates than ``k``, or no null can be made and ``n_shifts`` is not 0.
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
                raise ValueError(f"{error} summary(n_shifts=0) leaves the null out.") from error
            low, high = np.quantile(null, [0.025, 0.975])
            out |= {"null_low": low, "null_mean": null.mean(), "null_high": high}
        return pd.Series(out)

    def null(self, k=None, n_shifts=1000, random_state=0):
        """Top-k accuracies, means over subjects, of labels moved along within each recording.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.
        n_shifts : int, default=1000
            How many times the labels are moved.
        random_state : None, int or RandomState, default=0
            Draws the shifts.

        Returns
        -------
        null : ndarray of shape (n_shifts,)
            See :func:`~sk_b2s.circular_shift_null`.

        Raises
        ------
        ValueError
            If it is unknown when the windows were, or a recording is too short to move labels in.
        """
        self._need(["onset", "duration"], self.rows, "the null moves labels in time")
        subject = self.rows["subject"].to_numpy()
        return circular_shift_null(
            self.scores, self.target, self.rows["recording"], self.rows["onset"], self.rows["duration"].max(),
            k=self._k(k), n_shifts=n_shifts, random_state=random_state,
            sample_weight=1 / pd.Series(subject).map(pd.Series(subject).value_counts()), subject=subject,
        )  # fmt: skip

    def _need(self, columns, table, why):
        """Raise where a table lacks what a question is about."""
        if missing := [column for column in columns if column not in table]:
            raise ValueError(
                f"{why}, but the tables lack {missing}; give X and y as make_segments returns them, or "
                f"Windows with such rows."
            )

    # --- other questions ---------------------------------------------------------------------------

    def score_within_recording(self, by="recording", k=None):
        """Score among only the segments that were heard in the window's own recording.

        A decoder that has learnt which recording a window is from, by its noise say, and nothing of the
        speech, gains among all segments and is at chance here.

        Parameters
        ----------
        by : str, default="recording"
            Column of ``rows``; windows that are equal in it and in their subject share a pool.
        k : int, default=None
            Number of guesses; the decoder's by default.

        Returns
        -------
        pools : DataFrame of shape (n_pools, 8)
            ``subject``, ``by``, ``n_windows``, ``n_candidates`` and ``chance`` (they differ from pool to
            pool), ``top_1, top_k, median_relative_rank``. The mean over subjects, with its chance, is
            ``pools.groupby("subject")[["top_k", "chance"]].mean().mean()`` where the pools of a subject
            are about equally long.

        Raises
        ------
        ValueError
            If a pool has no more candidates than ``k``.
        """
        k = self._k(k)
        self._need([by], self.rows, f"score_within_recording(by={by!r}) divides the windows by that column")
        pools = []
        for pool in split_pools(self, by):
            subject, name = pool.rows[["subject", by]].iloc[0]
            if pool.n_candidates <= k:
                raise ValueError(
                    f"the windows of {by} {name!r} heard {pool.n_candidates} distinct segments, no more than k={k}: "
                    f"every guess would be right. Score more windows of it together, or ask with a smaller k."
                )
            pools.append({
                "subject": subject, by: name, "n_windows": len(pool.rows), "n_candidates": pool.n_candidates,
                "chance": chance_level(k, pool.n_candidates), "top_1": pool.top_k(1), "top_k": pool.top_k(k),
                "median_relative_rank": pool.median_relative_rank(),
            })  # fmt: skip
        return pd.DataFrame(pools)

    def average(self, over="subject"):
        """Average the similarities of windows that heard the same segment.

        This assumes that we know which windows heard the same sound, as in an experiment that plays it
        again, and it answers another question: what can be read from several brains, or several times.

        The similarity is linear in the estimate: the mean of similarities is the similarity of the mean
        estimate, and a listener whose estimates are longer, that is surer, weighs more.

        Parameters
        ----------
        over : "subject" or "repeat", default="subject"
            "repeat" merges the windows of one subject, "subject" those of all, who become the one subject
            "average"; then there is no standard error over subjects.

        Returns
        -------
        answers : RetrievalResult
            One row for each (subject and) segment, with ``n_averaged``. What was played in many recordings
            has the time of its sound: ``recording`` is subject and sound, ``onset`` is that in the sound.
        """
        if over not in ("subject", "repeat"):
            raise ValueError(f"over must be 'subject' or 'repeat', got {over!r}.")
        subject = self.rows["subject"] if over == "repeat" else pd.Series("average", index=self.rows.index)
        codes = self.rows.groupby([subject, self.target], sort=False).ngroup().to_numpy()
        first = np.unique(codes, return_index=True)[1]
        target = self.target[first]
        rows = self.rows.iloc[first].assign(subject=subject.iloc[first], n_averaged=np.bincount(codes))
        rows = rows.reset_index(drop=True).drop(columns=["onset"], errors="ignore")
        if {"sound", "sound_onset"} <= set(self.candidates):
            heard = self.candidates.iloc[target].reset_index(drop=True)
            rows = rows.assign(
                recording=rows["subject"].astype(str) + ", " + heard["sound"].astype(str),
                onset=heard["sound_onset"],
            )
        return replace(self, scores=average_rows(self.scores, codes), target=target, rows=rows)

    def pool_groups(self, by="sequence", weight=1.0):
        """Let the windows of a sentence help each other: Group Context Bias.

        This assumes that windows come grouped by sentence, as where pauses or a trigger tell one from the
        next. Which sentence it is nobody tells: see :func:`~sk_b2s.metrics.group_context_bias` for the
        formula. Nothing is trained, and what was heard is not looked at beyond the grouping. Where the
        candidates come from several recordings, part of the gain is that a group tells the recording: the
        gain of groups drawn at random within each recording is that part.

        Parameters
        ----------
        by : str, default="sequence"
            Column of both tables that tells sentences apart. Windows are grouped that are equal in it and
            in subject and recording, and follow each other without a gap as long as a window; a sentence
            that is played again is a group of its own. Windows without one are left as they are.
        weight : float, default=1.0
            How much the mean of the others counts beside the window itself: how many independent windows
            it is worth. Long sentences and noisy windows bear more.

        Returns
        -------
        answers : RetrievalResult
        """
        for table in (self.candidates, self.rows):
            self._need([by], table, f"pool_groups(by={by!r}) pools the windows that are equal in that column")
        sentence = pd.factorize(self.candidates[by].to_numpy(dtype=object), use_na_sentinel=False)[0]
        return replace(
            self, scores=group_context_bias(self.scores, sentence, sentence_groups(self.rows, by), weight)
        )

    def score_words(self, k=None, timing=True, train=None):
        """Which word was said at the anchor? Probabilities of segments, summed for each word.

        Parameters
        ----------
        k : int, default=None
            Number of guesses; the decoder's by default.
        timing : bool, default=True
            Whether the row "timing alone" is computed.
        train : DataFrame, default=None
            Training rows with ``subject, recording, onset`` and ``word``, such as ``X.join(y["word"])``, on which
            the classifier of timing is fitted. If None, each of five stretches of the windows here is predicted from
            the other four.

        Returns
        -------
        scores : DataFrame of shape (3, 8)
            Rows "balanced", the headline, the mean over the distinct words heard of the mean over the
            windows of each, and "plain", the mean over windows. ``top_k`` and ``chance`` are means over
            subjects, with ``sem``. ``chance`` is the expected score of equal segment probabilities, which
            rank words by how many candidates they have, with ties broken at random, as noise breaks them.
            With real words it is far above ``guess``, k / n_words, in "plain". There it is the chance of a
            flat posterior; noise that is peaked, sure of itself, knows less of how common words are and
            scores below it. In "balanced" it is ``guess`` wherever each subject heard all the words,
            however peaked. In ``top_k`` itself ties count against. Words are equal in lower case without
            punctuation; ``n_words`` is their number among the candidates. ``n_wordless`` windows at whose
            anchor nothing was said, of ``n_windows + n_wordless``, are left out.

            The row "timing alone" is the balanced score of a classifier that has no EEG/MEG, only when windows began:
            the intervals to the two onsets before and after, and the number of words since a pause. Its ``chance``
            is ``guess``, which it has for words at equal intervals. A decoder that scores no higher may have decoded
            nothing but rhythm. ``top_k`` is NaN if ``onset`` is not known.

        Raises
        ------
        ValueError
            If there are no more words than ``k``, or no table with words.
        """
        k = self._k(k)
        self._need(["word"], self.candidates, "score_words() sums over the segments of a word")
        words = [plain_text([word]) or None for word in self.candidates["word"]]
        table = word_scores(self.scores, words, self.target, self.rows["subject"], k)
        return self._with_timing(table, words, k, train) if timing else table

    def _with_timing(self, table, words, k, train):
        """Add the row "timing alone" to a table of words."""
        of_subjects = pd.Series(dtype=float)
        if {"subject", "recording", "onset"} <= set(self.rows):
            said = np.asarray(words, dtype=object)[self.target]
            if train is not None:
                self._need(["subject", "recording", "onset", "word"], train, "timing is learned from train")
                train = train.assign(word=[plain_text([word]) or None for word in train["word"]])
            rows = self.rows.reset_index(drop=True)
            hits = timing_scores(rows, said, sorted({word for word in words if word}), k, train)
            of_words = hits.groupby(
                [rows["subject"], pd.Series(said, dtype=object)]
            ).mean()  # without wordless
            of_subjects = of_words.groupby(level=0).mean()
        row = table.loc["balanced"].to_dict() | {
            "top_k": of_subjects.mean(), "sem": of_subjects.sem(), "chance": table.loc["balanced", "guess"],
        }  # fmt: skip
        return pd.concat([table, pd.DataFrame(row, index=["timing alone"])]).astype(table.dtypes)


def split_pools(answers, by="recording"):
    """Divide answers so that each window chooses among the segments of its own pool.

    Parameters
    ----------
    answers : RetrievalResult
    by : str, default="recording"
        Column of ``rows``; windows that are equal in it and in their subject share a pool.

    Returns
    -------
    pools : list of RetrievalResult
        In order of appearance; candidates are the segments that were heard in the pool.
    """
    pools = []
    groups = answers.rows.groupby(["subject", by], sort=False, dropna=False)
    for rows in groups.indices.values():
        columns, target = np.unique(answers.target[rows], return_inverse=True)
        pools.append(
            replace(
                answers, scores=answers.scores[np.ix_(rows, columns)], target=target,
                candidates=answers.candidates.iloc[columns].reset_index(drop=True),
                rows=answers.rows.iloc[rows].reset_index(drop=True),
            )
        )  # fmt: skip
    return pools
