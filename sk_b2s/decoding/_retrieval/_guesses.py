"""What was presented and what a decoder selected, as a table and in HTML."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd

from sk_b2s._utils._svg import draw_svg_lines
from sk_b2s._utils._text import format_percent_text
from sk_b2s.metrics._confidence import compute_confidence_of_best, slice_confidence_scores

SHOWN = 8  # guesses in HTML
WIDEST = 60  # characters of a text in HTML


class GuessesMixin:
    """Table of guesses and representations of retrieval results."""

    def guesses(self):
        """List the target and the most similar candidate of each window.

        Returns
        -------
        guesses : DataFrame of shape (n_windows, ...)
            In the order of ``rows``, with its index. ``subject``,
            ``recording`` and ``onset`` in seconds where known. ``target`` and
            ``guess``, the text of the segments, or their identifiers if no
            segment has a text. ``target_word`` and ``guess_word``, the word at
            the anchor, where known. ``is_correct``. ``rank``, the place of the
            target, 1 is best and ties count as errors. ``probability`` and
            ``target_probability``, the softmax of the guess and of the target,
            which are reliable after :meth:`scale_temperature`.
            ``target_segment`` and ``guess_segment``, identifiers of segments.

        See Also
        --------
        sk_b2s.plotting.plot_guesses : Plot them for a stretch of a recording.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from sk_b2s.decoding import RetrievalResult
        >>> text = ["a", "b", "c"]
        >>> candidates = pd.DataFrame({"segment": [7, 8, 9], "text": text})
        >>> rows = pd.DataFrame({"subject": ["S1", "S1"], "onset": [1.0, 2.0]})
        >>> scores = np.array([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]], "f4")
        >>> target = np.array([0, 2])
        >>> result = RetrievalResult(scores, target, candidates, rows, k=1)
        >>> columns = ["target", "guess", "rank", "probability"]
        >>> result.guesses()[columns].round(2)
          target guess  rank  probability
        0      a     a     1         0.67
        1      c     a     3         0.67
        """
        best = np.empty(len(self.scores), np.int64)
        of_target = np.empty(len(self.scores))
        for part in slice_confidence_scores(self.scores):
            scores = self.scores[part].astype(float)
            scores -= scores.max(1, keepdims=True)
            best[part] = scores.argmax(1)
            own = np.take_along_axis(scores, np.asarray(self.target)[part, None], 1)[:, 0]
            of_target[part] = np.exp(own) / np.exp(scores).sum(1)
        columns = getattr(self, "columns", None)  # of own candidates of each window
        at = {"target": np.asarray(self.target), "guess": best}
        if columns is not None:
            at = {name: np.take_along_axis(columns, place[:, None], 1)[:, 0] for name, place in at.items()}
        out = self.rows[[c for c in ("subject", "recording", "onset") if c in self.rows]].copy()
        texts = self.candidates["text"].dropna() if "text" in self.candidates else pd.Series(dtype=object)
        has_text = texts.ne("").any()
        label = "text" if has_text else "segment" if "segment" in self.candidates else None
        named = {"": label, "_word": "word" if "word" in self.candidates else None}
        for ending, column in named.items():
            for name, place in at.items():
                if column is not None:
                    out[f"{name}{ending}"] = self.candidates[column].to_numpy()[place]
                elif not ending:
                    out[name] = place
        out["is_correct"] = self.ranks == 0
        out["rank"] = self.ranks + 1
        out["probability"] = compute_confidence_of_best(self.scores)
        out["target_probability"] = of_target
        if "segment" in self.candidates:
            for name, place in at.items():
                out[f"{name}_segment"] = self.candidates["segment"].to_numpy()[place]
        return out

    def __repr__(self):
        n_subjects = self.rows["subject"].nunique() if "subject" in self.rows else 0
        who = f"{n_subjects} subject{'s' * (n_subjects != 1)}, " if n_subjects else ""
        name = type(self).__name__
        text = f"{name}({len(self.rows)} windows x {self.n_candidates} candidates, {who}"
        if self.k >= self.n_candidates or not len(self.rows):
            return f"{text}k={self.k})"
        return f"{text}top-{self.k} {format_percent_text(self.top_k())}, chance {format_percent_text(self.chance)})"

    def _repr_html_(self):
        k = np.arange(1, self.n_candidates + 1)
        accuracy = np.searchsorted(np.sort(self.ranks), k) / max(len(self.ranks), 1)
        figure = draw_svg_lines(
            [(k, k / self.n_candidates), (k, accuracy)], ("k", "top-k accuracy"), is_dashed=(True, False)
        )
        table = self.guesses().head(SHOWN)
        names = ("subject", "onset", "target", "guess", "target_word", "guess_word", "rank", "probability")
        table = table[[name for name in names if name in table]].copy()
        for name in table.columns.difference(["onset", "rank", "probability"]):
            table[name] = ["" if pd.isna(value) else str(value)[:WIDEST] for value in table[name]]
        rows = table.to_html(index=False, border=0, float_format="{:.3g}".format, justify="left")
        first = (
            f"The first {len(table)} of {len(self.rows)} windows. Dashed line: chance." if len(table) else ""
        )
        return f"<div><p><code>{html.escape(repr(self))}</code></p>{figure}<p>{first}</p>{rows}</div>"
