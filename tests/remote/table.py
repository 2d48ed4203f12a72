"""The table of docs/stores.md: `python -m tests.remote.table` runs the contract with every store, and writes what came out."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.remote.contract import StoreContract

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/stores.md"
BEGIN, END = "<!-- tests/remote/table.py writes this table -->", "<!-- the end of the table -->"
# The outcome of one test of one class.
Outcomes = Mapping[tuple[str, str], str]


def stores() -> list[type[StoreContract]]:
    """The classes that put a store to the contract, as docs/stores.md lists them."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.remote.{path.stem}")
    return sorted(StoreContract.__subclasses__(), key=lambda one: (one.title != "a folder", one.title))


def rules() -> list[str]:
    """The tests of the contract, in their order."""
    return [name for name in vars(StoreContract) if name.startswith("test_")]


def run(classes: Sequence[type[StoreContract]]) -> Outcomes:
    """What comes out for each class and test: passes, fails, not run."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        names = [f"{one.__module__.replace('.', '/')}.py::{one.__name__}" for one in classes]
        subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *names], cwd=ROOT, check=False)
        cases = list(ET.parse(report).iter("testcase"))
    found = {}
    for case in cases:
        kinds = {child.tag for child in case}
        outcome = "fails" if kinds & {"failure", "error"} else "not run" if "skipped" in kinds else "passes"
        found[case.attrib["classname"], case.attrib["name"]] = outcome
    return found


def render(classes: Sequence[type[StoreContract]], outcomes: Outcomes) -> str:
    """The table, in Markdown: a column for each store, a line for each test."""
    lines = [["the contract", *(one.title for one in classes)], ["---"] * (len(classes) + 1)]
    lines += [
        [_words(rule), *(outcomes.get((f"{one.__module__}.{one.__name__}", rule), "not run") for one in classes)]
        for rule in rules()
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def written() -> str:
    """The table that the document has."""
    return DOCUMENT.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def _words(rule: str) -> str:
    return rule.removeprefix("test_").replace("_", " ")


def main() -> int:
    """Writes the table; 1 where something fails."""
    classes = stores()
    outcomes = run(classes)
    before, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{render(classes, outcomes)}\n\n{END}{after}", "utf-8")
    return int("fails" in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
