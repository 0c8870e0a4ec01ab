"""Word types: one template per word, made of training rows."""

import numpy as np
import pandas as pd
import pytest
from helpers.decoders import tiny_encoder

from sk_b2s import (
    EnsembleDecoder,
    LikelihoodDecoder,
    RidgeDecoder,
    StimulusArray,
    StimulusLeakWarning,
    Windows,
    WordVocabulary,
    make_word_types,
    retrieve_words,
)

N_WORDS, N, LENGTH, SFREQ = 6, 240, 8, 8.0  # words, windows, samples of a window, Hz


def make_rows(noise=1.0, seed=0, subjects=("a", "b"), first=0):
    """Make windows of words with own features: X and y, with their table."""
    features = np.random.default_rng(0).standard_normal((N_WORDS, LENGTH, 3))
    rng = np.random.default_rng(100 + seed)
    code = rng.permutation(np.arange(N) % N_WORDS)
    speech = features[code] + 0.5 * rng.standard_normal((N, LENGTH, 3))
    mixing = np.random.default_rng(1).standard_normal((3, 5))
    sound = StimulusArray(speech.reshape(-1, 3).astype(np.float32), SFREQ, f"sound {seed}")
    x, rows = [], []
    for subject in subjects:
        x.append(speech @ mixing + noise * rng.standard_normal((N, LENGTH, 5)))
        onset = first + np.arange(N) * LENGTH / SFREQ
        rows.append(pd.DataFrame({
            "subject": subject, "recording": subject, "onset": onset, "duration": LENGTH / SFREQ, "sound": [sound] * N,
            "sound_onset": onset - first, "segment": first + np.arange(N), "block": 1000 * seed + np.arange(N) // 20,
            "word": [f"W{one}." for one in code],
        }))  # fmt: skip
    table = pd.concat(rows, ignore_index=True)
    x, y = np.concatenate(x), np.concatenate([speech] * len(subjects))
    make = [Windows.from_array(part.transpose(0, 2, 1), rows=table, sfreq=SFREQ) for part in (x, y)]
    return make[0], make[1], table


@pytest.fixture(scope="module")
def train():
    """Return training windows, targets and their table."""
    return make_rows()


@pytest.fixture(scope="module")
def test():
    """Return test windows, targets and their table."""
    return make_rows(seed=1, first=10_000)


def make_ridge():
    return RidgeDecoder(alphas=(1.0,), lags=(0, 0), k=2)


DECODERS = {
    "ridge": make_ridge,
    "likelihood": lambda: LikelihoodDecoder(lags=(0, 0), rank=2, order=0, max_iter=1, k=2),
    "network": lambda: tiny_encoder().set_params(speech=None, max_epochs=3, k=2),
    "ensemble": lambda: EnsembleDecoder([("one", make_ridge()), ("two", make_ridge())], weights="equal", k=2),
}


def test_make_word_types_averages_segments(train):
    _, y, table = train
    types = make_word_types(y, vocabulary=["w3", "absent", "w1"])
    assert types.rows.to_dict("list") == {"segment": [0, 2], "word": ["w3", "w1"], "n_tokens": [40, 40]}
    expected = np.asarray(y)[(table["word"] == "W3.").to_numpy() & (table["subject"] == "a")].mean(0)
    np.testing.assert_allclose(np.asarray(types)[0], expected, atol=1e-5)
    assert types.sfreq == y.sfreq
    with pytest.raises(ValueError, match="1 of 2 words are there"):
        make_word_types(y, vocabulary=["w3", "absent"])
    with pytest.raises(ValueError, match="column 'word'"):
        make_word_types(Windows.from_array(np.zeros((3, 1, 2))), vocabulary=["w3", "w1"])


@pytest.mark.parametrize("name", DECODERS)
def test_retrieve_words_by_each_decoder(name, train, test):
    decoder = DECODERS[name]().fit(*train[:2])
    for templates in ("features", "estimates"):
        words = retrieve_words(decoder, *test[:2], *train[:2], vocabulary=N_WORDS, templates=templates)
        table = words.score(timing=False)
        assert table.loc["balanced", "top_k"] > 0.6, templates
        assert table["chance"].tolist() == pytest.approx([2 / N_WORDS] * 2)
        assert (table["candidates"] == "types").all()
        np.testing.assert_allclose(words.probabilities.sum(1), 1)


def test_retrieve_words_uses_the_segments_of_fit(train, test):
    decoder = make_ridge().fit(*train[:2])
    words = retrieve_words(decoder, *test[:2], vocabulary=None)
    assert words.train is None
    same = retrieve_words(decoder, *test[:2], *train[:2], vocabulary=words.vocabulary)
    np.testing.assert_allclose(words.log_probabilities, same.log_probabilities, atol=1e-4)
    few = words.select_words(["w4", "w1", "never"])
    assert (few.vocabulary.words, few.missing) == (("w4", "w1"), ("never",))
    np.testing.assert_array_equal(few.target >= 0, test[2]["word"].isin(["W4.", "W1."]))
    direct = retrieve_words(decoder, *test[:2], vocabulary=["w4", "w1"])
    np.testing.assert_array_equal(few.ranks, direct.ranks)
    with pytest.raises(ValueError, match="Only 1 of 2 words"):
        words.select_words(["w4", "never"])


def test_words_of_noise_are_at_chance(train):
    decoder, hits = make_ridge().fit(*train[:2]), []
    for seed in range(2, 12):
        X, y, _ = make_rows(noise=1e3, seed=seed, subjects="a", first=1000 * seed)
        words = retrieve_words(decoder, X, y, *train[:2], vocabulary=N_WORDS)
        hits.append(words.score(timing=False).loc["balanced", "top_k"])
    assert abs(np.mean(hits) - 2 / N_WORDS) < 4 * np.std(hits) / np.sqrt(len(hits))


def test_words_without_template_are_left_out(train, test):
    decoder = make_ridge().fit(*train[:2])
    known = np.flatnonzero(train[2]["word"] != "W0.")
    X_train, y_train = train[0][known], train[1][known]
    words = retrieve_words(decoder, *test[:2], X_train, y_train, WordVocabulary(["w0", "w1", "w2", "never"]))
    assert words.missing == ("w0", "never")
    assert words.vocabulary.words == ("w1", "w2")
    table = words.score(k=1)
    assert table.loc["balanced", ["n_words", "n_outside", "n_windows"]].tolist() == [2, 320, 160]
    assert (words.target[test[2]["word"] == "W0."] == -1).all()
    assert len(words.spot_keywords("w1", by_subject=True).query("n_windows == 240")) == 2, "all windows count"
    assert set(words.train["onset"]) <= set(train[2]["onset"])


def test_retrieve_words_rejects_test_rows(train, test):
    decoder = make_ridge().fit(*train[:2])
    with pytest.raises(ValueError, match="contains 480 of 480"):
        retrieve_words(decoder, *test[:2], *test[:2], N_WORDS)
    with pytest.raises(ValueError, match="both X_train and y_train"):
        retrieve_words(decoder, *test[:2], templates="estimates")
    with pytest.raises(ValueError, match="'templates' parameter"):
        retrieve_words(decoder, *test[:2], *train[:2], N_WORDS, templates="tokens")
    unnamed = Windows.from_array(np.asarray(test[1]), sfreq=SFREQ)
    with pytest.raises(ValueError, match="column 'word' in y"):
        retrieve_words(decoder, test[0], unnamed, *train[:2], N_WORDS)
    other = make_rows(subjects="c", first=1)
    with pytest.warns(StimulusLeakWarning):
        retrieve_words(decoder, *other[:2], *train[:2], N_WORDS)
