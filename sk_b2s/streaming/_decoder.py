"""Posterior of candidates from a stream of EEG/MEG samples."""

from __future__ import annotations

import warnings
from collections import deque
from functools import cached_property
from inspect import signature
from time import perf_counter

import numpy as np
import pandas as pd
from scipy.special import softmax

from sk_b2s._utils._validation import get_validated_window_length, validate_positive
from sk_b2s.streaming._candidates import StreamingCandidateSounds
from sk_b2s.streaming._latency import find_look_ahead_latency
from sk_b2s.streaming._onsets import LostOnsetError
from sk_b2s.streaming._pipeline import (
    DELAY_AT,
    find_pipeline_settling_time,
    make_pipeline_chain,
    split_streaming_pipeline,
)
from sk_b2s.streaming._regularizer import COUNTS, FAULTS, StreamRegularizer
from sk_b2s.streaming._stored_windows import StoredWindowsMixin

EVIDENCE = ("sum", "leaky")
N_TIMED = 1000  # latest predictions whose computation is timed


class StreamingDecoder(StoredWindowsMixin):
    """Decode which of several stimuli is presented, during the recording.

    Candidates are sounds that could be presented, for example passages of
    which one is played, or two talkers of which one is attended. The latest
    window is compared with each of them every ``step`` seconds, and the
    similarities add up to a posterior probability. Candidates can also be
    images, which have one window and one prediction after each onset. The
    result does not depend on the sizes of the pushed chunks, and equals that
    of the same Pipeline on the recording (:meth:`replay`).

    Parameters
    ----------
    pipeline : Pipeline
        Fitted. It begins with ``Epocher(causal=True)``, continues with
        ``RobustChannelScaler(calibration=...)`` or without it, and ends in a
        decoder of the package with ``speech``. Searches over such a Pipeline
        are allowed.
    candidates : dict of str to stimulus or tuple
        Sounds by name (str, Path or :class:`~sk_b2s.StimulusArray`) or images
        by name (:class:`~sk_b2s.ImageStimulus`), at least two. A tuple
        ``(sound, delay)`` begins ``delay`` seconds after the onset. With a
        negative delay, the sound has begun before. Windows in which one of the
        sounds does not play have no predictions.
    sfreq : float
        Sampling rate in Hz of the pushed samples.
    duration : float
        Duration of a window in seconds, ``tmax - tmin`` of the segments in
        ``fit``.
    step : float, default=0.08
        Seconds between two predictions, rounded to samples of the Epocher.
    evidence : {"sum", "leaky"}, default="sum"
        "sum" adds the similarities of all windows since the sounds began.
        "leaky" forgets them with ``time_constant``, which suits attention
        that changes.
    time_constant : float, default=10.0
        Seconds after which evidence has a weight of 1/e. Only used with
        "leaky".
    temperature : float, default=1.0
        Similarities are divided by it. 1 suits :class:`LikelihoodDecoder`,
        whose similarities are log-likelihoods. For other decoders use
        :func:`~sk_b2s.metrics.fit_temperature` of windows that were not in
        ``fit``.
    subject : str or None, default=None
        Subject of the stream, as in ``fit``.
    positions : array-like of shape (n_channels, 2), default=None
        Sensor positions on the unit square, as in ``Windows.positions[0]`` of
        a recording with this cap. Only used by
        ``BrainEncoder(spatial_attention=True)``.
    bads : sequence of str, default=()
        Channels that are set to zero, as bad channels of a recording.
    callback : callable, default=None
        Called with the predictions of each :meth:`push` that returns any.
    history : float, default=10.0
        Seconds of samples that are stored for an onset in the past. An onset
        that is found in an audio channel is several seconds old.
    max_gap : float, default=0.05
        Longest gap in seconds that is interpolated. Windows that touch a
        longer one have no predictions. Only used with time stamps.
    max_age : float, default=2.0
        Samples that come this many seconds late are discarded: they pass the
        filters, but have no predictions. Only used with time stamps and
        times of arrival.
    tmin : float, default=0.0
        Start of the window in seconds after the onset of an image, as in
        :func:`~sk_b2s.make_segments`. Sounds require 0.

    Attributes
    ----------
    latency_ : Series
        Seconds by stage: "step" (longest wait for a prediction), "lag",
        "filter" (group delay at 4 Hz) and "look_ahead" (later signal in the
        estimate of one moment, see :func:`pipeline_latency`), their "total"
        until a moment has its full effect, "window" (duration of the evidence
        of one prediction), and "computation" (median of one prediction, NaN
        before the first).
    n_samples_ : int
        Samples of the time line: those that were pushed, and with time stamps
        those that were interpolated or lost.
    sample_counts_ : dict of str to int
        What became of the samples, see :meth:`push`.
    faults_ : DataFrame
        ``time`` in seconds, ``kind``, duration in ``seconds``, ``n_samples``
        and ``channel`` of gaps, clock jumps, dead and recovered channels, and
        samples that came too late. Empty without time stamps.

    Raises
    ------
    TypeError
        If ``pipeline`` is not a Pipeline of an Epocher and a decoder.
    ValueError
        If a step of the Pipeline uses later samples, or a parameter is
        invalid.

    See Also
    --------
    sk_b2s.RetrievalResult : Scores of recordings.

    Notes
    -----
    Windows overlap, so each similarity is weighted by ``step / duration``, and
    every sample counts once. The window that is compared at time t ends at t.
    No prediction waits for the ``look_ahead`` of a decoder: the last estimates
    of a window have less context, as in the windows of ``fit``, and the next
    windows contain the same moments with all of it.

    After the onset of an image, one window is compared, and an image that
    begins before its end takes its place. ``step`` and ``evidence`` have no
    effect then. The scaler uses the samples after the first onset, and stays
    the same for all later ones.

    If ``callback`` raises an exception, a warning contains it. The state is
    complete before the call, the predictions are returned, and decoding
    continues.
    """

    def __init__(
        self,
        pipeline,
        candidates,
        sfreq,
        duration,
        step=0.08,
        evidence="sum",
        time_constant=10.0,
        temperature=1.0,
        subject=None,
        positions=None,
        bads=(),
        callback=None,
        history=10.0,
        max_gap=0.05,
        max_age=2.0,
        tmin=0.0,
    ):
        self.pipeline, self.candidates, self.duration = pipeline, dict(candidates), duration
        self.callback, self.history = callback, history
        self.sfreq, self.step, self.evidence = sfreq, step, evidence
        self.time_constant, self.temperature, self.subject = time_constant, temperature, subject
        self.max_gap, self.max_age, self.tmin = max_gap, max_age, tmin
        self.parts = split_streaming_pipeline(pipeline)
        self._check_parameters()
        epocher = self.parts.epocher
        names = list(epocher.ch_names_)
        if unknown := [name for name in bads if name not in names]:
            raise ValueError(f"bads: {unknown} are not channels of the Pipeline, which has {names[:8]}.")
        self.bads = tuple(bads)
        self.is_bad = np.isin(names, self.bads)
        self.positions = self._check_positions(positions)
        self.chain = make_pipeline_chain(epocher, sfreq)
        self._settle = find_pipeline_settling_time(self.chain)
        self._hop = 1 if self._sounds.is_trial else max(1, round(step * epocher.sfreq))
        n_times = get_validated_window_length(self._sounds.make_rows([0.0]), epocher.sfreq)
        self._first, last, self._steps = epocher.find_window_reach(n_times)
        self._n_read = last - self._first
        self._n_history = max(self._n_read, round(self.history * epocher.sfreq))
        self.reset()

    def _check_parameters(self):
        """Raise if a parameter is invalid."""
        if self.evidence not in EVIDENCE:
            raise ValueError(f"evidence must be one of {EVIDENCE}. Got {self.evidence!r}.")
        for name in ("sfreq", "duration", "step", "time_constant", "temperature", "history", "max_age"):
            validate_positive(name, getattr(self, name))
        if not (np.isscalar(self.max_gap) and np.isreal(self.max_gap) and 0 <= self.max_gap < np.inf):
            raise ValueError(f"max_gap must be a number of seconds, at least 0. Got {self.max_gap!r}.")
        if self.callback is not None and not callable(self.callback):
            raise ValueError(f"callback must be callable or None. Got {self.callback!r}.")
        if not (np.isscalar(self.tmin) and np.isreal(self.tmin) and np.isfinite(self.tmin)):
            raise ValueError(f"tmin must be a number of seconds. Got {self.tmin!r}.")
        self._sounds = StreamingCandidateSounds(self.candidates, self.duration, self.tmin)

    def _check_positions(self, positions):
        """Return positions, NaN for bad channels: (1, n_channels, 2)."""
        if positions is None:
            if getattr(self.parts.decoder, "uses_positions", False):
                raise ValueError(
                    "The network of this BrainEncoder uses sensor positions. Pass positions=windows.positions[0] of the "
                    "windows that the Epocher cuts from a recording with this cap."
                )
            positions = np.zeros((len(self.is_bad), 2))
        positions = np.array(positions, float)
        if positions.shape != (len(self.is_bad), 2):
            raise ValueError(
                f"positions must have the shape (n_channels={len(self.is_bad)}, 2). Got {positions.shape}."
            )
        positions[self.is_bad] = np.nan
        return positions[None]

    # --- state -------------------------------------------------------------------------------------

    def reset(self):
        """Forget all samples and the sounds, as before the first push."""
        self.n_samples_, self._state, self._regularizer = 0, None, None
        self._kept, self._kept_from = np.empty((0, len(self.is_bad)), np.float32), 0
        self._seconds: deque[float] = deque(maxlen=N_TIMED)
        self._onsets: list[float] = []
        self._frozen = self._calibrate_from = None
        self._stop()
        return self

    def _stop(self):
        self.onset = self._targets = None
        if not self._sounds.is_trial:
            self._frozen = self._calibrate_from = None
        self._next, self._end, self._total = 0, 0, np.zeros(len(self.candidates))

    def start(self, onset):
        """Set the onset of the sounds, or of an image.

        Parameters
        ----------
        onset : float
            Seconds since the first pushed sample, at most about ``history``
            seconds in the past. A new call begins again without evidence.

        Returns
        -------
        self : StreamingDecoder

        Raises
        ------
        ValueError
            If samples after the onset are no longer kept, or no step has a
            window in which all sounds play.
        """
        if not (np.isscalar(onset) and np.isreal(onset) and np.isfinite(onset)):
            raise ValueError(f"onset must be a finite number of seconds. Got {onset!r}.")
        self._stop()
        self.onset = float(onset)
        self._begin = round((self.onset + self.tmin) * self.parts.epocher.sfreq)
        if self._begin + min(self._first, 0) < self._kept_from:
            lost = self._kept_from / self.parts.epocher.sfreq
            self.onset = None
            raise LostOnsetError(
                f"onset={onset:g} s is too early: samples before {lost:.3f} s are not kept. Call start before the "
                f"sounds, at most {self._n_history / self.parts.epocher.sfreq:.1f} s later, or with a longer history."
            )
        shift = self._begin / self.parts.epocher.sfreq - self.onset
        self._next, self._end = self._sounds.find_steps(shift, self.parts.epocher.sfreq, self._hop)
        self._first_step, times = self._next, self._list_times(np.arange(self._next, self._end))
        self._targets = self.parts.decoder._targets(self._sounds.make_rows(times))
        if self._calibrate_from is None:
            self._start_calibration(round(self.onset * self.parts.epocher.sfreq))
        if self._regularizer is not None:
            self._regularizer.is_aligned = True
        self._onsets.append(self.onset)
        return self

    def _list_times(self, steps):
        """Return the starts of windows, in seconds after the onset."""
        return (self._begin + self._hop * steps) / self.parts.epocher.sfreq - self.onset

    # --- samples -----------------------------------------------------------------------------------

    def push(self, samples, timestamps=None, arrived=None):
        """Add samples, and return the predictions that they complete.

        Parameters
        ----------
        samples : array-like of shape (n_channels, n_times)
            Any number of samples of the channels of the Pipeline, in its order
            and unit (V and T as in MNE).
        timestamps : array-like of shape (n_times,), default=None
            Time of each sample in seconds of the clock in which the sounds are
            timed. Lost samples, drift and jumps of the clock are found, and
            dead channels are masked. If None, all samples are taken as
            continuous. With or without it must be the same for all pushes.
        arrived : float, default=None
            Time of arrival of the samples, in seconds of a steady
            clock such as :func:`time.perf_counter`. Distinguishes lost samples
            from a changed clock, and finds samples that are too old. If None,
            steps of the time stamps by more than 1 s end the predictions until
            the next :meth:`start`.

        Returns
        -------
        predictions : DataFrame of shape (n_predictions, 5 + n_candidates)
            ``time``, when the prediction is known, in seconds since the first
            pushed sample; ``stimulus_time``, the end of the window after the
            onset; ``age``, seconds since that end was played; ``best``, the
            name of the most probable candidate, and its ``probability``; and
            the probability of each candidate in a column of its name.

        Raises
        ------
        ValueError
            If the number of channels differs, or a sample without time stamp
            is not finite.

        Warns
        -----
        UserWarning
            At the first gap that is not interpolated, at jumps of the clock of
            0.1 s and more, if samples are too old, if a channel dies or
            recovers, and if the sampling rate is wrong by 0.2 % or more.

        Notes
        -----
        Each sample is in one of the ``sample_counts_``: "received" = "used" +
        "discarded" (too old) + "repeated" + "dropped" (a slower clock) +
        "waiting" (for the decision whether samples before them were lost). The
        time line has "used" + "discarded" + "interpolated" (short gaps) +
        "inserted" (a faster clock) + "lost" samples. "replaced" samples had
        values that were not finite, for which the last finite ones are used.
        """
        samples = np.asarray(samples, np.float64)
        names = self.parts.epocher.ch_names_
        if samples.ndim != 2 or len(samples) != len(names):
            raise ValueError(
                f"samples must have the shape (n_channels={len(names)}, n_times), with the channels {', '.join(names[:5])}"
                f"{', ...' * (len(names) > 5)}. Got {samples.shape}."
            )
        if (timestamps is None) == (self._regularizer is not None) and self.n_samples_:
            raise ValueError("timestamps must be passed with all samples or with none. Call reset before.")
        if timestamps is None:
            return self._report(self._add(self._check_finite(samples)))
        if self._regularizer is None:
            self._regularizer = StreamRegularizer(
                self.sfreq, names, self.max_gap, self.max_age, self._settle, self.is_bad
            )
        predictions = []
        for piece in self._regularizer.push(samples, timestamps, arrived):
            if not self._regularizer.is_aligned:
                self._stop()
            predictions += self._add(piece)
        return self._report(predictions)

    def _push_stored(self):
        """Return predictions of samples that were pushed before a start."""
        return self._report(self._add(np.empty((len(self.is_bad), 0))))

    def _report(self, predictions):
        """Return predictions as a table, after the call of the callback."""
        predictions = self._make_table(predictions)
        if self.callback is not None and len(predictions):
            try:
                self.callback(predictions)
            except Exception as error:
                warnings.warn(
                    f"callback raised {type(error).__name__}: {error}. Decoding continues.",
                    RuntimeWarning, stacklevel=3,
                )  # fmt: skip
        return predictions

    def find_time(self, timestamp):
        """Convert a time stamp to seconds of the stream, for :meth:`start`.

        Parameters
        ----------
        timestamp : float
            For example that of a marker, by the clock of the time stamps.

        Returns
        -------
        time : float
            Seconds since the first sample. After a jump backward, a time stamp
            that occurred twice is taken as of the present clock.

        Raises
        ------
        ValueError
            If no sample was pushed with time stamps.
        """
        if self._regularizer is None or self._regularizer.timeline.origin is None:
            raise ValueError("find_time requires samples with timestamps. Push some before.")
        return self._regularizer.timeline.find_time(timestamp)

    def _check_finite(self, samples):
        """Return samples, or raise if one is not finite."""
        if not (finite := np.isfinite(samples) | self.is_bad[:, None]).all():
            channel, sample = np.argwhere(~finite)[0]
            raise ValueError(
                f"Sample {self.n_samples_ + sample} of channel {self.parts.epocher.ch_names_[channel]!r} is not finite. "
                f"Replace missing samples, push them with timestamps, or name the channel in bads."
            )
        return samples

    def _add(self, samples):
        """Filter continuous samples, and return the predictions as rows."""
        samples = np.where(self.is_bad[:, None], 0.0, samples)
        filtered, self._state = self.chain(samples, self._state)
        self.n_samples_ += samples.shape[1]
        self._kept = np.concatenate([self._kept, filtered.T.astype(np.float32)])
        predictions = list(self._iter_predictions())
        self._drop_old_samples()
        return predictions

    def _make_table(self, predictions):
        if not (predictions := list(predictions)):
            return self._no_predictions.copy()
        return pd.DataFrame(predictions, columns=self._no_predictions.columns)

    @cached_property
    def _no_predictions(self):
        """Table without rows, which most pushes of few samples return."""
        return pd.DataFrame(
            [], columns=["time", "stimulus_time", "age", "best", "probability", *self.candidates]
        )

    def _iter_predictions(self):
        """Yield the predictions of all windows that are complete."""
        if self.onset is None:
            return
        self._calibrate()
        while self._frozen is not None and self._next < self._end:
            first = self._begin + self._first + self._hop * self._next
            last = first + self._n_read - self._kept_from
            if last > len(self._kept):
                return
            if first >= 0 and first + self._n_read >= self._calibrated:
                begun = perf_counter()
                if self._is_answered(first):
                    signal = np.ascontiguousarray(self._kept[last - self._n_read : last])
                    yield self._predict(self._make_window([signal], self._mask(first)), self._next)
                    self._seconds.append(perf_counter() - begun)
                else:
                    self._forget_evidence()
            self._next += 1

    # --- predictions -----------------------------------------------------------------------------------

    def _forget_evidence(self):
        """Let evidence decay over one step."""
        if self.evidence == "leaky":
            self._total *= np.exp(-self._hop / self.parts.epocher.sfreq / self.time_constant)

    def _predict(self, window, step):
        """Add the evidence of a window, and return one row of predictions."""
        first, n = step - self._first_step, len(self.candidates)
        targets = self._targets[n * first : n * (first + 1)]
        ((_, scores),) = self.parts.decoder._score_targets(window, targets)
        sfreq = self.parts.epocher.sfreq
        share = 1.0 if self._sounds.is_trial else self._hop / (self.duration * sfreq)
        weight = share / self.temperature
        self._forget_evidence()
        self._total += weight * scores[0].double().cpu().numpy()
        probability = softmax(self._total)
        best = int(probability.argmax())
        last = self._begin + self._first + self._hop * step + self._n_read - 1
        known = -(-last * self.chain.down // self.chain.up) / self.sfreq
        played = (self._begin + self._hop * step) / sfreq - self.onset + self.duration
        return [
            known, played, known - self.onset - played, list(self.candidates)[best], probability[best], *probability,
        ]  # fmt: skip

    def _copy(self):
        """Return a decoder of the same stream without samples and callback."""
        parameters = {name: getattr(self, name) for name in signature(StreamingDecoder).parameters}
        return StreamingDecoder(**{**parameters, "positions": self.positions[0], "callback": None})

    def replay(self, recording, onset):
        """Predict with the Pipeline on a whole recording.

        Parameters
        ----------
        recording : str or Path
            Recording, read by the Epocher of the Pipeline.
        onset : float, or sequence of float
            Onset of the sounds in the recording, in seconds. Images can have
            several onsets.

        Returns
        -------
        predictions : DataFrame of shape (n_predictions, 5 + n_candidates)
            As of :meth:`push`. The state of the stream is not changed.
        """
        onsets = np.atleast_1d(onset).tolist()
        if len(onsets) > 1 and not self._sounds.is_trial:
            raise ValueError(f"replay of sounds requires one onset. Got {len(onsets)}.")
        twin, found = self._copy(), []
        for one in onsets:
            found += self._replay(twin.start(one), recording, onsets[-1] + self._sounds.stop)
        return self._make_table(found)

    def _replay(self, twin, recording, heard_stop):
        """Return the predictions of one onset."""
        sfreq, steps = self.parts.epocher.sfreq, np.arange(twin._next, twin._end)
        table = pd.DataFrame({
            "recording": str(recording), "subject": self.subject, "onset": (twin._begin + twin._hop * steps) / sfreq,
            "duration": float(self.duration), "heard_start": twin._calibrate_from / sfreq, "heard_stop": heard_stop,
        })  # fmt: skip
        inside = (twin._begin + twin._first + twin._hop * steps) >= 0
        end = twin._begin + twin._first + twin._hop * steps + twin._n_read
        steps = steps[inside & (end >= twin._calibrated)]
        if not len(steps):
            return []
        windows = self.parts.epocher.transform(table.iloc[steps])
        for _, scaler in self.parts.scalers:
            windows = scaler.transform(windows)
        return [twin._predict(windows[[row]], step) for row, step in enumerate(steps)]

    @property
    def sample_counts_(self):
        """Number of samples by what became of them."""
        if self._regularizer is None:
            return dict.fromkeys(COUNTS, 0) | {"received": self.n_samples_, "used": self.n_samples_}
        return dict(self._regularizer.counts)

    @property
    def faults_(self):
        """Gaps, clock jumps, dead channels and discarded samples."""
        return (
            pd.DataFrame(columns=list(FAULTS))
            if self._regularizer is None
            else self._regularizer.make_faults()
        )

    @property
    def latency_(self):
        """Seconds by stage."""
        epocher = self.parts.epocher
        parts = {
            "step": self._hop / epocher.sfreq,
            "lag": float(epocher.lag),
            "filter": float(self.chain.delay(DELAY_AT)[0]),
            "look_ahead": find_look_ahead_latency(self.parts.decoder, epocher.sfreq),
        }
        return pd.Series(
            parts | {
                "total": sum(parts.values()), "window": float(self.duration),
                "computation": float(np.median(self._seconds)) if self._seconds else np.nan,
            },
            name="seconds",
        )  # fmt: skip

    def __repr__(self):
        return (
            f"StreamingDecoder({type(self.parts.decoder).__name__}, {len(self.candidates)} candidates, "
            f"step={self.step:g} s, {self.n_samples_} samples)"
        )
