"""Open the built pages in a browser, and list what does not fit or fails.

    python tools/check_pages.py docs/_build/html               # all pages
    python tools/check_pages.py docs/_build/html index guide/  # some
    python tools/check_pages.py docs/_build/html index --shoot FOLDER

Each page is opened 390 and 1280 pixels wide, in light and dark. Listed are
elements beyond the edge of the page, broken images, and errors and warnings of
the console. ``SK_B2S_CHROME`` names the browser, see tests/helpers/browser.py.
"""

import argparse
import base64
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTHS, SCHEMES = (390, 1280), ("light", "dark")
BEYOND = """(() => {
  const scrolls = (e) => {
    for (; e; e = e.parentElement)
      if (!e.matches('html, body, [class*=bd-article], .bd-content, .bd-main, [class*=bd-container]')
          && ['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(e).overflowX)) return true;
    return false;
  };
  const name = (e) => e.tagName.toLowerCase() + (e.className && e.className.baseVal === undefined ? '.'
    + String(e.className).trim().replace(/\\s+/g, '.') : '') + ' "' + e.textContent.trim().slice(0, 40) + '"';
  const found = [...document.querySelectorAll('body *')].filter((e) => {
    const box = e.getBoundingClientRect();
    const article = e.parentElement.closest('.bd-article-container');
    const edge = article ? article.getBoundingClientRect().right : innerWidth;
    return box.width && box.right > Math.min(edge, innerWidth) + 1 && getComputedStyle(e).visibility !== 'hidden'
      && !e.closest('dialog:not([open]), .visually-hidden, .skip-link') && !scrolls(e);
  });
  const clipped = [...document.querySelectorAll('.bd-article td, .bd-article th')].filter((e) =>
    e.scrollWidth > e.clientWidth + 1 && !scrolls(e));
  const broken = [...document.images].filter((e) => e.complete && !e.naturalWidth).map((e) => 'broken image ' + e.src);
  return [...found.map(name), ...clipped.map((e) => 'clipped ' + name(e)), ...broken];
})()"""


def read_messages(browser):
    """Return errors and warnings of the console, and exceptions."""
    messages = [json.loads(text) for text in browser.messages]
    return [
        text[:200]
        for message, text in zip(messages, browser.messages, strict=True)
        if message.get("type", message.get("entry", {}).get("level", "error")) in ("error", "warning")
    ]


def show_page(browser, path, width, scheme, is_loaded):
    """Load a page, or show the loaded one in another width and scheme."""
    if not is_loaded:
        browser.open(path.as_uri(), width, scheme)
        browser.wait_for("document.readyState === 'complete'")
        return
    browser.send(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
    )
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def shoot_page(browser, path, height=2400):
    """Write a screenshot of the upper part of the page."""
    size = browser.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], height), "scale": 1}
    shot = browser.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    path.write_bytes(base64.b64decode(shot["data"]))


def main():
    """Check all pages, and exit with 1 if one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the built pages")
    parser.add_argument("begins", nargs="*", metavar="PAGE", help="beginnings of page names; all by default")
    parser.add_argument("--shoot", type=Path, metavar="FOLDER", help="also write a screenshot of each page")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.browser import Browser, find_browser

    folder, n_faults = arguments.folder.resolve(), 0
    pages = sorted(path for path in folder.rglob("*.html") if not {"_static", "_modules"} & set(path.parts))
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in pages}
    begins = tuple(arguments.begins) or ("",)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(find_browser(), profile)
        try:
            for name, path in names.items():
                views = [(w, s) for w in WIDTHS for s in SCHEMES if name.startswith(begins)]
                for place, (width, scheme) in enumerate(views):
                    show_page(browser, path, width, scheme, place > 0)
                    faults = [*browser.evaluate(BEYOND), *read_messages(browser)]
                    browser.messages.clear()
                    n_faults += len(faults)
                    for fault in faults[:5]:
                        print(f"{name}, {width} px, {scheme}: {fault}", flush=True)
                    if len(faults) > 5:
                        print(f"{name}, {width} px, {scheme}: {len(faults) - 5} more")
                    if arguments.shoot:
                        arguments.shoot.mkdir(exist_ok=True)
                        shoot_page(
                            browser, arguments.shoot / f"{name.replace('/', '_')}-{width}-{scheme}.png"
                        )
        finally:
            browser.close()
    print(f"{len(names)} pages, {n_faults} faults")
    sys.exit(n_faults > 0)


if __name__ == "__main__":
    main()
