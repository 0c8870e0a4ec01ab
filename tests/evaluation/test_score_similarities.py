"""Scores of precomputed similarities."""

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import ridge, same

from sk_b2s import (
    StimulusKFold,
    read_results,
    score_similarities,
)
from sk_b2s.evaluation._results._table import ABOUT, COST, MADE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1. Got 0"),
        ({"k": 2.5}, "k must be an integer"),
        ({"n_shifts": -1}, "n_shifts must be an integer of at least 0"),
        ({"similarity": np.ones((0, 60)), "rows": slice(0, 0)}, "have no rows"),
        ({"target": np.nan}, "row 2, column 'target': expected the number of a column"),
        ({"target": 1.5}, "row 2, column 'target': .* got 1.5"),
    ],
    ids=str,
)
def test_score_similarities_refuses_invalid_values(changes, message):
    table = pd.DataFrame({"target": np.arange(60.0), "onset": 3.0 * np.arange(60), "duration": 3.0})
    if "target" in changes:
        table.loc[2, "target"] = changes.pop("target")
    table, similarity = table[changes.pop("rows", slice(None))], changes.pop("similarity", np.eye(60))
    with pytest.raises(ValueError, match=message):
        score_similarities(similarity, table, **changes)


def test_score_similarities_warns_of_ties():
    table = pd.DataFrame({"target": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    similarity = np.eye(60)
    score_similarities(similarity, table, n_shifts=20)
    similarity[[3, 7]] = 0.5
    with pytest.warns(UserWarning, match="same similarity in 2 of 60 rows"):
        score_similarities(similarity, table, n_shifts=20)


def test_score_similarities_equals_benchmark(done):
    arguments, results, _ = done
    X, y = arguments["X"], arguments["y"]
    train, test = next(StimulusKFold(3).split(X, y))
    decoder = ridge(alphas=(1.0,)).fit(X[train], y.iloc[train])
    similarity = decoder.similarity(X[test], y.iloc[test])
    table = X.rows.iloc[test].join(y.iloc[test].drop(columns="duration"))
    audited = score_similarities(similarity, table, n_shifts=50, name="one")
    rows = results.query("estimator == 'one' and control == 'decoder' and fold == 0").reset_index(drop=True)
    cost = [
        *ABOUT,
        *MADE,
        *COST,
        "plan",
        "details",
        "key",
        "n_train",
        "verdict",
    ]  # not known for precomputed similarities
    pd.testing.assert_frame_equal(audited.drop(columns=cost), rows.drop(columns=cost), check_dtype=False)
    # In other words, by columns, with the candidates in another order.
    order = np.random.default_rng(0).permutation(similarity.shape[1])
    names = y.iloc[test].drop_duplicates("segment").iloc[order]
    same(score_similarities(similarity[:, order], table, names, n_shifts=50, name="one"), audited)
    column = pd.Index(names["segment"]).get_indexer(table["segment"])
    named = table.drop(columns="segment").assign(target=column)
    same(score_similarities(similarity[:, order], named, names, n_shifts=50, name="one"), audited)


def test_score_similarities_refuses_invalid_tables(tmp_path):
    table = pd.DataFrame({"segment": np.arange(20)})
    with pytest.raises(ValueError, match="one row for each of the 20 rows of table"):
        score_similarities(np.eye(19), table)
    with pytest.raises(ValueError, match="'segment' .* or 'target'"):
        score_similarities(np.eye(20), table.rename(columns={"segment": "x"}))
    with pytest.raises(ValueError, match="20 columns, but there are 19 candidates"):
        score_similarities(np.eye(20), table, table.iloc[1:])
    with pytest.raises(ValueError, match="row 0: its segment 0 is not a candidate"):
        score_similarities(np.eye(20)[:, 1:], table, table.iloc[1:])
    with pytest.raises(ValueError, match="has several columns"):
        score_similarities(np.eye(20), table, table.assign(segment=1))
    with pytest.raises(ValueError, match="NaN in 20"):
        score_similarities(np.full((20, 20), np.nan), table)
    with pytest.raises(ValueError, match="is not more than k=20"):
        score_similarities(np.eye(20), table, k=20)
    with pytest.raises(ValueError, match="'acoustics' is not one of"):
        score_similarities(np.eye(20), table, controls={"acoustics": np.eye(20)})
    with pytest.raises(ValueError, match="lacks the columns \\['onset', 'duration'\\]"):
        score_similarities(np.eye(20), table, controls={"phase_randomized": np.eye(20)})
    row = score_similarities(np.eye(20), table, n_candidates=None).iloc[0]
    assert row["verdict"] == "no_null"
    late = table.assign(onset=np.arange(20.0), duration=11.0)
    row = score_similarities(np.eye(20), late, n_candidates=None).iloc[0]
    assert row["verdict"] == "no_null"
    (tmp_path / "r.jsonl").write_text("not a result\n")
    with pytest.raises(ValueError, match="no results found"):
        read_results(tmp_path / "r.jsonl")


def test_score_similarities_of_equal_recording_names():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "subject": np.repeat(["a", "b"], 40), "onset": np.tile(3.0 * np.arange(40), 2), "duration": 3.0,
        "segment": np.tile(np.arange(40), 2),
    })  # fmt: skip
    arguments = {
        "controls": {"phase_randomized": rng.normal(size=(80, 40))},
        "k": 5,
        "n_candidates": None,
        "n_shifts": 50,
    }
    scores = rng.normal(size=(80, 40))
    whole = score_similarities(scores, table.assign(recording=table["subject"] + "1"), **arguments)
    for other in (table, table.assign(recording="run1")):
        same(score_similarities(scores, other, **arguments), whole)
    for column in ("subject", "onset"):
        with pytest.raises(ValueError, match=f"table row 7 has no {column}"):
            score_similarities(scores, table.assign(**{column: table[column].where(table.index != 7)}))
