"""Verdicts on the leakage between training and test rows, and their texts."""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from sk_b2s._utils._text import format_percent_text, join_text_items
from sk_b2s.events._intervals import GAP
from sk_b2s.model_selection._leakage_copies import OTHERS
from sk_b2s.model_selection._pretraining import list_pretraining_texts
from sk_b2s.preprocessing._overlap_line import EXACT, NEEDED

SAME = 0.75  # fraction of tested seconds in training with other stimuli that silences do not explain


class LeakageReportVerdict(StrEnum):
    """Values of the column ``verdict`` of the table of leakage."""

    NO_LEAK = "no_leak"
    CAUTION = "caution"
    LEAK = "leak"
    NOT_CHECKED = "not_checked"


TEXTS = {
    LeakageReportVerdict.NO_LEAK: "no leak",
    LeakageReportVerdict.CAUTION: "CAUTION",
    LeakageReportVerdict.LEAK: "LEAK",
    LeakageReportVerdict.NOT_CHECKED: "not checked",
}
LEAK_SOURCES = (
    "sound of training",
    "segments of training",
    "samples of training",
    "text of training",
    "concepts of training",
    "recordings of training",
)
PLURALS = {"image": "images", "stimulus": "stimuli"}  # of the column stimulus_kind
VERDICT_COLUMNS = ["verdict", "leak_sources", "verdict_text"]


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
    worst = table.drop(columns=[*VERDICT_COLUMNS, "nearest"], errors="ignore").max().to_dict()
    worst["nearest"] = table["nearest"].min()
    sizes = [
        f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
        for low, high in (table[side].agg(["min", "max"]) for side in ("n_train", "n_test"))
    ]
    return (
        f"{len(table)} fold{'s' * (len(table) != 1)} of {sizes[0]} training and {sizes[1]} test rows, the worst of "
        f"each taken together: {format_leakage_verdict(worst, gap)}"
    )


def make_leakage_verdict(fold, gap):
    """Return the verdict of a fold, its leak sources and its text: dict."""
    sources = unite_leakage_report_sources(source for source, _ in _list_leaks_of_fold(fold))
    values = _decide_leakage_verdict(fold, gap).value, ", ".join(sources), format_leakage_verdict(fold, gap)
    return dict(zip(VERDICT_COLUMNS, values, strict=True))


def unite_leakage_report_sources(sources, n_train_overlap=0):
    """Return the distinct leak sources of several folds.

    Parameters
    ----------
    sources : iterable of str
        Values of the column ``leak_sources`` of :func:`check_leakage`. NaN is
        ignored.
    n_train_overlap : int, default=0
        Number of test windows that contain stimuli of training. If it is not
        0, "sound of training" is a source.

    Returns
    -------
    sources : list of str
        Elements of ``LEAK_SOURCES``, in its order.

    Examples
    --------
    >>> sources = ["", "text of training, samples of training"]
    >>> unite_leakage_report_sources(sources)
    ['samples of training', 'text of training']
    """
    named = {name for text in sources if isinstance(text, str) for name in text.split(", ")}
    if n_train_overlap > 0:
        named.add(LEAK_SOURCES[0])
    return [source for source in LEAK_SOURCES if source in named]


def format_leakage_verdict(fold, gap):
    """Return the verdict of a fold as text."""
    label = TEXTS[_decide_leakage_verdict(fold, gap)]
    if leaks := [text for _, text in _list_leaks_of_fold(fold)]:
        words = leaks
    elif np.isnan(fold["leaking"]):
        words = _describe_leaked_samples(fold, gap)
    else:
        words = _describe_leaked_stimuli(fold, gap)
    words = [*words, *list_pretraining_texts(fold)]
    return "; ".join([f"{label}: {words[0]}", *words[1:], *_name_leaked_groups(fold)])


def _decide_leakage_verdict(fold, gap):
    """Return the verdict of a fold: LeakageReportVerdict."""
    if _list_leaks_of_fold(fold):
        return LeakageReportVerdict.LEAK
    if list_pretraining_texts(fold):
        return LeakageReportVerdict.CAUTION
    if not np.isnan(fold["leaking"]):
        is_near = fold["nearest"] < gap - EXACT or fold.get("brain_share", 0) >= SAME
    elif np.isnan(fold.get("brain_leaking", np.nan)):
        return LeakageReportVerdict.NOT_CHECKED
    else:
        is_near = fold["brain_nearest"] < gap - EXACT
    return LeakageReportVerdict.CAUTION if is_near else LeakageReportVerdict.NO_LEAK


def _describe_leaked_stimuli(fold, gap):
    """Return the parts of the verdict of a fold that shares no stimuli."""
    if "concepts" in fold:
        return _describe_leaked_images(fold)
    kinds = [kind for kind in ("sentence", "segment") if fold.get(f"{kind}s") == 0]
    words = [f"no {join_text_items(['sound', *kinds], 'or')} is on both sides"]
    words += [fold["copies"]] if fold.get("copies") else []
    if fold.get("sentences"):
        words.append(f"parts of {fold['sentences']:.0f} sentences are, but none of their sound")
    if np.isfinite(fold["nearest"]):
        words.append(f"the nearest training sound is {_format_leakage_distance(fold['nearest'], gap)}")
    else:
        words.append("training has no other part of the test's sounds")
    if fold.get("brain_seconds"):
        words.append(f"{fold['brain_seconds']:,.1f} s of recordings are on both sides, with other sound")
    if fold.get("brain_share", 0) >= SAME:
        words.append(
            f"{format_percent_text(fold['brain_share'], 0, clip=True)} of the tested seconds are in training with other "
            f"sound, from concurrent talkers or from one sound with several names"
        )
    return words


def _describe_leaked_images(fold):
    """Return the parts of the verdict of a fold that shares no images."""
    kind = fold.get("stimulus_kind", "image")
    words = [f"no {kind} or concept is on both sides", *filter(None, [fold.get("copies")])]
    if fold.get("brain_seconds"):
        words.append(
            f"{fold['brain_seconds']:,.1f} s of recordings are on both sides, with other {PLURALS[kind]}"
        )
    return words


def _format_leakage_distance(seconds, gap):
    """Return the distance of training from the test as text."""
    is_near = seconds < gap - EXACT
    return f"{seconds:.{1 + is_near}f} s away{f', less than {gap:g} s' if is_near else ''}"


def _describe_leaked_samples(fold, gap):
    """Return the parts of the verdict of a fold without stimuli."""
    needed = join_text_items(list(NEEDED), "and")
    unknown = f"sound on both sides was not checked, because y does not have {needed}"
    if np.isnan(fold.get("brain_leaking", np.nan)):
        return [
            "X does not have recording, onset and duration, so samples on both sides were not checked",
            unknown,
        ]
    words = ["no sample of a recording is on both sides"]
    if np.isfinite(fold["brain_nearest"]):
        words.append(f"the nearest training window is {_format_leakage_distance(fold['brain_nearest'], gap)}")
    return [*words, *filter(None, [fold.get("copies")]), unknown]


def _list_leaks_of_fold(fold):
    """Return the sources of the leaks of a fold and their texts: list."""
    sound, segments, samples, text, concepts, recordings = LEAK_SOURCES
    found, plural = [], PLURALS[fold.get("stimulus_kind", "image")]
    if fold.get("copied"):
        share = format_percent_text(fold["copied"], 0, clip=True)
        found.append(
            (
                sound,
                f"{share} of the test windows contain a recording of training, in a part that two audio files share",
            )
        )
    if fold["leaking"] > 0:
        share = format_percent_text(fold["leaking"], 0, clip=True)
        seconds = f"sound of training, {fold['shared_seconds']:,.0f} s of it"
        what = f"{plural} of training" if "concepts" in fold else seconds
        found.append((sound, f"{share} of the test windows contain {what}"))
    elif fold.get("segments"):
        found.append((segments, f"{fold['segments']:.0f} segments are on both sides"))
    if np.isnan(fold["leaking"]) and fold.get("brain_leaking", 0) > 0:
        share = format_percent_text(fold["brain_leaking"], 0, clip=True)
        found.append(
            (
                samples,
                f"{share} of the test windows share samples of their recording with training windows, "
                f"{fold['brain_seconds']:,.0f} s of them",
            )
        )
    if fold["retold"]:
        found.append((text, f"the text of {fold['retold']:.0f} blocks is in training in another voice"))
    if fold.get("concepts"):
        found.append(
            (concepts, f"other {plural} of {fold['concepts']:.0f} concepts of the test are in training")
        )
    if OTHERS in fold.get("copies", ""):
        found.append((recordings, fold["copies"]))
    return found


def _name_leaked_groups(fold):
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
