"""The runner of the documents' tables: it resumes after an interruption, and reports failures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
import tyro

from docs.studies.tables import ROOT, Tables, code_version, expand, find_blocks, run_tables
from tests.test_documents import require_parses

MARK = "<!-- run by docs/studies/tables.py -->\n"
SMALL = "--seeds 3 --evaluation-episodes 4"
JOBS = [
    pytest.param(job.words, id=job.name)
    for blocks in find_blocks(ROOT / "docs", Path("out")).values()
    for jobs in blocks
    for job in jobs
]


@pytest.mark.parametrize("words", JOBS)
def test_every_marked_command_parses(words: tuple[str, ...]) -> None:
    program, *arguments = words
    if program == "python":
        assert arguments[0] == "-m"
        tyro.cli(import_module(arguments[1]).Study, args=arguments[2:])
    else:
        require_parses(*arguments)


def page(docs: Path, name: str, *blocks: str) -> None:
    docs.mkdir(exist_ok=True)
    fenced = (
        f"## Part {i}\n\n{MARK}```sh\n{block}\n```\n\n```sh\nmake coffee\n```\n"
        for i, block in enumerate(blocks)
    )
    (docs / f"{name}.md").write_text("# Title\n\n" + "\n".join(fenced), encoding="utf-8")


def test_marked_blocks_alone_with_loops_expanded(tmp_path: Path) -> None:
    page(
        tmp_path,
        "one",
        'for share in None 0.8; do set -- "$share" 2\n  bilevel train --x "a $1" \\\n -y $2\ndone',
    )
    ((jobs,),) = find_blocks(tmp_path, tmp_path / "out").values()
    assert [job.words for job in jobs] == [
        ("bilevel", "train", "--x", f"a {x}", "-y", "2") for x in ("None", "0.8")
    ]
    assert jobs[0].folder.name.startswith("part-0-")
    with pytest.raises(ValueError, match=r"begins with 'cat x' may run bilevel and python alone.*cat"):
        expand("cat x\n")


def test_a_failing_command_is_reported_and_the_others_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train = "bilevel train --game chicken --method selfish --seeds 3 --outer-steps 2"
    page(tmp_path / "docs", "good", train)
    page(tmp_path / "docs", "ill", f"bilevel train --game chiken\n{train}")
    tables = Tables(docs=tmp_path / "docs", out=tmp_path / "out", jobs=2)
    assert run_tables(tables) == 1
    shown = capfd.readouterr()
    assert "FAILED ill, part-0-" in shown.err
    assert "1 of 2: There is no game 'chiken'" in shown.err
    assert f"2 of 3 commands are done for the code {code_version()}" in shown.out
    (output,) = (tmp_path / "out").glob("*/good/*/1.txt")
    assert "selfish" in output.read_text()
    before = output.stat().st_mtime_ns
    assert run_tables(Tables(docs=tmp_path / "docs", out=tmp_path / "out", page=("good",))) == 0
    assert output.stat().st_mtime_ns == before  # what is done is not run again
    capfd.readouterr()
    assert run_tables(Tables(docs=tmp_path / "docs", out=tmp_path / "out", list=True)) == 0
    states = [line.split()[0] for line in capfd.readouterr().out.splitlines()]
    assert states == ["done", "begun", "done", "2"]
    with pytest.raises(ValueError, match=r"no page with such commands 'god'\. Did you mean 'good'"):
        run_tables(Tables(docs=tmp_path / "docs", page=("god",)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_script_resumes(tmp_path: Path, number: signal.Signals) -> None:
    steps = "--game chicken --seeds 3 --checkpoint-every 5 --compile never --outer-steps"
    page(
        tmp_path / "docs",
        "long",
        f"bilevel train {steps} 2 --method selfish\nbilevel train {steps} 300 --method tos --out runs/long",
    )
    words = ("-m", "docs.studies.tables", "--docs", tmp_path / "docs", "--out", tmp_path / "out")
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL) as script:
        while not list(tmp_path.glob("out/*/long/*/runs/long/checkpoint.pt")):
            assert script.poll() is None
            time.sleep(0.05)
        script.send_signal(number)
    assert script.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    (folder,) = tmp_path.glob("out/*/long/*")
    assert not find_blocks(tmp_path / "docs", folder.parents[1])["long"][0][1].record().get("done")
    assert run_tables(Tables(docs=tmp_path / "docs", out=tmp_path / "out")) == 0
    assert json.loads((folder / "2.json").read_text())["done"]
    assert (folder / "runs/long/resumptions.json").exists() == (number == signal.SIGINT)
