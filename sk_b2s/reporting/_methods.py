"""Methods paragraph of a results table."""

from __future__ import annotations

import pandas as pd

from sk_b2s._utils._text import format_percent, join_words, with_visible_text
from sk_b2s.decoding._stimulus_artifacts import HOLD_SOUND
from sk_b2s.evaluation._controls._registry import label_of_control
from sk_b2s.evaluation._controls._verdicts import BELOW_MEANS, TEXTS, Verdict, against_null
from sk_b2s.evaluation._results._amounts import amounts_in, format_minutes, select_amount
from sk_b2s.evaluation._results._plan import UNKNOWN, lacking
from sk_b2s.evaluation._statistics import mean_and_sem, null_over_subjects, of_decoders


@with_visible_text
def generate_methods_text(results, cv=None):
    """Write how scores were made, as in the methods of a paper, from their table alone.

    What the table does not hold is not made up: a last sentence in brackets names it. The rest of a methods section,
    preprocessing and the parameters of the estimators, is in no table of scores and left to the author.

    Parameters
    ----------
    results : DataFrame of shape (n_rows, ...)
        As :func:`~sk_b2s.benchmark` returns: ``estimator`` and ``subject``, and where they are ``study, control,
        seed, fold, condition, pool, n_train, n_windows, n_candidates, k, chance, top_1, top_5, top_10,
        top_k, null_mean, null_high, n_train_overlap, verdict, versions`` and ``error``.
    cv : None, splitter or str, default=None
        How windows were divided: its ``repr``, or your words. A table with a column ``cv`` says it itself.

    Returns
    -------
    text : str
        One paragraph.

    Raises
    ------
    ValueError
        If the table has no rows, or none that did not fail, or no subjects and estimators.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_b2s import generate_methods_text
    >>> results = pd.DataFrame({"estimator": "ridge", "subject": ["a", "b"], "fold": [0, 1], "n_windows": [80, 90],
    ...                         "n_candidates": [40, 40], "k": 10, "chance": 0.25, "top_k": [0.5, 0.7]})
    >>> print(generate_methods_text(results, cv="LeaveOneSubjectOut(stimulus_folds=None)").split(". ")[0])
    Decoding was tested on 170 windows of 2 people (80 to 90 each), in 2 folds made by
    LeaveOneSubjectOut(stimulus_folds=None), each of which tested one person
    """
    if missing := [column for column in ("estimator", "subject") if column not in results]:
        raise ValueError(f"results must have the columns {missing}, but has {list(results.columns)}.")
    failed = (
        results["error"].astype(object).fillna("") != ""
        if "error" in results
        else pd.Series(False, index=results.index)
    )
    good = results[~failed]
    if not len(good):
        raise ValueError(f"results has no rows{' but those of failed fits' if len(results) else ''}.")
    mine = of_decoders(good)
    said = [
        _tested(mine, cv), _missing(results), _trained(mine), _asked(mine), _leaks(mine), _holding(mine),
        _unlabelled(mine), _averaged(mine), _null(mine), _controls(good), *_scores(mine), _failed(results[failed]),
        _versions(good), _unsaid(good, cv),
    ]  # fmt: skip
    return " ".join(sentence for sentence in said if sentence)


# --- one sentence each -----------------------------------------------------------------------------


def _tested(mine, cv):
    mine = select_amount(mine)
    one = mine.drop_duplicates(
        [c for c in ("subject", "fold", "condition") if c in mine]
    )  # an estimator, a seed
    people = one["subject"].nunique()
    text = f"{people} {'person' if people == 1 else 'people'}"
    if "n_windows" in one:
        n = one.groupby("subject")["n_windows"].sum()
        text = f"{int(n.sum())} windows of {text}" + (f" ({_range(n)} each)" if people > 1 else "")
    studies = [str(name) for name in pd.unique(one["study"].dropna()) if name] if "study" in one else []
    text = f"Decoding was tested on {text}" + (f" ({join_words(studies)})" if studies else "")
    if "fold" not in one:
        return f"{text}."
    n_folds = one["fold"].nunique()
    how = _how(one, cv)
    text += f", in {n_folds} fold{'s' if n_folds > 1 else ''}{f' made by {how}' if how else ''}"
    alone = (one.groupby("fold")["subject"].nunique() == 1).all() and people > 1
    return f"{text}, each of which tested one person." if alone else f"{text}."


def _missing(results):
    """Name what is not done of the plan; nothing where all is."""
    if not {"control", "fold", "seed", "error", "plan"} <= set(results):
        return ""
    lacks = lacking(results, ["estimator", "control", *amounts_in(results)])
    lacks = [text for text in lacks if not text.endswith(UNKNOWN)]
    return f"These are results of an unfinished benchmark: {'; '.join(lacks)}." if lacks else ""


def _how(one, cv):
    if cv is not None:
        return str(cv)
    return join_words([str(name) for name in pd.unique(one["cv"].dropna())]) if "cv" in one else ""


def _trained(mine):
    names = [str(name) for name in pd.unique(mine["estimator"])]
    text = f"{join_words(names)} {'was' if len(names) == 1 else 'were each'} fitted"
    if "n_train" in mine and mine["n_train"].notna().all():
        text += f" on {_range(mine['n_train'])} windows"
    if "seed" in mine and mine["seed"].nunique() > 1:
        text += f" with {mine['seed'].nunique()} random seeds"
    return f"{text}." if text[-6:] != "fitted" else ""


def _asked(mine):
    if "n_candidates" not in mine:
        return ""
    return (
        f"For each window the segment heard was ranked among the distinct segments of its test set "
        f"({_range(mine['n_candidates'])}) by its similarity to what was decoded; ties counted against the decoder."
    )


def _leaks(mine):
    if "n_train_overlap" not in mine or mine["n_train_overlap"].isna().any():
        return ""
    leaking = mine[mine["n_train_overlap"] > 0]
    if not len(leaking):
        return "No window tested contained sound of the training windows."
    where = (
        f"in {leaking['fold'].nunique()} of {mine['fold'].nunique()} folds" if "fold" in mine else "in some"
    )
    return f"Windows tested contained sound of the training windows {where}, so these are not scores on unheard sound."


def _holding(mine):
    """State that channels of the recordings hold the sound, by the warnings of the fits."""
    if "warnings" not in mine:
        return ""
    holds = mine["warnings"].astype(object).fillna("").astype(str).str.contains(HOLD_SOUND, regex=False)
    names = [str(name) for name in pd.unique(mine.loc[holds, "estimator"])]
    return f"Channels that hold the sound were among the sensors of {join_words(names)}." if names else ""


def _unlabelled(mine):
    said = mine["transductive_steps"].dropna().unique() if "transductive_steps" in mine else ()
    names = list(dict.fromkeys(name for text in said for name in str(text).split(", ") if name))
    if not names:
        return ""
    return f"The recordings tested were seen, without what was heard in them, by {join_words(names)}."


def _averaged(mine):
    if mine["subject"].nunique() == 1:
        return "Scores are those of one person, and there is no error over people."
    parts = [
        name
        for name, column in (("folds", "fold"), ("seeds", "seed"))
        if column in mine and mine[column].nunique() > 1
    ]
    return (
        f"Scores were averaged over the windows of each person"
        f"{f', all {join_words(parts)} together,' if parts else ''} and are given as mean ± s.e.m. over people."
    )


def _null(mine):
    if "null_mean" not in mine or mine["null_mean"].isna().all():
        return ""
    text = (
        "The null distribution was made by moving the labels circularly in time within each recording, by a window or "
        "more, and scoring them in the same similarities"
    )
    missing = mine["null_mean"].isna().mean()
    return (
        f"{text}."
        if not missing
        else f"{text} (recordings were too short for that in {missing:.0%} of the rows)."
    )


def _controls(good):
    if "control" not in good:
        return ""
    names = [str(name) for name in pd.unique(good["control"]) if name != "decoder"]
    if not names:
        return ""
    return f"The same code was run on controls: {join_words([label_of_control(name) for name in names])}."


def _scores(mine):
    """Say the headline score of each estimator."""
    known = [
        name for name in ("top_k", "top_10", "top_5", "top_1") if name in mine and mine[name].notna().all()
    ]
    if not known:
        return
    score, k = known[0], known[0].removeprefix("top_")
    if k == "k" and "k" in mine and mine["k"].nunique() == 1:
        k = int(mine["k"].iloc[0])
    chance = "chance" if score == "top_k" or "k" not in mine else ""  # whose chance it is
    label = mine["estimator"].astype(str)
    for column in amounts_in(mine):
        label = label + format_minutes(mine[column])
    mine = mine.assign(estimator=label)
    below = _below(mine)
    for label, row in mean_and_sem(mine, score, "estimator", chance=chance).iterrows():
        text = f"{label}: top-{k} accuracy {format_percent(row['mean'])}"
        text += f" ± {format_percent(row['sem'])}" if row["n_subjects"] > 1 else ""
        text += f", chance {format_percent(row['chance'])}" if "chance" in row else ""
        leaks = _leak_texts(mine[mine["estimator"] == label])
        inverted = f"; {TEXTS[Verdict.BELOW_NULL]}: {BELOW_MEANS}" if label in below else ""
        yield f"{text}{f'; {join_words(leaks)}' if leaks else inverted}."


def _leak_texts(own):
    """Texts of the leaks of an estimator."""
    if not {"verdict", "verdict_text"} <= set(own):
        return []
    return list(pd.unique(own.loc[own["verdict"] == Verdict.LEAK, "verdict_text"]))


def _below(mine):
    """Names of the estimators whose mean over people is below its null."""
    if not {"top_k", "null_low", "null_mean", "null_high"} <= set(mine):
        return set()
    null = null_over_subjects(mine, ["estimator"])
    verdict = against_null(null.assign(top_k=null["top_k_judged"]))
    return set(verdict.index[verdict == Verdict.BELOW_NULL])


def _failed(failed):
    n = len(failed[[c for c in ("estimator", "control", "seed", "fold") if c in failed]].drop_duplicates())
    return f"{n} fit{'s' if n > 1 else ''} failed and {'are' if n > 1 else 'is'} missing here." if n else ""


def _versions(good):
    if "versions" not in good:
        return ""
    versions = [str(v) for v in pd.unique(good["versions"].dropna())]
    return f"Software: {'; or '.join(versions)}." if versions else ""


def _unsaid(good, cv):
    unsaid = {
        "how folds were made": cv is None and ("cv" not in good or good["cv"].isna().any()),
        "whether people or folds are missing": "plan" not in good or good["plan"].isna().any(),
        "numbers of windows": "n_windows" not in good
        or "n_train" not in good
        or good["n_train"].isna().any(),
        "the number of candidates": "n_candidates" not in good,
        "whether sound of training was tested": "n_train_overlap" not in good
        or good["n_train_overlap"].isna().any(),
        "a null": "null_mean" not in good or good["null_mean"].isna().all(),
        "controls": "control" not in good or (good["control"] == "decoder").all(),
        "versions": "versions" not in good or good["versions"].isna().all(),
    }
    names = [name for name, is_so in unsaid.items() if is_so]
    return f"[The table does not tell: {join_words(names)}.]" if names else ""


def _range(numbers):
    low, high = (int(round(number)) for number in (numbers.min(), numbers.max()))
    return str(low) if low == high else f"{low} to {high}"
