"""Digests of estimators, rows, recordings and code."""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from helpers.decoders import ONE, Power, people, ridge
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import sk_b2s
from sk_b2s import (
    RidgeDecoder,
)
from sk_b2s.preprocessing._fingerprint import (
    _read_module_sources,
    describe_for_fingerprint,
    fingerprint_rows,
    make_code_fingerprint,
    make_fingerprint,
)


def estimator_that(text):
    """Make a class as a notebook does that is changed and run again."""
    space = {"__name__": "__main__"}
    exec(f"class Mine:\n    def get_params(self, deep=True):\n        return {{}}\n    {text}", space)
    return space["Mine"]()


def test_describe_depends_on_methods_of_class():
    doubled = describe_for_fingerprint(estimator_that("def transform(self, X): return 2 * X"))
    assert doubled == describe_for_fingerprint(estimator_that("def transform(self, X): return 2 * X"))
    assert doubled != describe_for_fingerprint(estimator_that("def transform(self, X): return 3 * X"))
    assert doubled != describe_for_fingerprint(estimator_that("def transform(self, X, by=1): return 2 * X"))
    assert describe_for_fingerprint(Ridge) == ["sklearn.linear_model._ridge.Ridge"]
    assert describe_for_fingerprint(RidgeDecoder) == ["sk_b2s.decoding._ridge_decoder.RidgeDecoder"]


def adding(number):
    return lambda a: a + number


def test_make_fingerprint_depends_on_values():
    X, y = people(n_recordings=2)
    assert make_fingerprint(ridge(), X, y) == make_fingerprint(ridge(), X[:], y.copy())
    assert make_fingerprint(ridge(k=3)) != make_fingerprint(ridge())
    assert make_fingerprint(make_pipeline(Power(), ONE)) != make_fingerprint(ONE)
    assert describe_for_fingerprint(lambda a: a + 1) != describe_for_fingerprint(lambda a: a + 2)
    assert describe_for_fingerprint(adding(1)) != describe_for_fingerprint(adding(2))
    assert describe_for_fingerprint(adding(1)) == describe_for_fingerprint(adding(1))
    assert describe_for_fingerprint(ridge(k=3).get_params) != describe_for_fingerprint(ridge(k=4).get_params)
    assert describe_for_fingerprint({"a": 1, "b": {3, 2}}) == describe_for_fingerprint(
        {"b": {2, 3}, "a": np.int64(1)}
    )
    both = ("x" * 3, "xx" + "x")
    assert make_fingerprint(both) == make_fingerprint(("xxx", both[0]))


def test_make_fingerprint_describes_networks():
    networks = [torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(share)) for share in (0.1, 0.2)]
    networks[1].load_state_dict(networks[0].state_dict())
    networks += [copy.deepcopy(networks[0]) for _ in range(3)]
    networks[3][0].bias.requires_grad_(False)
    with torch.no_grad():
        networks[4][0].weight += 1
    keys = [make_fingerprint(network) for network in networks]
    assert keys[2] == keys[0]  # pickles of copies differ
    assert len(set(keys)) == 4
    assert make_fingerprint(torch.ones(2)) == make_fingerprint(torch.ones(3)[:2])
    assert make_fingerprint(torch.ones(2)) != make_fingerprint(torch.ones(2, dtype=torch.bfloat16))


def test_make_fingerprint_depends_on_feature_file(tmp_path):
    file, keys = tmp_path / "vectors.npz", []
    for vectors in ([1.0], [2.0, 3.0]):
        np.savez(file, dog=vectors)
        keys.append(make_fingerprint(sk_b2s.PrecomputedFeatures(str(file))))
    assert keys[0] != keys[1]


def test_fingerprint_rows_depends_on_content():
    X, y = people(n_recordings=2)
    assert len(np.unique(fingerprint_rows(X))) == len(X)
    np.testing.assert_array_equal(fingerprint_rows(X)[[5, 3]], fingerprint_rows(X[[5, 3]]))
    np.testing.assert_array_equal(
        fingerprint_rows(y)[7:9], fingerprint_rows(y.iloc[7:9].set_axis(["a", "b"]))
    )
    louder = X._replace(signals=[2 * X.signals[0], X.signals[1]])
    assert np.flatnonzero(fingerprint_rows(X) != fingerprint_rows(louder)).tolist() == list(range(60))
    assert (fingerprint_rows(np.eye(3)) != fingerprint_rows(np.ones((3, 3)))).all()
    assert (fingerprint_rows(y) == fingerprint_rows(y[list(y.columns[::-1])])).all()
    assert not (fingerprint_rows(y) == fingerprint_rows(y.rename(columns={"block": "black"}))).any()


def test_fingerprint_rows_ignores_folder(tmp_path):
    tables = []
    for folder, content in (("here", "same"), ("there", "same"), ("there", "longer"), ("there", "louder")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "01.fif").write_text(content)
        tables.append(
            fingerprint_rows(pd.DataFrame({"recording": [str(tmp_path / folder / "01.fif")], "onset": 0.0}))
        )
    assert tables[0] == tables[1] != tables[2] != tables[3]  # of the last two the size is the same
    (tmp_path / "header.vhdr").write_text("unchanged")
    for content in ("before", "filter"):
        (tmp_path / "header.eeg").write_text(content)
        tables.append(fingerprint_rows(pd.DataFrame({"recording": [str(tmp_path / "header.vhdr")]})))
    assert tables[4] != tables[5]


def test_make_code_fingerprint_depends_on_imports(tmp_path):
    for name, text in {
        "evaluation/_results/_fits": "def run():\n    from sk_b2s.metrics._ranks_and_top_k import ranks",
        "metrics/_ranks_and_top_k": "from sk_b2s.metrics import _similarity",
        "metrics/_similarity": "similarity = 1",
        "evaluation/_statistics/_subject_means": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)

    def digest():
        make_code_fingerprint.cache_clear()
        return make_code_fingerprint(tmp_path)

    first = digest()
    (tmp_path / "evaluation/_statistics/_subject_means.py").write_text(
        "from sk_b2s.metrics._similarity import similarity"
    )
    assert digest() == first
    (tmp_path / "metrics" / "_similarity.py").write_text("similarity = 2")
    assert digest() != first
    modules = set(
        _read_module_sources(
            Path(sk_b2s.__file__).parent, ["evaluation._results._fits", "_persistence._registry"]
        )
    )
    assert {
        "decoding._encoder",
        "decoding._ridge_decoder",
        "features._acoustic_spectra",
        "metrics._similarity",
    } < modules
    assert not {"evaluation._statistics._subject_means", "plotting._scores", "reporting._methods"} & modules
