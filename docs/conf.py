"""How the pages are built: `make docs`."""

import contextlib
import inspect
import os
import pkgutil
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import matplotlib  # noqa: E402

matplotlib.use("Agg")

import sk_b2s  # noqa: E402

project = "sk_b2s"
author = "the sk_b2s founders"
version = release = sk_b2s.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/**/*.md5", "sg_execution_times.rst"]
root_doc = "index"

html_theme = "pydata_sphinx_theme"
html_title = "sk_b2s"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "changes": [], "measured": []}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types are in the docstrings
add_module_names = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Other projects' pages are linked to if asked for, `DOCS_ONLINE=1 make docs`: the build needs no network.
OTHERS = {
    "joblib": "https://joblib.readthedocs.io/en/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "mne": "https://mne.tools/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "python": "https://docs.python.org/3/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "sklearn": "https://scikit-learn.org/stable/",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
if os.environ.get("DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {name: (url, None) for name, url in OTHERS.items()}
nitpick_ignore_regex = [(r"py:.*", rf"({'|'.join(OTHERS)}|functools)(\..*)?")]

CITATION = re.compile(r"\[(\d)\]_")
WORK = re.compile(r"\.\. \[(\d)\] ([^,]+),.*?(doi|arXiv):(\S+?)\.?$", re.M)

# Shown and not run: half an hour, and recordings that are not shipped, where they are not at hand.
SHOWN_ONLY = ["4_paper_protocol"]
DATA = Path(os.environ.get("SK_B2S_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
if (DATA / "eeg_dtu").is_dir():
    os.environ["SK_B2S_TEST_DATA"] = str(DATA)
else:
    SHOWN_ONLY.append("3_real_eeg")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": rf"plot_(?!{'|'.join(SHOWN_ONLY)})",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1,
    "remove_config_comments": True,
    "plot_gallery": "True",
}


def only_our_members(app, what, name, thing, skip, options):
    """Leave out what a class has from scikit-learn, which documents it."""
    home = getattr(inspect.unwrap(thing) if callable(thing) else thing, "__module__", None)
    return True if home is not None and not str(home).startswith("sk_b2s") else None


def link_citations(app, what, name, thing, options, lines):
    """Turn ``[1]_`` into a link where the list of references is that of the module, on a page of its own."""
    if "References" in lines or not any(CITATION.search(line) for line in lines):
        return
    module = sys.modules[getattr(thing, "__module__", None) or name]
    works = {
        number: f"`{who} <{'https://doi.org/' if kind == 'doi' else 'https://arxiv.org/abs/'}{where}>`__"
        for number, who, kind, where in WORK.findall(module.__doc__ or "")
    }
    lines[:] = [CITATION.sub(lambda found: f"({works[found[1]]})", line) for line in lines]


def name_what_has_no_page(app, env, node, contnode):
    """Leave a reference to something of ours without a page as it is written, if it exists."""
    target = node["reftarget"].lstrip("~")
    rooms = [sys.modules[node["py:module"]]] if node.get("py:module") in sys.modules else []
    for room in rooms + [sys.modules[name] for name in sorted(sys.modules) if name.startswith("sk_b2s")]:
        if target.partition(".")[0] in vars(room):
            return contnode
    with contextlib.suppress(ImportError, AttributeError):
        if target.startswith("sk_b2s."):
            pkgutil.resolve_name(target)
            return contnode
    return None


def setup(app):
    """Connect the hooks."""
    app.connect("autodoc-skip-member", only_our_members)
    app.connect("autodoc-process-docstring", link_citations, priority=400)  # before numpydoc
    app.connect("missing-reference", name_what_has_no_page)
