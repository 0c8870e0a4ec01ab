"""Figures of the start page and of chapters without a plotting function."""

import subprocess
import sys
import textwrap

import matplotlib
import numpy as np
from _figure_registry import FAINT, INK, draws

import sk_b2s
from sk_b2s.plotting._style import COLORS, style_axes

DARK_TEXT = "#111418"  # on orange, in both color schemes


def compute_mel(sound, start, stop, n_mels=20, sfreq=32):
    """Compute the mel spectrogram of a part of a stimulus."""
    import pandas as pd

    y = pd.DataFrame({"sound": [sound], "sound_onset": [start], "duration": [stop - start]})
    return np.asarray(sk_b2s.MelSpectrogram(n_mels=n_mels, sfreq=sfreq).fit_transform(y))[0]


def show_mel(ax, mel, start, stop):
    """Show a spectrogram as image."""
    ax.imshow(
        mel,
        aspect="auto",
        origin="lower",
        extent=(start, stop, 0, len(mel)),
        cmap="magma",
        interpolation="none",
    )
    ax.set_yticks([])


def show_traces(ax, raw, start, stop, names, lines=0.6):
    """Show filtered channels, each on a line of its own."""
    data = raw.copy().filter(1, 12, verbose="ERROR").resample(32, verbose="ERROR").get_data(picks=names)
    data = data[:, int(start * 32) : int(stop * 32)]
    data /= 4 * np.median(np.abs(data))
    times = start + np.arange(data.shape[1]) / 32
    for place, trace in enumerate(data):
        ax.plot(times, trace / 1.5 - place, color=COLORS[0], linewidth=lines)
    ax.set_yticks(-np.arange(len(names)), names, fontsize=8)
    ax.set_xlim(start, stop)


def remove_frame(*axes):
    """Remove the spines of axes."""
    for ax in axes:
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)


@draws("start", width=5.4, height=5.0, rows=3)
def draw_start(axes, results):
    """Draw speech, recording and candidates of one held-out window."""
    result = results.retrieved["ridge"]
    row = result.rows.iloc[3]
    before, after = 0.8, 2.0
    start, stop = row["onset"] - before, row["onset"] + row["duration"] + after
    late = row["onset"] - row["sound_onset"]
    show_mel(axes[0], compute_mel(row["sound"], start - late, stop - late), start, stop)
    words = results.events.query("type == 'word'")
    words = words[(words["recording"] == row["recording"]) & words["onset"].between(start, stop - 0.3)]
    words = words[words["onset"] + 0.11 * words["text"].str.len() < stop]  # text within the axes
    for n, (onset, text) in enumerate(zip(words["onset"], words["text"], strict=True)):
        axes[0].text(onset, 21 + 5 * (n % 2), text, fontsize=8, color=INK)
    axes[0].set_ylabel("speech", rotation=0, ha="right", va="center")
    show_traces(axes[1], results.raw, start, stop, results.raw.ch_names[::8])
    axes[1].set_ylabel("EEG", rotation=0, ha="right", va="center", labelpad=18)
    for ax in axes[:2]:
        ax.axvspan(row["onset"], row["onset"] + row["duration"], color=COLORS[4], alpha=0.25, linewidth=0)
        ax.set_xticks([])
        ax.set_xlim(start, stop)
    scores = result.scores[3]
    order = np.argsort(-scores)[:5]
    for place, segment in enumerate(order):
        hit = segment == result.target[3]
        axes[2].barh(-place, scores[segment], 0.8, color=COLORS[4] if hit else FAINT, alpha=1 if hit else 0.5)
        text = f"{place + 1}. {result.candidates['text'].iloc[segment]}" + ("   (the target)" if hit else "")
        color = DARK_TEXT if hit else INK
        axes[2].text(0.01 * scores.max(), -place, text, va="center", fontsize=9, color=color)
    axes[2].set_xlim(0, scores[order[0]])
    axes[2].set_yticks([])
    axes[2].set_xticks([])
    axes[2].set_title(f"the most similar of {result.n_candidates} candidates", loc="left")
    remove_frame(*axes)


def draw_line(ax, at, left, right, color, text, height=0.55, alpha=0.35):
    """Draw a labeled bar."""
    ax.barh(at, right - left, height, left=left, color=color, alpha=alpha, linewidth=0)
    ax.text((left + right) / 2, at, text, ha="center", va="center", fontsize=9, color=INK)


@draws("preprocessing", height=3.4)
def draw_preprocessing(ax, results):
    """Draw recording, stimulus, segment, window, anchor, lag and margin."""
    draw_line(ax, 4, 0, 30, FAINT, "recording")
    draw_line(ax, 3, 2, 28, COLORS[0], "stimulus")
    for place, name in enumerate(("block", "block", "...")):
        draw_line(ax, 2, 2 + 10 * place, min(11.9 + 10 * place, 28), COLORS[5], name)
    draw_line(ax, 1, 7.5, 13.2, COLORS[4], "segment (y)", alpha=0.7)
    draw_line(ax, 0, 10.0, 15.7, COLORS[1], "window (X)", alpha=0.6)
    ax.plot([8.5, 8.5], [0.72, 1.28], color=INK, linewidth=1.5)
    ax.text(7.2, 1.0, "word onset", fontsize=9, ha="right", va="center")
    ax.annotate("", (10.0, 0.5), (7.5, 0.5), arrowprops={"arrowstyle": "<->", "color": INK})
    ax.text(7.2, 0.42, "lag", fontsize=9, ha="right", va="center")
    for left in (0, 28.6):
        ax.axvspan(left, left + 1.4, 0.02, 0.98, color=COLORS[3], alpha=0.3, linewidth=0)
    ax.text(26.9, -0.25, "margin", fontsize=9, ha="right", va="center")
    ax.annotate("", (28.7, -0.25), (27.1, -0.25), arrowprops={"arrowstyle": "->", "color": FAINT})
    ax.set(yticks=[], xlabel="seconds (not to scale)", xlim=(0, 30), ylim=(-0.5, 4.5))
    remove_frame(ax)


@draws("events", height=2.8)
def draw_events(ax, results):
    """Draw the rows of some seconds of the events table."""
    events = results.events
    first = events[events["recording"] == events["recording"].iloc[0]]
    start, stop = 3.5, 6.3
    for place, kind in enumerate(("sound", "word", "phoneme")):
        rows = first[
            (first["type"] == kind) & (first["onset"] < stop) & (first["onset"] + first["duration"] > start)
        ]
        for onset, duration, text in zip(rows["onset"], rows["duration"], rows["text"], strict=True):
            right = min(onset + duration, stop)
            ax.barh(
                -place,
                right - onset,
                0.7,
                left=onset,
                color=COLORS[place],
                alpha=0.35,
                edgecolor=COLORS[place],
            )
            label = "alice-02.ogg" if kind == "sound" else str(text)
            if kind != "phoneme":
                ax.text((onset + right) / 2, -place, label, ha="center", va="center", fontsize=8, color=INK)
    ax.set_yticks([0, -1, -2], ["sound", "word", "phoneme"])
    ax.set_xlim(start - 0.05, stop)
    ax.set_xlabel("seconds in the recording")
    remove_frame(ax)


@draws("model_selection", width=5.6, height=3.0)
def draw_model_selection(ax, results):
    """Draw which rows are in training, in the gap and in the test set."""
    X, y = results.segments
    own = (X["subject"] == X["subject"].iloc[0]).to_numpy()
    splitters = {
        "StimulusKFold(3)": sk_b2s.StimulusKFold(3),
        "LeaveOneSubjectOut": sk_b2s.LeaveOneSubjectOut(stimulus_folds=3),
    }
    colors = np.array([matplotlib.colors.to_rgba(color, alpha) for color, alpha in
                       ((FAINT, 0.0), (FAINT, 0.35), (COLORS[0], 0.9), (COLORS[1], 0.9))])  # fmt: skip
    places = (y["sound_onset"] + 120 * y["sound"].map(str).factorize(sort=True)[0] + 1.5).to_numpy() // 1.5
    labels, lines = [], []
    for name, splitter in splitters.items():
        for fold, (train, test) in enumerate(list(splitter.split(X, y))[:3]):
            role = np.ones(len(X), int)
            role[train], role[test] = 2, 3
            for subject, rows in (("subject 01", own), ("other subjects", ~own)):
                line = np.zeros(240, int)
                line[places[rows].astype(int)] = role[rows]
                labels.append(f"{name if not fold and subject == 'subject 01' else ''}   {subject}")
                lines += (
                    [line, np.zeros(240, int)]
                    if rows is own
                    else [line, np.zeros(240, int), np.zeros(240, int)]
                )
    ax.imshow(colors[np.array(lines)], aspect="auto", interpolation="none", extent=(0, 360, len(lines), 0))
    at = np.arange(len(labels))
    ax.set_yticks(0.5 + 5 * (at // 2) + 2 * (at % 2), labels, fontsize=8)
    ax.set_xlabel("seconds of the stimuli")
    for label, color in (("training", COLORS[0]), ("test", COLORS[1]), ("left out", "#c3c7cd")):
        ax.bar(0, 0, color=color, label=label)
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.4, 1.0), fontsize=9)
    ax.set(xlim=(0, 275), ylim=(len(lines), 0))
    remove_frame(ax)


@draws("features", height=4.2, rows=4)
def draw_features(axes, results):
    """Draw four features of the same seconds of speech."""
    _, y = results.segments
    events = results.events
    sound = events.loc[events["type"] == "sound", "sound"].iloc[0]
    import pandas as pd

    rows = pd.DataFrame({"sound": [sound], "sound_onset": [1.0], "duration": [4.0]})
    show_mel(axes[0], compute_mel(sound, 1.0, 5.0), 1, 5)
    names = ["MelSpectrogram", "Envelope", "AcousticOnsets", "SpeechActivity"]
    for ax, name in zip(axes[1:], names[1:], strict=True):
        values = np.asarray(getattr(sk_b2s, name)(sfreq=50).fit_transform(rows))[0].mean(0)
        times = 1 + np.arange(len(values)) / 50
        ax.fill_between(times, values, values.min(), color=COLORS[0], alpha=0.7, linewidth=0)
        ax.set_yticks([])
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name, loc="left", fontsize=9)
        ax.set_xlim(1, 5)
        ax.set_xticks([])
    axes[-1].set_xticks(range(1, 6))
    axes[-1].set_xlabel("seconds of the stimulus")
    remove_frame(*axes)


@draws("datasets", height=3.2)
def draw_datasets(ax, results):
    """Draw channels of a simulated recording."""
    show_traces(ax, results.raw, 20, 28, results.raw.ch_names[::4])
    ax.set_xlabel("seconds, simulated EEG, 1 to 12 Hz")
    remove_frame(ax)


@draws("decoding", width=5.6, height=3.0)
def draw_decoding(ax, results):
    """Draw the steps from EEG and speech to a ranking."""
    boxes = {
        "EEG/MEG window": (0, 1, COLORS[1]), "brain encoder": (1, 1, COLORS[1]),
        "speech segment": (0, 0, COLORS[0]), "speech features": (1, 0, COLORS[0]),
        "similarity": (2, 0.5, COLORS[4]), "rank of each\ncandidate": (3, 0.5, COLORS[2]),
    }  # fmt: skip
    for text, (x, y, color) in boxes.items():
        ax.barh(y, 0.8, 0.44, left=x - 0.4, color=color, alpha=0.3, linewidth=0)
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5, color=INK)
    for start, end in (
        ((0, 1), (1, 1)),
        ((0, 0), (1, 0)),
        ((1, 1), (2, 0.6)),
        ((1, 0), (2, 0.4)),
        ((2, 0.5), (3, 0.5)),
    ):
        ax.annotate(
            "",
            (end[0] - 0.41, end[1]),
            (start[0] + 0.41, start[1]),
            arrowprops={"arrowstyle": "->", "color": FAINT},
        )
    ax.text(1, 1.33, "RidgeDecoder, BrainEncoder", ha="center", fontsize=8, color=FAINT)
    ax.text(1, -0.4, "speech=", ha="center", fontsize=8, color=FAINT)
    ax.set(xlim=(-0.45, 3.45), ylim=(-0.5, 1.5), xticks=[], yticks=[])
    remove_frame(ax)


@draws("reconstruction", height=3.2, rows=2)
def draw_reconstruction(axes, results):
    """Draw the true and the estimated envelope of held-out speech."""
    true, estimated = (features.mean(0) for features in results.reconstruction)
    times = np.arange(len(true)) / 25
    for ax, values, name, color in zip(
        axes, (true, estimated), ("stimulus", "estimate"), COLORS, strict=False
    ):
        ax.plot(times, values, color=color, linewidth=1.2)
        ax.set_title(name, loc="left")
        style_axes(ax)
    axes[0].set_xticks([])
    axes[1].set_xlabel(
        f"seconds of held-out speech, mean of 20 bands, r = {np.corrcoef(true, estimated)[0, 1]:.2f}"
    )


@draws("synthesis", height=3.6, rows=2)
def draw_synthesis(axes, results):
    """Draw the true and the estimated spectrogram of held-out speech."""
    for ax, features, name in zip(
        axes, results.reconstruction, ("presented", "reconstructed from EEG"), strict=True
    ):
        show_mel(ax, features[:, ::2], 0, features.shape[1] / 25)
        ax.set_title(name, loc="left")
    axes[0].set_xticks([])
    axes[1].set_xlabel("seconds of held-out speech")
    remove_frame(*axes)


@draws("images", height=3.0)
def draw_images(ax, results):
    """Draw the mean response to images, one line per channel."""
    times, mean, _ = results.viewing
    for trace in 1e6 * mean:
        ax.plot(times, trace, color=COLORS[0], linewidth=0.7, alpha=0.7)
    ax.axvline(0, color=FAINT, linestyle="--", linewidth=1)
    ax.set_xlabel("seconds after the onset of the image")
    ax.set_ylabel("mean response (µV)")
    style_axes(ax)


@draws("streaming", height=2.8)
def draw_streaming(ax, results):
    """Draw the probability of the presented passage over time."""
    stream = results.stream
    first = stream["stimulus_time"].iloc[0] - 1
    for name, color in (("presented", COLORS[0]), ("other", COLORS[1])):
        ax.plot(stream["stimulus_time"] - first, stream[name], color=color, label=name, linewidth=1.8)
    ax.axhline(0.5, color=FAINT, linestyle="--", linewidth=1)
    ax.set_xlabel("seconds of evidence")
    ax.set_ylabel("probability")
    ax.set_ylim(0, 1.02)
    style_axes(ax)
    ax.legend(loc="center right")


@draws("saving", height=1.9)
def draw_saving(ax, results):
    """Draw what a saved file contains."""
    parts = ["classes and parameters", "fitted attributes", "weights", "versions, digests"]
    draw_line(ax, 0, -3.3, -1.2, COLORS[0], "fitted pipeline", 0.8)
    draw_line(ax, 0, 4.4, 6.5, COLORS[0], "equal pipeline", 0.8)
    for place, part in enumerate(parts):
        draw_line(ax, 1.2 - 0.8 * place, -0.15, 3.35, COLORS[4], part, 0.7)
    for left, right, text in ((-1.1, -0.25, "save"), (3.45, 4.3, "load")):
        ax.annotate("", (right, 0), (left, 0), arrowprops={"arrowstyle": "->", "color": FAINT})
        ax.text((left + right) / 2, 0.2, text, ha="center", fontsize=9)
    ax.set_title("model.safetensors, no code, no pickle", fontsize=9)
    ax.set(xlim=(-3.4, 6.6), ylim=(-1.7, 1.7), xticks=[], yticks=[])
    remove_frame(ax)


@draws("command_line", width=5.6, height=3.2)
def draw_command_line(ax, results):
    """Draw what ``sk-b2s folds`` prints."""
    command = "folds listening --n-subjects 2 --minutes 4 --cv stimulus --folds 3"
    program = [sys.executable, "-m", "sk_b2s", *command.split()]
    printed = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    lines = [f"$ sk-b2s {command}"]
    for line in printed.splitlines():
        lines += textwrap.wrap(line, 76, replace_whitespace=False, drop_whitespace=False) or [""]
    for place, line in enumerate(lines):
        text = line.rstrip().replace(" ", "\N{NO-BREAK SPACE}")
        ax.text(0, -place, text, family="monospace", fontsize=8, va="top", color=INK if place else COLORS[0])
    ax.set(xlim=(0, 1), ylim=(-len(lines), 0), xticks=[], yticks=[])
    remove_frame(ax)


@draws("pretraining", height=3.2)
def draw_pretraining(ax, results):
    """Draw a window of channels with masked blocks of two groups."""
    from sk_b2s.pretraining._masks import draw_block_mask

    random = np.random.RandomState(3)
    groups = np.repeat([0, 1], 4)
    mask = draw_block_mask(groups[None], 2, 100, 10, 0.5, random)[0].numpy()
    kernel = np.hanning(9) / np.hanning(9).sum()
    times = np.arange(100) / 50
    for place, hidden in enumerate(mask):
        trace = 0.6 * np.convolve(random.standard_normal(108), kernel, "valid") - place
        ax.plot(times, np.where(hidden, np.nan, trace), color=COLORS[0], linewidth=1.0)
        ax.plot(times, np.where(hidden, trace, np.nan), color=FAINT, linewidth=0.8, linestyle=":")
    for group in (0, 1):
        hidden = np.flatnonzero(np.diff(mask[4 * group].astype(int), prepend=0, append=0))
        for first, last in hidden.reshape(-1, 2):
            height = (-4 * group - 3.5, -4 * group + 0.5)
            ax.fill_between(times[[first, last - 1]], *height, color=COLORS[1], alpha=0.25, linewidth=0)
    ax.set(
        yticks=[-1.5, -5.5], yticklabels=["sensors\n1 to 4", "sensors\n5 to 8"], xlabel="seconds", xlim=(0, 2)
    )
    remove_frame(ax)
