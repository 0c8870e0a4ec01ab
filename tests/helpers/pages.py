"""Parser of HTML pages, and a text that tries to break them."""

import re
from html.parser import HTMLParser

EVIL = "<script>alert('x')</script> & \"$\\alpha$\" <img src=http://a.b/c>"


class Reader(HTMLParser):
    """Parse a page into elements, texts and ids, with all tags closed."""

    VOID = {"meta", "br", "img", "link"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words, self.ids, self.within = [], [], [], [], {}
        self.feed(text)
        self.close()
        assert not self.open, "all tags are closed"

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self.ids += [value for key, value in attributes if key == "id"]
        if name not in self.VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self.ids += [value for key, value in attributes if key == "id"]

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        self.words.append(text)
        if self.open:
            self.within.setdefault(self.open[-1], []).append(text)

    def all(self, name):
        return [attributes for found, attributes in self.elements if found == name]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def pictures(self):
        return [a for name, a in self.elements if name in ("svg", "img") or a.get("role") == "img"]
