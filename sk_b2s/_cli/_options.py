"""Options of ``sk-b2s``, their types, and lists of names in the help."""

from __future__ import annotations

import argparse

from sk_b2s._utils._text import make_suggestion_text
from sk_b2s.decoding._presets import PRESETS, SIZES, XLSR
from sk_b2s.evaluation._tasks._names import TASK_QUESTIONS
from sk_b2s.model_selection._registry import SPLITTERS

DEBUG = "SK_B2S_DEBUG"  # environment variable


# --- options ---------------------------------------------------------------------------------------


def add_dataset_option(parser):
    parser.add_argument(
        "dataset", metavar="DATASET", help="name of a data set, path of a BIDS folder, or of an events table"
    )


def add_options(parser):
    """Add the options of a benchmark."""
    add_data_options(parser)
    add_split_options(parser)
    group = parser.add_argument_group("decoders")
    group.add_argument(
        "--estimator", metavar="NAME", action="extend", type=_make_names_type(PRESETS),
        help=f"{', '.join(PRESETS)}; several separated by commas, or repeat the option (default: ridge,clip-mel)",
    )  # fmt: skip
    group.add_argument(
        "--size", choices=list(SIZES), default="laptop", type=_parse_size,
        help="sampling rates and layer sizes, for minutes or hours of recordings on a laptop, or as published (default: laptop)",
    )  # fmt: skip
    group.add_argument(
        "--wav2vec2", metavar="MODEL",
        help=f"model name or folder for clip-wav2vec2 (default: {XLSR})",
    )  # fmt: skip
    group.add_argument(
        "--set", metavar="[NAME:]PARAMETER=VALUE", action="append", default=[],
        help="set a parameter of all pipelines that have it, or of one: encoder__lr=1e-4, ridge:epochs__lag=0.2",
    )  # fmt: skip
    group.add_argument(
        "--seeds", metavar="I", type=_parse_integers, default=[0],
        help="random seeds separated by commas (default: 0)",
    )  # fmt: skip
    group = parser.add_argument_group("scores")
    group.add_argument(
        "--question", metavar="TASK", type=_parse_task_option,
        help=f"task, which determines windows, folds, candidates and scores: {', '.join(TASK_QUESTIONS)} (default: segment)",
    )  # fmt: skip
    group.add_argument(
        "--option", metavar="NAME=VALUE", action="append", default=[],
        help="set an option of the task: n_words=20",
    )  # fmt: skip
    group.add_argument(
        "--k",
        type=int,
        help="k of the top-k accuracy that is compared with its null (default: 10, or that of the task)",
    )
    group.add_argument(
        "--pool", metavar="N", type=_parse_count_or_none, default=argparse.SUPPRESS,
        help="also score candidate pools of this size, or none (default: 50, or that of the task)",
    )  # fmt: skip
    group.add_argument(
        "--shifts", metavar="N", type=int, default=1000, help="circular shifts for the null (default: 1000)"
    )
    group.add_argument(
        "--controls", metavar="NAMES", type=_parse_all_or_none, default=True,
        help="all, none, or names of sk_b2s.run_controls separated by commas (default: all)",
    )  # fmt: skip
    group = parser.add_argument_group("execution")
    group.add_argument(
        "--out", metavar="FILE", default="results.jsonl", help="results file (default: results.jsonl)"
    )
    group.add_argument("--n-jobs", metavar="N", type=int, help="number of parallel fits (default: 1)")
    group.add_argument(
        "--cache", metavar="FOLDER",
        help="cache of processed recordings and speech features, or none (default: $SK_B2S_CACHE or the user cache)",
    )  # fmt: skip
    group.add_argument("--verbose", action="store_true", help="print one line for each training epoch")
    add_debug_option(group)


def add_data_options(parser):
    """Add the options of data sets and of windows."""
    group = parser.add_argument_group("the simulated data set 'listening'")
    unset = {"default": argparse.SUPPRESS}
    group.add_argument("--n-subjects", metavar="N", type=int, help="number of subjects (default: 4)", **unset)
    group.add_argument(
        "--minutes",
        metavar="M",
        type=_parse_float_or_all,
        help="minutes of speech, or all (default: 10)",
        **unset,
    )
    group.add_argument("--modality", choices=["meg", "eeg"], help="type of sensors (default: meg)", **unset)
    group.add_argument(
        "--snr", metavar="DB", type=float,
        help="signal-to-noise ratio in dB (default: as in real recordings, -18 for MEG, -22 for EEG)", **unset,
    )  # fmt: skip
    group.add_argument(
        "--sessions", metavar="N", type=int, help="sessions with the same stimuli (default: 1)", **unset
    )
    group.add_argument(
        "--artifacts", metavar="NAMES", type=_parse_all_or_none,
        help="all, none, or names separated by commas (default: all)", **unset,
    )  # fmt: skip
    group.add_argument(
        "--data-seed", metavar="I", type=int, help="seed of the simulation (default: 0)", **unset
    )
    group = parser.add_argument_group("a published study, or a folder in BIDS format")
    group.add_argument("--root", metavar="FOLDER", help="folder of the study", **unset)
    group.add_argument(
        "--subjects", metavar="NAMES", type=lambda text: text.split(","),
        help="subject labels separated by commas (default: all)", **unset,
    )  # fmt: skip
    group = parser.add_argument_group(
        "a folder in BIDS format",
        "Any folder with dataset_description.json. See sk_b2s.read_bids for details.",
    )
    group.add_argument("--task", metavar="NAME", help="task, if there are several", **unset)
    for name, example, text in (
        ("types", "VALUE=TYPE", "event types of values of trial_type, such as 'noun_*=word' button=none"),
        ("columns", "OURS=THEIRS", "columns of events.tsv by the columns of sk_b2s.check_events: text=value"),
    ):
        group.add_argument(f"--{name}", metavar=example, nargs="+", action=AddPairsOption, help=text, **unset)
    group.add_argument(
        "--stimuli", metavar="NAME=FILE", nargs="+", action=AddPairsOption, is_text_allowed=True,
        help="audio files of stimulus names, or one name with entities, audio{run}.wav", **unset,
    )  # fmt: skip
    group.add_argument(
        "--stimuli-dir", metavar="FOLDER", help="folder of the audio files (default: stimuli)", **unset
    )
    group.add_argument(
        "--derivatives", metavar="NAME", help="processed recordings in derivatives/NAME", **unset
    )
    for name in ("proc", "desc"):
        group.add_argument(
            f"--{name}", metavar="LABEL", help=f"version of recordings, entity {name}", **unset
        )
    group = parser.add_argument_group("windows")
    group.add_argument(
        "--anchor", metavar="WHERE", type=_parse_anchors,
        help="word, for a window at each word, or seconds between windows; 0.5,word with --cv hashed (default: word, or that of the task)",
    )  # fmt: skip
    or_task = ", or that of the task"
    for name, default, text in (
        ("tmin", -0.5, "start of a window in s, relative to its anchor"),
        ("tmax", 2.35, "end of a window in s, relative to its anchor"),
        ("margin", 0.5, "seconds left out at both ends of a recording"),
        ("block", 20.0, "minimum duration in s of the stimulus blocks that are split"),
    ):
        group.add_argument(
            f"--{name}",
            metavar="S",
            type=float,
            help=f"{text} (default: {default:g}{or_task * (name in ('tmin', 'tmax'))})",
        )
    group.add_argument("--stream", metavar="NAME", help="use only this one of several concurrent streams")


def add_split_options(parser):
    group = parser.add_argument_group("folds")
    group.add_argument(
        "--cv", choices=list(SPLITTERS),
        help=f"hold out {', '.join(f'{spec.label} ({name})' for name, spec in SPLITTERS.items())} (default: loso, or that of the task)",
    )  # fmt: skip
    group.add_argument(
        "--folds", metavar="N", type=_parse_folds,
        help="number of stimulus folds, or none to keep all stimuli in the training set",
    )  # fmt: skip
    group.add_argument(
        "--gap",
        metavar="S",
        type=float,
        help="seconds of stimulus between training and test set (default: 1)",
    )
    if parser.prog.split()[-1] != "folds":
        group.add_argument("--fold", metavar="I", type=int, help="run only this fold, counted from 0")


def add_live_options(parser):
    """Add the options of a live decoder."""
    group = parser.add_argument_group("decoder")
    group.add_argument("--model", metavar="FILE", required=True, help="causal fitted pipeline of sk_b2s.save")
    group.add_argument(
        "--candidates",
        metavar="NAME=FILE",
        nargs="+",
        required=True,
        help="two or more audio files by name, FILE@S if it begins S seconds after the onset, or image files, also without "
        "NAME=, or NAME=image:IDENTIFIER",
    )
    group.add_argument("--step", type=float, default=0.08, help="seconds between predictions (default: 0.08)")
    group.add_argument(
        "--evidence", choices=["sum", "leaky"], default="sum",
        help="add all evidence, or forget it with the time constant (default: sum)",
    )  # fmt: skip
    group.add_argument(
        "--time-constant",
        metavar="S",
        type=float,
        help="seconds after which evidence of leaky has a weight of 1/e (default: 10)",
    )
    group.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        default=1.0,
        help="divisor of similarities, 1 suits the likelihood decoder (default: 1)",
    )
    group.add_argument(
        "--window",
        metavar="S",
        type=float,
        help="seconds of a window, tmax - tmin of fit (default: as in fit)",
    )
    group.add_argument(
        "--tmin", metavar="S", type=float, default=0.0, help="start of windows, seconds after the onset of images (default: 0)"
    )  # fmt: skip
    group.add_argument("--subject", metavar="NAME", help="subject of the stream, as in the events of fit")
    group.add_argument(
        "--positions", metavar="RECORDING", help="recording with the sensor positions, for networks (default: that of --replay)"
    )  # fmt: skip
    group.add_argument(
        "--bads", metavar="NAMES", type=lambda text: text.split(","), default=[],
        help="channels to ignore, separated by commas",
    )  # fmt: skip
    group = parser.add_argument_group("stream")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument("--stream", metavar="NAME", help="name of an LSL stream")
    source.add_argument("--replay", metavar="RECORDING", help="recording that is replayed through LSL")
    group.add_argument(
        "--no-lsl", action="store_true", help="replay without LSL, by default as fast as possible"
    )
    group.add_argument(
        "--speed",
        metavar="X",
        type=_parse_positive,
        help="speed of a replay (default: 1, real time, with LSL)",
    )
    onset = group.add_mutually_exclusive_group()
    onset.add_argument(
        "--onset", metavar="S", type=_parse_onset, default=0.0, help="onset of the sounds, seconds after the first sample (default: 0)"
    )  # fmt: skip
    onset.add_argument(
        "--trigger", metavar="CHANNEL", help="channel with a pulse at each onset of the sounds"
    )
    onset.add_argument(
        "--audio", metavar="CHANNEL", help="channel that records the sounds, to find each onset"
    )
    group.add_argument(
        "--trigger-code",
        metavar="N",
        type=int,
        help="value of the pulses of --trigger (default: any above 0.5)",
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", metavar="FILE", default="live.jsonl",
        help="file to which predictions are appended (default: live.jsonl)",
    )  # fmt: skip
    group.add_argument("--truth", metavar="NAME", help="presented candidate, to print scores at the end")
    group.add_argument(
        "--port",
        type=int,
        help="port of the page on 127.0.0.1, 0 for a free one (default: 8642)",
    )
    group.add_argument(
        "--twin",
        action="store_true",
        help="also decode with permuted channels, a null that takes as long again",
    )
    group.add_argument("--no-page", action="store_true", help="serve no page")
    group.add_argument("--quiet", action="store_true", help="print no predictions")
    add_debug_option(group)


def _parse_onset(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds, 0 or more")
    return value


def _parse_positive(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive number")
    return value


def add_debug_option(parser):
    parser.add_argument(
        "--debug", action="store_true", help=f"show the full traceback of an error, as {DEBUG}=1 does"
    )


class AddPairsOption(argparse.Action):
    """Collect ``NAME=VALUE`` pairs in a dict, "none" as None.

    Parameters
    ----------
    is_text_allowed : bool, default=False
        Whether one text without "=" is accepted as it is.
    """

    def __init__(self, *args, is_text_allowed=False, **keywords):
        super().__init__(*args, **keywords)
        self.is_text_allowed = is_text_allowed

    def __call__(self, parser, namespace, values, option_string=None):
        given = getattr(namespace, self.dest, None)
        if self.is_text_allowed and given is None and len(values) == 1 and "=" not in values[0]:
            setattr(namespace, self.dest, values[0])
            return
        pairs = dict(given) if isinstance(given, dict) else {}
        for text in values:
            name, sign, value = text.partition("=") if self.is_text_allowed else text.rpartition("=")
            if not sign or not name or isinstance(given, str):
                parser.error(f"argument {option_string}: expected {self.metavar}, got {text!r}")
            pairs[name] = None if value.lower() == "none" else value
        setattr(namespace, self.dest, pairs)


# --- types of values -------------------------------------------------------------------------------


def _make_names_type(known):
    """Make an argparse type for known names separated by commas."""

    def parse_names(text):
        for name in (found := text.split(",")):
            if name not in known:
                hint = make_suggestion_text(name, known) or f"; choose from {', '.join(known)}"
                raise argparse.ArgumentTypeError(f"unknown name {name!r}{hint}")
        return found

    return parse_names


def _parse_task_option(text):
    return _make_names_type(TASK_QUESTIONS)(text)[0]


def _parse_size(text):
    if text == "small":
        raise argparse.ArgumentTypeError("'small' was replaced by 'laptop'")
    return text


def _parse_number(text, kind=int, word=None, expected="an integer"):
    """Parse a number, or return a word as it is."""
    if text == word:
        return text
    try:
        return kind(text)
    except ValueError:
        other = f" or {word!r}" * (word is not None)
        raise argparse.ArgumentTypeError(f"{text!r} must be {expected}{other}") from None


def _parse_integers(text):
    return [_parse_number(part, expected="integers separated by commas") for part in text.split(",")]


def _parse_anchors(text):
    return [_parse_number(part, float, "word", "a number of seconds") for part in text.split(",")]


def _parse_folds(text):
    return _parse_number(text, word="none")


def _parse_count_or_none(text):
    return None if text == "none" else _parse_number(text, word="none")


def _parse_float_or_all(text):
    return None if text == "all" else _parse_number(text, float, "all", "a number")


def _parse_all_or_none(text):
    return {"all": True, "none": False}.get(text) if text in ("all", "none") else text.split(",")


# --- lists in the help -----------------------------------------------------------------------------


def list_datasets_in_cli_options():
    from sk_b2s.datasets._registry import DATASETS

    lines = [f"  {spec.name:<14} {spec.summary}" for spec in DATASETS.values()]
    return "\n".join([
        "DATASET is one of", *lines,
        "  BIDS_FOLDER    any folder in BIDS format with EEG or MEG, audio files and events.tsv, see --task, --types,",
        "                 --columns and --stimuli.",
        "  FILE or FOLDER a table of events (.tsv, .csv, .json), or a folder that holds one as events.tsv, with the",
        "                 columns of sk_b2s.check_events. Paths in the table are relative to it.",
    ])  # fmt: skip


def list_questions_in_cli_options():
    lines = [f"  {name:<16} {question}" for name, question in TASK_QUESTIONS.items()]
    return "\n".join([list_datasets_in_cli_options(), "", "tasks of --question:", *lines])


def list_decoders_in_cli_options():
    return "\n".join(["decoders:", *(f"  {name:<14} {preset.summary}" for name, preset in PRESETS.items())])


def add_reconstruction_options(parser):
    """Add the options of a reconstruction of one recording."""
    parser.add_argument("recording", metavar="RECORDING", help="recording in any format that MNE reads")
    parser.add_argument(
        "--model", metavar="FILE", required=True, help="fitted SpeechReconstructor of sk_b2s.save"
    )
    parser.add_argument("--subject", metavar="NAME", default="", help="subject, as in the events of fit")
    parser.add_argument(
        "--step", metavar="S", type=float, default=0.5, help="seconds between windows (default: 0.5)"
    )
    group = parser.add_argument_group("known stimulus")
    group.add_argument(
        "--sound", metavar="FILE", help="audio file of the stimulus, to score the reconstruction"
    )
    group.add_argument(
        "--onset", metavar="S", type=float, help="seconds of the recording where it begins (default: 0)"
    )
    group.add_argument(
        "--shifts", metavar="N", type=int, default=1000, help="circular shifts of the null (default: 1000)"
    )
    group.add_argument(
        "--no-stimulus", action="store_true", help="leave the audio of the stimulus out of the page"
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", metavar="FILE", default="listen.wav", help="WAV file (default: listen.wav)"
    )
    group.add_argument(
        "--page", metavar="FILE", default="listen.html", help="HTML file (default: listen.html)"
    )
    group.add_argument("--title", help="title of the page")
    group.add_argument("--start", metavar="S", type=float, default=0.0, help="first second (default: 0)")
    group.add_argument(
        "--duration", metavar="S", type=float, default=30.0, help="seconds of audio (default: 30)"
    )
    add_debug_option(parser)
