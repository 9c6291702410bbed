"""What the documents say: their Python runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bilevel.cli._app import COMMANDS
from bilevel.cli._check import parse_check
from bilevel.cli._compare import parse_compare
from bilevel.cli._report import parse_report
from bilevel.cli._settings import split_leading, split_name
from bilevel.cli._solve import parse_sequential, parse_solve
from bilevel.cli._sweep import parse_sweep
from bilevel.cli._theory import parse_theory
from bilevel.cli._train import DEFAULT_METHOD, parse, split_trackers
from bilevel.cli._tune import parse_tune
from bilevel.cli._watch import parse_watch
from bilevel.experiments import default_config

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/*.md")])
VALUES = {
    "share": "0.8",
    "entropy": "0.3 0",
    "1": "0.3",
    "2": "0",
    "rate": "0.1",
    "game": "chicken",
    "weight": "2",
    "horizon": "25",
    "edges": "(1,0,4),(0,2)",
    "i": "1",
    "k": "1.1",
    "settings": "0.8 0.5",
    "discount": "0.8",
    "lambda": "0.5",
}
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def commands(path: Path) -> list[str]:
    """Every command line of the shell blocks, with a value for each shell variable."""
    text = "\n".join(blocks(path, "sh")).replace("\\\n", " ")
    text = re.sub(r"\$(\w+)", lambda found: VALUES[found[1]], text)
    text = text.replace("--device cuda:0", "--device cpu")  # a device that is not there is refused
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line.startswith(("bilevel ", "make "))]


@pytest.mark.parametrize(
    ("name", "index"), [(name, i) for name in NAMES for i in range(len(blocks(ROOT / name, "python")))]
)
def test_python_runs(name: str, index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("document")
    monkeypatch.setitem(sys.modules, "document", module)  # dataclasses look their annotations up there
    code = blocks(ROOT / name, "python")[index]
    exec(compile(code, f"{name}[{index}]", "exec"), module.__dict__)


@pytest.mark.parametrize(("name", "line"), [(name, line) for name in NAMES for line in commands(ROOT / name)])
def test_commands_parse(name: str, line: str) -> None:
    program, command, *arguments = shlex.split(line)
    if program == "make":
        assert re.search(rf"^{command}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
    else:
        require_parses(command, *arguments)


def require_parses(command: str, *arguments: str) -> None:
    """Require that `bilevel` reads the arguments of a command; the command itself does not run."""
    assert command in COMMANDS, command
    if "--load" in arguments:  # what a file registers is tested with the file
        return
    if command == "train" and not {"--help", "--resume"} & set(arguments):
        chosen, rest = split_leading("bilevel train", arguments, paths=("out", "resume"))
        _, rest = split_trackers(rest)
        parse(default_config(chosen.game, chosen.method or DEFAULT_METHOD), rest)
    if command == "compare" and "--runs" not in arguments:
        chosen, rest = split_leading("bilevel compare", arguments, names=("game",))
        assert parse_compare(chosen.game, rest).comparison.configs
    if command == "sweep" and "--config" not in arguments:
        _, rest = split_leading("bilevel sweep", arguments, names=())
        parse_sweep(rest).sweep_of(None).check()
    if command == "check":
        chosen, rest = split_leading("bilevel check", arguments)
        parse_check(chosen.game, chosen.method, rest)
    if command == "theory":
        chosen, rest = split_leading("bilevel theory", arguments, names=("game",), paths=())
        parse_theory(chosen.game, rest)
    if command == "solve":
        chosen, rest = split_leading("bilevel solve", arguments, names=("game",), paths=("figure",))
        (parse_sequential if chosen.game.startswith("openspiel:") else parse_solve)(chosen.game, rest)
    if command == "report":
        _, rest = split_leading("bilevel report", arguments, names=())
        assert parse_report(rest).folders
    if command == "watch":
        assert parse_watch(arguments).folder
    if command == "tune" and "--help" not in arguments:
        task, options = split_name(arguments)
        assert task is None or parse_tune(task, split_leading("bilevel tune", options, names=())[1])


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    text = re.sub(
        r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or ((ROOT / name).parent / target).exists(), target


def imported(path: Path) -> Iterator[str]:
    """The packages of `bilevel` that a file imports, those for annotations alone left out."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    annotations = [
        inner
        for node in ast.walk(module)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    ]
    for node in ast.walk(module):
        if node not in annotations and isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from {".".join(name.split(".")[:2]) for name in names if name.startswith("bilevel.")}


def test_a_package_imports_only_those_above_it() -> None:
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    order = [f"bilevel.{name}" for name in re.findall(r"^\d+\. `bilevel\.(\w+)`$", text, re.MULTILINE)]
    assert {path.parent.name for path in ROOT.glob("bilevel/*/__init__.py")} == {
        name.removeprefix("bilevel.") for name in order
    }
    for place, package in enumerate(order):
        below = set(order[place + 1 :])
        for path in ROOT.joinpath(*package.split(".")).rglob("*.py"):
            assert not below & set(imported(path)), path
    for path in (ROOT / "games").rglob("*.py"):
        assert not set(imported(path)), path
