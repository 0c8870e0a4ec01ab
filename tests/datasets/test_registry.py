"""Data sets by name, from a table of events and from a BIDS folder."""

import os
from pathlib import Path

import numpy as np
import pytest

import sk_b2s.datasets
from sk_b2s import make_segments
from sk_b2s.datasets import make_listening
from sk_b2s.datasets._registry import DATASETS, SPECS, Dataset, load_dataset


@pytest.fixture(scope="module")
def simulated_events(tmp_path_factory):
    """Events of one minute of two simulated subjects."""
    root = tmp_path_factory.mktemp("simulated")
    return make_listening(2, 1, modality="eeg", snr_db=10, artifacts=False, root=root)


@pytest.mark.parametrize("suffix", [".tsv", ".csv.gz", ".json"])
def test_load_dataset_reads_events_table(suffix, simulated_events, tmp_path):
    events = simulated_events.copy()
    events.loc[events.index[events["type"] == "word"][0], "text"] = "null"  # a word, not a missing value
    relative = events.assign(
        recording=[os.path.relpath(path, tmp_path) for path in events["recording"]],
        sound=[os.path.relpath(path, tmp_path) for path in events["sound"]],
    )
    if suffix == ".json":
        relative.to_json(tmp_path / "events.json", orient="records")
    else:
        relative.to_csv(
            tmp_path / f"events{suffix}", sep="\t" if suffix == ".tsv" else ",", index=False, na_rep="n/a"
        )
    found = load_dataset(tmp_path).events
    pairs = zip(make_segments(found, block=6), make_segments(events, block=6), strict=True)
    for table, expected in pairs:
        for column in expected.columns[(expected != "").any()]:
            ours, theirs = table[column], expected[column]
            if column in ("recording", "sound"):
                ours, theirs = ours.map(os.path.realpath), theirs.map(os.path.realpath)
            assert (ours.isna() == theirs.isna()).all()
            assert ours.dropna().tolist() == theirs.dropna().tolist(), column


def test_load_dataset_rejects_unknown_options(tmp_path):
    (tmp_path / "events.csv").write_text("subject,onset\n01,1\n")
    with pytest.raises(ValueError, match="has no option 'n_subjects'"):
        load_dataset(tmp_path, n_subjects=3)
    with pytest.raises(ValueError, match=r"has no option 'persons'\. It has only n_subjects, minutes"):
        load_dataset("listening", persons=3)


def test_load_dataset_reads_bids_folder(listening):
    X, _ = listening
    parents = Path(X["recording"].iloc[0]).parents
    folder = next(path for path in parents if (path / "dataset_description.json").is_file())
    events = load_dataset(folder, subjects=["01"]).events
    assert set(events["subject"]) == {"01"}
    found, _ = make_segments(events, anchor=1.0, tmin=0, tmax=3, block=8)
    np.testing.assert_allclose(found["onset"], X.loc[X["subject"] == "01", "onset"], atol=1e-3)
    with pytest.raises(
        ValueError, match=r"has no option 'n_subjects'\. It has only task, subjects, sessions, runs"
    ):
        load_dataset(folder, n_subjects=2)


@pytest.mark.parametrize("name", ["gwilliams2022", "schoffelen2019", "broderick2019", "brennan2019"])
def test_load_dataset_reports_missing_study(name, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=str(tmp_path)):
        load_dataset(name, root=tmp_path)


def test_load_dataset_requires_root():
    with pytest.raises(ValueError, match="'root'.*fetch_gwilliams2022"):
        load_dataset("gwilliams2022")
    with pytest.raises(ValueError, match="must be the name of a data set .*did you mean 'brennan2019'"):
        load_dataset("brennan2018")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_registered_data_set_is_documented(spec):
    assert DATASETS[spec.name] is spec
    assert spec.summary.endswith(".")
    if spec.name == "listening":
        return
    reference = (Path(__file__).parents[2] / "docs/api/datasets.rst").read_text()
    for function in filter(None, (spec.loader, spec.fetcher)):
        assert function.__name__ in sk_b2s.datasets.__all__
        assert f"   {function.__name__}\n" in reference
    assert spec.loader.__name__ == f"load_{spec.name}"
    assert spec.citation in spec.loader.__doc__
    assert spec.options[:2] == ["root", "subjects"]


def test_load_dataset_returns_dataset(masc_root):
    dataset = load_dataset(
        "gwilliams2022", root=masc_root, subjects="12", sessions="0", need_recordings=False, tasks="0"
    )
    assert isinstance(dataset, Dataset)
    assert dataset.oracle is None
    assert set(dataset.events["subject"]) == {"12"}
