"""Draw the figures of the documentation as small SVG files.

    python tools/draw_figures.py                  # all, in some minutes
    python tools/draw_figures.py plot_ranks start # some
    python tools/draw_figures.py --cache FOLDER    # keep results for later

All results come from simulated recordings with a fixed seed, except for the
figures of measurements, which show the tables of benchmarks/README.md.
"""

import argparse
import io
import re
import sys
import tempfile
import warnings
from collections import Counter

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from _figure_registry import DARK, FIGURES, INK, ROOT, STYLE  # noqa: E402

FOLDER = ROOT / "docs" / "_static" / "figures"
MAX_SIZE = 40_000  # bytes


def share_styles(svg):
    """Replace frequent styles by classes, and return their rules."""
    counts = Counter(re.findall(r'style="([^"]*)"', svg))
    often = [style for style, count in counts.items() if count > 2 and "#000000" not in style]
    for place, style in enumerate(often):
        svg = svg.replace(f'style="{style}"', f'class="c{place}"')
    return svg, [f".c{place}{{{style}}}" for place, style in enumerate(often)]


def make_svg(figure):
    """Return a figure as SVG whose ink and paper follow the color scheme."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    places = re.compile(r'(?<= )(?:d|transform|points|x|y|x1|x2|y1|y2|width|height)="[^"]*"')
    digits = {False: r"(\d+\.\d)\d+", True: r"(\d+\.\d{4})\d+"}  # a tenth of a point, but images are scaled
    svg = places.sub(lambda found: re.sub(digits["matrix(" in found[0]], r"\1", found[0]), text.getvalue())
    svg = re.sub(
        r'(?<= )d="[^"]*"', lambda found: re.sub(r"\s*([MLCQz])\s*|\.0(?=[ LMCQz])", r"\1", found[0]), svg
    )
    svg = re.sub(r"<!--.*?-->|<\?xml.*?\?>|<metadata>.*?</metadata>|<!DOCTYPE.*?>", "", svg, flags=re.S)
    svg = re.sub(r' id="(?!legend)[a-zA-Z0-9]+_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;]*sans-serif", "font-family: sans-serif", svg).replace(
        "; stroke-linejoin: miter", ""
    )
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r'<g clip-path="[^"]*">\s*(<use [^>]*>)\s*</g>', r"\1", svg)
    svg, shared = share_styles(re.sub(r"<g>\n((?:(?!</?g\b).)*?)</g>", r"\1", svg, flags=re.S))
    rules = "".join(
        f"[style*='{name}: {light}']{{{name}:{dark}!important}}"
        for light, dark in DARK.items()
        for name in ("fill", "stroke")
    )
    rules += f"[id^=legend] [style*='#000000']{{fill:{DARK[INK]}!important;stroke:{DARK[INK]}!important}}"
    for light, dark in DARK.items():
        rules += "".join(rule.replace(light, dark) for rule in shared if light in rule)
    style = f"<style>{''.join(shared)}@media (prefers-color-scheme: dark){{{rules}}}</style>"
    svg = re.sub(r"\n\s*", "\n", svg)
    return re.sub(r"\s*(<svg [^>]*>)", lambda found: found[1] + style, svg, count=1)


def draw_figure(name, results):
    """Draw one figure and return its SVG."""
    function, width, height, rows = FIGURES[name]
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = plt.figure(figsize=(width, height), layout="constrained")
        function(figure.subplots(rows) if rows else figure, results)
        for mesh in (drawn for ax in figure.axes for drawn in ax.collections):
            if isinstance(mesh, matplotlib.collections.QuadMesh) and mesh.get_array().size > 100:
                mesh.set_rasterized(True)
        svg = make_svg(figure)
        plt.close(figure)
    return svg


def main():
    """Draw all figures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures; all by default")
    parser.add_argument("--cache", help="folder of recordings and results that later runs reuse")
    arguments = parser.parse_args()
    import _chapter_figures  # noqa: F401
    import _measured_figures  # noqa: F401
    import _plot_figures  # noqa: F401
    from _figure_data import SimulatedResults

    if unknown := set(arguments.names) - set(FIGURES):
        parser.error(f"no figure {', '.join(sorted(unknown))}. Choose from {', '.join(sorted(FIGURES))}")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        results = SimulatedResults(arguments.cache or folder)
        for name in arguments.names or FIGURES:
            svg = draw_figure(name, results)
            if len(svg) > MAX_SIZE:
                sys.exit(f"{name}.svg has {len(svg):,} bytes, more than {MAX_SIZE:,}. Draw fewer points.")
            (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
            print(f"{name}.svg: {len(svg) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
