"""Decoder presets: they fit, score and have the parameters of their size."""

import pytest

from sk_b2s import StimulusKFold, retrieve
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
        epochs__sfreq=32.0,
    )
    result = retrieve(pipe.fit(X.iloc[train], y.iloc[train]), X.iloc[test], y.iloc[test])
    assert result.scores.shape == (len(test), y["segment"].iloc[test].nunique())


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


def test_make_decoders_rejects_unknown_names():
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        make_decoders("rigde")
    with pytest.raises(ValueError, match="size must be one of"):
        make_decoders("ridge", size="huge")


def test_make_decoders_documents_every_preset():
    for name, preset in PRESETS.items():
        assert f'- "{name}": {preset.summary}.' in make_decoders.__doc__
