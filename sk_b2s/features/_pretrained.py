"""Speech features of pretrained networks such as wav2vec 2.0."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from sk_b2s._utils import _precision as precision_check
from sk_b2s._utils._caching import FromFile, code_of
from sk_b2s._utils._devices import choose_device, choose_precision
from sk_b2s._utils._validation import window_length
from sk_b2s.events._audio._files import readable
from sk_b2s.events._stimuli import stimulus_duration, stimulus_name
from sk_b2s.features import _checkpoints as checkpoints
from sk_b2s.features import _inference as inference
from sk_b2s.features._audio import AUDIO_SFREQ, read_audio
from sk_b2s.features._base import CODE as BASE_CODE
from sk_b2s.features._base import SpeechFeatures, check_is_file, fitted_length, sound_stamp
from sk_b2s.preprocessing._signals import Signal

CODE = (
    code_of(__file__, torch)
    + code_of(checkpoints.__file__)
    + code_of(inference.__file__)
    + code_of(precision_check.__file__)
    + BASE_CODE
    + version("transformers")
)
BLOCK_EDGES = ("block_before", "block_start", "block_stop", "block_after")


def chunks_of(n_frames, size, overlap):
    """Cut a stretch into equal, overlapping chunks and share out its frames.

    Parameters
    ----------
    n_frames : int
        Of the stretch.
    size : int
        Frames of a chunk; a stretch of no more is one chunk.
    overlap : int
        Least frames that two chunks have in common; less than ``size``.

    Returns
    -------
    chunks : list of tuple (first, last, begin, end)
        Frames [first, last) are computed together, and of those [begin, end) are kept: two chunks are
        joined in the middle of what they have in common.

    Examples
    --------
    >>> chunks_of(100, size=48, overlap=20)
    [(0, 48, 0, 37), (26, 74, 37, 63), (52, 100, 63, 100)]
    """
    if n_frames <= size:
        return [(0, n_frames, 0, n_frames)]
    n_chunks = -(-(n_frames - overlap) // (size - overlap))
    first = np.round(np.linspace(0, n_frames - size, n_chunks)).astype(int)
    seams = [0, *((first[1:] + first[:-1] + size) // 2).tolist(), n_frames]
    return [(a, a + size, seams[i], seams[i + 1]) for i, a in enumerate(first.tolist())]


def hidden_features(
    path, stamp, identity, layers, start, stop, chunk, overlap, precision, model, revision, device
):
    """Mean hidden state of a stretch of a sound file, see :class:`Wav2Vec2Features`.

    Parameters
    ----------
    path : str
        The sound.
    stamp, identity : tuple
        Of the sound and of the network, for the cache.
    layers : tuple of int
        Rising hidden states.
    start, stop : float
        Of the stretch in seconds; a ``stop`` of None is the end.
    chunk, overlap : float
        Seconds.
    precision : str
        "float32" or "bfloat16".
    model, revision, device : str
        Where the network is and runs.

    Returns
    -------
    features : ndarray of shape (n_frames, n_features)
        float32.
    """
    shape = checkpoints.architecture(model, revision)
    network = checkpoints.network(model, revision, device, precision)
    audio = read_audio(path, start, stop)
    rate = AUDIO_SFREQ / shape.hop
    size, overlap = round(chunk * rate), round(overlap * rate)
    if shape.longest is None:  # what is normalized is the stretch, not the chunk
        audio = network.inputs(audio)[0]
        audio = torch.nn.functional.pad(audio, (0, max(0, shape.reach - len(audio))))
        n_frames = (len(audio) - shape.reach) // shape.hop + 1
    else:
        n_frames, size = -(-len(audio) // shape.hop), min(size, shape.longest)
        overlap = min(overlap, size // 2)
    features = np.empty((n_frames, shape.n_features), np.float32)
    for first, last, begin, end in chunks_of(n_frames, size, overlap):
        whole = first == 0 and last == n_frames
        piece = audio if whole else audio[first * shape.hop : (last - 1) * shape.hop + shape.reach]
        inputs = piece[None] if shape.longest is None else network.inputs(piece)
        states = network.mean_of_layers(inputs, layers)
        if shape.longest is None and len(states) != last - first:
            raise ValueError(
                f"model={model!r} made {len(states)} frames where its convolutions make {last - first}; networks "
                f"that change the rate between their layers cannot be read here."
            )
        features[begin:end] = states[begin - first : end - first]
    return features


def _laid_out(compute, stretches, length, pad, n_features):
    """Lay the features of stretches where they belong, silence everywhere else."""
    signal = np.zeros((length + 2 * pad, n_features), np.float32)
    for (start, stop), (first, last) in stretches:
        if last > first:
            signal[pad + first : pad + last] = fitted_length(compute(start=start, stop=stop), last - first)
    return signal


class Wav2Vec2Features(SpeechFeatures):
    """Mean of hidden states of wav2vec 2.0, or of another speech network of transformers.

    ``(1 / n) Σ hidden_states[i]`` over n ``layers``, as the paper [1]_ takes it of XLSR-53 [2]_: the
    sound as mono at 16 kHz, made zero mean and unit variance by the model's own feature extractor,
    one frame each 20 ms, (n_frames, 1024). Unlike :class:`MelSpectrogram` a frame knows its context:
    therefore each block of sound (``block_start`` to ``block_stop`` of :func:`make_segments`) goes
    through the network alone, and nothing that is held out is heard in training.

    Parameters
    ----------
    model : str or Path, default="facebook/wav2vec2-large-xlsr-53"
        A folder that ``save_pretrained`` wrote, or a name on the Hugging Face hub, whose files are
        fetched once. wav2vec 2.0 (also conformers), HuBERT, WavLM, Data2Vec, UniSpeech and others
        with convolutions on samples are read, and the encoder of Whisper.
    layers : int or sequence of int, default=(14, 15, 16, 17, 18)
        Hidden states that are averaged, counted as transformers does: 0 is the input of the first
        layer, i the output of layer i, and negative ones count from the last. No layer above the
        highest is computed. A network of 12 layers needs other numbers than the default.
    revision : str, default=None
        Branch, tag or commit of a model on the hub. Give the commit to get the same weights for ever;
        None takes what the cache has, else the newest.
    chunk : float, default=40.0
        Longest stretch, in seconds, that is computed in one piece; bounds the memory. Whisper's is 30
        at most.
    overlap : float, default=10.0
        Least seconds that two chunks of a longer stretch have in common; they are joined in its
        middle.
    device : str, default="auto"
        Where the network runs; "auto" takes the GPU where there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the products in the network; sums from layer to layer, norms and what comes out are float32.
        "auto" takes bfloat16 where the processor multiplies it natively, which takes half of the time
        and moves features by 2 % of their deviation from the mean over frames (the mean of layers 14
        to 18 at the size of XLSR-53, measured with random weights). "float32" gives features that
        are the same on every machine, to rounding. Convolutions of fewer than 16 channels per group are
        always float32. The first sound's loudest second (Whisper: its first 30 s) is also computed in
        float32. If hidden states differ by more than 10 % of their deviation from the mean over frames, or
        one product by more than 2 %, the network runs in float32, with a warning.
    memory : None, str or joblib.Memory, default=None
        Folder where the features of each stretch are kept. Without it every ``fit`` and every
        ``predict`` runs the network anew.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.

    Attributes
    ----------
    n_features_out_ : int
        Width of the hidden states.

    Raises
    ------
    OSError
        If the model is neither here nor to be fetched; the message says how to get it. A folder that
        lacks a file is named with it.
    ValueError
        If ``layers`` are not there, the architecture is not known, windows reach beyond the
        neighboring blocks, or the table's blocks contradict each other.

    Warns
    -----
    UserWarning
        If bfloat16 is wrong on this machine and float32 is used instead.

    Notes
    -----
    Silence around the sounds is 0. Frame j of a stretch is laid at j / 50 s from its start and sees
    25 ms from there on (Whisper's is centered there); a frame that rounding leaves at the end of a
    stretch repeats the last.

    What is computed are the blocks that the rows touch, from a table of :func:`make_segments`; of any
    other, each sound as one. A stretch of up to ``chunk`` seconds equals ``output_hidden_states`` of
    transformers. A longer one does not, as every frame of such a network hears the whole of what it is
    given: here its chunk, and of that at least ``overlap / 2`` seconds on either side. What enters the
    first layer is the same to rounding in XLSR-53 and its like, where the overlap exceeds the
    positional convolution (2.6 s); networks with group norm (wav2vec2-base, HuBERT base) take its
    statistics from the chunk. The *last* hidden state is what the installed transformers says it is:
    before version 5 it is layer-normed in networks like XLSR-53, and now it is not; all others are the
    same.

    The network is loaded when first needed, kept once in a process, and is in no pickle. Weights are
    read from safetensors or, where a model has none, by ``torch.load(weights_only=True)``.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive brain recordings.
       Nature Machine Intelligence 5:1097. https://doi.org/10.1038/s42256-023-00714-5
    .. [2] Conneau et al. (2021). Unsupervised cross-lingual representation learning for speech
       recognition. Interspeech 2021:2426. https://doi.org/10.21437/Interspeech.2021-329
    """

    _parameter_constraints = {
        "model": [str, Path],
        "layers": ["array-like", Integral],
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
        layers=(14, 15, 16, 17, 18),
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

    def _shape(self):
        return checkpoints.architecture(self.model, self.revision)

    def _n_features(self, sounds):
        for sound in sounds.unique():
            check_is_file(sound, "Wav2Vec2Features")
        return self._shape().n_features

    def _rate(self, sounds):
        return AUDIO_SFREQ / self._shape().hop

    def _check_rate(self):
        """Check what depends on the model and on two parameters at once."""
        rate = AUDIO_SFREQ / self._shape().hop
        size, overlap = round(self.chunk * rate), round(self.overlap * rate)
        if not overlap < size:
            raise ValueError(
                f"overlap must be less than chunk, got overlap={self.overlap!r} and chunk={self.chunk!r} s, which are "
                f"{overlap} and {size} frames of {1 / rate:g} s; make chunk longer."
            )
        choose_device(self.device)
        self._layers()
        checkpoints.identity(self.model, self.revision)

    def _layers(self):
        """Return the hidden states, rising, without repeats and counted from 0."""
        given = np.atleast_1d(np.asarray(self.layers))
        n_layers = self._shape().n_layers
        if given.ndim > 1 or given.size == 0 or given.dtype.kind not in "iu":
            raise ValueError(f"layers must be one integer or several, got {self.layers!r}.")
        if given.min() < -n_layers - 1 or given.max() > n_layers:
            raise ValueError(
                f"layers={self.layers!r}: {str(self.model)!r} has {n_layers} layers, so that its hidden states are 0 "
                f"(the input) to {n_layers}, or {-n_layers - 1} to -1."
            )
        return tuple(np.unique(np.where(given < 0, given + n_layers + 1, given)).tolist())

    def _features(self, sound):
        return FromFile(
            hidden_features,
            readable(sound),
            partial(sound_stamp, code=(CODE,)),
            self.memory,
            ignore=("model", "revision", "device"),
            identity=checkpoints.identity(self.model, self.revision),
            layers=self._layers(),
            chunk=float(self.chunk),
            overlap=float(self.overlap),
            precision=str(choose_precision(self.precision, choose_device(self.device))).removeprefix(
                "torch."
            ),
            model=str(self.model),
            revision=self.revision,
            device=self.device,
        )

    def _signal(self, sound, pad, part):
        length, compute = self._n_frames(sound), self._features(sound)
        part = [((0.0, None), (0, length))] if part is None else part
        recipe = partial(_laid_out, compute, part, length, pad, self.n_features_out_)
        return Signal(recipe, (length + 2 * pad, self.n_features_out_))

    def _parts(self, X, codes, sounds):
        """Find the blocks that windows touch, [((start, stop) in s, (first, last) frame)] per sound."""
        missing = [column for column in BLOCK_EDGES if column not in X]
        if len(missing) == len(BLOCK_EDGES):
            return [None] * len(sounds)
        edges = X[[c for c in BLOCK_EDGES if c in X]].to_numpy(float).round(6)
        if missing or not np.isfinite(edges).all():
            what = f"lacks {missing}" if missing else "has rows without them"
            raise ValueError(
                f"y has columns of blocks but {what}: {', '.join(BLOCK_EDGES)} say what goes through the network "
                f"together. Make it by make_segments, or drop these columns to take each sound as one."
            )
        rate = self._rate(sounds)
        length = np.array([self._n_frames(sound) for sound in sounds])[codes]
        duration = np.array([stimulus_duration(sound) for sound in sounds])[codes]
        first = np.round(X["sound_onset"].to_numpy(float) * rate).astype(np.int64)
        begin, end = np.maximum(first, 0), np.minimum(first + window_length(X, rate), length)
        at_end = edges > duration[:, None] - 1e-5  # where rounding would drop the last frame of the sound
        frames = np.where(at_end, length[:, None], np.round(edges * rate).astype(np.int64))
        self._check_reach(X, begin, end, frames)
        # Three blocks for each row: the one before, its own and the one after.
        spans = np.stack([edges[:, :-1], edges[:, 1:]], axis=2)
        places = np.stack([frames[:, :-1], frames[:, 1:]], axis=2)
        touched = (begin[:, None] < places[..., 1]) & (end[:, None] > places[..., 0])
        rows = [codes == code for code in range(len(sounds))]
        return [
            _distinct(spans[mine].reshape(-1, 2), places[mine].reshape(-1, 2), touched[mine].ravel(), sound)
            for mine, sound in zip(rows, sounds, strict=True)
        ]

    def _check_reach(self, X, begin, end, frames):
        beyond = (begin < end) & ((begin < frames[:, 0]) | (end > frames[:, 3]))
        if beyond.any():
            row = np.flatnonzero(beyond)[0]
            raise ValueError(
                f"y row {X.index.tolist()[row]!r}: the window at sound_onset={X['sound_onset'].iloc[row]} s reaches "
                f"beyond the blocks beside its own ({beyond.sum()} such rows); make_segments(block=...) must be no "
                f"shorter than a window."
            )


def _distinct(spans, places, touched, sound):
    """Check that stretches of a sound are equal or apart, and return those that are touched."""
    filled = spans[:, 1] > spans[:, 0]
    spans, places, touched = spans[filled], places[filled], touched[filled]
    spans, inverse = np.unique(spans, axis=0, return_inverse=True)
    overlapping = np.flatnonzero(spans[1:, 0] < spans[:-1, 1])
    if len(overlapping):
        one, other = spans[overlapping[0]].tolist(), spans[overlapping[0] + 1].tolist()
        raise ValueError(
            f"the blocks of the sound {stimulus_name(sound)!r} contradict each other: one is from {one[0]:g} to "
            f"{one[1]:g} s, another from {other[0]:g} to {other[1]:g} s. Make the table by one call of make_segments."
        )
    inverse = inverse.ravel()
    wanted = np.unique(inverse[touched])
    where = dict(zip(inverse.tolist(), places.tolist(), strict=True))
    return [(tuple(spans[i].tolist()), tuple(where[i])) for i in wanted.tolist()]
