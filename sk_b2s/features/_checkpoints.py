"""Pretrained speech networks of transformers: files and loading."""

from __future__ import annotations

import json
import os
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sk_b2s._utils._caching import content_digest, file_state
from sk_b2s._utils._devices import allowed_threads, choose_device, choose_precision
from sk_b2s._utils._precision import BOUNDS, deviation, unless_memory, warn_of_fallback, watch_products
from sk_b2s.features._inference import make_float32_copy, optimize_for_inference

_ALONE = threading.Lock()
RATE = 16000  # Hz, of the sound that networks read
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
CONFIG, EXTRACTOR = "config.json", "preprocessor_config.json"
# Looked for in this order; pickled weights are read by torch.load(weights_only=True), which runs no code.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def find_file(model, name, revision=None):
    """Find a file of a model, in its folder, in the cache of huggingface_hub or on the hub.

    Parameters
    ----------
    model : str or Path
        A folder, or a name on the hub.
    name : str
        The file.
    revision : str, default=None
        Branch, tag or commit on the hub. What the cache holds is taken without asking the hub.

    Returns
    -------
    path : Path or None
        None if the model has no such file.

    Raises
    ------
    OSError
        If the model is neither a folder nor to be had from the cache or the hub.
    """
    folder = Path(model)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    if folder.is_absolute() or str(model).startswith((".", "~")) or str(model).count("/") > 1:
        raise FileNotFoundError(f"model={str(model)!r}: there is no such folder.")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(str(model), name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    except ValueError as error:
        raise ValueError(f"model={model!r} is no folder and no name on the hub: {error}") from error
    except Exception as error:
        raise _out_of_reach(model, revision, error) from error
    try:
        return Path(hf_hub_download(str(model), name, revision=revision))
    except (
        Exception
    ) as error:  # of the client's library, which changes with its version, and not all are OSErrors
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        raise _out_of_reach(model, revision, error) from error


def _out_of_reach(model, revision, error):
    option = f" --revision {revision}" if revision else ""
    cause = re.sub(r"//[^/@\s]*@", "//...@", " ".join(str(error).split()))[:300]  # a proxy's password
    proxies = [name for name in PROXIES if os.environ.get(name)]
    by = f" A proxy is set by {', '.join(proxies)}; correct or remove it if it is wrong." if proxies else ""
    return OSError(
        f"model={str(model)!r} is no folder, is not in the cache of huggingface_hub and cannot be fetched "
        f"({type(error).__name__}: {cause}). On a machine with network run\n"
        f"    hf download {model}{option} --local-dir FOLDER\n"
        f"bring the folder here and give model='FOLDER'; or set HF_HOME to the cache of a machine that has "
        f"it. A name that is misspelt or private (set HF_TOKEN) cannot be fetched either.{by}"
    )


def _need_file(model, name, revision):
    if (path := find_file(model, name, revision)) is None:
        raise FileNotFoundError(
            f"model={str(model)!r} lacks {name}; a model's folder holds {CONFIG}, {EXTRACTOR} and "
            f"{WEIGHTS[0]}, as save_pretrained of the model and of its feature extractor write them."
        )
    return path


def _find_weights(model, revision):
    """Find the weights, fetching them if need be: the first file of ``WEIGHTS`` that is there."""
    folder = _need_file(model, CONFIG, revision).parent
    here = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if here or folder == Path(model):
        path = here[0] if here else _need_file(model, WEIGHTS[0], revision)
    else:
        found = (find_file(model, name, folder.name) for name in WEIGHTS)
        path = next((p for p in found if p is not None), None) or _need_file(model, WEIGHTS[0], folder.name)
    if path.suffix == ".json":
        for part in _parts_of(path, model):
            _need_file(model, part, revision if folder == Path(model) else folder.name)
    return path


def _parts_of(index, model):
    """Names of the files of weights that their index lists."""
    try:
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OSError(
            f"model={str(model)!r}: {str(index)!r} is not an index of weights: {type(error).__name__}: "
            f"{error}. Fetch it again."
        ) from error
    if wrong := [part for part in parts if not isinstance(part, str) or Path(part).name != part]:
        raise OSError(
            f"model={str(model)!r}: {str(index)!r} names files outside the model's folder: {wrong[:3]}. "
            f"Fetch it again."
        )
    return sorted(parts)


def identity(model, revision=None):
    """Identify a model by what it is made of, without loading it.

    Parameters
    ----------
    model : str or Path
    revision : str, default=None

    Returns
    -------
    identity : tuple of str
        Digests of the files of a folder, wherever it lies; name and commit of a model of the hub.
    """
    config = _need_file(model, CONFIG, revision)
    if config.parent != Path(model):
        return str(model), config.parent.name  # huggingface_hub names a snapshot by its commit
    weights = _find_weights(model, revision)
    parts = sorted(config.parent.glob("*.safetensors" if "safetensors" in weights.name else "*.bin"))
    files = [config, _need_file(model, EXTRACTOR, revision), *parts]
    return tuple(content_digest(file) for file in files)


@dataclass(frozen=True)
class Architecture:
    """What the features need to know of a network before it is loaded.

    Parameters
    ----------
    n_layers : int
        Layers of its transformer; it has one hidden state more.
    n_features : int
        Width of a hidden state.
    hop, reach : int
        Samples from frame to frame and in a frame: frame j sees [j · hop, j · hop + reach) before the
        transformer.
    longest : int or None
        Frames it takes at most (Whisper), None where there is no limit.
    """

    n_layers: int
    n_features: int
    hop: int
    reach: int
    longest: int | None = None


def architecture(model, revision=None):
    """Read the architecture of a model from its config.json.

    Parameters
    ----------
    model : str or Path
    revision : str, default=None

    Returns
    -------
    architecture : Architecture

    Raises
    ------
    ValueError
        If it is not a speech network with hidden states.
    """
    return _architecture(file_state(_need_file(model, CONFIG, revision)), str(model))


@lru_cache(maxsize=64)
def _architecture(state, model):
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(Path(state[0]).parent, trust_remote_code=False)
    except (ValueError, KeyError) as error:
        raise ValueError(f"model={model!r}: transformers cannot read its {CONFIG}: {error}") from error
    except Exception as error:
        raise OSError(
            f"model={model!r}: transformers cannot read {state[0]!r}, {type(error).__name__}: {error}. Fetch "
            f"it again."
        ) from error
    if hasattr(config, "conv_stride") and hasattr(config, "conv_kernel"):
        reach = 1
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            reach = (reach - 1) * stride + kernel
        hop = int(np.prod(config.conv_stride))
        return Architecture(config.num_hidden_layers, config.hidden_size, hop, reach)
    if config.model_type == "whisper":
        # Two spectra 10 ms apart make a frame, and each spectrum is of 25 ms.
        return Architecture(config.encoder_layers, config.d_model, 320, 320, config.max_source_positions)
    raise ValueError(
        f"model={model!r} is a {type(config).__name__}, which is no speech network that can be read here: it "
        f"needs convolutions on samples (wav2vec 2.0, HuBERT, WavLM, Data2Vec, UniSpeech ...) or Whisper's "
        f"encoder."
    )


@dataclass
class Network:
    """A network ready to be asked, with its feature extractor.

    Parameters
    ----------
    extractor : FeatureExtractionMixin
        Of transformers.
    encoder : torch.nn.Module
    layers : torch.nn.ModuleList
        Layers of its transformer.
    device : torch.device
    dtype : torch.dtype
        Of its products: float32, or bfloat16 while all else is float32.
    exact : Network, default=None
        The same network in float32, for the comparison with the first sound. This network becomes the
        same as ``exact`` if hidden states differ by more than ``BOUNDS["features"]`` of their deviation from
        the mean over frames, or a product by more than ``BOUNDS["products"]``.
    name : str, default=""
        Of the model, for the warning.
    """

    extractor: Any
    encoder: Any
    layers: Any
    device: torch.device
    dtype: torch.dtype
    exact: Network | None = None
    name: str = ""

    def inputs(self, audio):
        """Prepare audio at 16 kHz as the model expects it: (1, ...) tensor."""
        prepared = self.extractor(audio, sampling_rate=16000, return_tensors="pt")
        return prepared[self.extractor.model_input_names[0]]

    @torch.inference_mode()
    @allowed_threads()
    def mean_of_layers(self, inputs, wanted):
        """Average hidden states, running no layer above the highest of them.

        Hidden state i is the input of layer i, so the network is left when it arrives at the highest
        one. The last one is what transformers makes of the last layer's output, for it alone may be
        normalized.

        Parameters
        ----------
        inputs : Tensor of shape (1, n_samples) or (1, n_mels, n_spectra)
        wanted : sequence of int
            Rising hidden states.

        Returns
        -------
        states : ndarray of shape (n_frames, n_features)
        """
        # Hooks are heard by every thread that shares the network; LayerDrop may draw though nothing is dropped.
        inputs = inputs.to(self.device, torch.float32)
        with _ALONE, torch.random.fork_rng(devices=[]):
            if self.exact is None:
                return self._mean_of_layers(inputs, wanted)
            piece = _loudest_second(inputs)
            if piece is None:  # nothing to compare yet
                return self.exact._mean_of_layers(inputs, wanted)
            states = self._compare(piece, wanted)
            return states if piece is inputs else self._mean_of_layers(inputs, wanted)

    def _autocast(self):
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _compare(self, piece, wanted):
        """Compare a piece of sound with float32, fall back to it if need be, and return the mean of layers."""
        products, exact = {}, self.exact
        with watch_products(exact.encoder, self.dtype, products):
            expected = exact._hidden_states(piece)
        try:
            states = self._hidden_states(piece)
            apart = [deviation(a, b, (1,)) or 0.0 for a, b in zip(states, expected, strict=True)]
        except (RuntimeError, TypeError) as error:
            states, apart = None, [unless_memory(error)] * len(expected)
        found = {"features": max(apart[i] for i in wanted), "products": max(products.values(), default=0.0)}
        worst = max(found, key=lambda what: found[what] / BOUNDS[what])
        if found[worst] > BOUNDS[worst]:
            wrong, states = self.dtype, expected
            self.encoder, self.layers, self.dtype, self.exact = exact.encoder, exact.layers, exact.dtype, None
            warn_of_fallback(wrong, f"model={self.name!r}", worst, found[worst])
        elif max(apart) <= BOUNDS["features"]:  # else another choice of layers is compared again
            self.exact = None
        return _mean([states[i] for i in wanted])

    def _hidden_states(self, inputs):
        with self._autocast():
            return self.encoder(inputs, output_hidden_states=True).hidden_states

    def _mean_of_layers(self, inputs, wanted):
        if wanted[-1] == len(self.layers):
            states = self._hidden_states(inputs)
            return _mean([states[i] for i in wanted])
        found: list = []

        def listen(module, args, kwargs):
            found.append(args[0] if args else kwargs["hidden_states"])
            if len(found) == len(wanted):
                raise _Enough

        hooks = [self.layers[i].register_forward_pre_hook(listen, with_kwargs=True) for i in wanted]
        try:
            with self._autocast():
                self.encoder(inputs)
        except _Enough:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return _mean(found)


def _mean(states):
    """Return the mean of hidden states of one stretch of sound."""
    return (sum(states[1:], states[0]) / len(states))[0].float().cpu().numpy()


def _loudest_second(inputs):
    """Return the second of most power; all of a spectrum; None where sound is too short or constant."""
    if inputs.ndim == 2 and inputs.shape[1] > RATE:
        seconds = inputs.unfold(1, RATE, RATE)
        inputs = seconds[:, seconds.var(2)[0].argmax()]
    if inputs.ndim == 2 and inputs.shape[1] < RATE // 4:
        return None
    return inputs if inputs.var() > 0 else None


class _Enough(Exception):  # noqa: N818, nothing went wrong
    """The highest layer that is wanted is reached."""


def network(model, revision=None, device="auto", precision="float32"):
    """Load a network, once in a process: the last one is kept.

    Parameters
    ----------
    model : str or Path
    revision : str, default=None
    device : str, default="auto"
    precision : {"auto", "float32", "bfloat16"}, default="float32"

    Returns
    -------
    network : Network

    Raises
    ------
    OSError
        If its files cannot be had or read.
    ValueError
        If weights are missing in them.
    """
    folder = _find_weights(model, revision).parent
    _need_file(model, EXTRACTOR, revision if folder == Path(model) else folder.name)
    device = choose_device(device)
    dtype = choose_precision(precision, device)
    made_of = identity(model, revision)
    with _ALONE:  # threads that ask at once would each load it, and each holds what fork_rng restores
        return _network(str(folder), str(model), made_of, device, dtype)


@lru_cache(maxsize=1)
def _network(folder, model, identity, device, dtype):
    from transformers import AutoFeatureExtractor, AutoModel

    try:
        with _quiet(), torch.random.fork_rng(devices=[]):  # it draws what it then overwrites
            extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
            whole, info = AutoModel.from_pretrained(
                folder, trust_remote_code=False, weights_only=True, output_loading_info=True
            )
    except Exception as error:  # of many libraries; none of them names the model
        raise OSError(
            f"model={model!r}: transformers cannot load it from {folder}, {type(error).__name__}: {error}"
        ) from error
    lost = [key for key in info["missing_keys"] if "masked_spec" not in key and "decoder." not in key]
    if lost:
        raise ValueError(
            f"model={model!r}: its file lacks the weights {sorted(lost)[:3]} ({len(lost)} in all), which "
            f"would be random; is it of another architecture than its {CONFIG} says?"
        )
    if extractor.sampling_rate != 16000:
        raise ValueError(
            f"model={model!r} hears {extractor.sampling_rate} Hz; 16000 Hz is what is read here."
        )
    encoder = (whole.get_encoder() if whole.config.is_encoder_decoder else whole).eval().float()
    if _layers_of(encoder) is None:
        raise ValueError(
            f"model={model!r}: the layers of {type(whole).__name__} are not where they are in wav2vec 2.0 "
            f"and its like, so that it cannot be read here."
        )
    exact = None if dtype == torch.float32 else make_float32_copy(encoder)

    def ready(encoder, dtype, exact=None):
        layers = _layers_of(encoder)
        encoder = optimize_for_inference(encoder, layers, dtype).to(device)
        return Network(extractor, encoder, layers, device, dtype, exact, model)

    return ready(encoder, dtype, None if exact is None else ready(exact, torch.float32))


def _layers_of(encoder):
    """Return the layers of a transformer, None where they are not."""
    return getattr(getattr(encoder, "encoder", encoder), "layers", None)


@contextmanager
def _quiet():
    """Keep transformers from listing the heads that are left out."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
