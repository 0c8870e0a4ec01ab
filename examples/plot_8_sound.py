"""
Listen to reconstructed speech and its controls
===============================================

A decoder estimates the mel spectrogram of speech from recordings, and a
vocoder makes it audible. The same vocoder makes sound of noise, too. This page
has players of the estimate and of its controls, and measures which of them
follow the stimulus.
"""

# %%
# The experiment
# --------------
# Four minutes of speech for each of two subjects, 32 simulated MEG sensors. The responses are much larger
# than in real recordings, because four minutes are little data. Do not expect these scores or sounds on real
# recordings.
import io
import warnings
from base64 import b64encode
from pathlib import Path

from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline, make_pipeline

from sk_b2s import (
    Epocher,
    FeatureScaler,
    MelSpectrogram,
    RidgeDecoder,
    RobustChannelScaler,
    SpeechReconstructor,
    StimulusKFold,
    Wav2Vec2Features,
    make_segments,
    write_reconstruction_report,
)
from sk_b2s.datasets import make_listening
from sk_b2s.synthesis import make_example_voice, reconstruct_with_controls, write_wav

OUT = Path("demo_output")
OUT.mkdir(exist_ok=True)
events = make_listening(2, 4, n_channels=32, snr_db=-6, artifacts=False, root=OUT / "listening")
X, y = make_segments(events, anchor=0.5, tmin=0, tmax=3)

# %%
# The reconstruction
# ------------------
# Ridge regression estimates 20 mel bands of each window, and overlapping windows are averaged. The Griffin-Lim
# algorithm has learned nothing about speech. :func:`~sk_b2s.synthesis.reconstruct_with_controls` refits the decoder
# on surrogate recordings and on shifted pairs, and adds the true features and the training mean.
memory = str(OUT / "cache")
speech = make_pipeline(MelSpectrogram(n_mels=20, sfreq=25, memory=memory), FeatureScaler())
decoder = Pipeline([
    ("epochs", Epocher(sfreq=25, lag=0, baseline=None, memory=memory)), ("scale", RobustChannelScaler(clip=20)),
    ("decoder", RidgeDecoder(speech=speech)),
])  # fmt: skip
train, test = next(StimulusKFold(2).split(X, y))


def reconstruct(decoder, vocoder, names=None):
    """Reconstruct the test stimuli with a vocoder, and their controls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the controls, which have nothing to learn
        model = SpeechReconstructor(decoder, vocoder=vocoder)
        return reconstruct_with_controls(model, X, y, [(train, test)], names)


controls = reconstruct(decoder, "griffinlim")
print(controls.summarize()[["r", "r_null_high", "two_way", "n_way", "n_way_null_high"]].round(2).to_string())
print(f"\n{controls.verdict}: {controls.verdict_text}")

# %%
# The sounds
# ----------
# Ten seconds of each, with the first frame of the test stimuli. They were not selected by their score.


class Player:
    """Player of audio that is part of the page."""

    def __init__(self, audio, metadata):
        file = io.BytesIO()
        write_wav(file, audio, 16000, metadata)
        self.source = f"data:audio/wav;base64,{b64encode(file.getvalue()).decode()}"

    def _repr_html_(self):
        return f'<audio controls src="{self.source}"></audio>'


def play(name, controls=controls, **options):
    """Make a player of ten seconds of a control."""
    return Player(controls.to_audio(name, stop=10, **options), controls.models[0].metadata)


# %%
# Estimated from the recordings:
play("decoder")

# %%
# The same, with silence where a second is not more similar to its stimulus than to shifted ones (confidence below
# .95). This requires the true stimulus:
play("decoder", threshold=0.95)

# %%
# True features through the same vocoder, the upper bound:
play("true_features")

# %%
# Refitted on surrogate recordings without a response. It is as loud as the estimate, and contains nothing:
play("phase_randomized")

# %%
# The training mean:
play("prior_only")

# %%
# A voice
# -------
# A :class:`~sk_b2s.SpeakerVoice` replaces each frame by similar frames of one speaker, here of a synthetic one. It finds them by
# features of a pretrained speech model. The decoder estimates these features instead of mel bands, and ``target="auto"``
# matches them directly. First the estimate, then the surrogate recording in the same voice:
speech = make_pipeline(Wav2Vec2Features("whisper-tiny.en", memory=memory), FeatureScaler())
spoken = clone(decoder).set_params(epochs__sfreq=50, decoder__speech=speech, decoder__alphas=(0.1,))
voiced = reconstruct(spoken, make_example_voice("slt", n_sentences=3), ["phase_randomized"])
print(voiced.models[0].target_, voiced.models[0].metadata)
print(voiced.summarize()[["r", "r_null_high", "two_way", "n_way", "n_way_null_high"]].round(2).to_string())
play("decoder", voiced)

# %%
play("phase_randomized", voiced)

# %%
# Both are fluent. The second table has the scores of the 384 estimated features, and the voice does not change them. Word error
# rates, opinion scores or intelligibility of such sounds measure the voice, and must not be reported as decoding.
#
# The report
# ----------
# One page with the verdict, all scores, players and spectrograms. It opens offline.
path = write_reconstruction_report(controls, OUT / "reconstruction.html", duration=10)
print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")

# sphinx_gallery_thumbnail_path = "_static/figures/synthesis.svg"
