"""Presets of decoders as complete pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sk_b2s._utils._text import fill_docstring_list, make_suggestion_text

# Estimators are imported inside functions, so that the command line reads names without importing torch.

XLSR = "facebook/wav2vec2-large-xlsr-53"
ENSEMBLE = ("clip-mel", "likelihood")  # presets of the members


class PresetSize(NamedTuple):
    """Sampling rates and sizes of a preset."""

    sfreq: float  # Hz, EEG/MEG
    align: bool  # whether CovarianceAlignment follows the scaler
    mel: dict  # parameters of MelSpectrogram
    speech_embedding_dim: int  # outputs of Deep Mel
    network: dict  # parameters of BrainEncoder
    ridge: dict  # parameters of RidgeDecoder
    ridge_whiten: bool  # whether the Mel bands of ridge are whitened in time
    events: object = None  # events table whose phones and words are features, too


# Found by benchmarks/search_presets.py on simulated data. Lags of ridge add to those of the Epocher, 0.15 s, so that
# EEG/MEG from 0 to 0.5 s after the stimulus is used.
LAPTOP = PresetSize(
    sfreq=50.0, align=True, mel={"n_mels": 20, "sfreq": 50}, speech_embedding_dim=32,
    network={
        "hidden": 32, "depth": 2, "kernel_size": 7, "n_virtual_channels": 16, "glu": False, "head": False,
        "lr": 1e-3, "batch_size": 64, "max_epochs": 14, "patience": 5, "channel_dropout": 0.5,
        "weight_averaging": 0.99,
    },
    ridge={"lags": (-0.15, 0.35), "n_components": 48}, ridge_whiten=True,
)  # fmt: skip
SIZES = {
    "laptop": LAPTOP,
    "hours": LAPTOP._replace(
        network={
            **LAPTOP.network, "n_virtual_channels": 96, "batch_size": 128, "max_epochs": 10, "patience": 3,
        },
    ),
    "paper": PresetSize(
        sfreq=120.0, align=False, mel={}, speech_embedding_dim=768, network={},
        ridge={"lags": (-0.15, 0.35), "n_components": 48}, ridge_whiten=False,
    ),
}  # fmt: skip


def _make_preset_encoder(**params):
    from sk_b2s.decoding._encoder import BrainEncoder

    return "encoder", BrainEncoder(**params)


def _make_preset_mel(size, memory, whiten=False):
    from sklearn.pipeline import make_pipeline

    from sk_b2s.features._acoustic_spectra import AcousticOnsets, MelSpectrogram
    from sk_b2s.preprocessing._scalers import FeatureScaler

    features = mel = MelSpectrogram(**size.mel, memory=memory)
    if size.events is not None:
        sets = [("mel", mel), ("onsets", AcousticOnsets(sfreq=mel.sfreq, memory=memory))]
        features = _unite_preset_features(sets, size)
    return make_pipeline(features, FeatureScaler(whiten=whiten))


def _unite_preset_features(sets, size):
    """Unite sets of features with phones and words if there are events."""
    from sk_b2s.features._events import PHONETIC_FEATURES, EventFeatures
    from sk_b2s.features._union import SpeechFeatureUnion

    if size.events is not None:
        sfreq = sets[0][1].sfreq
        phones = EventFeatures(size.events, "phoneme", PHONETIC_FEATURES, sfreq=sfreq)
        sets = [*sets, ("phones", phones), ("words", EventFeatures(size.events, "word", sfreq=sfreq))]
    return SpeechFeatureUnion(sets)


def _make_ridge(size, memory, wav2vec2):
    from sk_b2s.decoding._ridge_decoder import RidgeDecoder

    return "ridge", RidgeDecoder(speech=_make_preset_mel(size, memory, size.ridge_whiten), **size.ridge)


def _make_likelihood(size, memory, wav2vec2):
    from sklearn.pipeline import make_pipeline

    from sk_b2s.decoding._likelihood._decoder import LikelihoodDecoder
    from sk_b2s.features._acoustic_spectra import AcousticOnsets, MelSpectrogram
    from sk_b2s.preprocessing._scalers import FeatureScaler

    sfreq = 50 if size.sfreq % 50 == 0 else 40  # an integer fraction of the rate of EEG/MEG
    features = [
        ("mel", MelSpectrogram(n_mels=8, sfreq=sfreq, memory=memory)),
        ("onsets", AcousticOnsets(n_bands=8, sfreq=sfreq, memory=memory)),
    ]
    speech = make_pipeline(_unite_preset_features(features, size), FeatureScaler())
    return "likelihood", LikelihoodDecoder(speech=speech, lags=(-0.15, 0.3))


def _make_regression(size, memory, wav2vec2):
    return _make_preset_encoder(speech=_make_preset_mel(size, memory), loss="mse", **size.network)


def _make_clip_mel(size, memory, wav2vec2):
    return _make_preset_encoder(speech=_make_preset_mel(size, memory), **size.network)


def _make_clip_deepmel(size, memory, wav2vec2):
    return _make_preset_encoder(
        speech=_make_preset_mel(size, memory), speech_embedding_dim=size.speech_embedding_dim, **size.network
    )


def _make_clip_wav2vec2(size, memory, wav2vec2):
    from sklearn.pipeline import make_pipeline

    from sk_b2s.features._pretrained import Wav2Vec2Features
    from sk_b2s.preprocessing._scalers import FeatureScaler

    speech = make_pipeline(Wav2Vec2Features(wav2vec2, memory=memory), FeatureScaler())
    return _make_preset_encoder(speech=speech, **size.network)


def _make_clip_whisper(size, memory, wav2vec2):
    return _make_clip_wav2vec2(size, memory, "whisper-tiny.en")


def _make_ensemble(size, memory, wav2vec2):
    from sk_b2s.decoding._ensemble._decoder import EnsembleDecoder

    members = [(name, _make_preset_pipeline(name, size, memory, wav2vec2)) for name in ENSEMBLE]
    return "ensemble", EnsembleDecoder(members, n_seeds=3)


class DecoderPreset(NamedTuple):
    """Decoder with a name."""

    summary: str  # one line for the command line and the documentation
    make_last_step: Callable  # (size, memory, wav2vec2) -> name and decoder


PRESETS = {
    "ridge": DecoderPreset("backward ridge regression on Mel bands, one model per subject", _make_ridge),
    "likelihood": DecoderPreset(
        "forward model of the response to Mel bands and onsets in LikelihoodDecoder", _make_likelihood
    ),
    "regression": DecoderPreset("BrainEncoder with a squared error on Mel bands", _make_regression),
    "clip-mel": DecoderPreset("BrainEncoder with the contrastive loss on Mel bands", _make_clip_mel),
    "clip-deepmel": DecoderPreset(
        "the same with a second network on the Mel bands (Deep Mel)", _make_clip_deepmel
    ),
    "clip-wav2vec2": DecoderPreset(
        "BrainEncoder with the contrastive loss on wav2vec 2.0", _make_clip_wav2vec2
    ),
    "clip-whisper": DecoderPreset(
        "the same on Whisper tiny.en, which is part of the package", _make_clip_whisper
    ),
    "ensemble": DecoderPreset(
        "weighted mean of three networks of clip-mel and the likelihood decoder", _make_ensemble
    ),
}


def make_decoders(
    names=("ridge", "clip-mel"),
    size="laptop",
    memory=None,
    wav2vec2=XLSR,
    verbose=0,
    events=None,
    random_state=None,
):
    """Make pipelines of the decoders of Défossez et al. (2023) and of ridge.

    All pipelines have the steps "epochs", an :class:`~sk_b2s.Epocher` with a
    lag of 150 ms, and "scale", a :class:`~sk_b2s.RobustChannelScaler` that
    clips at 20. The last step is "ridge", a :class:`RidgeDecoder`,
    "likelihood", a :class:`LikelihoodDecoder`, or "encoder", a
    :class:`BrainEncoder`. Unless ``size="paper"``, the step "align", a
    :class:`~sk_b2s.CovarianceAlignment`, precedes ridge and the encoder. The
    decoders correspond to Table 2 of [1]_, with ridge regression, the
    likelihood and the ensemble in addition. The ensemble is the single step
    "ensemble", an :class:`EnsembleDecoder` of such pipelines.

    Parameters
    ----------
    names : str or sequence of str, default=("ridge", "clip-mel")
        Presets to make:

        {presets}
    size : {"laptop", "hours", "paper"}, default="laptop"
        "laptop" trains in minutes on two cores: EEG/MEG at 50 Hz, whitened
        over channels, 20 Mel bands at 50 Hz, which ridge whitens in time, and
        a network of about 50,000 parameters. Its settings were selected on
        simulated data of 4 subjects and 10 minutes, see
        ``benchmarks/search_presets.py``. "hours" differs in the network only,
        which has 96 instead of 16 virtual channels, larger batches and fewer
        epochs. Use it if the training recordings last two hours or more in
        total. It was selected on 8 subjects and 30 minutes.
        "paper" uses the settings of [1]_ and requires a GPU.
    memory : None, str, Path or joblib.Memory, default=None
        Cache folder for recordings and speech features, shared by all
        decoders. The folder contains pickle files, which can execute code. Use
        a folder that only you can write to.
    wav2vec2 : str or Path, default="facebook/wav2vec2-large-xlsr-53"
        Model of "clip-wav2vec2", a name on the Hugging Face hub or a folder.
        Set its layers with
        ``set_params(encoder__speech__wav2vec2features__layers=...)``.
    verbose : int, default=0
        If 1, print a line for each epoch of a network.
    events : DataFrame, default=None
        Events table with words and phonemes in ARPAbet of all stimuli. If
        given, decoders of Mel bands also use acoustic onsets, phonetic
        features and word onsets. The transcript of each candidate must then be
        known, as it is if candidates are segments of known speech. If None,
        features are computed from the audio only.
    random_state : None, int or RandomState, default=None
        Seed of all networks, also of those in the ensemble.

    Returns
    -------
    estimators : dict of str to Pipeline
        Pipelines in the order of ``names``, for :func:`~sk_b2s.benchmark`.

    Raises
    ------
    ValueError
        If a name or size is unknown.

    References
    ----------
    .. [1] Défossez et al. (2023). Decoding speech perception from non-invasive
       brain recordings. Nature Machine Intelligence 5:1097.
       https://doi.org/10.1038/s42256-023-00714-5

    Examples
    --------
    >>> from sk_b2s.decoding import make_decoders
    >>> decoders = make_decoders(["ridge", "clip-mel"])
    >>> decoders["clip-mel"].set_params(encoder__hidden=32)["encoder"].hidden
    32
    >>> list(decoders["ridge"].named_steps)
    ['epochs', 'scale', 'align', 'ridge']
    """
    if size == "small":
        raise ValueError(
            "size='small' was replaced by size='laptop', which has a smaller network and better scores. Set size='laptop'."
        )
    if size not in SIZES:
        raise ValueError(f"size must be one of {list(SIZES)}. Got {size!r} instead.")
    size = SIZES[size]._replace(events=events)
    out = {}
    for name in [names] if isinstance(names, str) else names:
        if name not in PRESETS:
            hint = make_suggestion_text(name, PRESETS)
            raise ValueError(f"Unknown decoder {name!r}{hint}. Known decoders are {', '.join(PRESETS)}.")
        out[name] = _make_preset_pipeline(name, size, memory, wav2vec2)
        for ending, value in {"encoder__verbose": verbose, "encoder__random_state": random_state}.items():
            keys = [key for key in out[name].get_params() if key.endswith(ending)]
            out[name].set_params(**dict.fromkeys(keys, value))
    return out


def _make_preset_pipeline(name, size, memory, wav2vec2):
    """Make the pipeline of a preset."""
    from sklearn.pipeline import Pipeline

    from sk_b2s.preprocessing._covariance_alignment import CovarianceAlignment
    from sk_b2s.preprocessing._epocher._epocher import Epocher
    from sk_b2s.preprocessing._scalers import RobustChannelScaler

    step, decoder = PRESETS[name].make_last_step(size, memory, wav2vec2)
    if step == "ensemble":
        return Pipeline([(step, decoder)])  # members have their own steps
    windows = [
        ("epochs", Epocher(sfreq=size.sfreq, lag=0.15, memory=memory)),
        ("scale", RobustChannelScaler(clip=20)),
    ]
    if size.align and step != "likelihood":
        windows.append(("align", CovarianceAlignment()))
    return Pipeline([*windows, (step, decoder)])


fill_docstring_list(
    make_decoders, "{presets}", (f'"{name}": {preset.summary}.' for name, preset in PRESETS.items())
)
