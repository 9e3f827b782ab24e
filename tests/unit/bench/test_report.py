"""What becomes of the results: the page and its pictures."""

import copy
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench.report import BEGIN, END, PAGE, write_page
from bench.sections import SECTIONS
from bench.targets import misses, print_table
from tests.unit.bench.rows import PEERS, RESULTS


def a_page(path: Path) -> Path:
    """A page with a place for every section, and words around them."""
    marks = "\n".join(f"{BEGIN.format(name=name)}\nstale words\n{END.format(name=name)}" for name in SECTIONS)
    path.write_text(f"# Title\n{marks}\nwords\n", encoding="utf-8")
    return path


def written(folder: Path, results: dict[str, dict[str, Any]]) -> tuple[str, Path]:
    """The page that these results give, and the folder of its pictures."""
    for name, one in results.items():
        (folder / f"{name}.json").write_text(json.dumps(one), encoding="utf-8")
    page = a_page(folder / "page.md")
    write_page(folder, page, folder / "img")
    return page.read_text(encoding="utf-8"), folder / "img"


def test_only_what_is_between_the_marks_is_written(tmp_path: Path) -> None:
    """The page's own words stay; writing it again changes nothing."""
    once, pictures = written(tmp_path, {"hot_path": RESULTS})

    write_page(tmp_path, tmp_path / "page.md", pictures)

    assert (tmp_path / "page.md").read_text(encoding="utf-8") == once
    assert once.startswith("# Title\n")
    assert once.endswith("words\n")
    assert "stale words" not in once
    assert "| write units | 1.1 (target ≤ 1.3) | 0.12 (target ≤ 0.25) | 1.1 | 1.1 |" in once


def test_what_was_not_measured_says_how_to(tmp_path: Path) -> None:
    """A section without results names its command."""
    text, _ = written(tmp_path, {"hot_path": RESULTS})

    assert "Not measured yet: `python -m bench.scale` does." in text


def test_peers_are_shown_with_their_ratios_and_a_missing_one_with_its_reason(tmp_path: Path) -> None:
    """The least CPU first; the picture has a bar per measured row."""
    text, pictures = written(tmp_path, {"peers": PEERS})

    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[2].startswith("| `fleet-chunked` 0.1.0, memory | 0.5 | 0.2× | 1,500 | 6× |")
    assert lines[-1].startswith("| Celery 5.7.0, Valkey | 10 | 4× |")
    assert "- DBOS 3.4.0 is missing: no network" in text
    texts = [one.text for one in ElementTree.parse(pictures / "peers.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert len(texts) == 1 + 2 * 3


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    """The results are not written to where they don't belong."""
    page = tmp_path / "page.md"
    page.write_text("# Title\n", encoding="utf-8")

    with pytest.raises(ValueError, match="needs the lines"):
        write_page(tmp_path, page, tmp_path / "img")


def test_the_documentation_has_a_place_for_every_section() -> None:
    """Both marks of each, once."""
    text = PAGE.read_text(encoding="utf-8")

    assert all(text.count(mark.format(name=name)) == 1 for mark in (BEGIN, END) for name in SECTIONS)


def test_the_table_tells_whether_targets_were_met() -> None:
    """One number over its limit is a miss, and is named."""
    console = Console(file=io.StringIO(), width=160)
    over = copy.deepcopy(RESULTS)
    over["single"]["wru_per_task"] = 1.4

    print_table(console, over)

    assert misses(RESULTS) == []
    assert isinstance(console.file, io.StringIO)
    assert "single: wru_per_task is 1.400, wanted at most 1.3" in console.file.getvalue()
