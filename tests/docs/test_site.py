"""The built site: no warning, dead link, picture without words, or network; names, commands and search."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from fontTools.ttLib import TTFont

from tests.docs.search_scorer import MOST_OF_TEXT, load, search

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

from commands import commands  # noqa: E402
from public_names import names  # noqa: E402

from bilevel.methods import METHODS  # noqa: E402

pytestmark = pytest.mark.slow

FETCHING = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}
"""Elements that a browser fetches by itself."""
VERBATIM = {"pre", "code", "script", "style", "math"}
"""Elements whose text may hold any characters."""
FIRST = {
    "trajectory": {"reference/glossary", "reference/api/bilevel.sharing.Trajectory"},
    "replay buffer": {"reference/glossary", "reference/api/bilevel.agents.ReplayBuffer"},
    "GAE": {"reference/glossary", "explanation/inner-learners"},
    "curriculum": {"how-to/schedules-and-curricula"},
    "price of anarchy": {"explanation/theory"},
    "policy export": {"how-to/export-policy"},
    "Nash": {"explanation/theory", "reference/glossary"},
}
"""Query -> the pages that may come first."""


class Page(HTMLParser):
    """What a page links to, shows, fetches, and can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.without_words: list[str] = []
        self.prose: list[str] = []
        self.formulas: list[str] = []
        self.open: list[str] = []
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in FETCHING and FETCHING[tag] in given and given.get("rel") != "canonical":
            self.fetched.append(given[FETCHING[tag]])
        if tag == "img" and not given.get("alt", "").strip():
            self.without_words.append(given.get("src", ""))
        if tag == "img":
            self.prose.append(given.get("alt", ""))
        if tag in VERBATIM:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VERBATIM:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.prose.append(data)
        elif self.open[0] == "math":
            self.formulas.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "html"
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "2", "docs", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path.resolve(): Page(path) for path in site.rglob("*.html")}


def test_links_lead_somewhere(pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for link in {*page.links, *page.fetched}:
            target, anchor = urldefrag(unquote(link))
            if re.match(r"[a-z]+:", target):
                continue
            file = (path.parent / target.partition("?")[0]).resolve() if target else path
            if not file.exists() or (anchor and file in pages and anchor not in pages[file].anchors):
                dead.append(f"{path.name}: {link}")
    assert not dead


def test_every_picture_has_alternative_text(pages: dict[Path, Page]) -> None:
    assert not {path.name: page.without_words for path, page in pages.items() if page.without_words}


def test_no_page_asks_the_network(site: Path, pages: dict[Path, Page]) -> None:
    asked = {link for page in pages.values() for link in page.fetched if re.match(r"(https?:)?//", link)}
    sheets = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    asked |= {url for text in sheets for url in re.findall(r"url\(['\"]?(https?:[^)]*)", text)}
    asked |= {url for text in sheets for url in re.findall(r"@import ['\"](https?:[^'\"]*)", text)}
    assert not asked


def test_formulas_are_mathml(pages: dict[Path, Page]) -> None:
    lesson = next(page for path, page in pages.items() if path.name == "01_two_levels.html")
    assert lesson.text.count("<math") > 20
    assert not [path.name for path, page in pages.items() if "mathjax" in " ".join(page.fetched).lower()]


def test_the_font_of_formulas_has_their_letters(site: Path, pages: dict[Path, Page]) -> None:
    formulas = "".join(formula for page in pages.values() for formula in page.formulas)
    letters = set(formulas) - set("\n\u2061")  # space and function application are not drawn
    assert len(letters) > 80
    assert not letters - {
        chr(code) for code in TTFont(site / "_static/STIXTwoMath-Regular.woff").getBestCmap()
    }


def test_no_page_shows_the_source_of_a_table_or_formula(pages: dict[Path, Page]) -> None:
    source = re.compile(r"\|\s*:?(?:-{2,}|[\u2013\u2014]):?\s*\||\$[^$\n]+\$|\\[a-z]+[{ ]")
    shown = {path.name: source.findall("\n".join(page.prose)) for path, page in pages.items()}
    assert not {name: found for name, found in shown.items() if found}


def test_every_public_name_has_a_page(site: Path) -> None:
    for full in names():
        assert f'id="{full}"' in (site / "reference" / "api" / f"{full}.html").read_text(encoding="utf-8")


def test_every_command_and_method_has_a_page(site: Path) -> None:
    for name in commands():
        assert f"bilevel {name}" in (site / "reference" / "commands" / f"{name}.html").read_text()
    for name in METHODS:
        assert "--seeds" in (site / "reference" / "methods" / f"{name}.html").read_text()


def test_documents_name_what_exists() -> None:
    known = set(names())
    for path in (ROOT / "docs").rglob("*.md"):
        for role in re.findall(r"\{py:obj\}`~?([\w.]+)`", path.read_text(encoding="utf-8")):
            assert (
                role in known or role in {f"{one.rpartition('.')[0]}" for one in known} or _exported(role)
            ), f"{path.name}: {role}"


def _exported(role: str) -> bool:
    package, _, name = role.rpartition(".")
    return name in getattr(__import__(package, fromlist=[name]), "__all__", [])


@pytest.mark.parametrize("query", FIRST)
def test_search_finds_the_right_page_first(site: Path, query: str) -> None:
    found = search(load(site), query)
    assert found[0].page in FIRST[query]
    assert found[0].score > MOST_OF_TEXT
