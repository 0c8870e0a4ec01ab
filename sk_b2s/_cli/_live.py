"""Command ``sk-b2s live``: decode a stream or a replayed recording."""

from __future__ import annotations

import hashlib
import importlib
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from sk_b2s._persistence._save_load import load
from sk_b2s._utils._text import make_text_visible, shorten_text
from sk_b2s.io._raw._open import read_raw
from sk_b2s.streaming._decoder import StreamingDecoder
from sk_b2s.streaming._page import LivePage
from sk_b2s.streaming._pipeline import split_streaming_pipeline
from sk_b2s.streaming._records import read_live_predictions, score_live_predictions
from sk_b2s.streaming._session import decode_live
from sk_b2s.streaming._sources import make_stream_source

LINE_EVERY = 5.0  # seconds of the stream between two lines in a log file
SHOWN_EVERY = 0.2  # seconds between two updates of the terminal


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
    pipeline = load(args.model)
    epocher, _, fitted = split_streaming_pipeline(pipeline)
    duration = args.window or (fitted.n_times_in_ - 1) / epocher.sfreq  # both ends are in the window
    with ExitStack() as stack:
        source, sfreq = open_live_source(args, list(epocher.ch_names_), stack)
        decoder = StreamingDecoder(
            pipeline, candidates, sfreq, duration, args.step, args.evidence,
            10.0 if args.time_constant is None else args.time_constant, args.temperature, args.subject, bads=args.bads,
        )  # fmt: skip
        header = {
            "model": str(args.model), "model_sha256": hashlib.sha256(Path(args.model).read_bytes()).hexdigest(),
            "stream": args.stream or str(args.replay), "sk_b2s": importlib.import_module("sk_b2s").__version__, "truth": args.truth,
        }  # fmt: skip
        view = TerminalView(list(candidates), args.quiet)
        callbacks, statuses = [view.show], [view.show_status]
        reason = "interrupted"
        page = None if args.no_page else LivePage(list(candidates), 8642 if args.port is None else args.port)
        try:
            if page is not None:
                callbacks.append(page.show)
                statuses.append(page.show_status)
                print(f"page: {page.url}", flush=True)
            print(make_text_visible(f"file: {args.output}\nCtrl-C ends the run."), flush=True)
            counts = decode_live(
                decoder, source, args.onset, args.output, header, callbacks,
                lambda now, n_lost: [show(now, n_lost) for show in statuses],
            )  # fmt: skip
            reason = counts["reason"]
        finally:
            view.close()
            if page is not None:
                page.close(reason)
    return _summarize_run(args, counts)


def _summarize_run(args, counts):
    """Print counts and scores of a run that has ended."""
    print(
        f"{counts['reason']}: {counts['n_predictions']} predictions of {counts['n_samples']} samples, "
        f"{counts['n_lost']} samples lost, {counts['seconds']:.1f} s of computation"
    )
    if args.truth is not None and counts["n_predictions"]:
        table = read_live_predictions(args.output)
        table = table[table["run"] == table["run"].iloc[-1]]
        print(score_live_predictions(table, args.truth).round(3).to_string(index=False))
    return 0


def parse_live_candidates(texts):
    """Return the sounds by name of texts such as "story=story.wav"."""
    candidates = {}
    for text in texts:
        name, equals, sound = text.partition("=")
        if not (name and equals and sound):
            raise ValueError(f"--candidates must be NAME=SOUND, for example story=story.wav. Got {text!r}.")
        if name in candidates:
            raise ValueError(f"--candidates: the name {name!r} is used twice. Use distinct names.")
        if not Path(sound).is_file():
            raise FileNotFoundError(f"--candidates {name}: the file {sound!r} does not exist.")
        candidates[name] = sound
    return candidates


def open_live_source(args, ch_names, stack):
    """Return chunks of samples and their sampling rate."""
    if args.stream is not None:
        source = stack.enter_context(make_stream_source(args.stream, ch_names))
        return source, source.sfreq
    raw = read_raw(args.replay)
    if missing := [name for name in ch_names if name not in raw.ch_names]:
        raise ValueError(
            f"--replay {args.replay}: the recording must have the channels of the model. It lacks {missing[:5]}."
        )
    if args.no_lsl:
        return make_stream_source(raw, ch_names, pace=args.speed), raw.info["sfreq"]
    from sk_b2s.streaming._outlet import ReplayOutlet

    outlet = stack.enter_context(closing(ReplayOutlet(raw, ch_names, args.speed or 1.0)))
    source = stack.enter_context(make_stream_source(outlet.name, ch_names))
    return iter_replayed(outlet, source), source.sfreq


def iter_replayed(outlet, source, patience=1.0):
    """Yield what a source reads, until the replay is done and all has come."""
    latest = time.monotonic()
    while (read := source.read()) is not None:
        if read[0].shape[1]:
            latest = time.monotonic()
            yield read
        elif outlet.is_done and time.monotonic() - latest > patience:
            return
        else:
            time.sleep(0.01)


class TerminalView:
    """One line that is updated, or a line every few seconds in a log file."""

    def __init__(self, names, quiet=False, stream=None):
        self.names, self.quiet, self.stream = names, quiet, stream or sys.stdout
        self.is_terminal = self.stream.isatty()
        self.last, self.shown, self.width = None, -np.inf, 0

    def show(self, line):
        """Remember the latest prediction."""
        self.last = line

    def show_status(self, now, n_lost):
        """Print the latest prediction, if enough time has passed."""
        clock = time.monotonic() if self.is_terminal else now
        if (
            self.quiet
            or self.last is None
            or clock - self.shown < (SHOWN_EVERY if self.is_terminal else LINE_EVERY)
        ):
            return
        self.shown, text = clock, self.format_line(now, n_lost)
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
        return (
            f"{now:7.1f} s  evidence {self.last['stimulus_time']:6.1f} s  age {self.last['age']:.2f} s  "
            f"lost {n_lost}  {shown}"
        )

    def close(self):
        """End the line."""
        if self.is_terminal and self.width:
            print(file=self.stream)
