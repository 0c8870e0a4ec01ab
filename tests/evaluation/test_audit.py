"""Inputs of audit that hold nothing or contradict each other."""

import numpy as np
import pandas as pd
import pytest

from sk_b2s import score_similarities


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
def test_an_audit_names_what_it_cannot_score(changes, message):
    table = pd.DataFrame({"target": np.arange(60.0), "onset": 3.0 * np.arange(60), "duration": 3.0})
    if "target" in changes:
        table.loc[2, "target"] = changes.pop("target")
    table, similarity = table[changes.pop("rows", slice(None))], changes.pop("similarity", np.eye(60))
    with pytest.raises(ValueError, match=message):
        score_similarities(similarity, table, **changes)


def test_an_audit_names_windows_whose_candidates_are_all_alike():
    table = pd.DataFrame({"target": np.arange(60), "onset": 3.0 * np.arange(60), "duration": 3.0})
    similarity = np.eye(60)
    score_similarities(similarity, table, n_shifts=20)
    similarity[[3, 7]] = 0.5
    with pytest.warns(UserWarning, match="same similarity in 2 of 60 rows"):
        score_similarities(similarity, table, n_shifts=20)
