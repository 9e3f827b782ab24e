"""Keep results, and write docs/benchmarks.md from them: `python -m bench.report` does so without measuring anything.

Each benchmark has a file in bench/results and a place in the page, between two marks; what stands around is written by hand.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.sections import SECTIONS

RESULTS: Final = Path(__file__).parent / "results"
PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
PICTURES: Final = PAGE.parent / "img"
BEGIN: Final = "<!-- {name}: written by python -m bench -->"
END: Final = "<!-- /{name} -->"


def save(name: str, results: dict[str, Any]) -> dict[str, Any]:
    """Write a benchmark's results, with date and machine, and put them into the page. Gives what was written."""
    return _write(name, {**_measured(), **results})


def save_rows(name: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The same for results that are rows by name: each row tells date and machine."""
    return _write(name, {key: {**row, **_measured()} for key, row in rows.items()})


def _measured() -> dict[str, Any]:
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": {"cpus": os.cpu_count()}}


def _write(name: str, results: dict[str, Any]) -> dict[str, Any]:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    write_page(RESULTS, PAGE, PICTURES)
    return results


def load(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """A benchmark's results; None if it was never run."""
    file = folder / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def write_page(folder: Path, page: Path, pictures: Path) -> None:
    """Put every section whose results exist into the page. Raises ValueError if the page lacks a section's marks."""
    text = page.read_text(encoding="utf-8")
    pictures.mkdir(exist_ok=True)
    for name, section in SECTIONS.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{page.name} needs the lines {begin} and {end}: the results go between them")
        results = load(name, folder)
        if results is None:
            body = f"Not measured yet: `python -m bench.{name}` does."
        else:
            body, drawn = section(results)
            for picture, svg in drawn.items():
                (pictures / picture).write_text(svg, encoding="utf-8")
        text = f"{before}{begin}\n\n{body.strip()}\n\n{end}{after}"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_page(RESULTS, PAGE, PICTURES)
