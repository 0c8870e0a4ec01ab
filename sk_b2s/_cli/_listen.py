"""Command ``sk-b2s listen``: audio and page of a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from sklearn.pipeline import Pipeline

from sk_b2s._cli._live import check_live_subject
from sk_b2s._persistence._save_load import load
from sk_b2s._utils._estimators import iter_estimator_levels
from sk_b2s._utils._text import make_text_visible
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.preprocessing._epocher._epocher import Epocher
from sk_b2s.preprocessing._segments import make_segments
from sk_b2s.reporting._reconstruction import write_reconstruction_report, write_unscored_reconstruction
from sk_b2s.synthesis._fitted_controls import compare_fitted_with_controls, insert_fitted_surrogate
from sk_b2s.synthesis._reconstructor import SpeechReconstructor

LONGEST = 300.0  # s of a page, whose audio is embedded
SHORTEST = 5.0  # s of a stimulus, because seconds are identified among at least five


def run_listen_command(args):
    """Reconstruct a recording, write audio and page, and return 0."""
    model, epocher, seconds = load_listen_model(args.model)
    *_, decoder = iter_estimator_levels(model.decoder_)
    check_live_subject(decoder, args.subject)
    if not 0 < args.duration <= LONGEST:
        raise ValueError(f"--duration must be above 0 and at most {LONGEST:g} s. Got {args.duration:g}.")
    if not 0 <= args.start < np.inf:
        raise ValueError(f"--start must be at least 0 s. Got {args.start:g}.")
    if not args.step > 0:
        raise ValueError(f"--step must be above 0 s. Got {args.step:g}.")
    if args.shifts < 0:
        raise ValueError(f"--shifts must be at least 0. Got {args.shifts}.")
    length = check_listen_recording(args.recording, epocher, seconds)
    title = args.title or f"Reconstructed speech of {Path(args.recording).name}"
    stop = args.start + args.duration
    if args.sound is None:
        if args.onset is not None:
            raise ValueError("--onset requires --sound. Add the stimulus, or remove --onset.")
        X = make_listen_windows(args, length, epocher, seconds)
        (mel,), (noise,) = model.predict(X), insert_fitted_surrogate(model, X).predict(X)
        first = round(args.start * model.sfreq_)
        if first >= len(mel):
            raise ValueError(
                f"--start must be below the {len(mel) / model.sfreq_:.1f} s of the reconstruction. Got {args.start:g}."
            )
        mel, noise = (each[first : round(stop * model.sfreq_)] for each in (mel, noise))
        audio = model.to_audio(mel)
        write_unscored_reconstruction(
            model, {"decoder": mel, "phase_randomized": noise}, args.page, title, args.start
        )
        text = "There is no score, because the stimulus is unknown. Add --sound and --onset if it is known."
    else:
        X, y = make_listen_segments(args, seconds)
        controls = compare_fitted_with_controls(model, X, y, n_shifts=args.shifts)
        n_seconds = controls.results["decoder"].estimate[0].shape[1] / controls.sfreq
        if args.start >= n_seconds:
            raise ValueError(
                f"--start must be below the {n_seconds:.1f} s of the reconstruction. Got {args.start:g}."
            )
        audio = controls.to_audio("decoder", 0, args.start, min(stop, n_seconds))
        duration = min(args.duration, n_seconds - args.start)
        write_reconstruction_report(
            controls, args.page, title, start=args.start, duration=duration, stimulus=not args.no_stimulus
        )
        text = f"{controls.verdict}: {controls.verdict_text}"
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    model.write(args.output, audio)
    print(make_text_visible(f"{text}\naudio: {args.output}, {len(audio) / 16000:.1f} s\npage: {args.page}"))
    return 0


def load_listen_model(path):
    """Load a reconstructor: itself, its Epocher and seconds of a window."""
    model = load(path)
    if not isinstance(model, SpeechReconstructor):
        raise ValueError(
            f"--model {path}: the file must contain a fitted SpeechReconstructor. Got {type(model).__name__}. Fit "
            f"SpeechReconstructor(decoder) and save it with sk_b2s.save."
        )
    pipeline = model.decoder_
    if not isinstance(pipeline, Pipeline) or not isinstance(pipeline.steps[0][1], Epocher):
        raise ValueError(
            f"--model {path}: the decoder must be a Pipeline that begins with an Epocher. Got {type(pipeline).__name__}."
        )
    epocher = pipeline.steps[0][1]
    if not hasattr(epocher, "ch_names_"):
        raise ValueError(
            f"--model {path}: the Epocher was fitted on arrays. Fit it on a table of make_segments."
        )
    *_, decoder = iter_estimator_levels(pipeline)
    return model, epocher, (decoder.n_times_in_ - 1) / epocher.sfreq  # both ends are in the window


def check_listen_recording(path, epocher, seconds):
    """Check channels and duration of a recording, and return its seconds."""
    if not Path(path).exists():
        raise FileNotFoundError(f"RECORDING: the file {str(path)!r} does not exist.")
    raw = read_raw(path)
    if missing := [name for name in epocher.ch_names_ if name not in raw.ch_names]:
        raise ValueError(
            f"{path}: the recording must have the channels of the model. It lacks {len(missing)}: {missing[:5]}."
        )
    length = raw.n_times / raw.info["sfreq"]
    if length < seconds + abs(epocher.lag) + 1:
        raise ValueError(
            f"{path}: the recording must have at least {seconds + abs(epocher.lag) + 1:.1f} s, one window of the model. Got "
            f"{length:.1f} s."
        )
    return length


def make_listen_windows(args, length, epocher, seconds):
    """Lay windows on a regular grid over the whole recording."""
    first, last = max(0.0, -epocher.lag), length - seconds - max(0.0, epocher.lag) - 0.5
    onset = [first + number * args.step for number in range(int((last - first) / args.step) + 1)]
    return pd.DataFrame({
        "recording": str(args.recording), "subject": args.subject, "session": "", "study": "", "onset": onset,
        "duration": seconds,
    })  # fmt: skip


def make_listen_segments(args, seconds):
    """Cut a recording and its known stimulus into windows."""
    if not Path(args.sound).is_file():
        raise FileNotFoundError(f"--sound: the file {str(args.sound)!r} does not exist.")
    try:
        duration = soundfile.info(args.sound).duration
    except soundfile.LibsndfileError as error:
        raise ValueError(f"--sound: {str(args.sound)!r} is not an audio file. Use WAV or FLAC.") from error
    if duration < (least := max(seconds, SHORTEST)):
        raise ValueError(
            f"--sound: the audio must have at least {least:g} s, a window of the model and seconds to identify. Got "
            f"{duration:g} s. Use the whole stimulus."
        )
    events = pd.DataFrame({
        "study": "", "subject": args.subject, "session": "", "recording": str(args.recording), "type": ["sound"],
        "onset": args.onset or 0.0, "duration": duration, "sound": str(args.sound),
        "sound_onset": 0.0,
    })  # fmt: skip
    return make_segments(events, anchor=args.step, tmin=0, tmax=seconds)
