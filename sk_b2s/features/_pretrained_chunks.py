"""Hidden states of pretrained models in overlapping chunks."""

from __future__ import annotations

import numpy as np


def split_pretrained_chunks(n_frames, size, overlap):
    """Split an interval into chunks of equal size with an overlap.

    Parameters
    ----------
    n_frames : int
        Number of frames of the interval.
    size : int
        Number of frames of a chunk. A shorter interval is one chunk.
    overlap : int
        Minimum number of frames shared by two chunks, less than ``size``.

    Returns
    -------
    chunks : list of tuple (first, last, begin, end)
        Frames [first, last) are computed together, and [begin, end) of them
        are used. Chunks are joined in the middle of their overlap.

    Examples
    --------
    >>> split_pretrained_chunks(100, size=48, overlap=20)
    [(0, 48, 0, 37), (26, 74, 37, 63), (52, 100, 63, 100)]
    """
    if n_frames <= size:
        return [(0, n_frames, 0, n_frames)]
    n_chunks = -(-(n_frames - overlap) // (size - overlap))
    first = np.round(np.linspace(0, n_frames - size, n_chunks)).astype(int)
    edges = [0, *((first[1:] + first[:-1] + size) // 2).tolist(), n_frames]
    return [(a, a + size, edges[i], edges[i + 1]) for i, a in enumerate(first.tolist())]


def average_pretrained_chunks(
    speech_model, architecture, audio, layers, n_frames, size, overlap, is_prepared=False
):
    """Compute the mean hidden state of audio in chunks.

    Parameters
    ----------
    speech_model : object
        From :func:`~sk_b2s.features._checkpoints.load_speech_checkpoint`.
    architecture : CheckpointArchitecture
    audio : ndarray or Tensor of shape (n_samples,)
        Padded by the caller as far as the last frame needs it.
    layers : tuple of int
        Indices of hidden states in ascending order.
    n_frames, size, overlap : int
        As in :func:`split_pretrained_chunks`.
    is_prepared : bool, default=False
        If True, ``audio`` has been normalized as a whole. If False, each chunk
        is normalized and padded by the model.

    Returns
    -------
    features : ndarray of shape (n_frames, n_features)
        Float32. If the model returns fewer frames for a chunk than it has, the
        last one is repeated.

    Raises
    ------
    ValueError
        If the model changes the rate of frames between layers.
    """
    hop, frame_length = architecture.hop, architecture.frame_length
    features = np.empty((n_frames, architecture.n_features), np.float32)
    for first, last, begin, end in split_pretrained_chunks(n_frames, size, overlap):
        is_single = first == 0 and last == n_frames
        part = audio if is_single else audio[first * hop : (last - 1) * hop + frame_length]
        inputs = part[None] if is_prepared else speech_model.prepare_inputs(part)
        states = speech_model.average_layers(inputs, layers)
        if architecture.max_frames is None and len(states) != last - first:
            raise ValueError(
                f"The model returned {len(states)} frames, but its convolutions return {last - first}. Models that "
                f"change the frame rate between layers are not supported. Choose another model."
            )
        features[begin:end] = states[np.minimum(np.arange(begin - first, end - first), len(states) - 1)]
    return features
