"""The documentation as the tests see it: its pages, and what runs the blocks in them.

A page's Python blocks run in order, in one namespace and one empty directory. One whose first line names a file
(`# shop.py`) is written to that file first; `# shop.py, at the end` adds to it. What is written to a `test_….py` is
not run with the others: at the end of the page pytest runs all of these, as its reader would. Blocks that readers need
not see stand in comments (`<!-- invisible-code-block: python`), which GitHub's view of a page hides as well.

Of console blocks, our own commands run (all but the demo, which serves until it is stopped); where output stands
below a command, it must be what the command says.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from sybil.document import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

SECRET = "cqqwBl6sxlDpXPCLcXGyS3CT0aXhyYzNcJIVj2vLAYs"  # made up for the tests

_FILE = re.compile(r"# ([\w/.]+\.py)(, at the end)?\n").match
_OURS = re.compile(r"\$ coatcheck (?!demo)").match
_run_in_namespace = PythonEvaluator()


def run_python(example):
    """Run a block, or write it to the file that it names."""
    if named := _FILE(example.parsed):
        file, continues = Path(named[1]), named[2] is not None
        keep_file(file, example.parsed, continues=continues)
        if file.name.startswith("test_"):
            return
    _run_in_namespace(example)


def keep_file(file, text, *, continues):
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a" if continues else "w") as written:
        written.write(text)


def run_pytest():
    """Run the test files of a page as its reader would, in the current directory."""
    files = sorted(file.name for file in Path().glob("test_*.py"))
    if files:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *files]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
        assert ran.returncode == 0, ran.stdout + ran.stderr


def run_console(example):
    """Run our own commands of a block, and compare what they say."""
    lines = example.parsed.splitlines()
    for number, line in enumerate(lines):
        if not _OURS(line):
            continue
        command = f'"{sys.executable}" -m {line.removeprefix("$ ")}'
        ran = subprocess.run(
            command, shell=True, capture_output=True, text=True, check=False, env=environment()
        )
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"
        told = []
        for following in lines[number + 1 :]:
            if following.startswith("$ "):
                break
            told.append(following)
        if told:
            pattern = "\n".join(re.escape(said).replace("…", ".*") for said in told)
            assert re.fullmatch(pattern, ran.stdout.rstrip("\n")), f"{line} says {ran.stdout!r}"


def environment():
    """What a page's commands and files find: themselves on the path."""
    path = [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


PARSERS = (
    CodeBlockParser(language="python", evaluator=run_python),
    CodeBlockParser(language="console", evaluator=run_console),
)


def parse(page):
    """A page with the examples in it."""
    document = Document.parse(str(page), *PARSERS)
    document.namespace["__name__"] = "page"
    return document


def name_of(page):
    return str(page.relative_to(ROOT))
