"""Command ``sk-b2s live``: decode a stream or a replayed recording."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from sk_b2s._persistence._save_load import load
from sk_b2s._utils._text import make_text_visible, shorten_list, shorten_text
from sk_b2s.events._images import ImageStimulus, is_image_name, make_image
from sk_b2s.io._raw._read_raw import read_raw
from sk_b2s.streaming._decode_live import decode_live
from sk_b2s.streaming._decoder import StreamingDecoder
from sk_b2s.streaming._live_predictions import read_live_predictions, score_live_predictions
from sk_b2s.streaming._onsets import AudioOnset, TriggerOnset
from sk_b2s.streaming._outlet import LOOPBACK, ReplayOutlet
from sk_b2s.streaming._page import LivePage
from sk_b2s.streaming._page_images import make_page_images
from sk_b2s.streaming._page_spectrograms import make_page_spectrograms
from sk_b2s.streaming._permuted_twin import PermutedTwin
from sk_b2s.streaming._pipeline import split_streaming_pipeline
from sk_b2s.streaming._sources._sources import make_stream_source

LINE_EVERY = 5.0  # seconds of the stream between two lines in a log file
SHOWN_EVERY = 0.2  # seconds between two updates of the terminal
IDENTIFIER = "image:"  # before the identifier of an image without a file
END_MARGIN = 1.0  # seconds after the sounds and all delays, when a run ends


def run_live_command(args):
    """Decode a stream, show and write the predictions, and return 0."""
    candidates = parse_live_candidates(args.candidates)
    if args.truth is not None and args.truth not in candidates:
        raise ValueError(
            f"--truth must be one of the candidates {', '.join(candidates)}. Got {args.truth!r}."
        )
    if args.stream is not None and (args.no_lsl or args.speed is not None):
        raise ValueError("--no-lsl and --speed require --replay. Remove them, or replay a recording.")
    if args.time_constant is not None and args.evidence != "leaky":
        raise ValueError("--time-constant requires --evidence leaky. Add it, or remove --time-constant.")
    if args.port is not None and args.no_page:
        raise ValueError("--port and --no-page contradict each other. Remove one of them.")
    if args.trigger_code is not None and args.trigger is None:
        raise ValueError("--trigger-code requires --trigger. Add the channel, or remove --trigger-code.")
    channel = args.trigger or args.audio  # of onsets, read after the channels of the model
    pipeline, digest = load_live_model(args.model)
    epocher, scalers, fitted = split_streaming_pipeline(pipeline)
    check_live_subject(fitted, args.subject)
    if args.tmin and not any(isinstance(one, ImageStimulus) for one in candidates.values()):
        raise ValueError("--tmin requires candidates that are images. Remove it.")
    duration = args.window or (fitted.n_times_in_ - 1) / epocher.sfreq  # both ends are in the window
    with ExitStack() as stack:
        source, sfreq = open_cli_live_source(
            args, [*epocher.ch_names_, *([channel] if channel else [])], stack
        )
        decoder = StreamingDecoder(
            pipeline, candidates, sfreq, duration, args.step, args.evidence,
            10.0 if args.time_constant is None else args.time_constant, args.temperature, args.subject,
            read_live_sensor_positions(args, epocher, fitted, duration), args.bads, tmin=args.tmin,
        )  # fmt: skip
        header = {
            "model": str(args.model), "model_sha256": digest,
            "stream": args.stream or str(args.replay), "sk_b2s": importlib.import_module("sk_b2s").__version__, "truth": args.truth,
        }  # fmt: skip
        onset = make_cli_live_onset(args, candidates, sfreq)
        first, stop = find_live_span(args.onset, decoder, scalers)
        warm_up_live(decoder, first - args.onset)
        if channel is not None:
            stop = np.inf  # of a stream with any number of trials
        view = LiveTerminalView(list(candidates), args.quiet)
        callbacks, statuses = [view.show], [view.show_status]
        reason = "interrupted"
        page = None if args.no_page else make_cli_live_page(args, decoder)
        twin = PermutedTwin(decoder, None, page and page.show_twin) if args.twin else None
        try:
            if page is not None:
                callbacks.append(page.show)
                statuses.append(page.show_status)
                print(f"page: {page.url}", flush=True)
            print(f"file: {make_text_visible(str(args.output))}\nCtrl-C ends the run.", flush=True)
            if channel is None:
                print(f"Predictions come from about {first:.0f} s to {stop:.0f} s of the stream.", flush=True)
            else:
                print(f"Predictions begin {first:.0f} s after an onset in the channel {channel}.", flush=True)
            factor = 1.0 if args.trigger is None else get_live_trigger_factor(source)
            counts = decode_live(
                decoder, LimitedLiveSource(source, stop + END_MARGIN, sfreq, twin, factor), onset, args.output, header, callbacks,
                lambda now, n_lost: [show(now, n_lost) for show in statuses],
            )  # fmt: skip
            reason = counts["reason"]
        except Exception as error:
            reason = type(error).__name__  # as in the file
            raise
        finally:
            view.close()
            if page is not None:
                page.close(reason)
    return _summarize_run(args, counts, twin)


def make_cli_live_page(args, decoder):
    """Start the page, with images or spectrograms of the candidates."""
    is_trial = decoder._sounds.is_trial
    return LivePage(
        decoder.candidates, 8642 if args.port is None else args.port,
        None if is_trial else make_page_spectrograms(decoder), make_page_images(decoder) if is_trial else None,
    )  # fmt: skip


def _summarize_run(args, counts, twin):
    """Print counts and scores of a run that has ended."""
    print(
        f"{counts['reason']}: {counts['n_predictions']} predictions of {counts['n_samples']} samples, "
        f"{counts['n_lost']} samples lost, {counts['seconds']:.1f} s of computation"
    )
    if args.truth is not None and counts["n_predictions"]:
        table = read_live_predictions(args.output)
        table = table[table["run"] == table["run"].iloc[-1]]
        print(score_live_predictions(table, args.truth).dropna(axis=1).round(3).to_string(index=False))
        if twin is not None and twin.best:
            correct = np.mean([best == args.truth for best in twin.best])
            print(f"accuracy of the twin with permuted channels, one permutation: {correct:.3f}")
    if not counts["n_predictions"]:
        print("No predictions: the stream ended before the first one, or samples were lost. Check --onset.")
    return 0


def load_live_model(path):
    """Load a pipeline, and return it with the SHA-256 of its file."""
    pipeline = load(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return pipeline, digest


def check_live_subject(decoder, subject):
    """Raise if a subject is required, and report an unseen one."""
    known = [str(name) for name in getattr(decoder, "subjects_", []) if name != ""]
    if subject is None and known:
        raise ValueError(f"--subject is required. The model was fitted to {shorten_list(known, 8)}.")
    if subject is not None and known and subject not in known:
        print(
            f"Subject {make_text_visible(subject)!r} is not in the model, which was fitted to {shorten_list(known, 8)}. The "
            f"model of unseen subjects is used.",
            flush=True,
        )


def read_live_sensor_positions(args, epocher, decoder, duration):
    """Return the sensor positions of a recording, if the decoder uses any."""
    if not getattr(decoder, "uses_positions", False):
        return None
    if (path := args.positions or args.replay) is None:
        raise ValueError(
            "--positions is required, because the network of the model uses sensor positions. Pass a recording with this "
            "cap, for example one of the calibration recordings."
        )
    row = pd.DataFrame({
        "recording": [str(path)], "subject": [args.subject], "onset": [duration], "duration": [duration],
    })  # fmt: skip
    return epocher.transform(row).positions[0]


def make_cli_live_onset(args, candidates, sfreq):
    """Return the onset in seconds, or a finder of onsets in a channel."""
    if args.trigger is not None:
        return TriggerOnset(args.trigger_code)
    return args.onset if args.audio is None else AudioOnset(candidates, sfreq)


def get_live_trigger_factor(source):
    """Return the factor of the last channel, which changes trigger codes."""
    factors = getattr(source, "_factors", None)
    return 1.0 if factors is None else float(np.ravel(factors)[-1])


def find_live_span(onset, decoder, scalers):
    """Return the seconds of the stream of the first and last predictions."""
    sounds, delay = decoder._sounds, onset + decoder.latency_["total"]
    first = max([sounds.start + decoder.duration, *(scaler.calibration for _, scaler in scalers)])
    return first + delay, sounds.stop + delay


def warm_up_live(decoder, seconds):
    """Predict from noise, so that the first real prediction is not late.

    Features of the sounds are computed once in a process, which takes longer
    than a step.
    """
    # after a baseline before the window
    onset = max(0.0, -decoder._first / decoder.parts.epocher.sfreq) + max(0.0, -decoder.tmin)
    shape = len(decoder.is_bad), round((onset + seconds + decoder.step) * decoder.sfreq)
    PermutedTwin(decoder, onset).push(1e-6 * np.random.default_rng(0).standard_normal(shape))


class LimitedLiveSource:
    """Chunks of a source until some seconds of samples have been read."""

    def __init__(self, source, seconds, sfreq, twin=None, trigger_factor=1.0):
        self._source, self._n_most, self._twin = source, seconds * sfreq, twin
        self._trigger_factor = trigger_factor
        self.arrival = getattr(source, "arrival", None)  # of decode_live

    def __iter__(self):
        n_samples = 0
        for samples, timestamps in self._source:
            if self._trigger_factor != 1:
                samples = np.vstack([samples[:-1], samples[-1:] / self._trigger_factor])
            arrived = self.arrival and self.arrival()
            yield samples, timestamps
            if self._twin is not None:
                self._twin.push(samples, timestamps, arrived)
            n_samples += samples.shape[1]
            if n_samples >= self._n_most:
                return


def parse_live_candidates(texts):
    """Return sounds, with their delays if given, or images by name.

    A text is, for example, "story=story.wav", "other=other.wav@1.5",
    "dog=dog_01.png", "dog=image:dog_01" or only "dog_01.png".
    """
    candidates = {}
    for text in texts:
        name, equals, sound = text.partition("=")
        if Path(text).is_file():
            name, equals, sound = Path(text).stem, "=", text
        if not (name and equals and sound):
            raise ValueError(
                f"--candidates must be NAME=FILE or NAME=image:IDENTIFIER, for example story=story.wav. Got {text!r}."
            )
        if name in candidates:
            raise ValueError(f"--candidates: the name {name!r} is used twice. Use distinct names.")
        if sound.startswith(IDENTIFIER) and len(sound) > len(IDENTIFIER):
            candidates[name] = ImageStimulus(sound.removeprefix(IDENTIFIER))
            continue
        if is_image_name(sound) and Path(sound).is_file():
            candidates[name] = make_image(Path(sound), "image")
            continue
        delay = None
        if not Path(sound).is_file() and "@" in sound:
            sound, delay = _parse_live_candidate_delay(name, sound)
        if not Path(sound).is_file():
            raise FileNotFoundError(f"--candidates {name}: the file {sound!r} does not exist.")
        candidates[name] = sound if delay is None else (sound, delay)
    return candidates


def _parse_live_candidate_delay(name, text):
    """Return the sound and the delay of a text such as "a.wav@1.5"."""
    sound, _, seconds = text.rpartition("@")
    try:
        return sound, float(seconds)
    except ValueError:
        raise ValueError(
            f"--candidates {name}: the delay after @ must be a number of seconds. Got {seconds!r}."
        ) from None


def open_cli_live_source(args, ch_names, stack):
    """Return chunks of samples and their sampling rate."""
    if args.stream is not None:
        source = stack.enter_context(make_stream_source(args.stream, ch_names))
        return source, source.sfreq
    if not Path(args.replay).exists():
        raise FileNotFoundError(f"--replay: the recording {str(args.replay)!r} does not exist.")
    raw = read_raw(args.replay)
    if args.onset >= raw.times[-1]:
        raise ValueError(
            f"--onset must be within the recording, which has {raw.times[-1]:.1f} s. Got {args.onset:g}."
        )
    if missing := [name for name in ch_names if name not in raw.ch_names]:
        raise ValueError(
            f"--replay {args.replay}: the recording must have the channels of the model. It lacks {missing[:5]}."
        )
    if args.no_lsl:
        return make_stream_source(raw, ch_names, pace=args.speed), raw.info["sfreq"]
    if "LSLAPICFG" not in os.environ and "mne_lsl.lsl" not in sys.modules:
        folder = stack.enter_context(TemporaryDirectory())
        os.environ["LSLAPICFG"] = os.path.join(folder, "lsl.cfg")
        stack.callback(os.environ.pop, "LSLAPICFG", None)
        Path(os.environ["LSLAPICFG"]).write_text(LOOPBACK)
    outlet = stack.enter_context(closing(ReplayOutlet(raw, ch_names, args.speed or 1.0)))
    source = stack.enter_context(make_stream_source(outlet.name, ch_names))
    return iter_live_replay(outlet, source), source.sfreq


def iter_live_replay(outlet, source, patience=60.0):
    """Yield what a source reads, until the replay is done and all has come.

    ``patience`` is the longest wait in seconds for samples that were sent.
    """
    n_read, latest = 0, time.monotonic()
    while (read := source.read()) is not None:
        if n_new := read[0].shape[1]:
            n_read, latest = n_read + n_new, time.monotonic()
            yield read
        elif outlet.is_done and (n_read >= outlet.n_sent or time.monotonic() - latest > patience):
            return
        else:
            time.sleep(0.01)


class LiveTerminalView:
    """One line that is updated, or a line every few seconds in a log file."""

    def __init__(self, names, quiet=False, stream=None):
        self.names, self.quiet, self.stream = names, quiet, stream or sys.stdout
        self.is_terminal = self.stream.isatty()
        self.last, self.shown, self.width, self.is_new = None, -np.inf, 0, False

    def show(self, line):
        """Remember the latest prediction."""
        self.last, self.is_new = line, True

    def show_status(self, now, n_lost):
        """Print the latest prediction, if enough time has passed."""
        clock = time.monotonic() if self.is_terminal else now
        if (
            self.quiet
            or self.last is None
            or not (self.is_new or self.is_terminal)  # in a log file, each line is a prediction
            or clock - self.shown < (SHOWN_EVERY if self.is_terminal else LINE_EVERY)
        ):
            return
        self.shown, self.is_new, text = clock, False, self.format_line(now, n_lost)
        if self.is_terminal:
            self.stream.write("\r" + text.ljust(self.width))
            self.stream.flush()
            self.width = len(text)
        else:
            print(text, file=self.stream, flush=True)

    def format_line(self, now, n_lost):
        """Format a prediction with the three most probable candidates."""
        values = sorted(self.last["probabilities"].items(), key=lambda item: -item[1])[:3]
        shown = ", ".join(f"{shorten_text(make_text_visible(name), 24)} {p:.2f}" for name, p in values)
        shown = " ".join(shown.split())
        age = self.last["age"] + max(0.0, now - self.last["time"])
        return (
            f"{now:7.1f} s  evidence {self.last['stimulus_time']:6.1f} s  age {age:.2f} s  "
            f"lost {n_lost}  {shown}"
        )

    def close(self):
        """End the line."""
        if self.is_terminal and self.width:
            print(file=self.stream)
