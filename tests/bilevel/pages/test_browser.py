"""The page in headless Chromium: clicks, keys, and the accessibility rules of axe-core."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bilevel.pages import collect, page_html
from tests.bilevel.pages.conftest import train_study

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).resolve().parents[3] / ".venv" / "browser" / "axe.min.js"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

CLICKS = """
const section = document.querySelector("#game-1"), found = {};
const set = (element, value, name) => { element.value = value; element.dispatchEvent(new Event(name)); };
const chart = section.querySelector("[data-curves]");
const reading = () => chart.querySelector(".reading").textContent;
const key = (name) => chart.querySelector("svg").dispatchEvent(new KeyboardEvent("keydown", { key: name }));
const lines = () => chart.querySelectorAll("svg:not(.swatch) .curve").length;
found.lines = lines();
key("End");
found.last = reading();
key("ArrowLeft");
found.before = reading();
const box = chart.querySelector("svg").getBoundingClientRect();
const middle = { clientX: box.left + box.width / 2 };
chart.querySelector("svg").dispatchEvent(new PointerEvent("pointermove", middle));
found.pointed = reading();
const [metric, axis] = chart.querySelectorAll("select");
set(axis, "environment-steps", "change");
key("End");
found.environment = reading();
set(metric, "cooperation", "change");
found.label = chart.querySelector("svg").getAttribute("aria-label");
chart.querySelector(".legend input").click();
found.fewer = lines();
chart.querySelector(".controls input").click();
found.logarithmic = chart.querySelector("svg").textContent.includes("(logarithmic)");
const givers = section.querySelector("[data-transfers]"), slider = givers.querySelector("input");
found.final = [givers.querySelector("output").textContent, givers.querySelector("td.number").textContent];
set(slider, "0", "input");
found.first = [givers.querySelector("output").textContent, givers.querySelector("td.number").textContent];
found.graph = givers.querySelector("svg").getAttribute("aria-label");
section.querySelector("summary").click();
found.open = section.querySelector("details").open;
found.errors = errors;
"""


def browse(text: str, script: str, folder: Path, width: int = 1280) -> Any:
    """Open a page, run a script that fills `found`, and return it."""
    watch = "const errors = []; addEventListener('error', (event) => errors.push(event.message));"
    report = (
        "<script>(async () => {"
        f"{script}; const out = document.createElement('pre'); out.id = 'found';"
        "out.textContent = JSON.stringify(found); document.body.append(out); })();</script>"
    )
    path = folder / "page.html"
    path.write_text(
        text.replace("<style>", f"<script>{watch}</script><style>", 1).replace("</body>", f"{report}</body>")
    )
    assert CHROMIUM is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    options += [f"--window-size={width},2000", "--virtual-time-budget=30000", "--dump-dom"]
    said = subprocess.run(
        [CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', said.stdout, re.DOTALL)
    assert found is not None, said.stdout[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_html(collect([train_study(tmp_path_factory.mktemp("browser") / "study")]), title="A study")


def test_the_page_can_be_used(page: str, tmp_path: Path) -> None:
    found = browse(page, CLICKS, tmp_path)
    assert found["errors"] == []
    assert (found["lines"], found["fewer"]) == (3, 2)
    assert found["last"].startswith("outer step 6: ")
    assert found["before"].startswith("outer step 5: ")
    assert re.fullmatch(r"outer step [34]: .*tos -?[\d.]+ \[.*\].*", found["pointed"])
    assert re.match(r"environment steps per seed \d+: ", found["environment"])
    assert found["label"] == "cooperation (fraction of actions) against environment steps per seed"
    assert found["logarithmic"]
    assert found["final"][0] == "final policies"
    assert found["first"][0] == "outer step 1"
    assert "gives" in found["graph"]
    assert found["open"]


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_page(page: str, tmp_path: Path, width: int) -> None:
    script = "const found = [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    wide, room = browse(page, script, tmp_path, width)
    assert wide <= room


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_findings(page: str, tmp_path: Path, scheme: str) -> None:
    if scheme == "dark":
        page = page.replace("(prefers-color-scheme: dark)", "all").replace("light dark", "dark")
    script = f"{AXE.read_text(encoding='utf-8')};"
    script += "document.querySelectorAll('details').forEach((one) => one.open = true);"
    script += "const { violations } = await axe.run(); const found = violations.map("
    script += "(one) => [one.impact, one.id, one.nodes.slice(0, 3).map((node) => node.html)]);"
    found = browse(page, script.replace("</script", "<\\/script"), tmp_path)
    assert [finding for finding in found if finding[0] in ("serious", "critical")] == []
