"""Prediction for subjects that were not in the training set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._chunks import split_rows
from sk_b2s.decoding._shared_response import fit_shared_response
from sk_b2s.nn._data import WindowInputs
from sk_b2s.preprocessing._covariance_alignment import riemannian_distance
from sk_b2s.preprocessing._windows import subjects_of

BATCH = 256  # windows that are mixed at once
MOST = 8192  # windows that the shared response is learned from


class UnseenSubjectMixin:
    """What an encoder knows of people it does not know.

    The encoder has a fitted ``net_`` around a :class:`~sk_b2s.nn.BrainModule`, ``subjects_`` in the order of its
    subject layer, and the parameters ``subject_layer`` and ``unseen_subject``.
    """

    def _fit_unseen_subjects(self, brain, targets, rows):
        """Note what people have in common when they hear a sound, and how each one's recordings look."""
        self.shared_response_ = None
        vars(self).pop("covariances_", None)  # of a former fit
        if self.subject_layer == "layer":
            self.shared_response_ = self._shared_response(brain, targets, rows)
        if self.unseen_subject == "nearest":
            self.covariances_ = np.stack([
                self._covariance(brain, brain.windows.which[brain.subject.numpy() == index], person)
                for index, person in enumerate(self.subjects_)
            ])  # fmt: skip

    @torch.no_grad()
    def _shared_response(self, brain, targets, rows):
        """Learn what people have in common from windows that do not overlap."""
        module, rows = self.net_.module_.eval(), _apart(brain.windows, rows)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(int))]

        def batches():
            for part in split_rows(rows, BATCH):
                inputs = brain.inputs(part)
                read = module.virtual_channels(**{**inputs, "subject": None})
                channels = module.virtual_channels(**inputs)
                yield targets.gather(part), channels.cpu(), read.cpu(), inputs["subject"].cpu()

        return fit_shared_response(batches, len(self.subjects_), targets.sfreq)

    # --- who is most like a stranger ---------------------------------------------------------------

    def nearest_subjects(self, X):
        """Find the known subject whose recordings look most like those of each stranger in X.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            What the brain did. All of a recording counts, whichever windows of it X holds, but for stretches with NaN.

        Returns
        -------
        nearest : Series of shape (n_strangers,)
            The known subject, by stranger.

        Raises
        ------
        ValueError
            If the encoder was fitted without ``unseen_subject="nearest"``, or X has windows of two people in one
            recording, or nothing but NaN.
        """
        check_is_fitted(self)
        X = self._check_X(X)
        if getattr(self, "covariances_", None) is None:
            raise ValueError(
                "unseen_subject='nearest' compares with the covariances of known subjects, which fit notes only if it "
                "is set then: set it, and fit again."
            )
        self._check_apart(X)
        brain, people = self._as_brain(X, in_fit=True), subjects_of(X)
        found = {}
        for stranger in pd.unique(people[brain.subject.numpy() < 0]):
            own = self._covariance(brain, X.which[people == stranger], stranger)
            distances = [riemannian_distance(own, known) for known in self.covariances_]
            found[stranger] = self.subjects_[int(np.argmin(distances))]
        return pd.Series(found, dtype=object, name="nearest")

    def _check_apart(self, X):
        """Raise where a recording is of two people, as then it looks like neither."""
        people = pd.Series(subjects_of(X)).groupby(X.which).unique()
        if (several := people[people.str.len() > 1]).size:
            raise ValueError(
                f"unseen_subject='nearest' compares people's recordings, and one of X holds windows of subjects "
                f"{several.iloc[0].tolist()}: give rows a column 'recording' (Windows.from_array), or set "
                f"unseen_subject='average'."
            )

    @torch.no_grad()
    def _covariance(self, brain, which, person):
        """Covariance of what a person's layer reads, over all of some recordings."""
        covariances = []
        for index in np.unique(which):
            tiles = _strangers(brain.windows.tiles(index), brain.device)
            inputs = {**tiles.inputs(np.arange(len(tiles))), "subject": None}
            read = self.net_.module_.eval().virtual_channels(**inputs).double()
            read = read[torch.isfinite(read).flatten(1).all(1)]
            if not len(read):
                raise ValueError(
                    f"unseen_subject='nearest' compares people's recordings, and in one of subject {person!r} no "
                    f"window is without NaN or infinite values: leave that recording out of X and y alike."
                )
            read = read - read.mean(2 if read.shape[2] > 1 else 0, keepdim=True)
            covariances.append(((read @ read.mT).sum(0) / (len(read) * read.shape[2])).cpu().numpy())
        return np.mean(covariances, 0)


def _apart(windows, rows):
    """Those of some windows that, going through each signal, begin where the one before has ended."""
    rows = rows[np.lexsort((windows.start[rows], windows.which[rows]))]
    keep, signal, stop = [], -1, 0
    for row in rows:
        if windows.which[row] != signal or windows.start[row] >= stop:
            keep.append(row)
            signal, stop = windows.which[row], windows.start[row] + windows.n_read
    return np.asarray(keep)


def _strangers(windows, device):
    """Windows of nobody in particular."""
    return WindowInputs(windows, np.full(len(windows), -1), device)
