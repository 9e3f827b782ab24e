"""What becomes of the results: the page and its picture."""

import copy
import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from bench.report import BEGIN, END, print_table, write_pages

ROW: dict[str, Any] = {
    "wru_per_task": 1.1,
    "rru_per_task": 0.04,
    "sqs_requests_per_task": 0.3,
    "dynamodb_requests_per_task": 0.2,
    "other_requests_per_task": 0.001,
    "invocations_per_task": 0.1,
    "dollars_per_million_tasks": 0.1,
    "cpu_ms_per_task": 3.0,
    "cpu_functions_ms_per_task": 1.0,
    "cpu_emulator_ms_per_task": 1.8,
    "cpu_client_ms_per_task": 0.1,
    "tasks_per_second": 200.0,
    "last_run": {"uncounted": {}},
}
RESULTS: dict[str, Any] = {
    "date": "2026-01-02T03:04:05+00:00",
    "workload": {"runs": 3},
    "machine": {"cpus": 2},
    "versions": {"python": "3.13.1", "celery": "5.7.0"},
    "single": ROW,
    "chunked": {**ROW, "wru_per_task": 0.12},
    "lone": {**ROW, "p50_ms": 100.0, "p95_ms": 200.0},
    "peers": {"celery": {"cpu_ms_per_task": 8.0, "tasks_per_second": 150.0, "p50_ms": 3.0, "p95_ms": 5.0}},
}


def silent() -> Console:
    """A console that nobody sees."""
    return Console(file=io.StringIO(), width=160)


def test_only_what_is_between_the_marks_is_written(tmp_path: Path) -> None:
    """The page's own words stay; tables replace what stood between the marks, again and again."""
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    page.write_text(f"# Title\n{BEGIN}\nold\n{END}\nwords\n", encoding="utf-8")

    write_pages(RESULTS, page, picture)
    once = page.read_text(encoding="utf-8")
    write_pages(RESULTS, page, picture)

    assert page.read_text(encoding="utf-8") == once
    assert once.startswith("# Title\n")
    assert once.endswith("words\n")
    assert "old" not in once
    assert "| write units | 1.1 (target ≤ 1.3) | 0.12 (target ≤ 0.25) | 1.1 |" in once
    assert "| Celery 5.7.0 | 8 | 150 | 3 | 5 |" in once


def test_the_picture_is_well_formed_and_shows_every_row(tmp_path: Path) -> None:
    """One label, bar and number per row, the longest bar last."""
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")

    write_pages(RESULTS, page, picture)

    texts = [element.text for element in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert texts[-2:] == ["Celery 5.7.0 + Valkey", "8"]
    assert len(texts) == 1 + 2 * 3


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    """The results are not written to where they don't belong."""
    page = tmp_path / "page.md"
    page.write_text("# Title\n", encoding="utf-8")

    with pytest.raises(ValueError, match="needs the lines"):
        write_pages(RESULTS, page, tmp_path / "picture.svg")


def test_the_table_tells_whether_targets_were_met() -> None:
    """One number over its limit is a miss, and is named."""
    console = silent()
    missed = copy.deepcopy(RESULTS)
    missed["single"]["wru_per_task"] = 1.4

    assert print_table(silent(), RESULTS)
    assert not print_table(console, missed)

    assert isinstance(console.file, io.StringIO)
    assert "single: wru_per_task is 1.400, wanted at most 1.3" in console.file.getvalue()
