"""Published split, blocks and preprocessing of the paper."""

import hashlib
import random
import warnings

import mne
import numpy as np
import pandas as pd
import pytest
import sklearn
import soundfile
from helpers.studies import count_as_published
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline

from sk_b2s import (
    BrainEncoder,
    Epocher,
    HashedBlockSplit,
    PaperBlocks,
    RobustChannelScaler,
    StimulusArray,
    StimulusKFold,
    StimulusLeakWarning,
    Wav2Vec2Features,
    Windows,
    make_segments,
)
from sk_b2s.datasets import load_brennan2019, make_listening
from sk_b2s.events._paper_blocks import find_paper_block_sentences, merge_paper_block_sentences
from sk_b2s.model_selection._hashed import hash_to_uniform

ANCHORS = (0.5, "word")
SALT = 3  # one that gives each of the few blocks here a part


def both(events, **parameters):
    """Windows of a grid and at words in one table, as in the paper."""
    parameters = {"margin": 0.15, "block": PaperBlocks(), **parameters}
    segments = [make_segments(events, anchor=anchor, **parameters) for anchor in ANCHORS]
    X, y = (pd.concat(tables, ignore_index=True) for tables in zip(*segments, strict=True))
    return X, y


def parts_of(y):
    """Part of the block of each row by its hash."""
    texts = y["block_text"].unique()
    return y["block_text"].map(dict(zip(texts, HashedBlockSplit().assign(None, groups=texts), strict=True)))


def heard_by(subject, recording, begins, stories, jitter=0.0, seed=0):
    """Events of a recording, with stories at given times."""
    rng = np.random.default_rng(seed)
    common = {"subject": subject, "recording": recording, "recording_duration": max(begins) + 130.0}
    rows = []
    for begin, story in zip(begins, stories, strict=True):
        rows.append({**common, "type": "sound", "onset": begin, "duration": 0.0, "sound": story})
        spoken = np.random.default_rng(len(story.name))
        onset, sentence = 1.0, 0
        while onset < story.duration - 8:
            for index in range(spoken.integers(5, 10)):
                rows.append({
                    **common, "type": "word", "onset": begin + onset + jitter * rng.uniform(-1, 1), "duration": 0.4,
                    "sound": story, "sound_onset": onset, "text": f"{story.name}{sentence}x{index}",
                    "sequence": f"{story.name}/{sentence}", "word_index": index,
                })  # fmt: skip
                onset += spoken.uniform(0.5, 0.7)
            sentence, onset = sentence + 1, onset + 0.3
    return rows


@pytest.fixture(scope="module")
def stories():
    rng = np.random.default_rng(0)
    return [StimulusArray(rng.standard_normal(120 * 16), 16, name) for name in ("a", "bb", "ccc")]


@pytest.fixture(scope="module")
def events(stories):
    """Three subjects with three stories at different times, two jittered."""
    rows = heard_by("s0", "0.fif", (8, 130, 255), stories)
    rows += heard_by("s1", "1.fif", (7.4, 131, 260), stories, jitter=0.002, seed=1)
    rows += heard_by("s2", "2.fif", (9, 130, 251), stories, jitter=0.002, seed=2)
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def tables(events):
    return both(events)


# --- the rule ----------------------------------------------------------------------------------------


def test_hash_to_uniform_of_published_code():
    assert hash_to_uniform("ceci est") == 0.8149709067146149
    assert hash_to_uniform("un test") == 0.017616799174733133
    split = HashedBlockSplit()
    assert split.assign(None, groups=["ceci est", "un test", "ceci est"]).tolist() == [
        "train",
        "test",
        "train",
    ]


@pytest.mark.parametrize("sizes", [(0.2, 0.1), (0.5, 0.0), (0.0, 0.3)])
@pytest.mark.parametrize("salt", [12, 0])
def test_assign_follows_hash(sizes, salt):
    texts = [f"sentence {i}, an {'é' * (i % 3)}" for i in range(300)]
    expected = []
    for text in texts:
        draw = random.Random(int(hashlib.sha256(text.encode("utf-8")).hexdigest(), 16) + salt).random()
        cumulated = 0.0
        for name, ratio in [("test", sizes[0]), ("valid", sizes[1]), ("train", 1 - sum(sizes))]:
            cumulated += ratio
            if draw < cumulated:
                expected.append(name)
                break
    part = HashedBlockSplit(test_size=sizes[0], valid_size=sizes[1], salt=salt).assign(None, groups=texts)
    assert part.tolist() == expected
    assert np.mean(part == "test") == pytest.approx(sizes[0], abs=0.08)


def by_hand(words, least):
    """Compute the blocks of a recording word by word."""
    starts = [w["onset"] for w in words if w["word_index"] == 0]
    blocks, names, begin = [], [], 0.0
    for index, start in enumerate(starts):
        stop = starts[index + 1] if index + 1 < len(starts) else float("inf")
        inside = [w for w in words if w["onset"] >= start and w["onset"] + w["duration"] < stop]
        uids = {w["sequence_uid"] for w in inside}
        if len(uids) == 1 and None not in uids:
            names.append(uids.pop())
        else:
            names.append(" ".join(w["text"] for w in inside if w["condition"] != "pseudo_words"))
        if stop > begin + least or stop == float("inf"):
            blocks.append((begin, stop, ",".join(names)))
            names, begin = [], stop
    return blocks


@pytest.mark.parametrize("seed", range(5))
def test_paper_blocks_equal_word_by_word(seed):
    rng = np.random.default_rng(seed)
    words, onset = [], rng.uniform(0, 10)
    for sentence in range(40):
        uid = f"uid {sentence}" if rng.random() < 0.3 else None
        for index in range(int(rng.random() < 0.2), rng.integers(2, 12)):
            condition = rng.choice(["sentence", "word_list", "pseudo_words", None], p=[0.4, 0.2, 0.1, 0.3])
            words.append({
                "onset": onset, "duration": rng.uniform(0.1, 0.9), "text": f"w{index}", "word_index": index,
                "condition": condition if index else "sentence", "sequence": str(sentence), "sequence_uid": uid,
            })  # fmt: skip
            onset += rng.uniform(0.2, 0.8)
    table = pd.DataFrame(words).assign(sound=StimulusArray(np.zeros(9), 1, "z"), sound_onset=0.0)
    last = table.index[table["word_index"] == 0]
    table.loc[last, "duration"] = 0.05  # each sentence has a word that counts
    blocks = merge_paper_block_sentences(find_paper_block_sentences(table))
    expected = by_hand(table.astype(object).where(table.notna(), None).to_dict("records"), 6.0)
    assert list(blocks.itertuples(index=False, name=None)) == expected
    start, stop = blocks["start"].to_numpy(), blocks["stop"].to_numpy()
    assert start[0] == 0
    assert stop[-1] == np.inf
    np.testing.assert_array_equal(start[1:], stop[:-1])
    assert (stop - start > 6).all()
    assert (
        merge_paper_block_sentences(find_paper_block_sentences(table), min_duration=0)["text"].tolist()
        == find_paper_block_sentences(table)["text"].tolist()
    )


def test_paper_blocks_without_word_index():
    words = pd.DataFrame({"onset": np.arange(6.0), "duration": 0.5, "text": list("abcdef"), "condition": None,
                          "sequence": ["1", "1", None, "2", "2", "3"], "word_index": np.nan})  # fmt: skip
    assert find_paper_block_sentences(words)["start"].tolist() == [0, 3, 5]
    assert find_paper_block_sentences(words)["text"].tolist() == ["a b c", "d e", "f"]


def test_paper_blocks_without_words():
    words = pd.DataFrame({"onset": [1.0, 4.0], "duration": 0.5, "text": ["ba", "b"], "word_index": 0,
                          "condition": ["pseudo_words", "sentence"], "sequence": "1", "sound_onset": [0.5, 3.5],
                          "sound": StimulusArray(np.zeros(9), 1, "z")})  # fmt: skip
    assert find_paper_block_sentences(words)["text"].tolist() == ["z 0.50", "b"]


# --- the tables --------------------------------------------------------------------------------------


def test_assign_windows_inside_blocks(events, tables):
    X, y = tables
    split = HashedBlockSplit(salt=SALT)
    part = split.assign(y)
    assert set(part) == {"train", "valid", "test", ""}
    wrong_anchor = (y["anchor"] == "word") != y["block_text"].map(
        lambda text: hash_to_uniform(text, SALT) < 0.2
    )
    for recording, rows in X.groupby("recording"):
        words = events[(events["recording"] == recording) & (events["type"] == "word")].sort_values("onset")
        blocks = list(
            merge_paper_block_sentences(find_paper_block_sentences(words.assign(condition=None))).itertuples(
                index=False
            )
        )
        for row, onset in zip(rows.index, rows["onset"], strict=True):
            lies_in = [
                uid for start, stop, uid in blocks if start <= onset and onset + 3.0 - 0.5 / 120 < stop
            ]
            assert y["block_inside"][row] == (len(lies_in) == 1)
            assert part[row] == "" or lies_in == [y["block_text"][row]]
            assert (part[row] == "") == (not lies_in or wrong_anchor[row])


def test_assign_equal_for_all_subjects(tables):
    X, y = tables
    part = HashedBlockSplit(salt=SALT).assign(y)
    text, place = y["block_text"][part != ""], y[["segment", "anchor"]][part != ""]
    shared = pd.DataFrame({"part": part[part != ""], "text": text, "subject": X["subject"][part != ""]})
    assert (shared.groupby("text")["part"].nunique() == 1).all()
    assert (shared.groupby("text")["subject"].nunique() > 1).mean() > 0.5
    assert (y.groupby("block_text")["block"].nunique() == 1).all()
    of = {name: set(place["segment"][part[part != ""] == name]) for name in ("train", "valid", "test")}
    assert not of["train"] & of["test"]
    assert not of["valid"] & of["test"]


def test_assign_ignores_order_and_other_rows(tables):
    _, y = tables
    split = HashedBlockSplit(salt=SALT)
    part = split.assign(y)
    shuffled = y.sample(frac=1, random_state=0)
    np.testing.assert_array_equal(split.assign(shuffled), part[shuffled.index])
    mixed = y.groupby("anchor").sample(40, random_state=0)
    np.testing.assert_array_equal(split.assign(mixed), part[mixed.index])
    windows = Windows([np.zeros((9, 2), "f4")], np.zeros(len(y)), np.zeros(len(y)), 3, 50.0, rows=y)
    np.testing.assert_array_equal(split.assign(windows), part)


def test_paper_blocks_equal_for_all_subjects(tables, events):
    y = tables[1]
    for _, of_sound in y.groupby(y["sound"].map(lambda sound: sound.name)):
        edges = (
            of_sound[["block_start", "block_stop"]].drop_duplicates().sort_values("block_start").to_numpy()
        )
        assert edges[0, 0] == 0
        assert edges[-1, 1] == 120
        np.testing.assert_array_equal(edges[1:, 0], edges[:-1, 1])
        starts = events[(events["sound"] == of_sound["sound"].iloc[0]) & (events["word_index"] == 0)][
            "sound_onset"
        ]
        assert set(edges[1:, 0]) <= set(starts)
    anchor = y["sound_onset"] + 0.5
    assert ((y["block_start"] <= anchor + 2e-6) & (anchor < y["block_stop"] + 2e-6)).all()
    inside = y[y["block_inside"]]
    assert (inside["sound_onset"] >= inside["block_start"].where(inside["block_start"] > 0, -9) - 0.01).all()
    stop = inside["block_stop"].where(inside["block_stop"] < 120, np.inf)
    assert (inside["sound_onset"] + 3.0 - 0.5 / 120 < stop + 0.01).all()
    assert {"block_before", "block_after"} <= set(y.columns)
    assert (y["block_before"] <= y["block_start"]).all()
    assert (y["block_after"] >= y["block_stop"]).all()


def test_paper_blocks_of_single_sentences(events):
    named = events.assign(sequence_uid=events["sequence"].map("uid {}".format, na_action="ignore"))
    X, y = make_segments(named, block=PaperBlocks(min_duration=0), tmin=0.0, tmax=1.0)
    assert (y["block_text"] == "uid " + y["sequence"]).all()
    assert y["block_inside"].any()
    for recording, rows in X.groupby("recording"):
        starts = named["onset"][(named["recording"] == recording) & (named["word_index"] == 0)].to_numpy()
        reached = [((starts > t + 1e-6) & (starts <= t + 1.15 - 0.5 / 120)).any() for t in rows["onset"]]
        np.testing.assert_array_equal(y["block_inside"][rows.index], ~np.array(reached))
    early = make_segments(named, anchor=0.25, block=PaperBlocks(min_duration=0), tmin=0.0, tmax=0.5)
    before = early[0]["onset"] < early[0].groupby("recording")["heard_start"].transform("first") + 0.98
    assert before.any()
    assert not early[1]["block_inside"][before].any()


def test_paper_blocks_include_lag(events):
    near, far = (make_segments(events, block=PaperBlocks(lag=lag))[1] for lag in (0.0, 2.0))
    assert far["block_inside"].sum() < near["block_inside"].sum()
    assert not (far["block_inside"] & ~near["block_inside"]).any()


# --- splitting ---------------------------------------------------------------------------------------


def test_split_trains_on_grid_tests_at_words(tables):
    X, y = tables
    split = HashedBlockSplit("test", salt=SALT)
    ((train, test),) = split.split(X, y)
    part = split.assign(y)
    np.testing.assert_array_equal(train, np.flatnonzero(np.isin(part, ("train", "valid"))))
    np.testing.assert_array_equal(test, np.flatnonzero(part == "test"))
    assert set(y["anchor"].iloc[train]) == {"grid"}
    assert set(y["anchor"].iloc[test]) == {"word"}
    ((inner, valid),) = HashedBlockSplit("valid", salt=SALT).split(X.iloc[train], y.iloc[train])
    np.testing.assert_array_equal(train[inner], np.flatnonzero(part == "train"))
    np.testing.assert_array_equal(train[valid], np.flatnonzero(part == "valid"))
    ((outer, held),) = HashedBlockSplit("valid", salt=SALT).split(X, y)
    np.testing.assert_array_equal(outer, train[inner])
    np.testing.assert_array_equal(held, train[valid])
    words = y[y["anchor"] == "word"]
    assert set(split.assign(words)) == {"train", "valid", "test", ""}, "one anchor serves all parts"


@pytest.mark.parametrize("part", ["test", "valid"])
def test_summary_counts(tables, part):
    X, y = tables
    split = HashedBlockSplit(part, salt=SALT)
    ((train, test),) = split.split(X, y)
    summary = split.summary(X, y).iloc[0]
    assert (summary["n_train"], summary["n_test"]) == (len(train), len(test))
    draws = y["block_text"].map(lambda text: hash_to_uniform(text, SALT))
    grid, outside = y["anchor"] == "grid", ~y["block_inside"]
    wanted = grid & ((draws >= 0.2) if part == "test" else (draws >= 0.3))
    assert summary["n_left_out"] == (wanted & outside).sum() > 0
    held = (~grid & (draws < 0.2)) if part == "test" else (grid & (draws >= 0.2) & (draws < 0.3))
    assert summary["n_test_left_out"] == (held & outside).sum() > 0
    assert 0 < summary["test_seconds"] < summary["train_seconds"]
    assert summary["n_shared"] == 0


def test_summary_counts_shared_stimuli(stories):
    rows = heard_by("s0", "0.fif", (8, 130, 255), stories) + heard_by(
        "s1", "1.fif", (3, 130, 255), stories[::-1]
    )
    X, y = both(pd.DataFrame(rows))
    shared = []
    for salt in range(3):
        split = HashedBlockSplit(test_size=0.4, salt=salt)
        ((train, test),) = split.split(X, y)
        ticks = set().union(*ticks_of(y.iloc[train]))
        heard = [not ticks.isdisjoint(row) for row in ticks_of(y.iloc[test])]
        shared.append(split.summary(X, y)["n_shared"].iloc[0])
        assert shared[-1] == np.sum(heard)
    assert max(shared) > 0


def ticks_of(y):
    """Return each 10 ms of stimuli in a window, for each window."""
    first = np.ceil(y["sound_onset"] * 100 + 0.01).astype(int)
    last = np.floor((y["sound_onset"] + y["duration"]) * 100 - 0.01).astype(int)
    names = [sound.name for sound in y["sound"]]
    return [{(name, tick) for tick in range(a, b + 1)} for name, a, b in zip(names, first, last, strict=True)]


def test_split_of_clone_and_groups(tables):
    X, y = tables
    split = clone(HashedBlockSplit(salt=SALT), safe=False)
    assert split.get_n_splits() == split.get_n_splits(X, y) == 1
    ((train, test),) = split.split(np.zeros((len(y), 2)), None, groups=y["block_text"])
    draws = y["block_text"].map(lambda text: hash_to_uniform(text, SALT)).to_numpy()
    np.testing.assert_array_equal(test, np.flatnonzero(draws < 0.2))
    np.testing.assert_array_equal(train, np.flatnonzero(draws >= 0.2))


class SegmentMemory(BaseEstimator):
    """Score the fraction of test segments with blocks of training."""

    def __init__(self, setting=0):
        self.setting = setting

    def fit(self, X, y):
        self.blocks_, self.n_rows_ = set(y["block"]), len(X)
        return self

    def score(self, X, y):
        return np.mean([block not in self.blocks_ for block in y["block"]]) + self.setting


@pytest.mark.parametrize("routing", [False, True])
def test_split_in_cross_validate(tables, routing):
    X, y = tables
    split = HashedBlockSplit(salt=SALT)
    with sklearn.config_context(enable_metadata_routing=routing):
        assert cross_val_score(SegmentMemory(), X, y, cv=split).tolist() == [1.0]
        search = GridSearchCV(SegmentMemory(), {"setting": [0, 1]}, cv=HashedBlockSplit("valid", salt=SALT))
        result = cross_validate(search, X, y, cv=split, return_estimator=True, return_indices=True)
    inner = result["estimator"][0]
    assert result["test_score"].tolist() == [2.0]
    assert (inner.n_splits_, inner.best_params_) == (1, {"setting": 1})
    assert inner.best_estimator_.n_rows_ == len(result["indices"]["train"][0])


def test_other_splitters_keep_paper_blocks(tables):
    X, y = tables
    for train, test in StimulusKFold(4).split(X, y):
        assert not set(y["block"].iloc[train]) & set(y["block"].iloc[test])


ERRORS = {
    "part": (lambda X, y: HashedBlockSplit("train").split(X, y), r"part must be 'test' or 'valid'\. Got 'train' instead\."),
    "share": (lambda X, y: HashedBlockSplit(test_size=-0.1).split(X, y), r"test_size must be a number from 0 to below 1\. Got -0\.1 instead\."),
    "sum": (lambda X, y: HashedBlockSplit(test_size=0.7, valid_size=0.4).split(X, y), r"test_size \+ valid_size must be below 1, so that blocks are left for training\. Got 0\.7 \+ 0\.4 instead\."),
    "salt": (lambda X, y: HashedBlockSplit(salt="12").split(X, y), r"salt must be an integer\. Got '12' instead\."),
    "our blocks": (lambda X, y: HashedBlockSplit().split(X, y.drop(columns="block_text")), r"PaperBlocks\(\)\)"),
    "no y": (lambda X, y: HashedBlockSplit().split(X), r"HashedBlockSplit requires the column 'block_text' in y, as.*groups\. Got NoneType without it\."),
    "a lost text": (lambda X, y: HashedBlockSplit().split(X, y.assign(block_text=None)), r"HashedBlockSplit requires a block text in each row, but row 0 has none\."),
    "one block": (
        lambda X, y: HashedBlockSplit().split(X, y[y["block"] == y["block"].iloc[0]]),
        r"HashedBlockSplit\(part='test', salt=12, test_size=0\.2,.*which has folds of equal size\.",
    ),
    "no valid": (lambda X, y: HashedBlockSplit("valid", valid_size=0.0).split(X, y), r"HashedBlockSplit\(part='valid', salt=12, test_size=0\.2,.*which has folds of equal size\."),
    "nothing inside": (
        lambda X, y: HashedBlockSplit(salt=SALT).split(X, y.assign(block_inside=y["anchor"] == "word")),
        r"HashedBlockSplit\(part='test', salt=3, test_size=0\.2,.*more stimuli or shorter windows\.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_split_errors_name_fix(tables, name):
    function, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        list(function(*tables))


def test_paper_blocks_require_sentences(events):
    bare = events.drop(columns=["sequence", "word_index"])
    with pytest.raises(
        ValueError, match=r"words of '0\.fif' have no sentences, .* 'word_index', .* or 'sequence'"
    ):
        make_segments(bare, block=PaperBlocks())
    with pytest.raises(ValueError, match=r"word_index of 0 .* one of '0\.fif' is 1\. Number .* from 0"):
        make_segments(events.assign(word_index=events["word_index"] + 1), block=PaperBlocks())
    silent = events[(events["type"] == "sound") | (events["subject"] != "s1")]
    with pytest.raises(ValueError, match=r"'1\.fif' has no words in its stream 'single'"):
        make_segments(silent, anchor=0.5, block=PaperBlocks())
    lost = events.index[events["type"] == "word"][3]
    with pytest.raises(ValueError, match=r"1 words of '0\.fif' have no text, the first at \d+\.\d+ s"):
        make_segments(events.assign(text=events["text"].drop(lost)), block=PaperBlocks())
    with pytest.raises(
        ValueError, match=r"min_duration of PaperBlocks must be a number of seconds of at least 0\. Got -1"
    ):
        PaperBlocks(min_duration=-1)
    with pytest.raises(ValueError, match="block must be a number of seconds"):
        make_segments(events, block="published")


# --- features see one block at a time ------------------------------------------------------------------


@pytest.mark.slow
def test_training_features_ignore_test_stimuli(events, stories, tmp_path):
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = transformers.Wav2Vec2Model(
            transformers.Wav2Vec2Config(
                hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8,) * 7,
                num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, do_stable_layer_norm=True,
                feat_extract_norm="layer", conv_bias=True,
            )
        )  # fmt: skip
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    network.save_pretrained(tmp_path / "network")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "network")
    rng = np.random.default_rng(1)
    audio, features = 0.1 * rng.standard_normal(120 * 16000).astype("f4"), []
    for name in ("before.wav", "after.wav"):
        soundfile.write(tmp_path / name, audio, 16000)
        heard = events[(events["subject"] == "s0") & (events["sound"] == stories[0])]
        _, y = both(heard.assign(sound=str(tmp_path / name)))
        part = HashedBlockSplit(salt=SALT).assign(y)
        chosen = np.concatenate([np.flatnonzero(part == p)[::5] for p in ("train", "valid", "test")])
        speech = Wav2Vec2Features(str(tmp_path / "network"), layers=(1, 2))
        features.append(np.asarray(speech.fit_transform(y.iloc[chosen])))
        for row in y[part == "test"].drop_duplicates("block_start").itertuples():
            place = slice(round(row.block_start * 16000), round(row.block_stop * 16000))
            audio[place] = 0.1 * rng.standard_normal(len(audio[place]))
    before, after = features
    tested = part[chosen] == "test"
    assert 0 < tested.sum() < len(tested)
    np.testing.assert_array_equal(before[~tested], after[~tested])
    assert (np.abs(before[tested] - after[tested]).max(axis=(1, 2)) > 0.1 * before.std()).all()


# --- the paper's preprocessing -------------------------------------------------------------------------


def test_paper_preprocessing_by_hand(tmp_path):
    rng = np.random.default_rng(0)
    n_channels, sfreq = 5, 120
    data = rng.standard_normal((n_channels, 60 * sfreq)) * 10.0 ** -np.arange(4, 9)[:, None]
    data += rng.standard_normal((n_channels, 1)) * data.std(1, keepdims=True)
    data[:, rng.integers(0, data.shape[1], 40)] *= 200
    raw = mne.io.RawArray(
        data, mne.create_info([f"E{i}" for i in range(n_channels)], sfreq, "eeg"), verbose="ERROR"
    )
    path = str(tmp_path / "noise_raw.fif")
    raw.save(path, fmt="double", verbose="ERROR")
    begin, story = 5.0, StimulusArray(np.zeros(45 * 16), 16, "story")
    common = {"subject": "1", "recording": path}
    events = pd.DataFrame([{**common, "type": "sound", "onset": begin, "duration": 0.0, "sound": story}] + [
        {**common, "type": "word", "onset": begin + 1 + 43 * i / 70, "duration": 0.3, "text": f"w{i}",
         "sequence": str(i // 7), "word_index": i % 7} for i in range(70)
    ])  # fmt: skip
    X, y = both(events)
    found = np.asarray(make_pipeline(Epocher(), RobustChannelScaler()).fit_transform(X))
    named = make_pipeline(Epocher(sfreq=120, lag=0.15, baseline=(0, 0.5)), RobustChannelScaler(clip=20))
    np.testing.assert_array_equal(np.asarray(named.fit_transform(X)), found)

    def cut(first):
        """Cut 361 samples from -0.5 to 2.5 s, as in the published code."""
        epoch = data[:, first : first + 361]
        return (epoch - epoch[:, :61].mean(1, keepdims=True))[:, 18:]

    tiles = np.concatenate([cut(600 + 361 * i) for i in range(45 * 120 // 361)], axis=1)
    low, center, high = np.percentile(tiles, [25, 50, 75], axis=1)
    anchor = X["onset"].to_numpy() + 0.5
    expected = np.stack([cut(round((t - 0.5) * 120)) for t in anchor])
    expected = np.clip((expected - center[:, None]) / (high - low)[:, None], -20, 20)
    assert found.shape == (len(X), n_channels, 343)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(found).max() == 20
    grid = (y["anchor"] == "grid").to_numpy()
    np.testing.assert_allclose((y["sound_onset"][grid] + 0.5) % 0.5, 0, atol=1e-9)
    np.testing.assert_allclose(X["onset"] - y["sound_onset"], begin, atol=1e-6)
    words = events["onset"][events["type"] == "word"]
    np.testing.assert_allclose(anchor[~grid], words[words + 2.5 <= 60 - 0.05], atol=1e-6)


def test_paper_protocol_runs(tiny_pipeline, tmp_path):
    events = make_listening(
        1, 4, modality="eeg", n_channels=16, snr_db=0, artifacts=False, sfreq=64, root=tmp_path
    )
    X, y = both(events)
    split, valid = (HashedBlockSplit(part, test_size=0.3, valid_size=0.3) for part in ("test", "valid"))
    pipe = tiny_pipeline(validation=valid)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StimulusLeakWarning)
        result = cross_validate(pipe, X, y, cv=split, return_estimator=True)
    assert 0 <= result["test_score"][0] <= 1
    fitted = result["estimator"][0]["encoder"]
    ((train, _),) = valid.split(X, y)
    assert not fitted.stimulus_intervals_.touches(y[split.assign(y) == "test"]).any()
    assert fitted.stimulus_intervals_.seconds == pytest.approx(split.summary(X, y)["train_seconds"][0])
    assert len(train) < split.summary(X, y)["n_train"][0]
    assert "valid_loss" in fitted.history_[-1]


# --- on the tables of the studies ------------------------------------------------------------------------


def test_search_on_validation_blocks_raises():
    sound = StimulusArray(np.zeros(64 * 300), sfreq=64)
    onset = np.arange(0, 290, 5.0)
    table = pd.DataFrame({
        "segment": range(58), "sound": sound, "sound_onset": onset, "duration": 3.0,
        "block": onset // 10, "block_text": [str(k) for k in onset // 10],
    })  # fmt: skip
    train, _ = next(HashedBlockSplit("valid").split(table, table))
    brain, speech = (np.random.default_rng(0).standard_normal((58, 4, 10)).astype("f4") for _ in range(2))
    encoder = BrainEncoder(
        hidden=4, depth=1, spatial_attention=False, validation=HashedBlockSplit("valid"), verbose=0
    )
    with pytest.raises(
        ValueError,
        match=r"validation=HashedBlockSplit\(part='valid', salt=12, test_size=0\.2,.*rows, such as 0\.1, or to None\.",
    ):
        encoder.fit(brain[train], Windows.from_array(speech[train], rows=table.iloc[train]))


@pytest.fixture(scope="module")
def brennan(brennan_root):
    """Tables of the 33 subjects of the published code."""
    return load_brennan2019(brennan_root, subjects="reference", need_recordings=False)


@pytest.mark.filterwarnings("ignore:make_segments left out")
def test_brennan_has_published_blocks(brennan):
    X, y = make_segments(brennan, margin=0.15, block=PaperBlocks())
    assert X["subject"].nunique() == 33
    part = parts_of(y)
    of_person = y.groupby([X["subject"], part])["block"].nunique().unstack()
    assert (of_person[["train", "valid", "test"]] == [44, 8, 6]).all(axis=None)
    assert y["block"].nunique() == 58
    tested = y[HashedBlockSplit().assign(y) == "test"]
    # Seven more of the published 190 reach into the next of the twelve sounds, where no one has a window.
    assert len(tested[["sequence", "word_index"]].drop_duplicates()) == tested["segment"].nunique() == 183


def test_brennan_has_published_windows(brennan):
    counts = count_as_published(brennan)
    assert (
        1210 <= counts.pop("train segments") <= 1212
    )  # 1211; how a word's ends are rounded to samples moves it by one
    assert counts == {"test segments": 190, "test words": 148, "train words": 513}


@pytest.mark.filterwarnings("ignore:make_segments left out")
def test_masc_has_published_blocks(masc_events):
    X, y = make_segments(masc_events, margin=0.15, block=PaperBlocks())
    part = parts_of(y)
    counts = y.groupby([X["recording"], part])["block"].nunique().unstack()[["train", "valid", "test"]]
    assert counts.to_numpy().tolist() == [[21, 3, 4], [49, 8, 14], [68, 16, 29], [100, 22, 31]]
    assert counts.sum(axis=1).tolist() == [28, 71, 113, 153]
    assert (len(y), y["block_inside"].sum()) == (8561, 6379)
    tested = y[HashedBlockSplit().assign(y) == "test"]
    assert tested["segment"].nunique() == 1428
