"""Order of docstrings and of the navigation in the API reference."""

import re
from pathlib import Path

# Parameters of large classes in groups. Those without a group come last, under "Other".
GROUPS = {
    "sk_b2s.decoding.BrainEncoder": {
        "Speech": ["speech", "speech_embedding_dim", "target_dim"],
        "Architecture": [
            "module", "hidden", "depth", "kernel_size", "n_virtual_channels", "spatial_attention", "initial_linear",
            "subject_layer", "glu", "skip", "head", "activation", "look_ahead",
        ],
        "Regularization and augmentation": [
            "spatial_dropout", "subject_dropout", "channel_dropout", "time_dropout", "lag_jitter", "weight_decay",
            "weight_averaging",
        ],
        "Training": [
            "loss", "duplicates", "lr", "batch_size", "max_epochs", "patience", "validation", "init", "freeze",
            "checkpoint", "warm_start", "callbacks",
        ],
        "Prediction": ["k", "unseen_subject"],
        "Running": ["device", "precision", "n_jobs", "random_state", "verbose"],
    },
}  # fmt: skip
PARAMETER = re.compile(r"    \*\*(\w+)\*\* : ")


def move_examples(lines):
    """Move the examples of a docstring behind its first paragraph."""
    if ".. rubric:: Examples" not in lines:
        return lines
    at = lines.index(".. rubric:: Examples")
    later = [place for place in range(at + 1, len(lines)) if lines[place].startswith((".. rubric::", ":"))]
    end = min(later, default=len(lines))
    rest = lines[:at] + lines[end:]
    first = next((place for place, line in enumerate(rest) if line.strip()), 0)
    blank = next((place for place in range(first, len(rest)) if not rest[place].strip()), len(rest))
    return [*rest[:blank], "", *lines[at:end], "", *rest[blank:]]


def group_parameters(name, lines):
    """Sort the parameters of a class into groups with headings."""
    if name not in GROUPS or ":Parameters:" not in lines:
        return lines
    start = lines.index(":Parameters:") + 1
    end = next((at for at in range(start, len(lines)) if lines[at][:1].strip()), len(lines))
    texts, parameter = {}, None
    for line in lines[start:end]:
        if found := PARAMETER.match(line):
            parameter = found[1]
        texts.setdefault(parameter, []).append(line)
    groups = dict(GROUPS[name])
    grouped = {parameter for names in groups.values() for parameter in names}
    groups["Other"] = [parameter for parameter in texts if parameter and parameter not in grouped]
    ordered = list(texts.get(None, []))
    for heading, names in groups.items():
        if found := [parameter for parameter in names if parameter in texts]:
            ordered += ["", f"    .. rubric:: {heading}", ""]
            ordered += [line for parameter in found for line in [*texts[parameter], ""]]
    return [*lines[:start], *ordered, *lines[end:]]


def arrange_docstring(app, what, name, thing, options, lines):
    """Arrange the docstring of a class or function after numpydoc."""
    if what in ("class", "function"):
        lines[:] = group_parameters(name, move_examples(list(lines)))


def read_navigation(folder):
    """Read the sub-packages, headings and names of the API pages.

    Returns a list of (page, title, [(heading, [(name, page of the name)])]).
    """
    pages = re.findall(r"^   (\w+)$", (folder / "index.rst").read_text(encoding="utf-8"), re.M)
    return [(f"api/{page}", *read_page(Path(folder) / f"{page}.rst")) for page in pages]


def read_page(path):
    """Read the title and the headed names of one API page."""
    lines = path.read_text(encoding="utf-8").splitlines()
    sections, module = [], ""
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", below):
            sections.append((line.replace("`", ""), []))
        elif found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.fullmatch(r"   (\w+)", line):
            if not sections:
                sections.append(("", []))
            sections[-1][1].append((found[1], f"generated/{module}.{found[1]}"))
    return lines[0].replace("``", "").partition(":")[0], [section for section in sections if section[1]]
