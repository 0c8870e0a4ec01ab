"""HTML report of a reconstruction and its controls, with audio."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from sk_b2s._utils._text import make_all_text_visible
from sk_b2s.evaluation._reconstruction._result import MEAN
from sk_b2s.reporting._findings import get_finding_style
from sk_b2s.reporting._html import (
    group_html_blocks,
    make_html_audio_element,
    make_html_badge,
    make_html_cell,
    make_html_details,
    make_html_figure,
    make_html_heading,
    make_html_items,
    make_html_paragraph,
    make_html_table,
    pair_html_blocks,
    render_html_page,
    style_html_figures,
)
from sk_b2s.synthesis._controls_result import ReconstructionControls
from sk_b2s.synthesis._controls_scores import score_seconds_of_synthesis_control
from sk_b2s.synthesis._fitted_controls import SPECS
from sk_b2s.synthesis._wav_files import write_wav

SFREQ = 16000  # Hz of the players
MOST_BANDS = 128  # of the table
THRESHOLD = 0.95  # confidence below which a second is silent
BADGES = {
    "above_null": "above its null", "at_null": "at chance", "below_null": "below its null", "at_prior": "not above the prior",
    "leak": "LEAK", "context": "no neural data", "no_null": "no null",
}  # fmt: skip
NOT_CLAIMED = (
    "Word error rates, opinion scores (MOS), intelligibility (STOI) and quality (PESQ) of this audio. A vocoder, a voice or a "
    "language model earns them without neural data.",
    "That a sound is decoded because it sounds like speech. All controls pass through the same vocoder, and are scaled to the "
    "same level.",
    "That silence means that nothing was read in an unknown recording. The confidence of a second requires the true stimulus.",
    "Imagined or inner speech, unless the recordings contain it.",
)


def write_reconstruction_report(
    controls,
    path="reconstruction.html",
    title=None,
    *,
    recordings=(0,),
    start=0.0,
    duration=15.0,
    stimulus=True,
):
    """Write a reconstruction and its controls as an HTML page with audio.

    The page begins with the verdict. It has a player and a spectrogram of each
    control and of the stimulus, tables of all scores, and lists what must not
    be claimed. It embeds the audio, loads nothing and runs no script. The
    excerpt is the same for all controls, and is not selected by its score.

    Parameters
    ----------
    controls : ReconstructionControls
        Output of :func:`~sk_b2s.synthesis.reconstruct_with_controls`.
    path : str or Path, default="reconstruction.html"
        Output file. It is replaced if it exists, and missing folders are made.
    title : str, default=None
        Title of the page. If None, "Reconstructed speech".
    recordings : sequence of int, default=(0,)
        Rows of ``controls.results["decoder"].rows`` with players.
    start, duration : float, default=0.0, 15.0
        Seconds of the excerpt in the reconstruction.
    stimulus : bool, default=True
        Whether the page has a player of the true stimulus, if it is an audio
        file. Use False if its license does not permit copies.

    Returns
    -------
    path : Path
        Output file.

    Raises
    ------
    TypeError
        If ``controls`` is not a ReconstructionControls.
    ValueError
        If a recording does not exist, or the excerpt is outside of it.
    """
    if not isinstance(controls, ReconstructionControls):
        raise TypeError(
            f"The 'controls' parameter must be the result of reconstruct_with_controls. Got {type(controls).__name__} instead."
        )
    with style_html_figures():
        blocks = [
            *_show_verdict(controls), *_show_reconstruction_scores(controls), *_show_audio(controls, recordings, start, duration, stimulus),
            *_show_reconstruction_limits(), *_show_bands(controls), *_show_subjects(controls), *_show_settings(controls),
        ]  # fmt: skip
    text = render_html_page(
        make_all_text_visible(title) or "Reconstructed speech", _describe_counts(controls), blocks
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_unscored_reconstruction(model, mels, path, title, start=0.0):
    """Write the audio of a recording whose stimulus is unknown.

    Parameters
    ----------
    model : SpeechReconstructor
        Fitted.
    mels : dict of str to ndarray of shape (n_frames, n_mels)
        Log mel spectra by control.
    path : str or Path
    title : str
    start : float, default=0.0
        Second of the first frame.
    """
    statement = {
        "kind": "statement", "code": False, "label": "verdict", "style": "neutral", "text": "There is no verdict, because the "
        "stimulus is unknown.", "notes": ["The audio is not evidence of decoding. Compare it with that of the surrogate "
        "recording."], "texts": [],
    }  # fmt: skip
    with style_html_figures():
        parts = []
        mels = {**mels, "prior_only": np.repeat(model.mel_mean_[None], len(mels["decoder"]), axis=0)}
        limits = np.nanpercentile(model._match_level(mels["decoder"]), [2, 98])  # NaN between windows
        for name, mel in mels.items():
            spec = SPECS[name]
            wav = _make_wav(model, model.to_audio(mel), spec.meaning)
            drawn = _draw_spectrogram(model._match_level(mel), model.sfreq_, start, limits)
            alt = f"Mel spectrogram of {len(mel) / model.sfreq_:.1f} s, {spec.label}."
            parts.append(group_html_blocks(
                make_html_heading(spec.label, 4), make_html_audio_element(wav, spec.label, spec.meaning), make_html_figure(drawn, alt, fixed=True),
            ))  # fmt: skip
        blocks = [
            statement,
            make_html_heading("Audio"),
            *_show_voice(model),
            pair_html_blocks(*parts),
            *_show_reconstruction_limits(),
        ]
    text = render_html_page(
        make_all_text_visible(title), f"{len(mels['decoder']) / model.sfreq_:.1f} s", blocks
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def make_wav_of_reconstruction_report(controls, control, index, start, stop, threshold=None):
    """Make a WAV file of a control with its metadata: bytes."""
    model = controls.models[int(controls.results[control].rows["fold"].iloc[index])]
    audio = controls.to_audio(control, index, start, stop, threshold)
    return _make_wav(model, audio, controls.specs[control].meaning)


def _make_wav(model, audio, source):
    file = io.BytesIO()
    write_wav(file, audio, SFREQ, {**model.metadata, "source": source})
    return file.getvalue()


def _describe_counts(controls):
    rows = controls.results["decoder"].rows
    minutes = rows["n_frames"].sum() / controls.sfreq / 60
    counts = [
        (rows["subject"].nunique(), "subject"),
        (len(rows), "recording"),
        (rows["fold"].nunique(), "fold"),
    ]
    return " · ".join(
        [f"{n} {noun}{'s' * (n != 1)}" for n, noun in counts] + [f"{minutes:.1f} minutes of test data"]
    )


# --- verdict and scores ----------------------------------------------------------------------------


def _show_verdict(controls):
    """Show the verdict and its scores."""
    first, _, rest = controls.verdict_text.partition(". ")
    yield {
        "kind": "statement", "code": False, "label": "verdict", "style": "bad" if controls.is_seen else get_finding_style(controls.verdict),
        "text": f"{first}.", "notes": [rest], "texts": [],
    }  # fmt: skip


def _show_reconstruction_scores(controls):
    """Show one row of scores for each control."""
    means = controls.select_means().set_index(["control", "measure"])
    n_way = controls.settings["n_way"]
    rows = []
    for name in controls.results:
        spec, own = controls.specs[name], means.loc[name]
        verdict = own.loc["r", "verdict"]
        rows.append([
            spec.label, *[_make_reconstruction_score_cell(own.loc[measure]) for measure in ("r", "two_way", "n_way")],
            make_html_cell(badge=make_html_badge(BADGES[str(verdict)], get_finding_style(verdict))),
        ])  # fmt: skip
    yield make_html_heading("Scores")
    yield make_html_table(
        ["sound", "correlation", "one of two seconds", f"one of {n_way} seconds", "verdict"], rows,
        "Means over subjects. Below each score: 97.5 % of the null distribution, and p of circular shifts.",
    )  # fmt: skip


def _make_reconstruction_score_cell(row):
    share = row["measure"] if "measure" in row else row.name
    number = f"{row['score']:.3f}" if share == "r" else f"{100 * row['score']:.1f} %"
    if not np.isfinite(row["null_high"]):
        return make_html_cell(number, small="no null")
    high = f"{row['null_high']:.3f}" if share == "r" else f"{100 * row['null_high']:.1f} %"
    return make_html_cell(number, small=f"{high}, p = {row['p_value']:.2g}")


# --- audio -----------------------------------------------------------------------------------------


def _show_audio(controls, recordings, start, duration, stimulus):
    """Show a player and a spectrogram of each control."""
    yield make_html_heading("Audio")
    yield make_html_paragraph(
        "The sounds are made by the same vocoder, from the same seconds of the test stimuli. The excerpt is not selected by its "
        "score."
    )
    yield from _show_voice(controls.models[0], stimulus and controls.stimuli is not None)
    for index in recordings:
        rows = controls.results["decoder"].rows
        stop = start + duration
        controls.get_mel("decoder", index, start, stop)  # checks the index and the seconds
        row = rows.iloc[index]
        name = Path(str(row["recording"])).name
        yield make_html_heading(f"Subject {row['subject']}, {name}, fold {row['fold']}", 3)
        bright = "true_features" if "true_features" in controls.results else "decoder"
        limits = np.percentile(_scale_excerpt(controls, bright, index, start, stop), [2, 98])
        parts = [_make_clip_player(controls, name, index, start, stop, limits) for name in controls.results]
        parts.insert(1, _make_faded_player(controls, index, start, stop))
        if stimulus:
            parts.append(_make_stimulus_player(controls, index, start, stop, limits))
        yield pair_html_blocks(*[part for part in parts if part is not None])


def _show_voice(model, has_stimulus=False):
    """Show that sounds are synthetic, and the consent of a voice."""
    yield make_html_paragraph(
        "The last sound is the stimulus. All others are synthetic, and none is a recording. Listen to the stimulus last, because "
        "known words are heard in any noise."
        if has_stimulus
        else "All sounds are synthetic, and none is a recording."
    )
    if consent := model.metadata.get("consent"):
        yield make_html_paragraph(f"The voice is synthesized with this consent of its speaker: {consent}")


def _make_clip_player(controls, name, index, start, stop, limits):
    """Make the player and spectrogram of a control."""
    spec = controls.specs[name]
    wav = make_wav_of_reconstruction_report(controls, name, index, start, stop)
    mel = controls.get_mel(name, index, start, stop)
    shown = mel if name == "prior_only" else _scale_excerpt(controls, name, index, start, stop)
    drawn = _draw_spectrogram(shown, controls.sfreq, start, limits, _name_bands(controls))
    return group_html_blocks(
        make_html_heading(spec.label, 4), make_html_audio_element(wav, spec.label, spec.meaning),
        make_html_figure(drawn, f"Mel spectrogram of {len(mel) / controls.sfreq:.1f} s, {spec.label}.", fixed=True),
    )  # fmt: skip


def _make_stimulus_player(controls, index, start, stop, limits):
    """Make the player and spectrogram of the stimulus, None without a file."""
    audio = controls.read_stimulus(index, start, stop)
    if audio is None:
        return None
    file = io.BytesIO()
    soundfile.write(file, audio / max(abs(audio).max(), 1.0), SFREQ, format="WAV", subtype="PCM_16")
    result = controls.results["decoder"]
    first = round(start * controls.sfreq)
    mel = result.target[index].T[first : first + len(controls.get_mel("decoder", index, start, stop))]
    text = "The audio as it was presented, not synthesized. It is not part of the reconstruction."
    drawn = _draw_spectrogram(mel, controls.sfreq, start, limits, _name_bands(controls))
    return group_html_blocks(
        make_html_heading("stimulus", 4), make_html_audio_element(file.getvalue(), "stimulus", text),
        make_html_figure(drawn, f"{_name_bands(controls)} of {len(mel) / controls.sfreq:.1f} s, stimulus.", fixed=True),
    )  # fmt: skip


def _name_bands(controls):
    """Return the name of the rows of a spectrogram."""
    return "mel band" if controls.models[0].target_ == "mel" else "feature"


def _scale_excerpt(controls, name, index, start, stop):
    """Return an excerpt at the level of the audio."""
    model = controls.models[int(controls.results[name].rows["fold"].iloc[index])]
    whole = model._match_level(controls.get_mel(name, index))
    first = round(start * controls.sfreq)
    return whole[first : first + len(controls.get_mel(name, index, start, stop))]


def _make_faded_player(controls, index, start, stop):
    """Make the player of the estimate whose uncertain seconds are silent."""
    result = controls.results["decoder"]
    if (
        controls.settings["seconds"] != 1
        or start % 1
        or score_seconds_of_synthesis_control(result, index, controls.sfreq, 1) is None
    ):
        return None  # a recording below five seconds has no confidence
    confidence = controls.compute_confidence("decoder", index)[int(start) : int(np.ceil(stop))]
    if not len(confidence):  # the excerpt is less than the last whole second
        return None
    n = int((confidence >= THRESHOLD).sum())
    wav = make_wav_of_reconstruction_report(controls, "decoder", index, start, stop, THRESHOLD)
    text = (
        f"The same estimate. Seconds with a confidence below {THRESHOLD} are silent. {n} of {len(confidence)} seconds remain, "
        f"and about 5 % remain without information."
    )
    drawn = _draw_confidence(confidence, start)
    label = "EEG/MEG, certain seconds"
    return group_html_blocks(
        make_html_heading(label, 4), make_html_audio_element(wav, label, text),
        make_html_figure(drawn, f"Confidence of {len(confidence)} seconds, {n} of them at {THRESHOLD} or more.", fixed=True),
    )  # fmt: skip


def _draw_spectrogram(mel, sfreq, start, limits, name="mel band"):
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5, 1.9))
    axes = drawn.subplots()
    extent = (start, start + len(mel) / sfreq, 0, mel.shape[1])
    axes.imshow(
        mel.T, origin="lower", aspect="auto", extent=extent, vmin=limits[0], vmax=limits[1], cmap="magma"
    )
    axes.set(xlabel="time, s", ylabel=name)
    return drawn


def _draw_confidence(confidence, start):
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5, 1.9))
    axes = drawn.subplots()
    axes.bar(start + np.arange(len(confidence)) + 0.5, confidence, width=0.9, color="#0072b2")
    axes.axhline(THRESHOLD, color="#1c2127", linestyle="--", linewidth=1)
    axes.set(xlabel="time, s", ylabel="confidence", ylim=(0, 1.02))
    return drawn


# --- details ---------------------------------------------------------------------------------------


def _show_reconstruction_limits():
    yield make_html_heading("What must not be claimed")
    yield make_html_items(NOT_CLAIMED)


def _show_bands(controls):
    """Show the correlation of each band."""
    scores = controls.scores.query(
        "measure == 'r' and subject == @MEAN and band != @MEAN", local_dict={"MEAN": MEAN}
    )
    if not len(scores):
        return
    bands = list(dict.fromkeys(scores["band"]))
    if len(bands) > MOST_BANDS:
        return
    rows = []
    for band in bands:
        own = scores[scores["band"] == band].set_index("control")
        rows.append([band, *[f"{own.loc[name, 'score']:.3f}" for name in controls.results],
                     f"{own.loc['decoder', 'null_high']:.3f}"])  # fmt: skip
    columns = ["band", *[controls.specs[name].label for name in controls.results], "null of EEG/MEG, 97.5 %"]
    yield make_html_heading("Bands")
    yield make_html_details(
        "Correlation of each band",
        make_html_table(columns, rows, "Mean over subjects of Pearson's correlation."),
    )


def _show_subjects(controls):
    """Show the scores of each subject."""
    scores = controls.scores[(controls.scores["band"] == MEAN) & (controls.scores["control"] == "decoder")]
    subjects = [name for name in dict.fromkeys(scores["subject"]) if name != MEAN]
    if len(subjects) < 2:
        return
    rows = []
    for subject in subjects:
        own = scores[scores["subject"] == subject].set_index("measure")
        rows.append(
            [
                str(subject),
                *[_make_reconstruction_score_cell(own.loc[name]) for name in ("r", "two_way", "n_way")],
            ]
        )
    columns = ["subject", "correlation", "one of two seconds", f"one of {controls.settings['n_way']} seconds"]
    yield make_html_heading("Subjects")
    yield make_html_details(
        "Scores of each subject", make_html_table(columns, rows, "Scores of the estimate from EEG/MEG.")
    )


def _show_settings(controls):
    settings = controls.settings
    yield make_html_heading("Settings")
    yield make_html_paragraph(
        f"{settings['n_shifts']} circular shifts, equal for all recordings of the same stimulus. Seconds are compared with the "
        f"others of their recording, in pieces of {settings['seconds']:g} s. Ties are broken at random. Random seed "
        f"{settings['random_state']}."
    )
    yield make_html_paragraph("Reconstructor: ", code=" ".join(repr(controls.models[0]).split()))
