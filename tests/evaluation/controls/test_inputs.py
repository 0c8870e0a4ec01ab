"""Inputs of control analyses."""

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import planted
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sk_b2s import (
    Envelope,
    SurrogateRecordings,
)
from sk_b2s._utils._validation import validate_rows_in_step
from sk_b2s.evaluation._controls._inputs import (
    exclude_shared_control_inputs,
    make_control_noise_inputs,
    make_control_speech_inputs,
    permute_control_inputs,
    shift_control_inputs,
)

pytestmark = pytest.mark.filterwarnings("ignore:make_segments left out")


def test_shift_control_inputs_shifts_all_stimuli():
    X, y = planted(0, 0, n_recordings=3, n=60)
    y.loc[y.index[:60], "sound_onset"] = np.tile(
        np.arange(30.0), 2
    )  # the first recording plays its sound twice
    y.loc[y.index[:60], "segment"] = np.tile(np.arange(30), 2)
    order = shift_control_inputs(X.rows, y, random_state=3)
    assert sorted(order) == list(range(len(X)))
    recording = X.rows["recording"].to_numpy()
    assert (recording[order] == recording).all()
    onset = X.rows["onset"].to_numpy()
    assert (abs(onset[order] - onset) >= 10).all()
    place = y["sound_onset"].to_numpy()
    assert (abs(place[order] - place) >= 10).all()
    assert (np.diff(order[:60]) % 60 == 1).all()  # circular: neighbors stay neighbors
    assert not (order == shift_control_inputs(X.rows, y, random_state=4)).all()


def test_permute_control_inputs_is_not_out_of_step():
    """Neighboring rows keep a range as index, whose times are compared."""
    onset = np.random.default_rng(0).uniform(0, 40, 60).cumsum() / 20
    X = pd.DataFrame({"recording": "a", "onset": onset, "duration": 9.0})
    y = pd.DataFrame({"sound": "a.wav", "sound_onset": onset})
    order, part = np.roll(np.arange(60), 20), np.arange(25, 55)
    validate_rows_in_step(X.iloc[part], permute_control_inputs(y, order).iloc[part])
    with pytest.raises(ValueError, match="out of step"):
        validate_rows_in_step(X[25:55], y.iloc[order].set_axis(y.index)[25:55])


def test_shift_control_inputs_names_short_recording():
    X, y = planted(0, 0, n_recordings=2, n=15)
    with pytest.raises(ValueError, match="shift of recording 'r0' by 10 s or more pairs all its 15 windows"):
        shift_control_inputs(X.rows, y, random_state=0)


def test_exclude_shared_samples_drops_close_windows():
    rows = pd.DataFrame({
        "recording": ["a"] * 4 + ["b"], "onset": [0.0, 3.9, 4.0, 20.0, 0.0], "duration": 3.0,
    })  # fmt: skip
    kept = exclude_shared_control_inputs(rows, np.array([1, 2, 3, 4]), np.array([0]), gap=1.0)
    assert kept.tolist() == [2, 3, 4]
    assert exclude_shared_control_inputs(rows, np.array([0, 1, 4]), np.array([2, 3])).tolist() == [0, 4]


def test_with_noise_inserts_after_epocher(tiny_pipeline):
    pipe, noise = tiny_pipeline(), SurrogateRecordings()
    expected = ["epochs", "surrogate_recordings", "scale", "encoder"]
    assert list(make_control_noise_inputs(pipe, noise).named_steps) == expected
    search = make_control_noise_inputs(GridSearchCV(pipe, {"encoder__lr": [1e-3]}), noise)
    assert list(search.estimator.named_steps) == expected
    nested = make_control_noise_inputs(Pipeline([("front", pipe[:-1]), ("encoder", pipe[-1])]), noise)
    assert list(nested.named_steps["front"].named_steps) == expected[:-1]
    assert list(pipe.named_steps) == ["epochs", "scale", "encoder"]


def test_with_speech_replaces_features_and_grid(tiny_pipeline):
    pipe = tiny_pipeline()
    grid = {"encoder__speech__melspectrogram__n_mels": [4, 8], "encoder__lr": [1e-3]}
    search = make_control_speech_inputs(GridSearchCV(pipe, grid), Envelope())
    assert search.param_grid == {"encoder__lr": [1e-3]}
    assert isinstance(search.estimator.get_params()["encoder__speech"], Envelope)
    search = make_control_speech_inputs(
        GridSearchCV(pipe, [{"encoder__speech": [1]}, {"encoder__lr": [1]}]), Envelope()
    )
    assert search.param_grid == [{}, {"encoder__lr": [1]}]
    assert "melspectrogram" in pipe[-1].speech.named_steps
