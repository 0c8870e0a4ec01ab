"""Hidden states of pretrained speech models such as wav2vec 2.0."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from sk_b2s._utils import _precision as precision_check
from sk_b2s._utils._caching import CachedFromFile, get_cache_code
from sk_b2s._utils._devices import choose_device, choose_dtype_of_device
from sk_b2s._utils._extras import get_extra_version
from sk_b2s._utils._validation import get_validated_window_length
from sk_b2s.events._audio._track_files import make_audio_file_key
from sk_b2s.events._stimuli import stimulus_duration, stimulus_name
from sk_b2s.features import _checkpoints as checkpoints
from sk_b2s.features import _inference as inference
from sk_b2s.features import _model_files as model_files
from sk_b2s.features import _pretrained_chunks as pretrained_chunks
from sk_b2s.features._read_audio import AUDIO_SFREQ, read_audio_for_features
from sk_b2s.features._speech_features import CODE as BASE_CODE
from sk_b2s.features._speech_features import (
    SpeechFeatures,
    adjust_speech_features_length,
    check_speech_features_audio_file,
    make_speech_features_stamp,
)
from sk_b2s.preprocessing._windows._signals import Signal, SignalPart

CODE = (
    get_cache_code(__file__, torch)
    + get_cache_code(checkpoints.__file__)
    + get_cache_code(model_files.__file__)
    + get_cache_code(inference.__file__)
    + get_cache_code(pretrained_chunks.__file__)
    + get_cache_code(precision_check.__file__)
    + BASE_CODE
    + get_extra_version("transformers")
)
PAPER_LAYERS = (14, 15, 16, 17, 18)  # of XLSR-53
BLOCK_EDGES = ("block_before", "block_start", "block_stop", "block_after")


def compute_pretrained_states(
    path, stamp, identity, layers, start, stop, chunk, overlap, precision, model, revision, device
):
    """Compute the mean hidden state of an interval of an audio file.

    Parameters
    ----------
    path : str
        Audio file.
    stamp, identity : tuple
        Cache keys of the audio file and of the model.
    layers : tuple of int
        Indices of hidden states in ascending order.
    start, stop : float
        Interval in seconds, to the end of the audio if ``stop`` is not given.
    chunk, overlap : float
        Seconds.
    precision : str
        "float32" or "bfloat16".
    model, revision, device : str
        Model and device.

    Returns
    -------
    features : ndarray of shape (n_frames, n_features)
        Features as float32.
    """
    architecture = checkpoints.read_checkpoint_architecture(model, revision)
    speech_model = checkpoints.load_speech_checkpoint(model, revision, device, precision)
    audio = read_audio_for_features(path, start, stop)
    rate = AUDIO_SFREQ / architecture.hop
    size, overlap = round(chunk * rate), round(overlap * rate)
    if architecture.max_frames is None:  # normalize the whole interval, not each chunk
        audio = speech_model.prepare_inputs(audio)[0]
        audio = torch.nn.functional.pad(audio, (0, max(0, architecture.frame_length - len(audio))))
        n_frames = (len(audio) - architecture.frame_length) // architecture.hop + 1
    else:
        n_frames, size = -(-len(audio) // architecture.hop), min(size, architecture.max_frames)
        overlap = min(overlap, size // 2)
    return pretrained_chunks.average_pretrained_chunks(
        speech_model, architecture, audio, layers, n_frames, size, overlap, architecture.max_frames is None
    )


def _assemble_pretrained_signal(compute, intervals, length, pad, n_features):
    """Compute the features of intervals, with silence everywhere else."""
    signal = np.zeros((length + 2 * pad, n_features), np.float32)
    for (start, stop), (first, last) in intervals:
        if last > first:
            signal[pad + first : pad + last] = _compute_pretrained_interval(
                compute, start, stop, last - first
            )
    return signal


def _compute_pretrained_interval(compute, start, stop, n_frames):
    """Compute the features of one interval."""
    return adjust_speech_features_length(compute(start=start, stop=stop), n_frames)


class Wav2Vec2Features(SpeechFeatures):
    """Average hidden states of wav2vec 2.0 or another pretrained speech model.

    The features are ``(1 / n) Σ hidden_states[i]`` over n ``layers``, as the
    paper [1]_ computes them from XLSR-53 [2]_. The audio is converted to mono
    at 16 kHz and normalized by the feature extractor of the model. There is
    one frame every 20 ms, of 1024 features in XLSR-53.

    Unlike in :class:`MelSpectrogram`, a frame depends on its context. Each
    block of a stimulus (``block_start`` to ``block_stop`` of
    :func:`~sk_b2s.make_segments`) is therefore processed separately, so that
    held-out audio never influences the features used in training.

    Parameters
    ----------
    model : str or Path, default="facebook/wav2vec2-large-xlsr-53"
        Name of a model, or folder written by ``save_pretrained``.
        "whisper-tiny.en" is the encoder of Whisper tiny.en [3]_ (English, 8.2
        million parameters), which is part of sk_b2s and needs no network. All
        other names are models on the Hugging Face hub, which are downloaded
        once. Supported are wav2vec 2.0 (also conformers), HuBERT, WavLM,
        Data2Vec, UniSpeech and other models with convolutions on samples, and
        the encoder of Whisper.
    layers : "auto", int or sequence of int, default="auto"
        Hidden states to average, counted as in transformers: 0 is the input of
        the first layer, i the output of layer i, and negative numbers count
        from the last layer. Layers above the highest one are not computed.
        "auto" uses 2 and 3 of "whisper-tiny.en", and 14 to 18 of all other
        models, which is the choice of the paper for XLSR-53.
    revision : str, default=None
        Branch, tag or commit of a model on the hub. Pass the commit to always
        get the same weights. If None, use the cached version, else the newest.
        It must be None for "whisper-tiny.en", which has one version only.
    chunk : float, default=40.0
        Longest interval in seconds that is computed at once, which limits the
        memory. Whisper is limited to 30 s, and computes 30 s even for shorter
        intervals.
    overlap : float, default=10.0
        Minimum overlap in seconds of two chunks of a longer interval. Chunks
        are joined in the middle of their overlap.
    device : str, default="auto"
        Device of the model. "auto" uses a GPU if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the products in the model. Residual sums, norms and the
        output are float32. "auto" selects bfloat16 if the processor supports
        it natively, which halves the time and changes features by 2 % of their
        deviation from the mean over frames (mean of layers 14 to 18 at the
        size of XLSR-53, measured with random weights). "float32" gives the
        same features on every machine, up to rounding. Convolutions of fewer
        than 16 channels per group are always float32. The loudest second of
        the first audio (Whisper: its first 30 s) is also computed in float32.
        If hidden states differ by more than 10 % of their deviation from the
        mean over frames, or one product by more than 2 %, the model switches
        to float32 with a warning.
    memory : None, str or joblib.Memory, default=None
        Cache folder for the features of each interval. If None, the process
        keeps features in memory, up to 256 MiB of all stimuli together, and
        runs the model again for others. The folder contains pickle files,
        which can run code when they are read. Use a folder that only you can
        write to.

    Attributes
    ----------
    n_features_out_ : int
        Number of features, the width of the hidden states.

    Raises
    ------
    OSError
        If the model is not on this computer and cannot be downloaded, or if
        its folder lacks a file. The message describes how to get it.
    ValueError
        If ``layers`` do not exist, if the architecture is not supported, if
        windows extend beyond the neighboring blocks, or if blocks of the table
        contradict each other.

    Warns
    -----
    UserWarning
        If bfloat16 is inaccurate on this machine and float32 is used instead.

    Notes
    -----
    Silence around the stimuli is 0. Frame j of an interval begins j / 50
    s after its start and depends on the following 25 ms (in Whisper it is
    centered there). If rounding leaves a frame at the end of an interval, it
    repeats the last one.

    With the blocks of :func:`~sk_b2s.make_segments`, the blocks that the rows
    touch are computed, and the blocks next to them if a
    :class:`~sk_b2s.ForwardTRF` reads them as context of a window. Without
    these columns, each stimulus is one interval.
    An interval of up to ``chunk`` seconds equals ``output_hidden_states`` of
    transformers. A longer one does not, because every frame depends on its
    whole input, which is then the chunk, with at least ``overlap / 2`` seconds
    on either side. The input of the first layer is still equal to rounding in
    XLSR-53 and similar models, if the overlap exceeds the positional
    convolution (2.6 s). Models with group norm (wav2vec2-base, HuBERT base)
    compute its statistics from the chunk. The *last* hidden state depends on
    the version of transformers: before version 5 it is layer-normalized in
    models like XLSR-53, and since then it is not. All other hidden states are
    the same.

    The model is loaded when it is first needed, once in a process, and is not
    part of pickles. Weights are read from safetensors or, if a model has none,
    by ``torch.load(weights_only=True)``.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5
    .. [2] Conneau et al. (2021). Unsupervised cross-lingual representation
       learning for speech recognition. Interspeech 2021:2426.
       https://doi.org/10.21437/Interspeech.2021-329
    .. [3] Radford et al. (2023). Robust speech recognition via large-scale
       weak supervision. ICML 2023.
       https://proceedings.mlr.press/v202/radford23a.html

    Examples
    --------
    >>> from sk_b2s.features import Wav2Vec2Features
    >>> features = Wav2Vec2Features("whisper-tiny.en", precision="float32")
    """

    _parameter_constraints = {
        "model": [str, Path],
        "layers": [StrOptions({"auto"}), "array-like", Integral],
        "revision": [str, None],
        "chunk": [Interval(Real, 0, None, closed="neither")],
        "overlap": [Interval(Real, 0, None, closed="left")],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "memory": [str, Path, joblib.Memory, None],
    }

    def __init__(
        self,
        model="facebook/wav2vec2-large-xlsr-53",
        layers="auto",
        revision=None,
        chunk=40.0,
        overlap=10.0,
        device="auto",
        precision="auto",
        memory=None,
    ):
        self.model = model
        self.layers = layers
        self.revision = revision
        self.chunk = chunk
        self.overlap = overlap
        self.device = device
        self.precision = precision
        self.memory = memory

    def _architecture(self):
        return checkpoints.read_checkpoint_architecture(self.model, self.revision)

    def _count_features(self, sounds):
        for sound in sounds.unique():
            check_speech_features_audio_file(sound, "Wav2Vec2Features")
        return self._architecture().n_features

    def _find_rate(self, sounds):
        return AUDIO_SFREQ / self._architecture().hop

    def _check_rate(self):
        """Check parameters that depend on the model or on each other."""
        rate = AUDIO_SFREQ / self._architecture().hop
        size, overlap = round(self.chunk * rate), round(self.overlap * rate)
        if not overlap < size:
            raise ValueError(
                f"'overlap' must be less than 'chunk'. Got overlap={self.overlap!r} and chunk={self.chunk!r} s, which "
                f"are {overlap} and {size} frames of {1 / rate:g} s. Use a longer chunk."
            )
        if self.revision is not None and str(self.model) in model_files.PACKAGED:
            raise ValueError(
                f"The 'revision' parameter of Wav2Vec2Features must be None for model={str(self.model)!r}, which is "
                f"part of sk_b2s and has one version. Got {self.revision!r} instead."
            )
        choose_device(self.device)
        self._select_layers()
        model_files.identify_model_files(self.model, self.revision)

    def _select_layers(self):
        """Return sorted distinct indices of hidden states, counted from 0."""
        layers = self.layers
        if isinstance(layers, str):  # "auto"
            packaged = model_files.PACKAGED.get(str(self.model))
            layers = packaged.layers if packaged else PAPER_LAYERS
        given = np.atleast_1d(np.asarray(layers))
        n_layers = self._architecture().n_layers
        if given.ndim > 1 or given.size == 0 or given.dtype.kind not in "iu":
            raise ValueError(
                f"The 'layers' parameter of Wav2Vec2Features must be an integer or a sequence of integers. Got "
                f"{self.layers!r} instead."
            )
        if given.min() < -n_layers - 1 or given.max() > n_layers:
            raise ValueError(
                f"layers={layers!r}: {str(self.model)!r} has {n_layers} layers, so its hidden states are 0 (the "
                f"input) to {n_layers}, or {-n_layers - 1} to -1."
            )
        return tuple(np.unique(np.where(given < 0, given + n_layers + 1, given)).tolist())

    def _compute_features(self, sound):
        return CachedFromFile(
            compute_pretrained_states,
            make_audio_file_key(sound),
            partial(make_speech_features_stamp, code=(CODE,)),
            self.memory,
            ignore=("model", "revision", "device"),
            is_kept=True,
            identity=model_files.identify_model_files(self.model, self.revision),
            layers=self._select_layers(),
            chunk=float(self.chunk),
            overlap=float(self.overlap),
            precision=str(choose_dtype_of_device(self.precision, choose_device(self.device))).removeprefix(
                "torch."
            ),
            model=str(self.model),
            revision=self.revision,
            device=self.device,
        )

    def _make_signal(self, sound, pad, part):
        length, compute = self._count_frames(sound), self._compute_features(sound)
        touched, others = ([((0.0, None), (0, length))], []) if part is None else part
        assemble = partial(_assemble_pretrained_signal, compute, touched, length, pad, self.n_features_out_)
        further = [
            SignalPart(
                pad + first,
                pad + last,
                slice(None),
                partial(_compute_pretrained_interval, compute, *span, last - first),
            )
            for span, (first, last) in others
            if last > first
        ]
        return Signal(assemble, (length + 2 * pad, self.n_features_out_), further)

    def _find_intervals(self, X, codes, sounds):
        """Find the blocks that windows touch, and the others next to them.

        Two lists for each stimulus. Each block is a pair of (start, stop) in
        seconds and (first, last) frame.
        """
        missing = [column for column in BLOCK_EDGES if column not in X]
        if len(missing) == len(BLOCK_EDGES):
            return [None] * len(sounds)
        edges = X[[c for c in BLOCK_EDGES if c in X]].to_numpy(float).round(6)
        if missing or not np.isfinite(edges).all():
            problem = f"lacks {missing}" if missing else "has rows without values"
            raise ValueError(
                f"y has columns of block edges but {problem}. The columns {', '.join(BLOCK_EDGES)} define the "
                f"intervals that the model processes separately. Use the y of make_segments, or drop these columns to "
                f"process each stimulus as one interval."
            )
        rate = self._find_rate(sounds)
        length = np.array([self._count_frames(sound) for sound in sounds])[codes]
        duration = np.array([stimulus_duration(sound) for sound in sounds])[codes]
        first = np.round(X["sound_onset"].to_numpy(float) * rate).astype(np.int64)
        begin, end = np.maximum(first, 0), np.minimum(first + get_validated_window_length(X, rate), length)
        at_end = edges > duration[:, None] - 1e-5  # rounding would drop the last frame of the stimulus
        frames = np.where(at_end, length[:, None], np.round(edges * rate).astype(np.int64))
        self._check_reach(X, begin, end, frames)
        # Three blocks for each row: the previous one, its own and the next one.
        spans = np.stack([edges[:, :-1], edges[:, 1:]], axis=2)
        places = np.stack([frames[:, :-1], frames[:, 1:]], axis=2)
        touched = (begin[:, None] < places[..., 1]) & (end[:, None] > places[..., 0])
        rows = [codes == code for code in range(len(sounds))]
        return [
            _select_touched_intervals(
                spans[own].reshape(-1, 2), places[own].reshape(-1, 2), touched[own].ravel(), sound
            )
            for own, sound in zip(rows, sounds, strict=True)
        ]

    def _check_reach(self, X, begin, end, frames):
        beyond = (begin < end) & ((begin < frames[:, 0]) | (end > frames[:, 3]))
        if beyond.any():
            row = np.flatnonzero(beyond)[0]
            raise ValueError(
                f"y row {X.index.tolist()[row]!r}: the window at sound_onset={X['sound_onset'].iloc[row]} s extends "
                f"beyond the blocks next to its own ({beyond.sum()} such rows). Use make_segments with blocks at least "
                f"as long as a window."
            )


def _select_touched_intervals(spans, places, touched, sound):
    """Separate touched and other blocks of a stimulus without overlap."""
    filled = spans[:, 1] > spans[:, 0]
    spans, places, touched = spans[filled], places[filled], touched[filled]
    spans, inverse = np.unique(spans, axis=0, return_inverse=True)
    overlapping = np.flatnonzero(spans[1:, 0] < spans[:-1, 1])
    if len(overlapping):
        one, other = spans[overlapping[0]].tolist(), spans[overlapping[0] + 1].tolist()
        raise ValueError(
            f"The blocks of stimulus {stimulus_name(sound)!r} contradict each other: one is from {one[0]:g} to "
            f"{one[1]:g} s, another from {other[0]:g} to {other[1]:g} s. Make the table by one call of make_segments."
        )
    inverse = inverse.ravel()
    wanted = set(inverse[touched].tolist())
    where = dict(zip(inverse.tolist(), places.tolist(), strict=True))
    blocks = [(tuple(span), tuple(where[i])) for i, span in enumerate(spans.tolist())]
    return (
        [block for i, block in enumerate(blocks) if i in wanted],
        [block for i, block in enumerate(blocks) if i not in wanted],
    )
