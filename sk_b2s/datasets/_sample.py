"""Sample of real EEG: three minutes of The Old Man and the Sea.

Citation and license
    Those of :mod:`sk_b2s.datasets._broderick2019`. CC0.
Source
    OpenNeuro ds004408, subject 001, run 01. Versions and SHA-256 sums are
    those that its repository records for these files
    (https://github.com/OpenNeuroDatasets/ds004408, branch git-annex).
Size
    83 MB.
"""

from __future__ import annotations

from pathlib import Path

from sk_b2s.datasets._download import DownloadFile, download

SERVER = "https://s3.amazonaws.com/openneuro.org/ds004408"
EEG = "sub-001/eeg/sub-001_task-listening_run-01"
# Path in the folder, path and version at the server, bytes, SHA-256.
FILES = [
    (f"{EEG}_eeg.eeg", f"{EEG}_eeg.eeg", "2.0tVslNbNCjpKJU2VXvZNrIBrZO841w", 51380224,
     "3b4cc81b17535ce2f4a9accdbd1e5a30f7bec5484b8648ac474b0f139044ff96"),
    (f"{EEG}_eeg.vhdr", f"{EEG}_eeg.vhdr", "q2ipaInrbuJbtts.AsGmwfPnTF.TFn3l", 2984,
     "4152fe42d1576fa576b58bd1d4f89df0d50d168fb49aad747780dfbfda6458ce"),
    (f"{EEG}_eeg.vmrk", f"{EEG}_eeg.vmrk", "ZP5VCKX7I_.JlNtZjIYmMnTH6AIxM4C_", 520,
     "acf884a28df233617020ffa117cf0870a2eb34b6dd3e6b7b815870e27732587a"),
    ("stimuli/audio01.wav", "stimuli/single_speaker/audio01.wav", "DgF1hKqcMi0Mbi_Cjrcwxrhe.9fr2GRU", 31322156,
     "61207e6f7fe2f2d85a857800af6066048c5d18baa424d47d0f0ab596fafdbb12"),
    ("stimuli/audio01.TextGrid", "stimuli/single_speaker/audio01.TextGrid", "CBQAGYj1AUs_i_uswEYDei9cWLGRtgps", 180689,
     "52c82adfeac4ef79c66f3993aeea1cc69531d3948d2b22e802e598a56d2bd8b0"),
]  # fmt: skip
CHANNELS = f"{EEG}_channels.tsv"  # the list of bad channels is corrected now and then


def fetch_sample(root, progress=True):
    """Download three minutes of real EEG with speech, 83 MB.

    One participant of Broderick et al. listened to the beginning of The Old
    Man and the Sea. The recording has 128 channels at 512 Hz. The license is
    CC0. One participant and three minutes show how real data are read. They
    are too few for a score to report.

    Parameters
    ----------
    root : path-like
        Folder of the files. Complete files are not downloaded again.
    progress : bool, default=True
        Show a progress bar for each file.

    Returns
    -------
    root : Path
        Folder for :func:`load_broderick2019`.

    Raises
    ------
    ConnectionError, PermissionError, ValueError, OSError
        As in :func:`fetch_gwilliams2022`. Recording, audio and words are
        verified by their SHA-256 sums.

    Examples
    --------
    >>> from sk_b2s.datasets import fetch_sample, load_broderick2019
    >>> events = load_broderick2019(fetch_sample("sample"))  # doctest: +SKIP
    """
    files = [
        DownloadFile(path, f"{SERVER}/{source}?versionId={version}", size, f"sha256:{digest}")
        for path, source, version, size, digest in FILES
    ]
    files.append(DownloadFile(CHANNELS, f"{SERVER}/{CHANNELS}", None, None))
    return download(files, Path(root), progress)
