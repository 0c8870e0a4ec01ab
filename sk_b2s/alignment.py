"""Does the brain answer when the table says that it heard something? A look before a week of training."""

from __future__ import annotations

from numbers import Real

import joblib
import numpy as np
import pandas as pd
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import welch

from sk_b2s.caching import FromFile
from sk_b2s.continuity import add_gap_notes
from sk_b2s.events import check_events, clock_rate
from sk_b2s.recordings import Processing, read_signal, recording_stamp
from sk_b2s.sounds import holds_nothing, named
from sk_b2s.speech import Envelope
from sk_b2s.stimuli import SoundArray, sound_name

__all__ = ["check_alignment", "lag_curve", "response_offset"]

RESPONSE = 0.12  # s after which the response to an envelope is largest, as a rule
REACH = 0.45  # s until which it lasts
CLIP = 5.0  # interquartile ranges
SHRINKAGE = 0.02  # of the channels' covariance towards its mean eigenvalue
RIDGE = 1.0  # of the envelope's power spectrum, in units of its mean in the band
GROUP = 32  # channels transformed at a time
AT_ONCE = 0.016  # s; a peak within it of 0 is no brain's
BEFORE = (-0.4, -0.1)  # s in which nothing answers that hears
LEAST_HEARD = 30.0  # s of sound, without which nothing is said
BESIDE = 0.07  # s; a peak at 0 that is a sample off reaches as far
SHARE = 0.15  # of the largest value, that a second peak needs
LONGER = 1.25  # times as long as a sound are those that it is compared with, at most
CLEAR = 1e-6  # p of a response whose absence from another sound says something
PEAK = 6.0  # s.d. of the null by which a part of the curve counts as seen


def check_alignment(
    events, *, minutes=5.0, max_offset=1.5, tolerance=0.1, level=0.01, stream=None, picks=None, l_freq=1.0,
    h_freq=12.0, sfreq=64, raw_hook=None, memory=None, n_jobs=None,
):  # fmt: skip
    r"""Look in every recording, and in every few minutes of it, when the brain answers the sound.

    The temporal response function of the envelope is computed for all channels at all circular shifts of the sound
    against the brain at once (:func:`lag_curve`). Its power at a lag :math:`\tau`, summed over whitened channels,
    stands out where the brain answers; shifts of many seconds, at which nothing can answer, are the null. A response
    begins with the sound and is largest near 0.12 s; how far the one found lies from there is the offset
    (:func:`response_offset`). It is found to 0.05 s or so: it shows triggers at the wrong end of a delay, a wav of
    another person, or a clock that drifts; it is no measure of latency.

    Parameters
    ----------
    events : DataFrame
        Events table, see :func:`~sk_b2s.check_events`.
    minutes : float or None, default=5.0
        Length of the parts. Shorter ones see a drift better and a response worse. With None each sound of half a
        minute or more is a part.
    max_offset : float, default=1.5
        Largest offset searched, in seconds to both sides. A wider search finds chance more easily.
    tolerance : float, default=0.1
        Offsets up to this are "aligned".
    level : float, default=0.01
        Share of parts without a response of which something else than "cannot tell" is said.
    stream : None or str, default=None
        Which sounds are looked at where several play at once: those "attended". None takes all of the table.
    picks : None, str or sequence of str, default=None
        Channels, as for :class:`~sk_b2s.Epocher`.
    l_freq, h_freq : float, default=1.0, 12.0
        Band in Hz, of zero phase.
    sfreq : int, default=64
        Rate in Hz at which it is done; a divisor of 16,000.
    raw_hook : callable or None, default=None
        As for :class:`~sk_b2s.Epocher`.
    memory : None, str or joblib.Memory, default=None
        Folder where recordings and envelopes are kept.
        The folder holds pickle, which runs code when it is read. Use one that only you can write.
    n_jobs : int or None, default=None
        Recordings worked on at once.

    Returns
    -------
    found : DataFrame
        A row for each whole recording (``part`` 0) and for each part of it (1, 2, ...): ``study, subject, session,
        recording, part, sound`` (its name where the part is one), ``start, stop`` (s), ``heard`` (s of sound),
        ``verdict`` ("aligned", "off by +0.30 s",
        "cannot tell"), ``offset`` (s, positive where the brain answers later than the table says; NaN where nothing
        is seen), ``p``, ``note`` and ``curve``, the power by lag in s.d. of the null. The lags in seconds, equal for
        all, are ``found.attrs["lags"]``.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or no recording can be read and is heard a sound in.

    Notes
    -----
    "Cannot tell" is what a short or noisy recording gives, as does the wrong sound: it is a reason to worry where other
    recordings of the study are aligned, which ``note`` says. One right sound makes a recording "aligned", so each
    sound of half a minute is also looked at by itself, whatever ``minutes`` is: ``note`` of the whole recording names
    those that are elsewhere than the recording, and those in which nothing is seen where more than half of the others
    show a clear response. Of a recording that cannot be read one "cannot tell", and ``note`` says why. A peak at 0 s
    alone is named: earphones, triggers or cables answer at once, brains do not. Power before 0 s beside a response is
    named as well; zero-phase filters put it there, those of the files and, below 0.1 s, the one here.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sk_b2s import check_alignment
    >>> from sk_b2s.datasets import make_listening
    >>> with TemporaryDirectory() as root:
    ...     events = make_listening(1, 2, n_channels=32, snr_db=0, artefacts=False, root=root)
    ...     found = check_alignment(events.assign(onset=events["onset"] - 0.3))
    >>> found["verdict"].tolist()[0][:9]
    'off by +0'
    """
    _check(
        minutes=5.0 if minutes is None else minutes,
        max_offset=max_offset,
        tolerance=tolerance,
        level=level,
        l_freq=l_freq,
        h_freq=h_freq,
    )
    events = check_events(events)
    sounds = events[events["type"] == "sound"]
    sounds = sounds if stream is None else sounds[sounds["stream"] == stream]
    if sounds.empty:
        raise ValueError(f"events has no row of type 'sound'{f' in stream {stream!r}' if stream else ''}.")
    picks = picks if picks is None or isinstance(picks, str) else tuple(picks)
    processing = Processing(float(sfreq), picks, l_freq=l_freq, h_freq=h_freq, raw_hook=raw_hook)
    work = joblib.delayed(_check_recording)
    options = {"minutes": minutes, "max_offset": max_offset, "memory": memory}
    parts = joblib.Parallel(n_jobs)(
        work(path, rows, processing, **options) for path, rows in sounds.groupby("recording", sort=False)
    )
    broken = [recording[0]["error"] for recording in parts if "error" in recording[0]]
    if len(broken) == len(parts):
        raise broken[0]
    lags = parts[0][0]["lags"]
    found = pd.DataFrame([_judge(part, tolerance, level) for recording in parts for part in recording])
    found.attrs["lags"] = lags.round(6).tolist()
    return add_gap_notes(_compare(found), sounds)


def _check(**numbers):
    for name, value in numbers.items():
        top = 1 if name == "level" else np.inf
        if not isinstance(value, Real) or not 0 < value < top:
            raise ValueError(f"{name} must be a number above 0{' and below 1' * (top == 1)}, got {value!r}.")
    if numbers["l_freq"] >= numbers["h_freq"]:
        raise ValueError(f"l_freq={numbers['l_freq']} must be below h_freq={numbers['h_freq']}.")


# --- one recording ---------------------------------------------------------------------------------


def _check_recording(path, sounds, processing, minutes, max_offset, memory):
    """Curves and offsets of a recording and its parts: list of dict."""
    about = {name: sounds[name].iloc[0] for name in ("study", "subject", "session")}
    about |= {"recording": path}
    try:
        signal = np.asarray(FromFile(read_signal, path, recording_stamp, memory, processing=processing)())
        brain = whitened(signal)
        sound, heard, silent = _laid_out(sounds, len(brain), processing, memory)
    except (ValueError, OSError) as error:
        row = {**about, "part": 0, "sound": "", "start": 0.0, "stop": np.nan, "heard": np.nan, "error": error}
        return [{**row, "singles": [], **_nothing(max_offset, processing.sfreq)}]

    def look(part, start, stop, name=""):
        seconds = heard[start:stop].sum() / processing.sfreq
        row = {**about, "part": part, "sound": name, "start": start / processing.sfreq,
               "stop": stop / processing.sfreq, "heard": seconds}  # fmt: skip
        if seconds < LEAST_HEARD:
            return {**row, **_nothing(max_offset, processing.sfreq)}
        lags, power = lag_curve(brain[start:stop], sound[start:stop], processing.sfreq)
        return {**row, **response_offset(lags, power, max_offset)}

    whole = {**look(0, 0, len(brain)), "silent": silent}
    least = max(LEAST_HEARD, _least(max_offset) + 1)
    edges = _edges_of(sounds, len(brain), processing.sfreq, least)
    singles = [look(part, *edge) for part, edge in enumerate(edges, 1)]
    whole["singles"] = [(one["sound"], one["offset"], one["p"], one["heard"]) for one in singles]
    if minutes is None:
        return [whole, *singles]
    length = round(60 * minutes * processing.sfreq)
    n_parts = round(len(brain) / length) if len(brain) > 1.5 * length else 0
    cuts = np.linspace(0, len(brain), n_parts + 1).astype(int)
    return [whole, *(look(part, cuts[part - 1], cuts[part]) for part in range(1, n_parts + 1))]


def _edges_of(sounds, n_times, sfreq, least):
    """Samples and names of the sounds that are long enough to be looked at by themselves."""
    sounds = sounds.sort_values("onset")
    for sound, rate in zip(sounds.itertuples(), clock_rate(sounds), strict=True):
        start = max(0, round(sound.onset * sfreq))
        stop = min(n_times, round((sound.onset + sound.duration * rate) * sfreq))
        if stop - start >= least * sfreq:
            yield start, stop, sound_name(sound.sound)


def _least(max_offset):
    """Seconds that leave shifts for the null: four stretches as long as what is searched, beyond its reach."""
    return 4 * (2 * max_offset + REACH) + 2 * (max_offset + 2 * REACH)


def _nothing(max_offset, sfreq):
    """What is found where next to no sound is heard."""
    reach = int((max_offset + REACH) * sfreq + 1e-9)
    lags = np.arange(-reach, reach + 1) / sfreq
    unknown = dict.fromkeys(("offset", "p", "rest", "rest_p"), np.nan)
    return {**unknown, "lags": lags, "curve": np.zeros(len(lags))}


def whitened(signal):
    """Scale and clip channels, then rotate them so that all directions have equal power.

    Parameters
    ----------
    signal : ndarray of shape (n_times, n_channels)

    Returns
    -------
    white : ndarray of shape (n_times, n_good_channels)
        Of unit variance and, but for a little shrinkage, uncorrelated; constant channels are left out.
    """
    low, middle, high = np.quantile(signal, [0.25, 0.5, 0.75], axis=0)
    good = high > low
    scaled = ((signal[:, good] - middle[good]) / (high - low)[good]).astype(np.float32)
    np.clip(scaled, -CLIP, CLIP, out=scaled)
    scaled -= scaled.mean(0)
    values, vectors = np.linalg.eigh((scaled.T @ scaled).astype(np.float64) / len(scaled))
    rotation = vectors / np.sqrt(np.maximum(values, 0) + SHRINKAGE * values.mean())
    return scaled @ rotation.astype(np.float32)


def _laid_out(sounds, n_times, processing, memory):
    """The envelope as it was played, in the band of the brain, where sound was, and the sounds that are silent.

    Two ndarrays of (n_times,), and a list.
    """
    sfreq = processing.sfreq
    course, heard, silent = np.zeros(n_times), np.zeros(n_times, bool), []
    names = ["onset", "sound_onset", "duration", "sound"]
    for (onset, begun, seconds, sound), rate in zip(
        sounds[names].itertuples(index=False), clock_rate(sounds), strict=True
    ):
        if holds_nothing(sound, memory):
            silent.append(sound)
            continue
        whole = _envelope(sound, sfreq, memory)
        first = max(0, round(onset * sfreq))  # a recording may begin within a sound
        last = min(n_times, round((onset + seconds * rate) * sfreq))
        place = ((np.arange(first, last) / sfreq - onset) / rate + begun) * sfreq
        course[first:last] += np.interp(place, np.arange(len(whole)), whole, left=0.0, right=0.0)
        heard[first:last] = True
    if not heard.any() and silent:
        return course, heard, silent
    if not heard.any():
        raise ValueError(
            f"recording {sounds['recording'].iloc[0]!r}: none of its sounds is heard while it lasts."
        )
    return _filtered(course - course[heard].mean() * heard, processing), heard, silent


def _envelope(sound, sfreq, memory):
    """Envelope of a sound, features that it brings along as their mean: (n_frames,)."""
    if isinstance(sound, SoundArray):
        times = np.arange(0, sound.duration, 1 / sfreq)
        return np.interp(times, np.arange(len(sound.data)) / sound.sfreq, sound.data.mean(1))
    row = pd.DataFrame({"sound": [sound], "sound_onset": [0.0], "duration": [1 / sfreq]})
    windows = Envelope(sfreq=int(sfreq), memory=memory).fit(row).transform(row)
    first, last = windows.extent[0]
    return np.asarray(windows.signals[0].load()[first:last, 0], float)


def _filtered(course, processing):
    import mne

    return mne.filter.filter_data(
        course, processing.sfreq, processing.l_freq, processing.h_freq, phase="zero", verbose="ERROR"
    )


# --- the curve ---------------------------------------------------------------------------------------


def lag_curve(brain, sound, sfreq):
    r"""Power of the multichannel temporal response function at every circular shift of the sound.

    .. math:: W_c(\tau) = \mathcal F^{-1}\left[\frac{X_c(f) \, \overline{Y(f)}}{n (P(f) + \lambda \bar P)}\right](\tau),
              \qquad p(\tau) = \sum_c W_c(\tau)^2

    with :math:`X_c` and :math:`Y` the spectra of channel and envelope over the n samples, :math:`P` the envelope's
    power spectrum, smoothed to a resolution of 1/4 Hz, and :math:`\lambda` its mean in the band. Ridge
    regression on lagged envelopes has these weights up to the smoothing and the ends; one Fourier transform gives
    the lags that are looked at, and all that no brain can answer at.

    Parameters
    ----------
    brain : ndarray of shape (n_times, n_channels)
    sound : ndarray of shape (n_times,)
    sfreq : float
        Hz.

    Returns
    -------
    lags : ndarray of shape (n_lags,)
        Seconds from minus to plus half the length, rising; positive where the brain comes after the sound.
    power : ndarray of shape (n_lags,)
    """
    n_times = next_fast_len(len(sound), real=True)
    lags = (np.arange(n_times) - n_times // 2) / sfreq
    if not np.ptp(sound):
        return lags, np.zeros(n_times)  # silence has no spectrum to divide by
    spectrum = rfft(sound, n_times)
    freqs, smooth = welch(sound, sfreq, nperseg=min(len(sound), round(4 * sfreq)))
    smooth = np.interp(rfftfreq(n_times, 1 / sfreq), freqs, smooth)
    inside = smooth > 0.05 * smooth.max()
    weight = np.conj(spectrum) / (smooth + RIDGE * smooth[inside].mean() + 1e-300)
    power = np.zeros(n_times)
    for first in range(0, brain.shape[1], GROUP):
        channels = rfft(brain[:, first : first + GROUP], n_times, axis=0)
        power += (irfft(channels * weight[:, None], n_times, axis=0) ** 2).sum(1)
    return lags, np.roll(power, n_times // 2)


def response_offset(lags, power, max_offset):
    r"""Find a response in a lag curve, and how far it lies from where it should.

    The curve is weighed by what a response looks like, :math:`h(\tau) \propto (\tau / \tau_0)^2 e^{2 - 2 \tau /
    \tau_0}` from 0 to 0.45 s with :math:`\tau_0` = 0.12 s,

    .. math:: s(\delta) = \sum_\tau h(\tau) \, p(\tau + \delta),

    and the offset is where s is largest up to ``max_offset``. Largest values of s in stretches of equal length further
    off are the null; a Gumbel distribution through their mean and spread gives p.

    Parameters
    ----------
    lags, power : ndarray of shape (n_lags,)
        Of :func:`lag_curve`.
    max_offset : float
        Seconds.

    Returns
    -------
    found : dict
        ``offset`` (s), ``p``, ``lags`` and ``curve`` of p within the reach (s.d. of the null about its mean), and
        ``rest`` and ``rest_p``, offset and p of :math:`p(\tau) - p(-\tau)`, from which what leaks at 0 s is gone: its
        smear is as wide to both sides. Within 0.07 s of 0 nothing counts.
    """
    step = lags[1] - lags[0]
    after = np.arange(0, REACH, step)
    shape = (after / RESPONSE) ** 2 * np.exp(2 - 2 * after / RESPONSE)
    far = np.abs(lags) > max_offset + 2 * REACH
    if len(lags) * step < _least(max_offset):
        raise ValueError(
            f"max_offset={max_offset:g} s leaves no shifts for the null in a part of {len(lags) * step:.0f} s; take a "
            f"smaller one or longer parts."
        )
    curve = (power - power[far].mean()) / (power[far].std() or 1.0)
    near = np.abs(lags) <= max_offset + REACH + 1e-9
    offset, p = _best(lags, curve, shape, max_offset, far)
    lopsided = np.where(np.abs(lags) > BESIDE, curve - np.interp(-lags, lags, curve), 0.0)
    rest, rest_p = _best(lags, lopsided, shape, max_offset, far)
    return {
        "offset": offset,
        "p": p,
        "rest": rest,
        "rest_p": rest_p,
        "lags": lags[near],
        "curve": curve[near],
    }


def _best(lags, curve, shape, max_offset, far):
    """Where the weighed curve is largest within reach, and how rare that is further off."""
    weighed = np.correlate(np.r_[curve, curve[: len(shape) - 1]], shape, "valid")
    near = np.flatnonzero(np.abs(lags) <= max_offset)
    best = near[np.argmax(weighed[near])]
    null = weighed[far]
    null = null[: len(null) // len(near) * len(near)].reshape(-1, len(near)).max(1)
    scale = np.sqrt(6) / np.pi * null.std(ddof=1)
    if not scale > 0:
        return np.nan, np.nan
    place = null.mean() - np.euler_gamma * scale
    return lags[best], float(-np.expm1(-np.exp(-(weighed[best] - place) / scale)))


# --- words -------------------------------------------------------------------------------------------


def _judge(part, tolerance, level):
    """Put a part's numbers into words."""
    lags, curve = part.pop("lags"), part["curve"]
    singles, error, silent = part.pop("singles", []), part.pop("error", None), part.pop("silent", [])
    rest, rest_p = part.pop("rest"), part.pop("rest_p")
    offset, seen = part["offset"], part["p"] <= level
    early = curve[(lags >= BEFORE[0]) & (lags <= BEFORE[1])].max()
    isolated = _is_isolated(lags, curve)
    notes = [f"{named(silent)} {'is' if len(silent) == 1 else 'are'} silent"] if silent else []
    if error is not None:
        notes.append(f"cannot be looked at: {error}")
    elif part["heard"] < LEAST_HEARD:
        notes.append(f"only {part['heard']:.0f} s of sound")
    elif isolated:
        notes.append("isolated peak at 0 ms: earphones or cables, not a brain")
        beside = np.abs(lags) > BESIDE  # an echo of chance beside a tall peak grows with it
        later = (curve - curve[::-1])[beside].max() > SHARE * curve.max()
        offset, seen = rest, seen and rest_p <= level and later
        notes += [] if seen else ["nothing else is seen"]
    if not seen:
        verdict, offset = "cannot tell", np.nan
    elif abs(offset) <= tolerance:
        verdict = "aligned"
        if early > max(PEAK, SHARE * curve.max()):
            notes.append(
                "response before the sound: smear of a zero-phase filter, or an early copy of the sound"
            )
    else:
        verdict = f"off by {offset:+.2f} s"
        word = "later" if offset > 0 else "earlier"
        notes.append(f"the brain answers {abs(offset):.2f} s {word} than the table says")
    if seen and not isolated:
        notes += _odd_sounds(singles, offset, tolerance, level)
    curve = part.pop("curve")
    return {**part, "verdict": verdict, "offset": offset, "note": "; ".join(notes), "curve": curve}


def _odd_sounds(singles, offset, tolerance, level):
    """Say which sounds of a recording are elsewhere than the recording, or nowhere where the others are seen."""
    level = level / max(len(singles), 1)
    seen = [one for one in singles if one[2] <= level]
    for name, at, *_ in seen:
        if abs(at - offset) > tolerance:
            yield f"{name!r} is {at - offset:+.2f} s from the others"
    lost = []
    for name, _, p, heard in singles:
        alike = [other[2] for other in seen if other[3] <= LONGER * heard]  # a short sound shows less
        if not p <= level and len(alike) > 1 and np.median(alike) <= CLEAR:
            lost.append(name)
    if lost and len(seen) > len(singles) / 2:
        several = f"{', '.join(map(repr, lost[:3]))}{', ...' * (len(lost) > 3)}"
        yield f"no response to {several}, where {len(seen)} of {len(singles)} show one: another sound, or far off?"


def _is_isolated(lags, curve):
    """Tell whether a peak stands at 0, with a valley on either side of it."""
    centre = np.abs(lags) <= 0.045
    before = (lags >= -0.09) & (lags < -0.045)
    after = (lags > 0.045) & (lags <= 0.11)  # a response may follow
    top = np.flatnonzero(centre)[np.argmax(curve[centre])]
    chance = PEAK + SHARE * curve.max()  # what a response's own ripples and noise on top of them reach
    least = max(chance, 1.5 * curve[before].max(), 1.5 * curve[after].min())
    return abs(lags[top]) <= AT_ONCE and curve[top] > least


def _compare(found):
    """Say of what cannot be told how the other recordings are, and order the columns."""
    whole = found[found["part"] == 0]
    n_seen = int((whole["verdict"] != "cannot tell").sum())
    if 2 * n_seen > len(whole):
        told = found["note"].str.startswith(("cannot be looked at", "only "))
        lost = (found["part"] == 0) & (found["verdict"] == "cannot tell") & ~told
        text = (
            f"no response, where {n_seen} of {len(whole)} recordings show one: the wrong sound, or far off?"
        )
        found.loc[lost, "note"] = [f"{note}; {text}".removeprefix("; ") for note in found.loc[lost, "note"]]
    columns = [name for name in found if name not in ("verdict", "offset", "p", "note", "curve")]
    return found[[*columns, "verdict", "offset", "p", "note", "curve"]]
