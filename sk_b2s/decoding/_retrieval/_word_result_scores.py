"""Scores of word decoding results: accuracy, keywords and information."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sk_b2s.decoding._retrieval._word_figures import (
    average_word_figures,
    compute_word_figure_hours,
    list_word_figure_rows,
    score_word_figure_timing,
)
from sk_b2s.metrics._keyword_precision import keyword_scores
from sk_b2s.metrics._ranks_and_top_k import balanced_top_k, chance_level, top_k_accuracy
from sk_b2s.metrics._word_information import log_loss_gain, mutual_information
from sk_b2s.metrics._word_scores import compute_flat_word_hits_of_counts, word_confusion

TIMED = ["subject", "recording", "onset"]  # columns that the classifier of timing needs
DECODER, TIMING = "decoder", "timing alone"  # rows of tables
SOURCES = {"decoder": DECODER, "timing": TIMING}
KEYWORD_FIGURES = [
    "auprc", "auprc_chance", "prevalence", "false_alarms_per_hour", "false_alarms_chance", "recall",
]  # fmt: skip


class WordResultScoresMixin:
    """Tables of scores of a :class:`WordResult`, by subject and word."""

    def score(self, k=None, timing=True, by_subject=False):
        """Compute the top-k accuracy of words, balanced over words.

        Parameters
        ----------
        k : int, default=None
            Number of words that count as a hit. If None, use the ``k`` of the
            decoder.
        timing : bool, default=True
            If True, compute the row "timing alone".
        by_subject : bool, default=False
            If True, return the scores of each subject.

        Returns
        -------
        scores : DataFrame of shape (3, 12)
            See :meth:`RetrievalResult.score_words`. With ``by_subject``, one
            row per subject with ``balanced``, ``plain``, ``timing_alone``,
            chance levels and numbers.

        Raises
        ------
        ValueError
            If there are at most ``k`` words.
        """
        k = self.k if k is None else k
        guess, flat = chance_level(k, self.n_words), compute_flat_word_hits_of_counts(self.counts, k)
        timed = score_word_figure_timing(self._timed, self.target, k) if timing and self._has_timing else {}
        table = {}
        for subject, rows in list_word_figure_rows(self.rows):
            used = rows[self.target[rows] >= 0]
            if len(used):
                own, words = self.ranks[used], self.target[used]
                table[subject] = {
                    "balanced": balanced_top_k(own, words, k, self.n_words),
                    "balanced_chance": flat[np.unique(words)].mean(),
                    "plain": top_k_accuracy(own, k, self.n_words), "plain_chance": flat[words].mean(),
                    "timing_alone": timed.get(subject, np.nan), "guess": guess, "k": k,
                    **self._counts(rows),
                }  # fmt: skip
        table = pd.DataFrame.from_dict(table, orient="index").rename_axis("subject")
        if by_subject:
            return table if timing else table.drop(columns="timing_alone")
        out = {
            row: {
                "top_k": table[score].mean(), "sem": table[score].sem(), "chance": table[chance].mean(),
                "guess": guess, "k": k, **self._counts(),
            }
            for row, score, chance in [
                ("balanced", "balanced", "balanced_chance"), ("plain", "plain", "plain_chance"),
                (TIMING, "timing_alone", "guess"),
            ]
        }  # fmt: skip
        out = out if timing else {row: out[row] for row in ("balanced", "plain")}
        return pd.DataFrame([*out.values()], index=[*out])

    def by_word(self, k=None, timing=True):
        """Compute the top-k accuracy of each word.

        Parameters
        ----------
        k : int, default=None
            Number of words that count as a hit. If None, use the ``k`` of the
            decoder.
        timing : bool, default=True
            If True, add the column ``timing_alone``.

        Returns
        -------
        scores : DataFrame of shape (n_presented, 7)
            Indexed by presented word, in the order of the vocabulary: ``top_1,
            top_k``, means over subjects, ``timing_alone``, the top-k accuracy
            without EEG/MEG, ``chance``, that of ``top_k`` at equal
            probabilities of all candidates, ``decoded_as``, the most frequent
            decoded word, ``n_windows`` and ``n_subjects``.
        """
        k = self.k if k is None else k
        chance_level(k, self.n_words)
        used = self.target >= 0
        table = pd.DataFrame({
            "subject": self.rows["subject"].to_numpy(), "target": self.target, "top_1": self.ranks < 1,
            "top_k": self.ranks < k, "decoded_as": self.decoded,
        })  # fmt: skip
        names = ["top_1", "top_k"]
        if timing and self._has_timing:
            table["timing_alone"] = score_word_figure_timing(
                self._timed, self.target, k, average=False
            ).to_numpy()
            names.append("timing_alone")
        table = table[used]
        out = table.groupby(["target", "subject"])[names].mean().groupby("target").mean()
        if timing and "timing_alone" not in out:
            out["timing_alone"] = np.nan
        words, groups = np.array(self.vocabulary.words, dtype=object), table.groupby("target")
        out["chance"] = compute_flat_word_hits_of_counts(self.counts, k)[out.index]
        out["decoded_as"] = words[groups["decoded_as"].agg(lambda own: own.value_counts().idxmax())]
        out["n_windows"], out["n_subjects"] = groups.size(), groups["subject"].nunique()
        return out.set_axis(pd.Index(words[out.index], name="word"))

    def confusion(self, source="decoder", normalize="true"):
        """Compute the confusion matrix of words.

        The decoded word is the most probable one. Compare the diagonal with
        1 / n_words, and with that of ``source="timing"``: words of equal
        length are confused by both.

        Parameters
        ----------
        source : {"decoder", "timing"}, default="decoder"
            "timing" decodes words from the onsets of windows alone.
        normalize : {"true", "pred", "all"} or None, default="true"
            "true" divides by the windows of the presented word, so that rows
            sum to 1. Matrices of subjects are averaged over the subjects that
            were presented the word. None returns counts, summed over subjects.

        Returns
        -------
        confusion : DataFrame of shape (n_words, n_words)
            Presented words in rows, decoded words in columns. With "true",
            rows of words that were not presented are NaN.

        Raises
        ------
        ValueError
            If ``source`` is unknown, or "timing" without onsets.
        """
        decoded, counts = self._decode(source), []
        for _, rows in list_word_figure_rows(self.rows):
            own = word_confusion(self.target[rows], decoded[rows], self.n_words, normalize).astype(float)
            if normalize == "true":
                own[own.sum(1) == 0] = np.nan
            counts.append(own)
        if normalize is None:
            total = np.sum(counts, axis=0).astype(int)
        else:
            n_known = np.sum(~np.isnan(counts), axis=0)
            total = np.divide(
                np.nansum(counts, axis=0), n_known, out=np.full(n_known.shape, np.nan), where=n_known > 0
            )
        index = [pd.Index(self.vocabulary.words, name=name) for name in ("presented", "decoded")]
        return pd.DataFrame(total, index=index[0], columns=index[1])

    def _decode(self, source):
        """Return the most probable words by the decoder or by timing."""
        if source not in SOURCES:
            raise ValueError(f"The 'source' parameter must be 'decoder' or 'timing'. Got {source!r} instead.")
        return self.decoded if source == "decoder" else self._get_timing().argmax(1)

    def _get_timing(self):
        """Return the probabilities by timing, or raise if they are unknown."""
        if self.timing_probabilities is None:
            raise ValueError(
                f"Timing requires the columns {TIMED} in rows. Pass X as returned by make_segments, or Windows with these "
                f"columns in rows."
            )
        return self.timing_probabilities

    def spot_keywords(self, words=None, recall=0.5, timing=True, by_subject=False):
        """Score the detection of keywords in all windows.

        The score of a keyword in a window is its probability. All windows
        count, including those of words outside the vocabulary.

        Parameters
        ----------
        words : str or sequence of str, default=None
            Keywords from the vocabulary. If None, use all of its words.
        recall : float, default=0.5
            Share of the windows of a keyword that are detected at the
            threshold of ``false_alarms_per_hour``.
        timing : bool, default=True
            If True, add the columns ``timing_auprc`` and
            ``timing_false_alarms``, the scores from onsets alone.
        by_subject : bool, default=False
            If True, return a row for each keyword and subject.

        Returns
        -------
        scores : DataFrame of shape (n_keywords + 1, 15)
            Indexed by keyword. The last row "mean" is the mean over keywords.
            ``auprc`` and its chance level, ``false_alarms_per_hour`` and their
            expected number for random scores are means over subjects,
            ``sem`` is the standard error of ``auprc``. See
            :func:`sk_b2s.metrics.keyword_scores`. ``hours`` is the duration
            covered by windows, all subjects together.

        Raises
        ------
        ValueError
            If a keyword is not in the vocabulary.

        Notes
        -----
        The average precision of random scores is the prevalence of the word
        with many windows, and larger with few. So frequent words have higher
        scores without any information, and ``auprc`` must be compared with
        ``auprc_chance`` of the same word. A keyword also has a characteristic
        duration, which ``timing_auprc`` measures.
        """
        codes = self._encode_keywords(words)
        timed = self.timing_probabilities if timing and self._has_timing else None
        table = []
        for subject, rows in list_word_figure_rows(self.rows):
            hours = compute_word_figure_hours(self.rows.iloc[rows])
            for code in codes:
                is_target = self.target[rows] == code
                own = keyword_scores(is_target, self.log_probabilities[rows, code], hours, recall)
                if timing:
                    other = {"auprc": np.nan, "false_alarms_per_hour": np.nan}
                    if timed is not None:
                        other = keyword_scores(is_target, timed[rows, code], hours, recall)
                    own["timing_auprc"], own["timing_false_alarms"] = (
                        other["auprc"],
                        other["false_alarms_per_hour"],
                    )
                table.append({"word": self.vocabulary.words[code], "subject": subject, **own})
        table = pd.DataFrame(table).assign(n_words=self.n_words, candidates=self.kind)
        if by_subject:
            return table.set_index(["word", "subject"])
        figures = [*KEYWORD_FIGURES, *(["timing_auprc", "timing_false_alarms"] if timing else [])]
        groups = table[table["n_targets"] > 0].groupby("word", sort=False)
        out = groups[figures].mean()
        out.insert(1, "sem", groups["auprc"].sem())
        sums = table.groupby("word", sort=False)[["n_targets", "n_windows", "hours"]].sum(min_count=1)
        out = out.reindex([self.vocabulary.words[code] for code in codes]).join(sums)
        out["n_subjects"] = groups.size().reindex(out.index, fill_value=0)
        out = out.astype(float)
        out.loc["mean"] = out.mean().drop("sem")
        return out.rename_axis("word").assign(n_words=self.n_words, candidates=self.kind)

    def _encode_keywords(self, words):
        """Return the places of keywords in the vocabulary."""
        if words is None:
            return np.arange(self.n_words)
        words = [words] if isinstance(words, str) else list(words)
        codes = self.vocabulary.encode(words)
        if len(absent := [word for word, code in zip(words, codes, strict=True) if code < 0]):
            raise ValueError(
                f"The 'words' parameter must contain words of the vocabulary. {absent[:5]} are not in it"
                f"{' or have no candidate' * bool(self.missing)}. Its first words are {list(self.vocabulary)[:5]}."
            )
        return codes

    def information(self, timing=True, by_subject=False):
        """Compute the information about words in bits per word.

        Parameters
        ----------
        timing : bool, default=True
            If True, compute the row "timing alone".
        by_subject : bool, default=False
            If True, return the rows of each subject.

        Returns
        -------
        information : DataFrame of shape (2, 16)
            Rows "decoder" and "timing alone", means over subjects:

            - ``mutual_information`` between presented and decoded words,
              corrected for its bias, with its standard error ``sem`` and its
              chance level 0. ``plug_in`` is the uncorrected estimate and
              ``bias`` its expectation without a relation. ``entropy`` of the
              presented words is the maximum.
            - ``log_loss_gain`` of the probabilities over the prior and its
              standard error ``gain_sem``. The chance level is 0, and
              probabilities that are too sure are below. The prior is the share
              of candidates of each word.
            - ``bits_per_presented_word``, ``mutual_information`` times
              ``coverage``, if words outside the vocabulary carry nothing.
            - Numbers of words and windows.

        See Also
        --------
        sk_b2s.metrics.mutual_information : Definition and bias.
        sk_b2s.metrics.log_loss_gain : Definition.
        """
        sources = {DECODER: (self.decoded, self.log_probabilities)}
        if timing and self._has_timing:
            timed = np.log(self.timing_probabilities)
            sources[TIMING] = (timed.argmax(1), timed + self.log_prior)
        table = []
        for subject, rows in list_word_figure_rows(self.rows):
            used = rows[self.target[rows] >= 0]
            for name, (decoded, logs) in sources.items():
                table.append({
                    "row": name, "subject": subject, **mutual_information(self.target[used], decoded[used]),
                    "log_loss_gain": log_loss_gain(logs[used], self.target[used], self.log_prior),
                    **self._counts(rows),
                })  # fmt: skip
        table = pd.DataFrame(table)
        table["bits_per_presented_word"] = table["mutual_information"] * table["coverage"]
        if by_subject:
            return table.set_index(["row", "subject"])
        return average_word_figures(table, [DECODER, TIMING] if timing else [DECODER], self._counts())
