"""Windows of the hold-out of the PNPL competition 2026 on LibriBrain100."""

from __future__ import annotations

import zipfile

import numpy as np
import pandas as pd

from sk_b2s.datasets._study import check_study_root, require_study_file

STUDY = "libribrain100"
HINT = "Download it with sk_b2s.datasets.fetch_libribrain100(root, holdout=True)."
FOLDER = "COMPETITION_HOLDOUT"
N_SUBJECTS = 40
WINDOW = 1.0  # s from the onset of a word
MEMBERS = {
    "sentence": ("meg", "sentence_n_times", "word_onsets_s", "word_mask", "sfreq"),
    "word": ("meg", "sfreq", "tmin", "tmax"),
}
FILES = {"sentence": "subj{:02d}_holdout01_sentence.npz", "word": "subj{:02d}_holdout2_word.npz"}


def load_libribrain100_holdout(root, subject, sources=("sentence", "word")):
    """Load windows without labels of the PNPL competition 2026.

    Parameters
    ----------
    root : path-like
        Folder with ``COMPETITION_HOLDOUT``.
    subject : int or str
        Subject, 0 (track "deep") or 1 to 39 (track "broad"). Subjects 33 to
        39 have no training data.
    sources : str or sequence of str, default=("sentence", "word")
        "sentence" are the words of whole sentences, "word" are single words.

    Returns
    -------
    windows : ndarray of shape (n_windows, 306, n_times)
        float32 MEG from the onset of each word, 1 s at 250 Hz, in the order
        of a submission.
    rows : DataFrame of shape (n_windows, 6)
        ``subject``, ``source``, ``epoch`` (number of the sentence or word in
        its file), ``word`` (position in its sentence, -1 for single words),
        ``onset`` (s from the start of the epoch) and ``duration`` (s).

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file is truncated or has another layout. The message has the file,
        sentence and word.

    Notes
    -----
    A submission for the track "broad" concatenates the windows of subjects 1
    to 39. The words of a sentence overlap in time, so that a decoder that
    receives several of them also receives the intervals of their onsets
    (``timing_only`` in the controls).
    """
    root = check_study_root(root, STUDY, HINT)
    number = _check_holdout_subject(subject)
    wanted = [sources] if isinstance(sources, str) else list(sources)
    if not wanted or (unknown := [source for source in wanted if source not in FILES]):
        raise ValueError(
            f"{STUDY}: 'sources' must contain 'sentence' or 'word'. Got {sources!r} instead."
            if not wanted
            else f"{STUDY}: 'sources' must be 'sentence' or 'word'. Got {unknown[0]!r} instead."
        )
    windows, rows = [], []
    for source in (source for source in FILES if source in wanted):
        path = require_study_file(root / FOLDER / FILES[source].format(number), STUDY, HINT)
        content = _read_holdout_members(path, MEMBERS[source])
        found, table = (_cut_holdout_sentences if source == "sentence" else _take_holdout_words)(
            content, path
        )
        windows.append(found)
        rows.append(table.assign(subject=str(number), source=source))
    if len({one.shape[1:] for one in windows}) > 1:
        raise ValueError(
            f"{STUDY}: the windows of subject {number} have the shapes {[one.shape[1:] for one in windows]}, which "
            f"differ between sources. Download the files again."
        )
    columns = ["subject", "source", "epoch", "word", "onset", "duration"]
    return np.concatenate(windows), pd.concat(rows, ignore_index=True)[columns]


def _check_holdout_subject(subject):
    """Return the number of a subject, which may have a prefix."""
    text = str(subject).removeprefix("sub-").removeprefix("subj")
    if not text.isdecimal() or not 0 <= int(text) < N_SUBJECTS:
        raise ValueError(
            f"{STUDY}: 'subject' must be one of 0 to {N_SUBJECTS - 1}. Got {subject!r} instead. Load several subjects "
            f"one at a time, because a subject has hundreds of megabytes."
        )
    return int(text)


def _read_holdout_members(path, names):
    """Read the arrays of an archive, and check that they exist."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if missing := [name for name in names if name not in archive]:
                raise ValueError(
                    f"{STUDY}: {str(path)!r} lacks the arrays {missing}. It has {sorted(archive)}. Download it again."
                )
            return {name: archive[name] for name in names}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(
            f"{STUDY}: {str(path)!r} cannot be read: {error}. It is probably truncated. Download it again."
        ) from error


def _check_holdout_meg(content, path):
    """Check the samples, and return the length of a window in samples."""
    meg, sfreq = content["meg"], float(content["sfreq"])
    if meg.ndim != 3 or not np.issubdtype(meg.dtype, np.floating) or not sfreq > 0:
        raise ValueError(
            f"{STUDY}: {str(path)!r}: 'meg' must be (n_epochs, n_channels, n_times) at a positive rate. Got "
            f"{meg.dtype} {meg.shape} at {sfreq:g} Hz instead."
        )
    return round(sfreq * WINDOW)


def _cut_holdout_sentences(content, path):
    """Cut a window at the onset of each word of all sentences."""
    size, meg, sfreq = _check_holdout_meg(content, path), content["meg"], float(content["sfreq"])
    mask, onsets = np.asarray(content["word_mask"], bool), np.asarray(content["word_onsets_s"], float)
    ends = np.asarray(content["sentence_n_times"], int)
    if not (
        mask.shape == onsets.shape and mask.ndim == 2 and len(mask) == len(meg) and ends.shape == (len(meg),)
    ):
        raise ValueError(
            f"{STUDY}: {str(path)!r}: 'word_mask' {mask.shape}, 'word_onsets_s' {onsets.shape} and 'sentence_n_times' "
            f"{ends.shape} do not match the {len(meg)} sentences of 'meg'."
        )
    epochs, words = np.nonzero(mask)
    onset = onsets[epochs, words]
    starts = np.where(np.isfinite(onset), np.round(onset * sfreq), -1).astype(int)
    beyond = (starts < 0) | (starts + size > np.minimum(ends[epochs], meg.shape[2]))
    if beyond.any():
        at = int(np.argmax(beyond))
        raise ValueError(
            f"{STUDY}: {str(path)!r}, sentence {epochs[at]}, word {words[at]}: the window of {WINDOW:g} s from "
            f"{onset[at]:.3f} s is not within the {ends[epochs[at]] / sfreq:.3f} s of the sentence ({beyond.sum()} such "
            f"words). Download the file again."
        )
    windows = np.empty((len(epochs), meg.shape[1], size), np.float32)
    for place, (epoch, start) in enumerate(zip(epochs, starts, strict=True)):
        windows[place] = meg[epoch, :, start : start + size]
    table = pd.DataFrame({"epoch": epochs, "word": words, "onset": onset, "duration": WINDOW})
    return windows, table


def _take_holdout_words(content, path):
    """Return the windows of single words."""
    size, meg = _check_holdout_meg(content, path), content["meg"]
    tmin, tmax = float(content["tmin"]), float(content["tmax"])
    if meg.shape[2] != size or not np.isclose(tmax - tmin, WINDOW):
        raise ValueError(
            f"{STUDY}: {str(path)!r}: windows must have {size} samples ({WINDOW:g} s). Got {meg.shape[2]} samples from "
            f"{tmin:g} to {tmax:g} s instead."
        )
    table = pd.DataFrame({"epoch": np.arange(len(meg)), "word": -1, "onset": -tmin, "duration": WINDOW})
    return np.asarray(meg, np.float32), table
