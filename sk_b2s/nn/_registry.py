"""Registry of losses."""

from dataclasses import dataclass
from importlib import import_module

CROSS_ENTROPY = "cross-entropy (nats)"


@dataclass(frozen=True)
class LossSpec:
    """Entry of the registry of losses.

    To add a loss, write its module in ``_losses.py`` and one entry in
    ``LOSSES``, which also exports it from ``sk_b2s.nn``.

    Parameters
    ----------
    name : str
        Value of ``BrainEncoder(loss=...)``.
    class_name : str
        Class of the loss in ``_losses.py``, with the arguments ``weights`` and
        ``duplicates``. It is loaded with torch at its first use.
    label : str
        Name with unit in figures and reports.
    is_contrastive : bool, default=True
        Whether other segments of the batch are negatives. If not, the loss
        takes batches of one window, ignores ``duplicates`` and cannot train
        a speech network.
    is_cross_entropy : bool, default=False
        Whether a guess among n segments has the loss log(n).
    """

    name: str
    class_name: str
    label: str
    is_contrastive: bool = True
    is_cross_entropy: bool = False

    @property
    def module(self):
        """Class of the loss."""
        return getattr(import_module("sk_b2s.nn._losses"), self.class_name)


LOSSES = {
    spec.name: spec
    for spec in (
        LossSpec("clip", "ClipLoss", CROSS_ENTROPY, is_cross_entropy=True),
        LossSpec("symmetric_clip", "SymmetricClipLoss", CROSS_ENTROPY, is_cross_entropy=True),
        LossSpec("siglip", "SigLIPLoss", "pairwise loss (nats)"),
        LossSpec("mse", "MSELoss", "mean squared error", is_contrastive=False),
    )
}
