"""What texts point at is there: numbered sections, invariants, modules, tests, files and the lines of command."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NUMBERED = ("ARCHITECTURE.md", "docs/protocol.md")
SECTION = re.compile(r"^#{2,3} (\d+(?:\.\d+)?)", re.MULTILINE)
CITED = re.compile(
    r"\b(ARCHITECTURE\.md|(?:docs/)?protocol\.md)`?(?:\]\([^)]*\))?\)?(?: sections?)?,? (\d+(?:\.\d+)?)"
)
MEMBERS = ("libs", "broker-config", "gateway", "dispatcher", "scanner-agent", "dashboard", "deploy")


@cache
def read(path: Path) -> str:
    """The text in one line, without the signs that begin a comment's lines."""
    return re.sub(r"\n[ \t#>]*", " ", path.read_text())


def below(*places: str, endings: tuple[str, ...]) -> Iterator[Path]:
    for place in places:
        for path in (ROOT / place).rglob("*"):
            if path.suffix in endings and not any(
                part.startswith(".") for part in path.relative_to(ROOT).parts
            ):
                yield path


PAGES = sorted([*ROOT.glob("*.md"), *below("docs", *MEMBERS, endings=(".md",))])
TEXTS = [*PAGES, *below("tests", *MEMBERS, endings=(".py", ".sh"))]
MODULES = {
    ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
    for source in [ROOT / member / "src" for member in MEMBERS] + [*(ROOT / "libs").glob("*/src")]
    if source.is_dir()
    for path in source.rglob("*.py")
}


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_look_at() -> None:
    assert len(PAGES) > 15
    assert sum(len(CITED.findall(read(path))) for path in TEXTS) > 100


def test_every_cited_section_is_there() -> None:
    sections = {page: set(SECTION.findall((ROOT / page).read_text())) for page in NUMBERED}
    missing = [
        f"{short(path)} cites {page} {number}"
        for path in TEXTS
        for page, number in CITED.findall(read(path))
        if number not in sections[page if page in sections else f"docs/{page}"]
    ]
    assert missing == []


def test_every_cited_invariant_is_there() -> None:
    known = set(re.findall(r"^\| (I\d+) \|", (ROOT / "docs/invariants.md").read_text(), re.MULTILINE))
    cited = {
        (short(path), name)
        for path in TEXTS
        for name in re.findall(r"invariants\.md`?\)?,? (I\d+)\b", read(path))
    }
    assert cited
    assert [one for one in sorted(cited) if one[1] not in known] == []


def test_nothing_cites_what_is_not_in_the_repository() -> None:
    foreign = re.compile(r"\bfeatures? [A-I]\d|\b(?:features|security|performance|reliability|style)\.md\b")
    assert [short(path) for path in TEXTS if path != Path(__file__) and foreign.search(read(path))] == []


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_a_page_names_only_what_is_there(page: Path) -> None:
    text = page.read_text()
    links = [
        link.partition("#")[0]
        for link in re.findall(r"\]\(([^)]+)\)", text)
        if not re.match(r"[a-z]+:|#", link)
    ]
    assert [link for link in links if not (page.parent / link).exists()] == []
    modules = re.findall(r"`(redflag(?:_[a-z_]+)?(?:\.[A-Za-z_]\w*)+)", text)
    assert [name for name in modules if not _is_code(name)] == []
    files = re.findall(r"`((?:tests|docs|deploy|libs)/[\w./-]+)`", text)
    assert [name for name in files if not (ROOT / name).exists()] == []


def _is_code(name: str) -> bool:
    """Whether `name` is a module, or something a module defines."""
    if name in MODULES:
        return True
    module, _, attribute = name.rpartition(".")
    return module in MODULES and re.search(rf"\b{attribute}\b", MODULES[module].read_text()) is not None
