"""Frames of a voice: pretrained features, log mel spectra, and their match."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s.features import _checkpoints as checkpoints
from sk_b2s.features._pretrained import Wav2Vec2Features
from sk_b2s.features._pretrained_chunks import average_pretrained_chunks
from sk_b2s.features._read_audio import AUDIO_SFREQ
from sk_b2s.synthesis._vocoder import make_vocoder_mel, mel_to_audio

HOP, SFREQ = 320, 50  # samples and rate of frames
PER_FRAME, N_MELS, N_FFT = 2, 80, 1024  # spectra in a frame, their bands and window
SIMILARITY_BYTES = 2**25
LEVEL, PEAK = 0.1, 0.99  # root mean square and largest sample of output


def compute_voice_frame_features(audio, model, layers, device, precision):
    """Compute pretrained features of audio, (n_frames, n_features)."""
    speech = Wav2Vec2Features(model, layers=layers, device=device, precision=precision)
    speech._check_rate()
    architecture = checkpoints.read_checkpoint_architecture(model)
    if architecture.hop != HOP:
        raise ValueError(
            f"model={model!r} has {AUDIO_SFREQ / architecture.hop:g} frames per second, and a voice needs {SFREQ}. "
            f"Use 'whisper-tiny.en'."
        )
    network, layers = (
        checkpoints.load_speech_checkpoint(model, None, device, precision),
        speech._select_layers(),
    )
    n_frames = -(-len(audio) // HOP)
    audio = np.pad(audio, (0, (n_frames - 1) * HOP + architecture.frame_length - len(audio)))
    size = min(1500, architecture.max_frames or 1500)
    return average_pretrained_chunks(
        network, architecture, audio, layers, n_frames, size, overlap=min(100, size // 2)
    )


def compute_voice_frame_mel(audio):
    """Compute the log mel spectra of frames, (n_frames, 2 · n_mels)."""
    audio = np.pad(audio, (0, -len(audio) % HOP))
    mel = make_vocoder_mel(audio, SFREQ * PER_FRAME, N_MELS, N_FFT)
    return mel.reshape(-1, PER_FRAME * N_MELS).astype(np.float32)


def invert_voice_frame_mel(mel, n_iter, random_state):
    """Synthesize samples from frames of mel spectra with Griffin-Lim."""
    spectra = mel.reshape(-1, N_MELS)
    sound = mel_to_audio(spectra, SFREQ * PER_FRAME, n_fft=N_FFT, n_rounds=n_iter, random_state=random_state)
    level, peak = np.sqrt(np.mean(sound**2)), np.abs(sound).max()
    return (sound * min(LEVEL / max(level, 1e-8), PEAK / max(peak, 1e-8))).astype(np.float32)


def match_voice_frames(queries, library, n_neighbors):
    """Find the frames of the library with the largest cosine similarity.

    Returns sorted indices of shape (n_queries, n_neighbors). The similarities
    are computed in chunks.
    """
    queries, library = _normalize_voice_frames(queries), _normalize_voice_frames(library)
    n_neighbors = min(n_neighbors, len(library))
    found = np.empty((len(queries), n_neighbors), np.int64)
    for rows in slice_rows_into_chunks(len(queries), count_chunk_rows(SIMILARITY_BYTES, len(library))):
        similarity = queries[rows] @ library.T
        found[rows] = np.argpartition(-similarity, n_neighbors - 1, axis=1)[:, :n_neighbors]
    return np.sort(found, axis=1)


def _normalize_voice_frames(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)


def resample_voice_frames(frames, sfreq):
    """Interpolate frames linearly to 50 frames per second."""
    n_frames = max(1, round(len(frames) / sfreq * SFREQ))
    at = np.clip((np.arange(n_frames) + 0.5) / SFREQ * sfreq - 0.5, 0, len(frames) - 1)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None]
    return (1 - share) * frames[low] + share * frames[np.minimum(low + 1, len(frames) - 1)]


def standardize_voice_frames(mel, n_bands=None):
    """Standardize each band over frames, after interpolation of the bands."""
    if n_bands is not None and mel.shape[1] != n_bands:
        at = (np.arange(n_bands) + 0.5) / n_bands * mel.shape[1] - 0.5
        mel = np.stack([np.interp(at, np.arange(mel.shape[1]), row) for row in mel])
    spread = mel.std(0)
    return (mel - mel.mean(0)) / np.where(spread > 1e-6, spread, np.inf)
