"""Deep Mel: a network on speech features that is trained with the encoder.

References
----------
.. [1] Défossez et al. 2023, Nat. Mach. Intell. 5:1097,
   doi:10.1038/s42256-023-00714-5.
"""

import tempfile
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sk_b2s._utils._chunks import slice_rows_into_chunks
from sk_b2s.nn._brain_module import ConvBlock
from sk_b2s.preprocessing._windows._windows import Windows

MEMORY_BYTES = 2**30  # of encoded candidates in memory; more are in a temporary file


class SpeechModule(nn.Module):
    """Convolutional network on speech features, Deep Mel of the paper [1]_.

    It has the convolutions of :class:`~sk_b2s.nn.BrainModule`, with dilations
    1, 2, 4, 8, 16, 1, ... and a gate after every second one. The last
    convolution has no normalization, activation, gate or residual connection.

    It runs at the rate of the features, so its receptive field in seconds
    depends on the rate. Ten layers have 1.1 s at 120 Hz, as in the paper, and
    2.7 s at 50 Hz. Windows are padded with zeros.

    Parameters
    ----------
    n_features : int
        Number of speech features, such as Mel bands.
    n_outputs : int
        Number of output features, 768 in the paper.
    hidden, depth, kernel_size : int
        Width, number and kernel size of all convolutions.
    glu, skip : bool
        Whether every second convolution is followed by a gate, and whether
        convolutions are residual.
    activation : {"gelu", "relu"}
        Activation after each convolution except the last.

    Shape:
        - Input: `(n_segments, n_features, n_frames)`
        - Output: `(n_segments, n_outputs, n_frames)`, a view of time-major
          memory

    Examples
    --------
    >>> module = SpeechModule(120, 768, hidden=32)
    >>> module(torch.rand(4, 120, 343)).shape
    torch.Size([4, 768, 343])
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        *,
        hidden: int = 320,
        depth: int = 10,
        kernel_size: int = 3,
        glu: bool = True,
        skip: bool = True,
        activation: str = "gelu",
    ) -> None:
        super().__init__()
        self.convolutions = nn.Sequential()
        width = n_features
        for i in range(depth - 1):
            gate = glu and i % 2 == 1
            self.convolutions.append(
                ConvBlock(width, hidden, kernel_size, 2 ** (i % 5), skip, gate, activation)
            )
            width = hidden
        dilation = 2 ** ((depth - 1) % 5)
        self.last = nn.Conv2d(width, n_outputs, (1, kernel_size), dilation=(1, dilation), padding="same")

    def forward(self, Y: Tensor) -> Tensor:
        """Return the encoded features of each segment."""
        # As an image one pixel high it stays time-major.
        return self.last(self.convolutions(Y).unsqueeze(2)).squeeze(2)


def encode_by_speech_module(
    windows: Windows,
    encode: Callable[[Tensor], Tensor],
    n_outputs: int,
    batch_size: int,
    device: torch.device | str | None = None,
) -> Windows:
    """Encode each window once and return the results as Windows.

    Results up to ``MEMORY_BYTES`` are stored in memory, others in a temporary
    file that is deleted with them.

    Parameters
    ----------
    windows : Windows of shape (n_windows, n_features, n_frames)
    encode : callable
        ``encode(batch) -> (len(batch), n_outputs, n_frames)``, a Tensor.
    n_outputs : int
    batch_size : int
        Windows at a time.
    device : torch.device, default=None
        Device of the batches.
    """
    n_windows, _, n_frames = windows.shape
    shape = (n_windows * n_frames, n_outputs)
    if 4 * n_windows * n_frames * n_outputs <= MEMORY_BYTES:
        signal = np.empty(shape, np.float32)
    else:
        signal = np.memmap(tempfile.TemporaryFile(), np.float32, "w+", shape=shape)
    by_window = signal.reshape(n_windows, n_frames, n_outputs)
    for part in slice_rows_into_chunks(n_windows, batch_size):
        encoded = encode(windows.gather(np.arange(part.start, part.stop), device=device))
        by_window[part] = encoded.float().mT.cpu().numpy()
    which, start = np.zeros(n_windows, np.int64), np.arange(n_windows) * n_frames
    return Windows(
        [signal], which, start, n_frames, windows.sfreq, rows=windows.rows, n_valid=windows.n_valid, is_continuous=False
    )  # fmt: skip
