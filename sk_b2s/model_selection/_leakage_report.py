"""Texts on the leakage between training and test rows."""

from __future__ import annotations

import numpy as np

from sk_b2s._utils._text import format_percent, join_text_items
from sk_b2s.events._intervals import GAP
from sk_b2s.model_selection._leakage_copies import OTHERS
from sk_b2s.preprocessing._overlaps import EXACT, NEEDED

SAMPLES = "share samples"
SAME = 0.75  # fraction of tested seconds in training with other stimuli that silences do not explain


def format_leakage(table, gap=GAP):
    """Summarize the leakage of all folds in one paragraph.

    The largest shares and counts and the least distance of all folds are
    reported.

    Parameters
    ----------
    table : DataFrame of shape (n_folds, ...)
        Result of :func:`check_leakage`.
    gap : float, default=1.0
        Value passed to it.

    Returns
    -------
    text : str
        Number of folds and rows, and the verdict.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sk_b2s import format_leakage
    >>> table = pd.DataFrame({
    ...     "n_train": [80, 90], "n_test": [20, 20], "leaking": 0.0,
    ...     "shared_seconds": 0.0, "nearest": [1.5, np.inf], "retold": 0,
    ...     "sounds": 1, "segments": 0,
    ... })
    >>> print(format_leakage(table))
    2 folds of 80 to 90 training and 20 test rows, the worst of each taken
    together: no leak: no sound or segment is on both sides; the nearest
    training sound is 1.5 s away
    """
    worst = table.drop(columns=["verdict", "nearest"], errors="ignore").max().to_dict()
    worst["nearest"] = table["nearest"].min()
    sizes = [
        f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
        for low, high in (table[side].agg(["min", "max"]) for side in ("n_train", "n_test"))
    ]
    return (
        f"{len(table)} fold{'s' * (len(table) != 1)} of {sizes[0]} training and {sizes[1]} test rows, the worst of "
        f"each taken together: {format_leakage_verdict(worst, gap)}"
    )


def format_leakage_verdict(fold, gap):
    """Return the verdict of a fold as text."""
    if leaks := _list_leaks(fold):
        return "; ".join([f"LEAK: {leaks[0]}", *leaks[1:], *_name_groups(fold)])
    if np.isnan(fold["leaking"]):
        return "; ".join([*_describe_samples(fold, gap), *_name_groups(fold)])
    kinds = [kind for kind in ("sentence", "segment") if fold.get(f"{kind}s") == 0]
    words = [f"no {join_text_items(['sound', *kinds], 'or')} is on both sides"]
    words += [fold["copies"]] if fold.get("copies") else []
    if fold.get("sentences"):
        words.append(f"parts of {fold['sentences']:.0f} sentences are, but none of their sound")
    close = fold["nearest"] < gap - EXACT
    if np.isfinite(fold["nearest"]):
        limit = f", less than {gap:g} s" if close else ""
        words.append(f"the nearest training sound is {fold['nearest']:.{1 + close}f} s away{limit}")
    else:
        words.append("training has no other part of the test's sounds")
    if fold.get("brain_seconds"):
        words.append(f"{fold['brain_seconds']:,.1f} s of recordings are on both sides, with other sound")
    if same := fold.get("brain_share", 0) >= SAME:
        words.append(
            f"{format_percent(fold['brain_share'], 0, clip=True)} of the tested seconds are in training with other "
            f"sound, from concurrent talkers or from one sound with several names"
        )
    return "; ".join(
        [f"{'CAUTION' if close or same else 'no leak'}: {words[0]}", *words[1:], *_name_groups(fold)]
    )


def _describe_samples(fold, gap):
    """Return the parts of the verdict of a fold without stimuli."""
    unknown = "sound on both sides was not checked, because y does not have " + join_text_items(
        list(NEEDED), "and"
    )
    if np.isnan(fold.get("brain_leaking", np.nan)):
        return [
            "not checked: X does not have recording, onset and duration, so samples on both sides were not checked",
            unknown,
        ]
    close = fold["brain_nearest"] < gap - EXACT
    words = [f"{'CAUTION' if close else 'no leak'}: no sample of a recording is on both sides"]
    if np.isfinite(fold["brain_nearest"]):
        limit = f", less than {gap:g} s" if close else ""
        words.append(f"the nearest training window is {fold['brain_nearest']:.{1 + close}f} s away{limit}")
    return [*words, *filter(None, [fold.get("copies")]), unknown]


def _list_leaks(fold):
    """Return the leaks of a fold: list of str."""
    found = []
    if fold.get("copied"):
        found.append(
            f"{format_percent(fold['copied'], 0, clip=True)} of the test windows contain a recording of training, in a part that two audio "
            f"files share"
        )
    if fold["leaking"] > 0:
        found.append(
            f"{format_percent(fold['leaking'], 0, clip=True)} of the test windows contain sound of training, "
            f"{fold['shared_seconds']:,.0f} s of it"
        )
    elif fold.get("segments"):
        found.append(f"{fold['segments']:.0f} segments are on both sides")
    if np.isnan(fold["leaking"]) and fold.get("brain_leaking", 0) > 0:
        found.append(
            f"{format_percent(fold['brain_leaking'], 0, clip=True)} of the test windows {SAMPLES} of their recording with training "
            f"windows, {fold['brain_seconds']:,.0f} s of them"
        )
    if fold["retold"]:
        found.append(f"the text of {fold['retold']:.0f} blocks is in training in another voice")
    if OTHERS in fold.get("copies", ""):
        found.append(fold["copies"])
    return found


def _name_groups(fold):
    """Return which recordings, sessions, subjects and studies are shared."""
    nouns = [noun for noun in ("studies", "subjects", "sessions", "recordings") if noun in fold]
    on_both = [noun for noun in nouns if fold[noun]]
    apart = [noun.replace("ies", "y").removesuffix("s") for noun in nouns if not fold[noun]]
    if not on_both:
        return [f"no {join_text_items(apart, 'or')} is on both sides"] if apart else []
    others = f", no {join_text_items(apart, 'or')} is" if apart else ""
    texts = [f"{join_text_items(on_both, 'and')} are on both sides{others}"]
    if fold.get("subjects") and fold.get("test_period_minutes", 1) == 0:
        texts.append(
            f"{fold['calibration_minutes_used']:.1f} minutes of tested subjects are in training, from before the test "
            f"or from other recordings"
        )
    return texts
