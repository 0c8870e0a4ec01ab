"""Scores, verdict and audio of a reconstruction and its controls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sk_b2s.evaluation._reconstruction._result import MEAN
from sk_b2s.features._read_audio import AUDIO_SFREQ
from sk_b2s.synthesis._averages import average_reconstruction
from sk_b2s.synthesis._confidence import compute_confidence, make_confidence_fade
from sk_b2s.synthesis._controls_scores import (
    MEASURES,
    score_rows_of_synthesis_controls,
    score_seconds_of_synthesis_control,
)
from sk_b2s.synthesis._identification import identify_pieces
from sk_b2s.synthesis._verdicts import (
    SynthesisVerdict,
    describe_synthesis_verdict,
    make_synthesis_controls_verdict,
)

DEFAULT_SFREQ = 50.0  # of features without a rate


@dataclass(frozen=True)
class ReconstructionControls:
    """Reconstruction and its controls, with scores, verdict and audio.

    :func:`~sk_b2s.synthesis.reconstruct_with_controls` returns it.

    Parameters
    ----------
    results : dict of str to ReconstructionResult
        Estimates and targets by control, "decoder" first. ``rows`` has the
        fold of each recording.
    models : list of SpeechReconstructor
        Fitted reconstructor of each fold, whose vocoder makes the audio.
    scores : DataFrame of shape (n_rows, ...)
        ``control``, ``subject`` ("mean" is the mean over subjects),
        ``measure`` ("r", "two_way", "n_way"), ``band`` ("mean", or the number
        of a band), ``score, chance, null_low, null_mean, null_high``,
        ``p_value`` of as high a score after a circular shift, ``n``, the
        number of frames or pieces, and ``verdict``.
    verdict : SynthesisVerdict
        "above_null", "at_null", "below_null", "at_prior", "leak",
        "seen" or "no_null".
    settings : dict
        ``n_way``, ``seconds``, ``n_shifts`` and ``random_state``.
    specs : dict of str to SynthesisControl
        Labels and meanings of controls.
    is_seen : bool, default=False
        Whether test stimuli were in the training set.
    stimuli : StimulusAudio or None, default=None
        Audio files of the test stimuli. If None, they are unknown.
    """

    results: dict
    models: list
    scores: pd.DataFrame
    verdict: Any
    settings: dict
    specs: dict
    is_seen: bool = False
    stimuli: Any = None

    @property
    def verdict_text(self):
        """Sentences of the verdict, with the scores of the decoder."""
        return describe_synthesis_verdict(self.verdict, self.select_means())

    @property
    def sfreq(self):
        """Frames per second."""
        return self.results["decoder"].sfreq or DEFAULT_SFREQ

    def select_means(self):
        """Return the scores of the mean over subjects and bands."""
        is_mean = (self.scores["subject"] == MEAN) & (self.scores["band"] == MEAN)
        return self.scores[is_mean].reset_index(drop=True)

    def summarize(self):
        """Return a table with one row per control.

        Returns
        -------
        table : DataFrame of shape (n_controls, ...)
            Score and p of r, and of 2-way and N-way identification, means over
            subjects, indexed by control.
        """
        rows = self.select_means()
        table = rows.pivot(index="control", columns="measure", values=["score", "null_high", "p_value"])
        table.columns = [
            name if kind == "score" else f"{name}_{'p' if kind == 'p_value' else kind}"
            for kind, name in table.columns
        ]
        order = [name + end for name in ("r", *MEASURES) for end in ("", "_null_high", "_p")]
        return table.loc[list(self.results), order]

    def list_pieces(self, control="decoder"):
        """List the identification and confidence of each piece.

        Parameters
        ----------
        control : str, default="decoder"
            Name of a control.

        Returns
        -------
        pieces : DataFrame of shape (n_pieces, ...)
            ``subject, recording, fold``, ``piece``, ``rank`` of the true piece
            from 1 among ``n_candidates`` pieces of the recording, ``two_way``,
            ``n_way`` and ``confidence``, see
            :func:`~sk_b2s.synthesis.compute_confidence`.
        """
        result, parts = self._get_result(control), []
        for index, row in result.rows.iterrows():
            similarity = score_seconds_of_synthesis_control(
                result, index, self.sfreq, self.settings["seconds"]
            )
            if similarity is None:
                continue
            n, at = len(similarity), np.arange(len(similarity))
            rank, share = identify_pieces(similarity, self.settings["n_way"])
            parts.append(pd.DataFrame({
                "subject": row["subject"], "recording": row["recording"], "fold": row.get("fold", 0), "piece": at,
                "rank": rank[at, at], "n_candidates": n, "two_way": 1 - (rank[at, at] - 1) / (n - 1), "n_way": share[at, at],
                "confidence": self.compute_confidence(control, index),
            }))  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def compute_confidence(self, control="decoder", index=0):
        """Compute the confidence of each piece of a recording.

        Parameters
        ----------
        control : str, default="decoder"
            Name of a control.
        index : int, default=0
            Row of ``results[control].rows``.

        Returns
        -------
        confidence : ndarray of shape (n_pieces,)
            See :func:`~sk_b2s.synthesis.compute_confidence`.
        """
        result = self._get_result(control)
        return compute_confidence(
            result.estimate[index].T, result.target[index].T, self.sfreq, self.settings["seconds"]
        )[0]

    def to_audio(self, control="decoder", index=0, start=0.0, stop=None, threshold=None):
        """Synthesize audio of a control.

        Parameters
        ----------
        control : str, default="decoder"
            Name of a control.
        index : int, default=0
            Row of ``results[control].rows``, a recording of a fold.
        start, stop : float, default=0.0, None
            Seconds of the reconstruction. By default, its end.
        threshold : float, default=None
            Seconds of less confidence fade to silence. If None, none.

        Returns
        -------
        audio : ndarray of shape (n_samples,)
            float32 at 16 kHz.

        Raises
        ------
        ValueError
            If the control or seconds do not exist, or ``threshold`` is used
            with pieces of another duration than one second.
        """
        result = self._get_result(control)
        first, last = self._find_frames(result, index, start, stop)
        mel = result.estimate[index].T
        model = self.models[int(result.rows["fold"].iloc[index])]
        if control != "prior_only":  # its bands are constant, and their scale would amplify rounding
            mel = model._match_level(mel)
        audio = model.to_audio(mel[first:last], match_level=False)
        if threshold is None:
            return audio
        if self.settings["seconds"] != 1:
            raise ValueError("The 'threshold' parameter requires pieces of one second. Use seconds=1.")
        begin = round(first / self.sfreq * AUDIO_SFREQ)  # a second of confidence begins before the excerpt
        confidence = self.compute_confidence(control, index)
        return audio * make_confidence_fade(confidence, threshold, begin + len(audio), AUDIO_SFREQ)[begin:]

    def read_stimulus(self, index=0, start=0.0, stop=None):
        """Read the audio of the true stimulus.

        Parameters
        ----------
        index : int, default=0
            Row of ``results["decoder"].rows``, a recording of a fold.
        start, stop : float, default=0.0, None
            Seconds of the reconstruction. By default, its end.

        Returns
        -------
        audio : ndarray of shape (n_samples,) or None
            float32 at 16 kHz. None if the stimuli are not audio files.
        """
        result = self.results["decoder"]
        first, last = self._find_frames(result, index, start, stop)
        return None if self.stimuli is None else self.stimuli.read(result.place[index][first:last])

    def get_mel(self, control="decoder", index=0, start=0.0, stop=None):
        """Return the estimated log mel spectra of some seconds.

        Parameters
        ----------
        control : str, default="decoder"
            Name of a control.
        index : int, default=0
            Row of ``results[control].rows``, a recording of a fold.
        start, stop : float, default=0.0, None
            Seconds of the reconstruction. By default, its end.

        Returns
        -------
        mel : ndarray of shape (n_frames, n_mels)
            Log mel spectra.
        """
        result = self._get_result(control)
        first, last = self._find_frames(result, index, start, stop)
        return result.estimate[index][:, first:last].T

    def average_subjects(self):
        """Average the reconstructions of subjects with the same stimuli.

        Returns
        -------
        controls : ReconstructionControls
            With one subject, "average", and one recording per fold. Frames
            of a part of the subjects are averaged over these.
        """
        return self._average("subjects")

    def average_repeats(self):
        """Average the reconstructions of a subject with the same stimuli.

        Returns
        -------
        controls : ReconstructionControls
            With one recording per subject and fold.
        """
        return self._average("repeats")

    def _average(self, average):
        results = {
            name: average_reconstruction(result, average, name != "prior_only")
            for name, result in self.results.items()
        }
        return make_controls_result(
            results, self.models, self.specs, is_seen=self.is_seen, stimuli=self.stimuli, **self.settings
        )

    def _get_result(self, control):
        if control not in self.results:
            raise ValueError(
                f"The 'control' parameter must be one of {list(self.results)}. Got {control!r} instead."
            )
        return self.results[control]

    def _find_frames(self, result, index, start, stop):
        """Return the first and last frame of some seconds."""
        if not 0 <= index < len(result.rows):
            raise ValueError(
                f"The 'index' parameter must be a row from 0 to {len(result.rows) - 1}. Got {index!r} instead."
            )
        n_frames = result.estimate[index].shape[1]
        stop = n_frames / self.sfreq if stop is None else stop
        first, last = round(start * self.sfreq), min(round(stop * self.sfreq), n_frames)
        if not 0 <= first < last:
            raise ValueError(
                f"'start' and 'stop' must be within the {n_frames / self.sfreq:.1f} s of the reconstruction. Got {start:g} and "
                f"{stop:g} instead."
            )
        return first, last


def make_controls_result(
    results, models, specs, n_way, seconds, n_shifts, random_state, is_seen=False, stimuli=None
):
    """Score all controls: ReconstructionControls."""
    settings = {"n_way": n_way, "seconds": seconds, "n_shifts": n_shifts, "random_state": random_state}
    scores = score_rows_of_synthesis_controls(
        results, specs, results["decoder"].sfreq or DEFAULT_SFREQ, **settings
    )
    found = ReconstructionControls(results, models, scores, None, settings, specs, is_seen, stimuli)
    verdict = SynthesisVerdict.SEEN if is_seen else make_synthesis_controls_verdict(found.select_means())
    return replace(found, verdict=verdict)
