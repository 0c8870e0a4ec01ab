"""Prediction for subjects that were not in the training set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from sk_b2s._utils._chunks import split_rows_into_chunks
from sk_b2s.decoding._shared_response import fit_shared_response
from sk_b2s.nn._data import WindowInputData
from sk_b2s.preprocessing._covariance_alignment import compute_covariance_distance
from sk_b2s.preprocessing._windows._checks import check_window_subjects

BATCH = 256  # windows whose channels are mixed at once
MOST = 8192  # windows for the shared response


class UnseenSubjectMixin:
    """Encoder methods for subjects that were not in the training data.

    The encoder has a fitted ``net_``, ``subjects_`` in the order of its
    subject layer, and the parameters ``subject_layer`` and ``unseen_subject``.
    """

    def _fit_unseen_subjects(self, brain, targets, rows):
        """Fit the shared response and the covariance of each subject."""
        self.shared_response_ = None
        vars(self).pop("covariances_", None)  # of an earlier fit
        if self._get_subject_layer() == "layer":
            self.shared_response_ = self._shared_response(brain, targets, rows)
        if self.unseen_subject == "nearest":
            self.covariances_ = np.stack([
                self._covariance(brain, brain.windows.which[brain.subject.numpy() == index], subject)
                for index, subject in enumerate(self.subjects_)
            ])  # fmt: skip

    @torch.no_grad()
    def _shared_response(self, brain, targets, rows):
        """Fit the shared response on windows that do not overlap."""
        module, rows = self.net_.module_.eval(), _select_disjoint_windows(brain.windows, rows)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(int))]

        def batches():
            for part in split_rows_into_chunks(rows, BATCH):
                inputs = brain.inputs(part)
                read = module.virtual_channels(**{**inputs, "subject": None})
                channels = module.virtual_channels(**inputs)
                yield targets.gather(part), channels.cpu(), read.cpu(), inputs["subject"].cpu()

        return fit_shared_response(batches, len(self.subjects_), targets.sfreq)

    # --- nearest training subject ------------------------------------------------------------------

    def nearest_subjects(self, X):
        """Find the training subject most similar to each unseen subject.

        Subjects are compared by the Riemannian distance between the
        covariances of their recordings.

        Parameters
        ----------
        X : Windows or array-like of shape (n_windows, n_channels[, n_times])
            EEG/MEG windows. The covariance covers the complete recordings from
            which they are cut, without samples that are NaN.

        Returns
        -------
        nearest : Series of shape (n_unseen_subjects,)
            Nearest training subject, indexed by unseen subject.

        Raises
        ------
        ValueError
            If the encoder was fitted without ``unseen_subject="nearest"``, if
            a recording in X has windows of several subjects, or if it has no
            finite values.
        """
        check_is_fitted(self)
        X = self._check_X(X)
        if getattr(self, "covariances_", None) is None:
            raise ValueError(
                "unseen_subject='nearest' requires the covariances of the training subjects, which fit computes only "
                "with this setting. Set unseen_subject='nearest' and fit again."
            )
        self._check_one_subject_per_recording(X)
        brain, subjects = self._make_inputs(X, in_fit=True), check_window_subjects(X)
        found = {}
        for unseen in pd.unique(subjects[brain.subject.numpy() < 0]):
            own = self._covariance(brain, X.which[subjects == unseen], unseen)
            distances = [compute_covariance_distance(own, known) for known in self.covariances_]
            found[unseen] = self.subjects_[int(np.argmin(distances))]
        return pd.Series(found, dtype=object, name="nearest")

    def _check_one_subject_per_recording(self, X):
        """Raise if a recording has windows of several subjects."""
        subjects = pd.Series(check_window_subjects(X)).groupby(X.which).unique()
        if (several := subjects[subjects.str.len() > 1]).size:
            raise ValueError(
                f"unseen_subject='nearest' compares the recordings of subjects, and a recording of X has windows of "
                f"subjects {several.iloc[0].tolist()}. Add a column 'recording' to rows (Windows.from_array), or set "
                f"unseen_subject='average'."
            )

    @torch.no_grad()
    def _covariance(self, brain, which, subject):
        """Compute the covariance of the inputs of the subject layer."""
        covariances = []
        for index in np.unique(which):
            tiles = _drop_seen_subjects(brain.windows.tiles(index), brain.device)
            inputs = {**tiles.inputs(np.arange(len(tiles))), "subject": None}
            read = self.net_.module_.eval().virtual_channels(**inputs).double()
            read = read[torch.isfinite(read).flatten(1).all(1)]
            if not len(read):
                raise ValueError(
                    f"unseen_subject='nearest' compares the recordings of subjects, and a recording of subject "
                    f"{subject!r} has no window without NaN or infinite values. Remove it from X and y."
                )
            read = read - read.mean(2 if read.shape[2] > 1 else 0, keepdim=True)
            covariances.append(((read @ read.mT).sum(0) / (len(read) * read.shape[2])).cpu().numpy())
        return np.mean(covariances, 0)


def _select_disjoint_windows(windows, rows):
    """Select windows of each signal that do not overlap, from the first on."""
    rows = rows[np.lexsort((windows.start[rows], windows.which[rows]))]
    keep, signal, stop = [], -1, 0
    for row in rows:
        if windows.which[row] != signal or windows.start[row] >= stop:
            keep.append(row)
            signal, stop = windows.which[row], windows.start[row] + windows.n_read
    return np.asarray(keep)


def _drop_seen_subjects(windows, device):
    """Make inputs without a subject."""
    return WindowInputData(windows, np.full(len(windows), -1), device)
