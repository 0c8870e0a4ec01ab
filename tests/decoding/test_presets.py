"""Decoder presets: they fit, score and have the parameters of their size."""

import pandas as pd
import pytest

from sk_b2s import StimulusKFold, retrieve
from sk_b2s.decoding._encoder_network import ARCHITECTURE
from sk_b2s.decoding._presets import PRESETS, make_decoders


@pytest.mark.parametrize("name", ["regression", "clip-mel", "clip-deepmel"])
def test_make_decoders_network_fits_and_retrieves(name, listening):
    X, y = listening
    train, test = next(StimulusKFold(3).split(X, y))
    pipe = make_decoders(name)[name].set_params(
        encoder__hidden=16,
        encoder__depth=2,
        encoder__validation=None,
        encoder__max_epochs=1,
    )
    result = retrieve(pipe.fit(X.iloc[train], y.iloc[train]), X.iloc[test], y.iloc[test])
    assert result.scores.shape == (len(test), y["segment"].iloc[test].nunique())


def test_make_decoders_likelihood_fits(listening):
    X, y = listening
    train, test = next(StimulusKFold(3).split(X, y))
    pipe = make_decoders("likelihood")["likelihood"].set_params(likelihood__max_iter=2)
    result = retrieve(pipe.fit(X.iloc[train], y.iloc[train]), X.iloc[test], y.iloc[test])
    assert result.scores.shape == (len(test), y["segment"].iloc[test].nunique())
    larger = make_decoders("likelihood", size="paper")["likelihood"]
    rates = larger["epochs"].sfreq, larger["likelihood"].speech[0].transformer_list[0][1].sfreq
    assert rates == (120, 40)


def test_make_decoders_paper_size_has_class_defaults():
    from sk_b2s import BrainEncoder, Epocher, MelSpectrogram

    pipe = make_decoders("clip-mel", size="paper")["clip-mel"]
    skipped = {"speech", "verbose"}
    found, expected = pipe["encoder"].get_params(deep=False), BrainEncoder().get_params()
    assert {k: v for k, v in found.items() if k not in skipped} == {
        k: v for k, v in expected.items() if k not in skipped
    }
    assert pipe["epochs"].get_params() == Epocher().get_params()
    assert pipe["encoder"].speech[0].get_params() == MelSpectrogram().get_params()


def test_make_decoders_whisper_reads_packaged_model():
    features = make_decoders("clip-whisper", wav2vec2="other/model")["clip-whisper"]["encoder"].speech[0]
    assert (features.model, features.layers) == ("whisper-tiny.en", "auto")


@pytest.mark.parametrize(("size", "n_subjects"), [("laptop", 20), ("hours", 20)])
def test_make_decoders_network_is_small(size, n_subjects):
    from sk_b2s.nn._brain_module import BrainModule

    pipe = make_decoders("clip-mel", size=size)["clip-mel"]
    assert list(pipe.named_steps) == ["epochs", "scale", "align", "encoder"]
    params = {name: value for name, value in pipe["encoder"].get_params().items() if name in ARCHITECTURE}
    module = BrainModule(208, 20, n_subjects=n_subjects, n_times=151, **params)
    assert sum(weights.numel() for weights in module.parameters()) < 500_000


def test_make_decoders_ensemble_joins_presets():
    made = make_decoders(["ensemble", "clip-mel", "likelihood"], verbose=1)
    ensemble = made["ensemble"]["ensemble"]
    for name, member in ensemble.estimators:
        assert str(member.get_params()) == str(made[name].get_params())
    assert [name for name, _ in ensemble.estimators] == ["clip-mel", "likelihood"]
    assert ensemble.n_seeds == 3


def test_make_decoders_random_state_seeds_networks():
    for name, decoder in make_decoders(PRESETS, random_state=3).items():
        seeds = [
            value for key, value in decoder.get_params().items() if key.endswith("encoder__random_state")
        ]
        assert seeds == ([] if name in ("ridge", "likelihood") else [3]), name


def test_make_decoders_rejects_unknown_names():
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        make_decoders("rigde")
    with pytest.raises(ValueError, match="size must be one of"):
        make_decoders("ridge", size="huge")
    with pytest.raises(ValueError, match="Set size='laptop'"):
        make_decoders("ridge", size="small")


def test_make_decoders_documents_every_preset():
    documented = " ".join(make_decoders.__doc__.split())
    for name, preset in PRESETS.items():
        assert f'- "{name}": {preset.summary}.' in documented


def test_make_decoders_events_add_features(listening):
    X, y = listening
    events = pd.DataFrame({
        "type": ["phoneme", "word"], "sound": y["sound"].iloc[0], "sound_onset": 0.5, "duration": 0.1,
        "text": ["AH0", "a"],
    })  # fmt: skip
    names = ["ridge", "clip-mel", "likelihood"]
    for name, decoder in make_decoders(names, events=events).items():
        features = decoder[-1].speech[0].fit(y.iloc[:9])
        n_mels = 8 if name == "likelihood" else 20
        assert features.feature_ranges_ == {
            "mel": (0, n_mels), "onsets": (n_mels, n_mels + 8), "phones": (n_mels + 8, n_mels + 25),
            "words": (n_mels + 25, n_mels + 26),
        }  # fmt: skip
