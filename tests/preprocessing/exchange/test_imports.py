"""Tests of trials in the forms of other programs."""

import numpy as np
import pytest
from helpers.trial_files import NDVar, make_cells, write_cnsp, write_matlab_73
from scipy.io import savemat

from sk_b2s import PrecomputedFeatures, Windows

SFREQ = 50.0


@pytest.fixture
def trials():
    """Two trials of 3 channels, and 1 and 2 features."""
    rng = np.random.default_rng(0)
    lengths = 500, 600
    return [[rng.standard_normal((n, width)).astype("f4") for n in lengths] for width in (3, 1, 2)]


def check_equal(found, responses, stimuli, seconds=2.0):
    """Windows and features are those of the trials."""
    X, y = found
    expected, features = Windows.from_trials(responses, stimuli, SFREQ, seconds=seconds)
    np.testing.assert_array_equal(X, expected)
    assert X.sfreq == SFREQ
    np.testing.assert_array_equal(
        PrecomputedFeatures().fit_transform(y), PrecomputedFeatures().fit_transform(features)
    )


@pytest.mark.parametrize("kind", ["cells", "7.3", "names", "two files", "one trial"])
def test_from_mtrf_reads_toolbox_files(tmp_path, trials, kind):
    responses, stimuli, _ = trials
    path, options = tmp_path / "trials.mat", {}
    if kind == "7.3":
        pytest.importorskip("h5py")
        write_matlab_73(path, resp=responses, stim=stimuli, fs=SFREQ)
    elif kind == "one trial":
        responses, stimuli = responses[0], stimuli[0]
        savemat(path, {"resp": responses, "stim": stimuli, "fs": SFREQ})
    elif kind == "two files":
        savemat(path, {"resp": make_cells(responses)})
        savemat(tmp_path / "stim.mat", {"stim": make_cells(stimuli), "fs": SFREQ})
        options["stimuli"] = tmp_path / "stim.mat"
    else:
        names = ("EEG", "envelope", "Fs") if kind == "names" else ("resp", "stim", "fs")
        savemat(path, dict(zip(names, (make_cells(responses), make_cells(stimuli), SFREQ), strict=True)))
        options = {"names": names} if kind == "names" else {}
    check_equal(Windows.from_mtrf(path, seconds=2.0, **options), responses, stimuli)


def test_from_mtrf_reads_cnsp_files(tmp_path, trials):
    responses, envelope, bands = trials
    longer = [np.concatenate([part, part[:40]]) for part in responses]
    files = write_cnsp(tmp_path, longer, [envelope, bands], SFREQ, ["Envelope", "Bands"])
    both = [np.concatenate(pair, axis=1) for pair in zip(envelope, bands, strict=True)]
    X, y = found = Windows.from_mtrf(*files, seconds=2.0, subject="7")
    check_equal(found, responses, both)
    assert X.ch_names == ("E0", "E1", "E2")
    assert set(X.rows["subject"]) == {"7"}
    check_equal(Windows.from_mtrf(*files, features=["Bands"], seconds=2.0), responses, bands)
    one = write_cnsp(tmp_path, responses, [envelope], SFREQ, ["Envelope"])
    check_equal(Windows.from_mtrf(*one, seconds=2.0), responses, envelope)
    with pytest.raises(ValueError, match=r"features must be some of \['Envelope'\]. Got \['Pitch'\]"):
        Windows.from_mtrf(*one, features="Pitch")
    with pytest.raises(ValueError, match=r"features must be one or more of \['Envelope'\].* Got \[\]"):
        Windows.from_mtrf(*one, features=[])
    with pytest.raises(
        ValueError, match=r"Missing: resp, stim, fs\. It has eeg.*Pass the file of the stimuli"
    ):
        Windows.from_mtrf(one[0])


def test_from_mtrf_reads_cnsp_files_of_version_73(tmp_path, trials):
    pytest.importorskip("h5py")
    responses, envelope, _ = trials
    labels = {"eeg/chanlocs/labels": ["Fz", "Cz", "Pz"]}
    path = tmp_path / "data.mat"
    stim = {"stim/data": envelope, "stim/fs": SFREQ, "stim/names": ["Envelope"]}
    write_matlab_73(path, **{"eeg/data": responses, "eeg/fs": SFREQ, **labels, **stim})
    found = Windows.from_mtrf(path, features="Envelope", seconds=2.0)
    check_equal(found, responses, envelope)
    assert found[0].ch_names == ("Fz", "Cz", "Pz")


def test_from_mtrf_rejects_bad_files(tmp_path, trials):
    path = tmp_path / "trials.mat"
    savemat(path, {"EEG": trials[0][0], "fs": SFREQ})
    with pytest.raises(
        ValueError, match=r"Missing: resp, stim. It has EEG \(500 x 3\), fs \(1 x 1\). Set names="
    ):
        Windows.from_mtrf(path)
    savemat(path, {"resp": trials[0][0], "stim": trials[1][0], "fs": [50, 60]})
    with pytest.raises(ValueError, match="the sampling rate must be one number"):
        Windows.from_mtrf(path)
    path.write_bytes(b"no file of MATLAB" * 20)
    with pytest.raises(ValueError, match=r"trials.mat' cannot be read as a .mat file"):
        Windows.from_mtrf(path)
    with pytest.raises(FileNotFoundError):
        Windows.from_mtrf(tmp_path / "none.mat")


def test_from_mtrf_takes_rate_of_user(tmp_path, trials):
    path = tmp_path / "trials.mat"
    savemat(path, {"resp": make_cells(trials[0]), "stim": make_cells(trials[1])})
    with pytest.raises(ValueError, match=r"Missing: fs\..*Set names=\(response, stimulus, rate\) or sfreq="):
        Windows.from_mtrf(path)
    assert Windows.from_mtrf(path, sfreq=32)[0].sfreq == 32
    with pytest.raises(ValueError, match="names must be three"):
        Windows.from_mtrf(path, names=("resp", "stim"))


@pytest.mark.parametrize("read", [Windows.from_eelbrain, lambda r, s: Windows.from_naplib(r, sfreq=64)])
@pytest.mark.parametrize("as_list", [True, False])
def test_importers_refuse_arrays(read, as_list):
    trials = [np.zeros((100, 2))] * 2
    with pytest.raises(TypeError, match=r"(NDVar|naplib\.Data).*use Windows\.from_trials\("):
        read(trials if as_list else trials[0], trials)


def test_from_eelbrain_converts_trials(trials):
    responses, envelope, bands = trials
    names, locs = ["Fz", "Cz", "Oz"], np.array([[0, 0.06, 0.07], [0, 0, 0.1], [0, -0.09, 0.03]])
    eeg = [NDVar(part.T, ("sensor", "time"), SFREQ, names=names, locs=locs) for part in responses]
    one = [NDVar(part[:, 0], ("time",), SFREQ) for part in envelope]
    two = [NDVar(part.T, ("frequency", "time"), SFREQ) for part in bands]
    both = [np.concatenate(pair, axis=1) for pair in zip(envelope, bands, strict=True)]
    X, y = found = Windows.from_eelbrain(eeg, list(zip(one, two, strict=True)), seconds=2.0)
    check_equal(found, responses, both)
    assert X.ch_names == ("Fz", "Cz", "Oz")
    assert X.positions[0, 0, 1] > X.positions[0, 1, 1] > X.positions[0, 2, 1]  # nose up
    check_equal(Windows.from_eelbrain(eeg[0], [one[0], two[0]], seconds=2.0), responses[:1], both[:1])
    shifted = NDVar(responses[0].T, ("sensor", "time"), SFREQ, tmin=-0.5, names=names)
    check_equal(Windows.from_eelbrain(shifted, one[0], seconds=2.0), [responses[0][25:]], [envelope[0][:475]])


def test_from_eelbrain_converts_cases(trials):
    responses, envelope, _ = ([part[:500] for part in parts] for parts in trials)
    names = ["Fz", "Cz", "Oz"]
    eeg = NDVar(np.stack(responses), ("case", "time", "sensor"), SFREQ, names=names, has_case=True)
    one = NDVar(np.stack(envelope)[..., 0], ("case", "time"), SFREQ, has_case=True)
    check_equal(Windows.from_eelbrain(eeg, one, seconds=2.0), responses, envelope)
    with pytest.raises(ValueError, match="both have the dimension case"):
        Windows.from_eelbrain(eeg, one[0])
    with pytest.raises(ValueError, match="one NDVar or list of NDVar for each of 1 responses. Got 2"):
        Windows.from_eelbrain([eeg[0]], [one[0], one[1]])
    with pytest.raises(ValueError, match="at 50 Hz and a predictor at 25 Hz"):
        Windows.from_eelbrain(eeg[0], NDVar(envelope[0][:, 0], ("time",), 25.0))
    with pytest.raises(ValueError, match="responses must have the dimension sensor"):
        Windows.from_eelbrain(one[0], one[0])


def test_from_naplib_converts_trials(trials):
    responses, envelope, bands = trials
    data = [
        {"resp": r, "aud": b, "env": e[:, 0], "dataf": SFREQ}
        for r, e, b in zip(responses, envelope, bands, strict=True)
    ]
    check_equal(Windows.from_naplib(data, seconds=2.0), responses, bands)
    both = [np.concatenate(pair, axis=1) for pair in zip(bands, envelope, strict=True)]
    found = Windows.from_naplib(data, stimulus=["aud", "env"], sfreq=SFREQ, seconds=2.0)
    check_equal(found, responses, both)
    with pytest.raises(ValueError, match=r"no field 'eeg'. It has \['aud', 'dataf', 'env', 'resp'\]"):
        Windows.from_naplib(data, response="eeg")
    with pytest.raises(ValueError, match=r"same sampling rate. Got \[50.0, 60.0\] Hz"):
        Windows.from_naplib([data[0], {**data[1], "dataf": 60.0}])
