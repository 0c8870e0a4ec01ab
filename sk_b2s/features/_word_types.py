"""Templates of words: mean speech features of their training segments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.utils import _safe_indexing

from sk_b2s._utils._chunks import count_chunk_rows, slice_rows_into_chunks
from sk_b2s._utils._validation import validate_table
from sk_b2s.metrics._vocabulary import check_vocabulary
from sk_b2s.preprocessing._windows._windows import Windows

CHUNK_BYTES = 2**26  # of features in memory


def make_word_types(y, speech=None, vocabulary=50):
    """Average the speech features of the segments of each word.

    The averages are candidates of word types: a window is compared with each
    word of a vocabulary instead of each segment of the test set.

    Parameters
    ----------
    y : DataFrame or Windows of shape (n_rows, ...)
        Training rows with the columns ``word`` and ``segment``, made with
        ``make_segments(anchor="word")``. Each distinct segment counts once.
    speech : estimator, default=None
        Fitted transformer from ``y`` to speech features, for example
        ``decoder.speech_``. If None, ``y`` must be Windows of features.
    vocabulary : int, WordVocabulary, sequence of str or None, default=50
        Words. An int is the number of most frequent words of ``y``, and None
        selects all of them.

    Returns
    -------
    types : Windows of shape (n_words, n_features, n_frames)
        One window per word, in the order of the vocabulary. Words without a
        segment in ``y`` have no template and are left out. ``rows`` has the
        columns ``segment``, the place in the vocabulary, ``word`` and
        ``n_tokens``, the number of averaged segments.

    Raises
    ------
    ValueError
        If the column ``word`` is missing, or if fewer than two words of the
        vocabulary have a segment.

    See Also
    --------
    sk_b2s.retrieve_words : Score a decoder with such templates.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sk_b2s import Windows
    >>> words = ["the", "hare", "the"]
    >>> rows = pd.DataFrame({"word": words, "segment": [0, 1, 2]})
    >>> features = np.array([1.0, 5.0, 3.0]).reshape(3, 1, 1)
    >>> y = Windows.from_array(features, rows)
    >>> types = make_word_types(y, vocabulary=2)
    >>> np.asarray(types)[:, 0, 0]
    array([2., 5.], dtype=float32)
    >>> types.rows
       segment  word  n_tokens
    0        0   the         2
    1        1  hare         1
    """
    vocabulary = check_vocabulary(vocabulary, y)
    codes, first = find_word_type_segments(y, vocabulary)
    rows = first[codes[first] >= 0]
    targets = _safe_indexing(y, rows)
    if speech is not None:
        targets = speech.transform(targets)
    if not isinstance(targets, Windows):
        targets = np.asarray(targets, np.float32)
        if not targets.ndim:
            raise ValueError("make_word_types requires 'speech' if y is a table. Pass decoder.speech_.")
        targets = Windows.from_array(
            targets.reshape(len(targets), -1, targets.shape[2] if targets.ndim == 3 else 1)
        )
    return average_word_type_features(
        targets.gather, codes[rows], vocabulary, targets.shape[1:], targets.sfreq
    )


def find_word_type_segments(y, vocabulary):
    """Return the word of each row and the first row of each segment."""
    table = validate_table(y)
    if table is None or "word" not in table:
        raise ValueError(
            "Word types require the column 'word' in the training rows. Pass y as returned by "
            "make_segments(anchor='word'), or Windows with this column in rows."
        )
    first = np.arange(len(table))
    if "segment" in table:
        first = np.flatnonzero(~table["segment"].duplicated().to_numpy())
    return vocabulary.encode(table["word"]), first


def average_word_type_features(gather, codes, vocabulary, shape, sfreq):
    """Average windows by word: Windows with one row per word with windows.

    ``gather(indices)`` returns a Tensor of shape (n_indices, *shape), and
    ``codes`` are their words, none of them -1.
    """
    count = np.bincount(codes, minlength=len(vocabulary))
    kept = np.flatnonzero(count)
    if len(kept) < 2:
        raise ValueError(
            f"Word types require at least two words of the vocabulary in the training rows. {len(kept)} of "
            f"{len(vocabulary)} words are there. Use a larger vocabulary, or words of these rows."
        )
    total = torch.zeros(len(vocabulary), *shape, dtype=torch.float64)
    for piece in slice_rows_into_chunks(len(codes), count_chunk_rows(CHUNK_BYTES, *shape)):
        rows = np.arange(piece.start, piece.stop)
        total.index_add_(0, torch.as_tensor(codes[rows]), gather(rows).detach().cpu().double())
    mean = (total[kept] / torch.as_tensor(count[kept])[:, None, None]).float().numpy()
    words = np.array(vocabulary.words, dtype=object)[kept]
    rows = pd.DataFrame({"segment": kept, "word": words, "n_tokens": count[kept]})
    return Windows.from_array(mean, rows=rows, sfreq=sfreq)
