"""Find avoided words and long docstring lines.

The rules are in CONTRIBUTING.md. Run as ``python tools/prose.py [PATH ...]``
with files or folders, by default the whole project. The exit status is 1 if a
word or line was found. ``--count`` prints only the numbers.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("sk_b2s", "tests", "examples", "benchmarks", "tools", "docs")
WIDTH = 79  # characters of a docstring line

# Avoided words and their replacements. Code in backticks is not checked.
AVOIDED = {
    r"somebody|nobody|anybody|everybody|whoever|whom": "a noun: subject, user, estimator",
    r"people|persons?|person's": "subject (participant in prose about a study)",
    r"strangers?|newcomers?": "unseen subject",
    r"what the brain did|what was heard|the brain": "EEG/MEG windows, neural data; stimulus, targets",
    r"says?|said|tells?|told|asks?|asked|knows|believes?|hears": "a verb of code: returns, raises, computes, reads",
    r"heard": "presented",
    r"answers?|answered": "retrieval results, similarities, estimates",
    r"beside": "next to, sidecar, concurrent stream, besides",
    r"alike|anew|luck|keepers?|at which": "plain words: both, again, chance, maintainers, where",
    r"pictures?": "figure",
    r"(?:is|are) none|(?:is|are) no (?!longer|more)\w+|such as are": "is not a ...",
    r"put aside|dealt|moved along": "store, assign, circularly shifted",
    r"kills?|killed": "interruption",
    r"a brain that": "no neural information",
}
PATTERN = re.compile(r"\b(?:" + "|".join(AVOIDED) + r")\b", re.IGNORECASE)
COMMENT = re.compile(f"#.*{PATTERN.pattern}", re.IGNORECASE)
CODE = re.compile(r"``.*?``|`[^`]*`|\w*_\w*|https?:\S+|>>> .*|\.\.\. .*", re.DOTALL)


@lru_cache(maxsize=1)
def parse_file(path):
    """Return the text of a Python file and the nodes of its syntax tree.

    The trees of all files together would slow down garbage collection.
    """
    source = path.read_text()
    nodes = [ast.parse(source)]
    for node in nodes:  # grows. This is faster than ast.walk
        for value in vars(node).values():
            if isinstance(value, list):
                nodes += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                nodes.append(value)
    return source, nodes


def texts_of_python(path):
    """Yield (line number, text) of docstrings, comments and messages."""
    source, nodes = parse_file(path)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in nodes:
        if isinstance(node, documented) and (text := ast.get_docstring(node, clean=False)):
            yield node.body[0].lineno, text
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.lineno, node.name.replace("_", " ")
        called = node.func if isinstance(node, ast.Call) else None
        name = getattr(called, "attr", getattr(called, "id", ""))
        if name.endswith(("Error", "Warning", "warn", "print")) or name in (
            "info",
            "warning",
            "add_argument",
        ):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value
    if COMMENT.search(source):  # most files need not be tokenized
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def texts_of_markdown(path):
    """Lines of a Markdown or reStructuredText file that are not code."""
    fenced = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def find_avoided(path):
    """Find avoided words of a file as list of (line number, word)."""
    texts = texts_of_python(path) if path.suffix == ".py" else texts_of_markdown(path)
    found = []
    for number, text in texts:
        for match in PATTERN.finditer(CODE.sub(lambda code: "#" + "\n" * code[0].count("\n"), text)):
            found.append((number + text[: match.start()].count("\n") * (path.suffix == ".py"), match[0]))
    return sorted(set(found))


def find_long_lines(path):
    """Find docstring lines over 79 characters as list of (line, length)."""
    if path.suffix != ".py":
        return []
    source, nodes = parse_file(path)
    lines, found = source.splitlines(), []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in nodes:
        if isinstance(node, documented) and ast.get_docstring(node):
            text = node.body[0]
            for number in range(text.lineno, text.end_lineno + 1):
                if len(lines[number - 1]) > WIDTH:
                    found.append((number, len(lines[number - 1])))
    return sorted(found)


def files_of(paths):
    """Python, Markdown and reStructuredText files of paths."""
    for path in paths:
        if path.is_file():
            yield path
        else:
            yield from sorted(
                p for p in path.rglob("*") if p.suffix in (".py", ".md", ".rst") and p.is_file()
            )


def main(arguments=None):
    """Print the findings and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--count", action="store_true", help="print the numbers only")
    options = parser.parse_args(arguments)
    paths = options.paths or [*(ROOT / name for name in FOLDERS), *ROOT.glob("*.md")]
    avoided, long = {}, {}
    for path in files_of(paths):
        avoided[path], long[path] = find_avoided(path), find_long_lines(path)
    if not options.count:
        for path, found in avoided.items():
            for number, word in found:
                print(f"{path}:{number}: avoided {word!r}")
            for number, length in long[path]:
                print(f"{path}:{number}: docstring line of {length} characters")
    n_avoided, n_long = sum(map(len, avoided.values())), sum(map(len, long.values()))
    print(
        f"{n_avoided} avoided words, {n_long} docstring lines over {WIDTH} characters in {len(avoided)} files"
    )
    return int(bool(n_avoided or n_long))


if __name__ == "__main__":
    sys.exit(main())
