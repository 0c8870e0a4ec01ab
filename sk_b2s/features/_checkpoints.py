"""Loading of pretrained speech models with transformers."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sk_b2s._utils._caching import get_cached_file_state
from sk_b2s._utils._devices import allowed_threads, choose_device, choose_dtype_of_device
from sk_b2s._utils._extras import import_extra
from sk_b2s._utils._precision import (
    BOUNDS,
    compute_precision_deviation,
    get_precision_deviation_of_error,
    warn_of_precision_fallback,
    watch_precision_of_products,
)
from sk_b2s.features._inference import make_float32_inference_copy, optimize_for_inference
from sk_b2s.features._model_files import (
    CONFIG,
    EXTRACTOR,
    find_model_weights,
    identify_model_files,
    require_model_file,
    resolve_model_files,
)
from sk_b2s.features._read_audio import AUDIO_SFREQ

PRETRAINED = "A pretrained speech model"  # owner of an extra
_MODEL_LOCK = threading.Lock()


@dataclass(frozen=True)
class CheckpointArchitecture:
    """Properties of a model that are known before its weights are loaded.

    Parameters
    ----------
    n_layers : int
        Number of transformer layers. There are ``n_layers + 1`` hidden states.
    n_features : int
        Width of a hidden state.
    hop, frame_length : int
        Samples between frames, and samples of a frame. Before the transformer,
        frame j depends on the samples [j · hop, j · hop + frame_length).
    max_frames : int or None
        Largest number of frames of an input (Whisper), None without a limit.
    """

    n_layers: int
    n_features: int
    hop: int
    frame_length: int
    max_frames: int | None = None


def read_checkpoint_architecture(model, revision=None):
    """Read the architecture of a model from its config.json."""
    return _read_architecture(get_cached_file_state(require_model_file(model, CONFIG, revision)), str(model))


@lru_cache(maxsize=64)
def _read_architecture(state, model):
    AutoConfig = import_extra("transformers", PRETRAINED).AutoConfig

    try:
        config = AutoConfig.from_pretrained(Path(state[0]).parent, trust_remote_code=False)
    except (ValueError, KeyError) as error:
        raise ValueError(f"model={model!r}: transformers cannot read its {CONFIG}: {error}") from error
    except Exception as error:
        raise OSError(
            f"model={model!r}: transformers cannot read {state[0]!r}, {type(error).__name__}: {error}. "
            f"Download it again."
        ) from error
    if hasattr(config, "conv_stride") and hasattr(config, "conv_kernel"):
        frame_length = 1
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            frame_length = (frame_length - 1) * stride + kernel
        hop = int(np.prod(config.conv_stride))
        return CheckpointArchitecture(config.num_hidden_layers, config.hidden_size, hop, frame_length)
    if config.model_type == "whisper":
        # A frame is made of two spectra 10 ms apart, of 25 ms each.
        return CheckpointArchitecture(
            config.encoder_layers, config.d_model, 320, 320, config.max_source_positions
        )
    raise ValueError(
        f"model={model!r} is a {type(config).__name__}, which is not a supported speech model. Use a model with "
        f"convolutions on samples (wav2vec 2.0, HuBERT, WavLM, Data2Vec, UniSpeech ...) or Whisper."
    )


@dataclass
class SpeechCheckpoint:
    """Pretrained model with its feature extractor, in evaluation mode.

    Parameters
    ----------
    extractor : FeatureExtractionMixin
        Feature extractor of transformers.
    encoder : torch.nn.Module
        The model.
    layers : torch.nn.ModuleList
        Its transformer layers.
    device : torch.device
        Device of the model.
    dtype : torch.dtype
        Type of its products, float32 or bfloat16. Everything else is float32.
    reference : SpeechCheckpoint, default=None
        The same model in float32, to compare the first audio with. The model
        switches to it if hidden states differ by more than
        ``BOUNDS["features"]`` of their deviation from the mean over frames, or
        if a product differs by more than ``BOUNDS["products"]``.
    name : str, default=""
        Name of the model for the warning.
    """

    extractor: Any
    encoder: Any
    layers: Any
    device: torch.device
    dtype: torch.dtype
    reference: SpeechCheckpoint | None = None
    name: str = ""

    def prepare_inputs(self, audio):
        """Prepare audio at 16 kHz for the model, as a (1, ...) tensor."""
        prepared = self.extractor(audio, sampling_rate=AUDIO_SFREQ, return_tensors="pt")
        return prepared[self.extractor.model_input_names[0]]

    @torch.inference_mode()
    @allowed_threads()
    def average_layers(self, inputs, layers):
        """Average hidden states, without running layers above the highest one.

        Hidden state i is the input of layer i, so the forward pass stops at
        the highest layer. The last hidden state is the exception, as
        transformers may normalize it.

        Parameters
        ----------
        inputs : Tensor of shape (1, n_samples) or (1, n_mels, n_spectra)
            Output of :meth:`prepare_inputs`.
        layers : sequence of int
            Indices of hidden states in ascending order.

        Returns
        -------
        states : ndarray of shape (n_frames, n_features)
            Mean over the hidden states.
        """
        inputs = inputs.to(self.device, torch.float32)
        # Hooks affect every thread that shares the model. LayerDrop may draw although nothing is dropped.
        with _MODEL_LOCK, torch.random.fork_rng(devices=[]):
            if self.reference is None:
                return self._average_layers(inputs, layers)
            audio = _select_loudest_second(inputs)
            if audio is None:  # too short or constant, compare with the next audio
                return self.reference._average_layers(inputs, layers)
            states = self._compare(audio, layers)
            return states if audio is inputs else self._average_layers(inputs, layers)

    def _autocast(self):
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _compare(self, inputs, layers):
        """Average layers in both precisions, use float32 if they differ."""
        products, reference = {}, self.reference
        with watch_precision_of_products(reference.encoder, self.dtype, products):
            expected = reference._hidden_states(inputs)
        try:
            states = self._hidden_states(inputs)
            deviations = [
                compute_precision_deviation(a, b, (1,)) or 0.0 for a, b in zip(states, expected, strict=True)
            ]
        except (RuntimeError, TypeError) as error:
            states, deviations = None, [get_precision_deviation_of_error(error)] * len(expected)
        found = {
            "features": max(deviations[i] for i in layers),
            "products": max(products.values(), default=0.0),
        }
        worst = max(found, key=lambda name: found[name] / BOUNDS[name])
        if found[worst] > BOUNDS[worst]:
            rejected, states = self.dtype, expected
            self.encoder, self.layers, self.dtype = reference.encoder, reference.layers, reference.dtype
            self.reference = None
            warn_of_precision_fallback(rejected, f"model={self.name!r}", worst, found[worst])
        elif max(deviations) <= BOUNDS["features"]:  # otherwise, compare other layers when they are used
            self.reference = None
        return _average_hidden_states([states[i] for i in layers])

    def _hidden_states(self, inputs):
        with self._autocast():
            return self.encoder(inputs, output_hidden_states=True).hidden_states

    def _average_layers(self, inputs, layers):
        if layers[-1] == len(self.layers):
            states = self._hidden_states(inputs)
            return _average_hidden_states([states[i] for i in layers])
        found: list = []

        def collect(module, args, kwargs):
            found.append(args[0] if args else kwargs["hidden_states"])
            if len(found) == len(layers):
                raise _StopForward

        hooks = [self.layers[i].register_forward_pre_hook(collect, with_kwargs=True) for i in layers]
        try:
            with self._autocast():
                self.encoder(inputs)
        except _StopForward:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return _average_hidden_states(found)


def _average_hidden_states(states):
    """Average hidden states of one interval of audio."""
    return (sum(states[1:], states[0]) / len(states))[0].float().cpu().numpy()


def _select_loudest_second(inputs):
    """Return the second of highest power, or None if audio is unsuitable.

    Audio is unsuitable if it is constant or shorter than 0.25 s. Spectra
    (Whisper) are returned as they are.
    """
    if inputs.ndim == 2 and inputs.shape[1] > AUDIO_SFREQ:
        seconds = inputs.unfold(1, AUDIO_SFREQ, AUDIO_SFREQ)
        inputs = seconds[:, seconds.var(2)[0].argmax()]
    if inputs.ndim == 2 and inputs.shape[1] < AUDIO_SFREQ // 4:
        return None
    return inputs if inputs.var() > 0 else None


class _StopForward(Exception):  # noqa: N818, not an error
    """Signal that the highest layer was reached."""


def load_speech_checkpoint(model, revision=None, device="auto", precision="float32"):
    """Load a model. The last model stays in memory.

    Parameters
    ----------
    model : str or Path
        Folder, or name of a model of the package or on the hub.
    revision : str, default=None
        Branch, tag or commit on the hub.
    device : str, default="auto"
        Device of the model.
    precision : {"auto", "float32", "bfloat16"}, default="float32"
        Precision of its products.

    Returns
    -------
    model : SpeechCheckpoint
        The model in evaluation mode.
    """
    folder = find_model_weights(model, revision).parent
    require_model_file(
        model, EXTRACTOR, revision if folder == Path(resolve_model_files(model)) else folder.name
    )
    device = choose_device(device)
    dtype = choose_dtype_of_device(precision, device)
    identity = identify_model_files(model, revision)
    with _MODEL_LOCK:  # concurrent threads would each load the model, and restore each other's random state
        return _load_checkpoint_model(str(folder), str(model), identity, device, dtype)


@lru_cache(maxsize=1)
def _load_checkpoint_model(folder, name, identity, device, dtype):
    transformers = import_extra("transformers", PRETRAINED)
    try:
        with _silence_transformers(), torch.random.fork_rng(devices=[]):  # weights are drawn, then replaced
            extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
            model, info = transformers.AutoModel.from_pretrained(
                folder, trust_remote_code=False, weights_only=True, output_loading_info=True
            )
    except Exception as error:  # several libraries are involved, and none of them names the model
        raise OSError(
            f"model={name!r}: transformers cannot load it from {folder}, {type(error).__name__}: {error}"
        ) from error
    missing = [key for key in info["missing_keys"] if "masked_spec" not in key and "decoder." not in key]
    if missing:
        raise ValueError(
            f"model={name!r}: its file lacks the weights {sorted(missing)[:3]} ({len(missing)} in total), which "
            f"would be random. Check that the weights and {CONFIG} belong to the same architecture."
        )
    if extractor.sampling_rate != AUDIO_SFREQ:
        raise ValueError(
            f"Model {name!r} expects audio at {extractor.sampling_rate} Hz, but only {AUDIO_SFREQ} Hz is supported."
        )
    encoder = (model.get_encoder() if model.config.is_encoder_decoder else model).eval().float()
    if _find_checkpoint_layers(encoder) is None:
        raise ValueError(
            f"model={name!r}: {type(model).__name__} does not store its layers where wav2vec 2.0 and similar models "
            f"do, so it is not supported."
        )
    reference = None if dtype == torch.float32 else make_float32_inference_copy(encoder)

    def optimize(encoder, dtype, reference=None):
        layers = _find_checkpoint_layers(encoder)
        encoder = optimize_for_inference(encoder, layers, dtype).to(device)
        return SpeechCheckpoint(extractor, encoder, layers, device, dtype, reference, name)

    return optimize(encoder, dtype, None if reference is None else optimize(reference, torch.float32))


def _find_checkpoint_layers(encoder):
    """Return the layers of a transformer, or None."""
    return getattr(getattr(encoder, "encoder", encoder), "layers", None)


@contextmanager
def _silence_transformers():
    """Suppress progress bars and the list of unused weights."""
    logging = import_extra("transformers.utils.logging", PRETRAINED)
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
