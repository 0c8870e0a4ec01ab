"""Lost samples, drift, clock jumps and dead channels of a stream."""

import warnings

import numpy as np
import pytest

from sk_b2s.streaming._regularizer import PLACED, RECEIVED, StreamRegularizer

SFREQ, N_TIMES = 50, 5000


def make_signal(n_times=N_TIMES, drift=0.0, jitter=0.0):
    """Make samples whose values are their number, and time stamps."""
    random = np.random.default_rng(0)
    stamps = 1000 + np.arange(n_times) / SFREQ * (1 + drift) + jitter * random.random(n_times)
    return np.arange(n_times) + np.array([[0.0], [0.5]]), stamps


def regularize(samples, stamps, sizes=(60,), arrived=None, **parameters):
    """Push all samples in chunks whose sizes repeat."""
    regularizer = StreamRegularizer(SFREQ, ["C3", "Cz"], **parameters)
    first, pieces, turn = 0, [], 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while first < samples.shape[1]:
            last = min(first + sizes[turn % len(sizes)], samples.shape[1])
            when = None if arrived is None else arrived[last - 1]
            pieces += list(regularizer.push(samples[:, first:last], stamps[first:last], when))
            first, turn = last, turn + 1
    check_counts(regularizer, len(stamps))
    regularizer.messages = [str(warning.message) for warning in caught]
    return np.concatenate(pieces, axis=1), regularizer


def check_counts(regularizer, n_received):
    counts = regularizer.counts
    assert sum(counts[part] for part in RECEIVED) == counts["received"] == n_received
    assert sum(counts[part] for part in PLACED) == regularizer.n_grid


@pytest.mark.parametrize("jitter", [0.0, 0.004, 0.03], ids=str)
def test_regular_samples_are_not_changed(jitter):
    samples, stamps = make_signal(jitter=jitter)
    output, regularizer = regularize(samples, stamps, (7, 1, 120))
    n = output.shape[1]
    np.testing.assert_array_equal(output, samples[:, :n])
    assert n == len(stamps) - regularizer.counts["waiting"] > len(stamps) - 5
    assert len(regularizer.make_faults()) == len(regularizer.messages) == 0


def test_bursts_with_equal_stamps_are_continuous():
    samples, stamps = make_signal()
    stamps = stamps[np.minimum(np.arange(N_TIMES) // 5 * 5 + 4, N_TIMES - 1)]
    stamps[3000:3025] = stamps[3024]  # half a second arrives at once
    output, regularizer = regularize(samples, stamps)
    assert regularizer.counts["used"] + regularizer.counts["waiting"] == N_TIMES
    np.testing.assert_array_equal(output, samples[:, : output.shape[1]])


@pytest.mark.parametrize(
    ("n_lost", "kind"), [(1, "interpolated"), (2, "interpolated"), (3, "lost"), (120, "lost")]
)
@pytest.mark.parametrize("jitter", [0.0, 0.004], ids=str)
def test_lost_samples_are_found(n_lost, kind, jitter):
    samples, stamps = make_signal(jitter=jitter)
    is_there = ~((np.arange(N_TIMES) >= 2000) & (np.arange(N_TIMES) < 2000 + n_lost))
    arrived = stamps[is_there] + 0.1
    output, regularizer = regularize(samples[:, is_there], stamps[is_there], (10,), arrived)
    np.testing.assert_allclose(output, samples[:, : output.shape[1]])  # a line is interpolated exactly
    assert regularizer.counts[kind] == n_lost
    assert regularizer.counts["interpolated"] + regularizer.counts["lost"] == n_lost
    assert regularizer.is_marked(1999, 2001) == (kind == "lost")
    assert not regularizer.is_marked(0, 2000)
    assert not regularizer.is_marked(2000 + n_lost, 5000)
    (fault,) = regularizer.make_faults().to_dict("records")
    assert (fault["time"], fault["n_samples"]) == (40, n_lost)


@pytest.mark.parametrize("sizes", [(1,), (3, 50, 1), (N_TIMES,)], ids=str)
def test_chunks_do_not_change_the_output(sizes):
    samples, stamps = make_signal(drift=3e-4, jitter=0.003)
    samples[1, 4000:4400] = 7.0
    samples[0, 700] = np.nan
    stamps[3000:] -= 0.4
    is_there = np.ones(N_TIMES, bool)
    is_there[1000:1002] = is_there[2000:2040] = False
    samples, stamps = samples[:, is_there], stamps[is_there]
    expected, reference = regularize(samples, stamps)
    output, regularizer = regularize(samples, stamps, sizes)
    np.testing.assert_array_equal(output, expected)
    assert regularizer.counts == reference.counts
    assert regularizer.make_faults().equals(reference.make_faults())
    assert [regularizer.find_dead(0, n)[1] for n in (3900, 4300)] == [False, True]
    assert regularizer.counts["lost"] == 40
    assert regularizer.counts["interpolated"] == 2
    assert regularizer.counts["inserted"] > 0


@pytest.mark.parametrize("drift", [4e-4, -4e-4], ids=str)
def test_drift_is_corrected(drift):
    samples, stamps = make_signal(600 * SFREQ, drift, 0.002)
    output, regularizer = regularize(samples, stamps, (500,))
    at = (np.arange(output.shape[1]) / SFREQ)[40 * SFREQ :]
    sampled = output[0, 40 * SFREQ :] / SFREQ * (1 + drift)
    assert abs(at - sampled).max() < 1.6 / SFREQ, "without a correction it is 0.24 s"
    assert abs(regularizer.timeline.drift - drift) < 5e-6
    n_corrected = regularizer.counts["inserted" if drift > 0 else "dropped"]
    assert 10 <= n_corrected <= 12
    assert regularizer.timeline.find_time(stamps[-1]) == pytest.approx(stamps[-1] - 1000, abs=0.003)


def test_wrong_sampling_rates_are_reported():
    samples, stamps = make_signal(drift=-50 / 51.2 * 0.024)
    output, regularizer = regularize(samples, stamps)
    assert "imply a sampling rate of 51.2" in regularizer.messages[0]
    assert len(regularizer.messages) == 1
    assert regularizer.n_grid / SFREQ == pytest.approx(stamps[-1] - 1000, abs=0.05)


@pytest.mark.parametrize("jump", [0.4, 12.0, -0.4, -12.0])
def test_clock_jumps_differ_from_lost_samples(jump):
    samples, stamps = make_signal(jitter=0.003)
    arrived = stamps + 0.02
    stamps[3000:] += jump
    output, regularizer = regularize(samples, stamps, arrived=arrived)
    np.testing.assert_array_equal(output, samples[:, : output.shape[1]])
    assert regularizer.is_aligned
    assert "decoding continues" in regularizer.messages[0]
    (fault,) = regularizer.make_faults().to_dict("records")
    assert (fault["kind"], fault["time"]) == ("clock jump", 60)
    assert fault["seconds"] == pytest.approx(jump, abs=0.004)
    soon = regularize(samples[:, :3020], stamps[:3020], (20,), arrived)[1]
    for place in (2900, 3010):
        assert soon.timeline.find_time(stamps[place]) == pytest.approx(
            place / SFREQ, abs=0.41 if jump == -0.4 else 0.03
        )
    assert regularizer.timeline.find_time(stamps[-1]) == pytest.approx(N_TIMES / SFREQ, abs=0.03)


@pytest.mark.parametrize("jump", [0.06, 0.1, 0.24, -0.1])
def test_short_clock_jumps_differ_from_lost_samples(jump):
    """Samples never arrive earlier after their stamps if some were lost."""
    samples, stamps = make_signal()
    arrived = stamps + 0.02 + 0.01 * np.random.default_rng(1).random(N_TIMES)
    is_there = np.ones(N_TIMES, bool)
    if jump > 0:
        is_there[1000 : 1000 + round(jump * SFREQ)] = False  # a gap of the same length before
    stamps[3000:] += jump
    output, regularizer = regularize(samples[:, is_there], stamps[is_there], (5,), arrived[is_there])
    faults = regularizer.make_faults()
    assert faults["kind"].str.removeprefix("interpolated ").tolist() == ["gap"] * (jump > 0) + ["clock jump"]
    assert faults["seconds"].tolist()[-1] == pytest.approx(jump, abs=0.003)
    np.testing.assert_allclose(output, samples[:, : output.shape[1]])
    assert regularizer.timeline.find_time(stamps[-1]) == pytest.approx(N_TIMES / SFREQ, abs=0.03)


@pytest.mark.parametrize("case", ["inexact", "first"])
def test_short_steps_need_close_times_of_arrival(case):
    samples, stamps = make_signal(1000)
    arrived = stamps + 0.02 + 0.2 * (case == "inexact") * (np.arange(1000) >= 500)
    at = 500 if case == "inexact" else 50
    stamps[at:] += 0.1
    output, regularizer = regularize(samples, stamps, (5,), arrived)
    assert regularizer.make_faults()["kind"].tolist() == ["gap"]


@pytest.mark.parametrize("speed", [1.1, 2.0])
@pytest.mark.parametrize("n_lost", [5, 10])
def test_losses_are_found_while_a_queue_shortens(speed, n_lost):
    """Samples that waited since the start arrive earlier and earlier."""
    samples, stamps = make_signal(2000)
    is_there = (np.arange(2000) < 1000) | (np.arange(2000) >= 1000 + n_lost)
    stamps = stamps[is_there]
    arrived = np.maximum(stamps + 0.02, 1030 + np.arange(len(stamps)) / SFREQ / speed)
    output, regularizer = regularize(samples[:, is_there], stamps, (1,), arrived)
    faults = regularizer.make_faults()
    assert faults["kind"].str.removeprefix("interpolated ").tolist() == ["gap"]
    assert faults["seconds"].tolist() == pytest.approx([n_lost / SFREQ])
    np.testing.assert_allclose(output, samples[:, : output.shape[1]])


@pytest.mark.parametrize(("jump", "has_arrived"), [(5.0, False), (-5.0, False), (-100.0, True)])
def test_unknown_losses_end_the_alignment(jump, has_arrived):
    samples, stamps = make_signal()
    arrived = stamps + 0.02
    stamps[3000:] += jump
    arrived[3000:] += 7.0  # the stream comes back with another clock
    output, regularizer = regularize(samples, stamps, arrived=arrived if has_arrived else None)
    assert not regularizer.is_aligned
    assert "no predictions before the next start" in regularizer.messages[0]
    n_lost = 7 * SFREQ if has_arrived else max(0, round(jump * SFREQ))
    assert regularizer.counts["lost"] == pytest.approx(n_lost, abs=1)


@pytest.mark.parametrize("jump", [0.0, 20.0])
def test_times_of_arrival_may_be_late(jump):
    samples, stamps = make_signal()
    is_there = (np.arange(N_TIMES) < 3000) | (np.arange(N_TIMES) >= 3100 * (jump == 0))
    samples, stamps = samples[:, is_there], stamps[is_there]
    arrived = stamps + 0.02
    arrived[3000:3030] += 0.6  # right after the step
    stamps[3000:] += jump
    output, regularizer = regularize(samples, stamps, (3,), arrived)
    assert regularizer.is_aligned
    assert regularizer.counts["lost"] == (100 if jump == 0 else 0)
    assert regularizer.make_faults()["kind"].tolist() == ["gap" if jump == 0 else "clock jump"]


def test_repeated_samples_are_removed():
    samples, stamps = make_signal(1000)
    order = np.r_[0:500, 470:1000]  # 30 samples are sent again
    output, regularizer = regularize(samples[:, order], stamps[order])
    np.testing.assert_array_equal(output, samples)
    assert regularizer.counts["repeated"] == 30
    assert len(regularizer.make_faults()) == 0


def test_dead_channels_are_found_and_recover():
    samples, stamps = make_signal()
    samples[1, 2000:3000] = samples[1, 2000]
    samples[0, 4000:4100] = np.nan
    output, regularizer = regularize(samples, stamps, settle=1.0)
    faults = regularizer.make_faults()
    assert faults["kind"].tolist() == ["dead channel", "recovered channel"] * 2
    assert faults["channel"].tolist() == ["Cz", "Cz", "C3", "C3"]
    assert faults["time"].tolist() == pytest.approx([40.5, 61, 80.5, 83], abs=0.5)
    for first, expected in ((1900, [0, 0]), (2900, [0, 1]), (3050, [0, 1]), (3300, [0, 0]), (4050, [1, 0])):
        assert regularizer.find_dead(first, first + 10).tolist() == expected
    assert regularizer.counts["replaced"] == 100
    assert (output[0, 4000:4100] == 3999).all()
    assert len(regularizer.messages) == 4
    assert "Cz" in regularizer.messages[0]


def test_windows_without_any_channel_are_marked():
    samples, stamps = make_signal()
    samples[:, 2000:3000] = 0.0  # instead of lost samples
    regularizer = regularize(samples, stamps)[1]
    assert regularizer.is_marked(2500, 2510)
    assert not regularizer.is_marked(1900, 1990)
    assert not regularizer.is_marked(3200, 5000)
    masked = regularize(samples, stamps, is_bad=[True, False])[1]
    assert masked.is_marked(2500, 2510)


def test_old_samples_are_discarded():
    samples, stamps = make_signal()
    arrived = stamps + 0.02
    arrived[3000:3500] = np.maximum(arrived[3000:3500], arrived[3249])  # nothing is read for 5 s
    output, regularizer = regularize(samples, stamps, (10,), arrived)
    np.testing.assert_array_equal(output, samples[:, : output.shape[1]])
    assert regularizer.counts["discarded"] == pytest.approx(150, abs=15)
    assert regularizer.is_old(3100)
    assert not regularizer.is_old(3200)
    assert "max_age=2 s late" in regularizer.messages[0]
    assert len(regularizer.messages) == 1
    (fault,) = regularizer.make_faults().to_dict("records")
    assert (fault["kind"], fault["n_samples"]) == ("too old", regularizer.counts["discarded"])


def test_marks_are_forgotten_in_time():
    samples, stamps = make_signal()
    is_there = (np.arange(N_TIMES) + 250) % 500 >= 20
    samples[1, 4000:4300] = 1.0
    regularizer = regularize(samples[:, is_there], stamps[is_there])[1]
    assert regularizer.is_marked(250, 270)
    regularizer.forget(4500)
    assert not regularizer.is_marked(250, 270)
    assert regularizer.is_marked(4750, 4770)
    assert not regularizer.find_dead(0, N_TIMES).any()


def test_regularizer_checks_time_stamps():
    samples, stamps = make_signal(10)
    with pytest.raises(ValueError, match="one finite number per sample .10..*shape .9,"):
        regularize(samples, stamps[:9], (10,))
    with pytest.raises(ValueError, match="not finite"):
        regularize(samples, np.where(stamps > 1000.1, np.nan, stamps), (10,))
