"""Fixtures of small random speech models and audio."""

import pytest
import torch
from helpers.sounds import write
from helpers.speech_models import KINDS, make_audio


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """Return the folder of a small random model of each kind."""
    made = {}

    def find_folder(kind):
        if kind not in made:
            import transformers

            name, settings = KINDS[kind]
            path = tmp_path_factory.mktemp("network")
            with torch.random.fork_rng():
                torch.manual_seed(0)
                network = getattr(transformers, f"{name}Model")(
                    getattr(transformers, f"{name}Config")(**settings)
                )
                for parameter in network.parameters():  # initial norms have no effect
                    parameter.data += 0.1 * torch.randn_like(parameter)
            network.save_pretrained(path)
            extractor = (
                transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2)
                if kind == "whisper"
                else transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
            )
            extractor.save_pretrained(path)
            made[kind] = str(path)
        return made[kind]

    return find_folder


@pytest.fixture
def sound(tmp_path):
    """Audio file of 3.3 s, and its samples."""
    audio = make_audio(3.3)
    return write(tmp_path / "story.wav", audio), audio
