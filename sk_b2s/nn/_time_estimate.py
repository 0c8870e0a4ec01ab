"""Estimated duration of a fit after its first batches."""

from __future__ import annotations

import time

from sk_b2s._utils._logging import format_logged_seconds, is_logging_process, log
from sk_b2s.nn._validation import ValidationEarlyStop

MEASURED = 5.0  # seconds of batches that an estimate is made from
LONG = 60.0  # seconds of training that are announced


class TimeEstimate:
    """Announcement of a long fit, made once in its first epoch.

    Parameters
    ----------
    net : RetrievalNet
        Announcements are printed if it is verbose, and else logged.
    n_batches : int
        Batches of an epoch.
    """

    def __init__(self, net, n_batches):
        self.net, self.n_batches = net, n_batches
        self.n_done, self.began = -1, time.perf_counter()

    def is_made(self):
        """Count a batch, and return whether the estimate is complete."""
        now = time.perf_counter()
        self.n_done += 1
        if self.n_done == 0 and self.n_batches > 1:  # the first batch takes longer
            self.began = now
            return False
        n_measured = max(self.n_done, 1)
        if now - self.began < MEASURED and self.n_done + 1 < self.n_batches:
            return False
        epoch = (now - self.began) / n_measured * self.n_batches
        if (message := describe_time_estimate(epoch, self.net)) is not None and is_logging_process():
            log(message, verbose=True if self.net.verbose else None)
        return True


def describe_time_estimate(epoch, net):
    """Describe how long a fit takes, None if it is short.

    ``epoch`` is the duration of an epoch in seconds, without validation.
    """
    if epoch * net.max_epochs < LONG:
        return None
    patience = [one.patience for _, one in net.callbacks_ if isinstance(one, ValidationEarlyStop)]
    at_most = f"{format_logged_seconds(epoch * net.max_epochs)} for max_epochs={net.max_epochs}"
    if patience and patience[0] + 1 < net.max_epochs:
        least = patience[0] + 1
        at_most = f"{format_logged_seconds(epoch * least)} (early stopping after {least} epochs) to {at_most}"
    return f"BrainEncoder trains {format_logged_seconds(epoch)} per epoch on {net.device!r}: this fit takes {at_most}."
