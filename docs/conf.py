"""Configuration of Sphinx, run by `make docs`."""

import contextlib
import importlib
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

from _reference import arrange_docstring, read_navigation  # noqa: E402

import sk_b2s  # noqa: E402

project = "sk_b2s"
author = "the sk_b2s founders"
copyright = "the sk_b2s founders, BSD-3-Clause license"  # noqa: A001
version = release = sk_b2s.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "_mathml",
]
html_math_renderer = "mathml"
templates_path = ["_templates"]
exclude_patterns = ["_build", "auto_examples/*.ipynb", "auto_examples/**/*.md5", "sg_execution_times.rst"]
root_doc = "index"

html_theme = "pydata_sphinx_theme"
html_title = f"sk_b2s {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_context = {"default_mode": "auto", "api_nav": read_navigation(Path(__file__).parent / "api")}
html_theme_options = {
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
    "footer_end": [],
}
# A list of all versions, when the pages are published: CONTRIBUTING.md, "Releases".
if os.environ.get("DOCS_VERSIONS"):
    html_theme_options["switcher"] = {"json_url": os.environ["DOCS_VERSIONS"], "version_match": version}
    html_theme_options["navbar_end"] = ["version-switcher", "theme-switcher", "navbar-icon-links"]
    html_theme_options["check_switcher"] = False
html_sidebars = {
    **dict.fromkeys(
        [
            "index",
            "install",
            "from_trf",
            "from_mne",
            "from_sklearn",
            "changes",
            "contributing",
            "versions",
            "leakage",
            "reading_scores",
        ],
        [],
    ),
    "api/*": ["api-nav"],
    "generated/*": ["api-nav"],
}
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types are in the docstrings
add_module_names = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Links to other projects need a network: `DOCS_ONLINE=1 make docs`.
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

SHOWN_ONLY = "(?!3_real_eeg)"  # without output, because its recordings are not part of the package
DATA = Path(os.environ.get("SK_B2S_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
if (DATA / "eeg_dtu").is_dir():
    os.environ["SK_B2S_TEST_DATA"], SHOWN_ONLY = str(DATA), ""
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": f"plot_{SHOWN_ONLY}",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1,
    "parallel": 2,  # examples at a time, each on one thread
    "remove_config_comments": True,
    "plot_gallery": "True",
}


def skip_inherited_members(app, what, name, thing, skip, options):
    """Skip members of a class that scikit-learn documents."""
    home = getattr(inspect.unwrap(thing) if callable(thing) else thing, "__module__", None)
    return True if home is not None and not str(home).startswith("sk_b2s") else None


def link_citations(app, what, name, thing, options, lines):
    """Replace ``[1]_`` with a link if the module has the reference."""
    if "References" in lines or not any(CITATION.search(line) for line in lines):
        return
    module = sys.modules[getattr(thing, "__module__", None) or name]
    works = {
        number: f"`{who} <{'https://doi.org/' if kind == 'doi' else 'https://arxiv.org/abs/'}{where}>`__"
        for number, who, kind, where in WORK.findall(module.__doc__ or "")
    }
    lines[:] = [
        CITATION.sub(lambda found: f"({works[found[1]]})" if found[1] in works else "", line)
        for line in lines
    ]


# Sub-package of each public name: docstrings refer to names of the package, pages are those of the sub-packages.
HOMES = {
    name: f"sk_b2s.{package}"
    for package in sk_b2s._SUBPACKAGES
    for name in importlib.import_module(f"sk_b2s.{package}").__all__
}


def resolve_public_name(app, env, node, contnode):
    """Link ``sk_b2s.X``, or ``X``, to the page of X in its sub-package."""
    target = node["reftarget"].lstrip("~").removeprefix("sk_b2s.")
    home = HOMES.get(target.partition(".")[0])
    if home is None or node.get("refdomain") != "py":
        return None
    return env.get_domain("py").resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], f"{home}.{target}", node, contnode
    )


def keep_private_name(app, env, node, contnode):
    """Keep a reference to an object without a page as plain text."""
    target = node["reftarget"].lstrip("~")
    modules = [sys.modules[node["py:module"]]] if node.get("py:module") in sys.modules else []
    for module in modules + [sys.modules[name] for name in sorted(sys.modules) if name.startswith("sk_b2s")]:
        if target.partition(".")[0] in vars(module):
            return contnode
    with contextlib.suppress(ImportError, AttributeError):
        if target.startswith("sk_b2s."):
            pkgutil.resolve_name(target)
            return contnode
    return None


def setup(app):
    """Connect the hooks."""
    app.connect("autodoc-skip-member", skip_inherited_members)
    app.connect("autodoc-process-docstring", link_citations, priority=400)  # before numpydoc
    app.connect("autodoc-process-docstring", arrange_docstring, priority=600)  # after numpydoc
    app.connect("missing-reference", resolve_public_name, priority=400)
    app.connect("missing-reference", keep_private_name)
