"""Names with hidden, bidirectional and markup characters."""

from helpers.pages import EVIL

NAMES = {
    "lone surrogate": "a\ud800b",
    "two surrogates": "\udc80\udcff",
    "NUL": "a\0b",
    "escape": "a\x1b[31mb\x07",
    "all controls": "".join(map(chr, [*range(9), *range(11, 32), *range(127, 160)])),
    "override": "a\u202eb",
    "isolates": "\u2066a\u2067b\u2068c",
    "pop": "a\u202cb\u2069",
    "noncharacters": "a\ufffeb\uffff",
    "Hebrew": "\u05d0\u05d1\u05d2",
    "Arabic digits": "\u0661\u0662",
    "emoji": "\U0001f469\u200d\U0001f52c",
    "stacked accents": "a" + 40 * "\u0301",
    "long": 5000 * "a",
    "markup": EVIL,
    "closing": "</title></style></svg><img src=x onerror=alert(1)>]]><!--",
    "empty": "",
}
ALL_NAMES = "".join(text for name, text in NAMES.items() if name != "long")
