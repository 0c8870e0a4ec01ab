"""Random changes of EEG/MEG windows in training.

References
----------
.. [1] Park et al. 2019, Interspeech, arXiv:1904.08779.
"""

import torch
from torch import Tensor, nn


class WindowAugmentation(nn.Module):
    """Shift windows in time, and set channels and samples to zero.

    Without training, and with all arguments zero, windows are returned
    unchanged and no random number is drawn.

    Parameters
    ----------
    channel_dropout : float
        Probability that a channel of a window is set to zero. The other
        channels are divided by ``1 - channel_dropout``.
    time_dropout : float
        Fraction of the samples of each window that is set to zero in all
        channels, as in SpecAugment [1]_. They are adjacent, at a random
        position. A stretch beyond the end continues at the beginning.
    max_shift : int
        Largest shift of a window in samples, in both directions. Samples from
        outside of the window are zero.

    Attributes
    ----------
    generator : torch.Generator or None
        CPU generator. None uses the global one of torch.

    Shape:
        - Input: `(n_windows, n_channels, n_times)`
        - Output: the same, a view of time-major memory

    Examples
    --------
    >>> augment = WindowAugmentation(channel_dropout=0.2, max_shift=6)
    >>> augment(torch.rand(4, 208, 343)).shape
    torch.Size([4, 208, 343])
    """

    def __init__(self, channel_dropout: float = 0.0, time_dropout: float = 0.0, max_shift: int = 0) -> None:
        super().__init__()
        self.channel_dropout, self.time_dropout, self.max_shift = channel_dropout, time_dropout, max_shift
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return changed windows in training, and the same ones otherwise."""
        if not self.training:
            return x
        if self.max_shift > 0 or self.time_dropout > 0:
            x = self._change_times(x)
        if self.channel_dropout > 0:
            kept = torch.rand(x.shape[:2], generator=self.generator) >= self.channel_dropout
            x = x * (kept / (1 - self.channel_dropout)).to(x)[:, :, None]
        return x

    def _change_times(self, x: Tensor) -> Tensor:
        """Shift windows, and set stretches of samples to zero."""
        n_windows, _, n_times = x.shape
        times = torch.arange(n_times).expand(n_windows, -1)
        kept = torch.ones(n_windows, n_times, dtype=torch.bool)
        x = x.mT
        if self.max_shift > 0:
            times = times - self._draw(-self.max_shift, self.max_shift + 1, n_windows)
            kept = (times >= 0) & (times < n_times)
            rows = torch.arange(n_windows)[:, None] * n_times + times.clamp(0, n_times - 1)
            x = x.flatten(0, 1).index_select(0, rows.flatten().to(x.device)).view_as(x)
        if self.time_dropout > 0:
            first = self._draw(0, n_times, n_windows)
            kept = kept & ((torch.arange(n_times) - first) % n_times >= int(self.time_dropout * n_times))
        return (x * kept.to(x)[:, :, None]).mT

    def _draw(self, low: int, high: int, n_windows: int) -> Tensor:
        """Draw one integer for each window: (n_windows, 1)."""
        return torch.randint(low, high, (n_windows, 1), generator=self.generator)
