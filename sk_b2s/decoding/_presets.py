"""Ready pipelines by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sk_b2s._utils._text import suggest_name

# Estimators are imported where they are made: the command line reads the names without loading torch.

XLSR = "facebook/wav2vec2-large-xlsr-53"


class ModelSize(NamedTuple):
    """Rates and widths of all that has them."""

    sfreq: float  # Hz, of the brain
    mel: dict  # of the Mel spectrogram
    speech_embedding_dim: int  # outputs of Deep Mel
    network: dict  # of the encoder


SIZES = {
    "small": ModelSize(
        sfreq=50.0, mel={"n_mels": 40, "sfreq": 25}, speech_embedding_dim=64,
        network={
            "hidden": 64, "depth": 5, "n_virtual_channels": 64, "lr": 1e-3, "batch_size": 128, "max_epochs": 12,
            "patience": 4,
        },
    ),
    "paper": ModelSize(sfreq=120.0, mel={}, speech_embedding_dim=768, network={}),
}  # fmt: skip


def _encoder(**params):
    from sk_b2s.decoding._encoder import BrainEncoder

    return "encoder", BrainEncoder(**params)


def _mel(size, memory):
    from sklearn.pipeline import make_pipeline

    from sk_b2s.features._spectral import MelSpectrogram
    from sk_b2s.preprocessing._scalers import FeatureScaler

    return make_pipeline(MelSpectrogram(**size.mel, memory=memory), FeatureScaler())


def _ridge(size, memory, wav2vec2):
    from sk_b2s.decoding._ridge_decoder import RidgeDecoder

    # In the windows as the Epocher cuts them, 0.15 s late: the brain from 0 to 0.5 s after the sound.
    return "ridge", RidgeDecoder(speech=_mel(size, memory), lags=(-0.15, 0.35), n_components=48)


def _regression(size, memory, wav2vec2):
    return _encoder(speech=_mel(size, memory), loss="mse", **size.network)


def _clip_mel(size, memory, wav2vec2):
    return _encoder(speech=_mel(size, memory), **size.network)


def _clip_deepmel(size, memory, wav2vec2):
    return _encoder(speech=_mel(size, memory), speech_embedding_dim=size.speech_embedding_dim, **size.network)


def _clip_wav2vec2(size, memory, wav2vec2):
    from sklearn.pipeline import make_pipeline

    from sk_b2s.features._pretrained import Wav2Vec2Features
    from sk_b2s.preprocessing._scalers import FeatureScaler

    speech = make_pipeline(Wav2Vec2Features(wav2vec2, memory=memory), FeatureScaler())
    return _encoder(speech=speech, **size.network)


class DecoderPreset(NamedTuple):
    """A decoder that has a name."""

    summary: str  # for whoever chooses
    last_step: Callable  # (size, memory, wav2vec2) -> name and decoder


PRESETS = {
    "ridge": DecoderPreset(
        "backward ridge regression on Mel bands, each person alone: the classical rival", _ridge
    ),
    "regression": DecoderPreset(
        "the network with a squared error instead of a contrast, on Mel bands", _regression
    ),
    "clip-mel": DecoderPreset("the network with the contrastive loss, on Mel bands", _clip_mel),
    "clip-deepmel": DecoderPreset(
        "the same beside a second network on the Mel bands: Deep Mel", _clip_deepmel
    ),
    "clip-wav2vec2": DecoderPreset("the contrastive loss on wav2vec 2.0, the paper's best", _clip_wav2vec2),
}


def make_decoders(names=("ridge", "clip-mel"), size="small", memory=None, wav2vec2=XLSR, verbose=0):
    """Make the decoders of the field as pipelines, all of which see the same brain.

    An :class:`~sk_b2s.Epocher` that reads the brain 150 ms after the sound
    (step "epochs"), a :class:`~sk_b2s.RobustChannelScaler` that clips at 20
    ("scale"), and the decoder, a :class:`~sk_b2s.RidgeDecoder` ("ridge") or a
    :class:`~sk_b2s.BrainEncoder` ("encoder"). They compare with the paper's
    Table 2 [1]_: regression, CLIP, Deep Mel and wav2vec 2.0, beside ridge.

    Parameters
    ----------
    names : str or sequence of str, default=("ridge", "clip-mel")
        Of ``PRESETS``: "ridge", "regression" (the network with a squared
        error), "clip-mel", "clip-deepmel" (Deep Mel), "clip-wav2vec2".
    size : {"small", "paper"}, default="small"
        "small" learns in minutes on a laptop: the brain at 50 Hz, 40 Mel bands
        at 25 Hz, five convolutions of width 64. "paper" has the numbers of the
        paper, for a GPU.
    memory : None, str, Path or joblib.Memory, default=None
        Folder where recordings and features of sounds are kept once they are
        computed; all decoders share it. The folder holds pickle, which runs
        code when it is read. Use one that only you can write.
    wav2vec2 : str or Path, default="facebook/wav2vec2-large-xlsr-53"
        Network of "clip-wav2vec2": a name on the hub or a folder; its layers
        are set by
        ``set_params(encoder__speech__wav2vec2features__layers=...)``.
    verbose : int, default=0
        1 prints a line for each epoch of a network.

    Returns
    -------
    estimators : dict of str to Pipeline
        In the order of ``names``, as :func:`~sk_b2s.benchmark` takes them.

    Raises
    ------
    ValueError
        If a name or size is unknown.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive brain recordings.
       Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> from sk_b2s import make_decoders
    >>> found = make_decoders(["ridge", "clip-mel"])
    >>> found["clip-mel"].set_params(encoder__hidden=32)["encoder"].hidden
    32
    >>> list(found["ridge"].named_steps)
    ['epochs', 'scale', 'ridge']
    """
    from sklearn.pipeline import Pipeline

    from sk_b2s.preprocessing._epocher import Epocher
    from sk_b2s.preprocessing._scalers import RobustChannelScaler

    if size not in SIZES:
        raise ValueError(f"size must be one of {list(SIZES)}, got {size!r}.")
    out = {}
    for name in [names] if isinstance(names, str) else names:
        if name not in PRESETS:
            hint = suggest_name(name, PRESETS)
            raise ValueError(f"there is no decoder {name!r}{hint}; names are {', '.join(PRESETS)}.")
        step, decoder = PRESETS[name].last_step(SIZES[size], memory, wav2vec2)
        if step == "encoder":
            decoder.set_params(verbose=verbose)
        brain = [
            ("epochs", Epocher(sfreq=SIZES[size].sfreq, lag=0.15, memory=memory)),
            ("scale", RobustChannelScaler(clip=20)),
        ]
        out[name] = Pipeline([*brain, (step, decoder)])
    return out
