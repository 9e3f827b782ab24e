"""Measure and review Python source from its syntax tree, without running any of it: the standard library's, or an archive's."""

from agentfleet.agent import Agent, PermanentError, TaskContext
from agentfleet.domain.archives import pack, unpack
from agentfleet.domain.code_review import (
    RULES,
    Finding,
    covered_names,
    is_test,
    is_untested,
    ranked,
    review,
)
from agentfleet.domain.source_measures import FunctionRow, ModuleRow, measure

import json
import platform
import re
import sys
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

agent = Agent("code")

MAX_MODULES: Final = 500
MAX_ROWS: Final = 200
PART_BYTES: Final = 100_000
"""Of source that one task reviews."""
PART_FILES: Final = 40
AROUND: Final = 3
"""Lines that an excerpt shows before a finding."""
NEXT: Final = 25
"""And from it on."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_TESTS = frozenset({"test", "tests", "idle_test"})


class PackageInput(BaseModel):
    """Which part of the standard library to read."""

    model_config = ConfigDict(extra="forbid")

    package: str = Field(max_length=100, examples=["asyncio", "email.mime", "argparse"])
    limit: int = Field(default=3, ge=0, le=MAX_ROWS)
    """How many modules, largest first, to return inline as `rows`."""


class Totals(BaseModel):
    """A package in one line."""

    modules: int
    lines: int
    code_lines: int
    functions: int
    classes: int
    branches: int
    documentable: int
    documented: int
    max_complexity: int


class PackageOutput(BaseModel):
    """The measures. `uri` and `functions_uri` name JSON Lines of every ModuleRow and every FunctionRow."""

    package: str
    python: str
    uri: str
    functions_uri: str
    totals: Totals
    rows: list[ModuleRow]


class UnpackInput(BaseModel):
    """An archive of source code: a .zip, .tar or .tar.gz in a blob."""

    model_config = ConfigDict(extra="forbid")

    uri: str = Field(max_length=2_000)
    folder: str = Field(default="", max_length=500)
    """Only what lies below it."""


class Part(BaseModel):
    """Some of an archive's files, as a .zip of their own."""

    uri: str
    files: int
    bytes: int
    untested: list[str]
    """Paths of those that no test in the archive covers; empty if it has no tests."""


class UnpackOutput(BaseModel):
    """An archive's Python files without its tests, in parts that can be reviewed side by side."""

    parts: list[Part]
    files: int
    bytes: int
    tests: int
    left_out: list[str]
    """What could not be taken, each with the reason; at most 50 of them."""


class ReviewInput(BaseModel):
    """A part of an archive."""

    model_config = ConfigDict(extra="forbid")

    uri: str = Field(min_length=1, max_length=2_000)
    untested: list[str] = Field(default_factory=list)


class ReviewOutput(BaseModel):
    """What rules found in a part. The URIs name JSON Lines of Finding, ModuleRow and FunctionRow."""

    part: str
    findings_uri: str
    modules_uri: str
    functions_uri: str
    files: int
    findings: int


class RankInput(BaseModel):
    """Reviews of parts; null for one that failed."""

    model_config = ConfigDict(extra="forbid")

    reviews: list[ReviewOutput | None] = Field(min_length=1)
    limit: int = Field(default=50, ge=1, le=MAX_ROWS)
    """How many findings to return inline, heaviest first."""
    worst: int = Field(default=3, ge=0, le=10)
    """Of how many files to show an excerpt, heaviest first."""
    chars: int = Field(default=6_000, ge=500, le=20_000)
    """Of each excerpt, at most."""


class RuleRow(BaseModel):
    """How often a rule found something."""

    rule: str
    what: str
    findings: int
    weight: float


class FileRow(BaseModel):
    """A file and what its findings weigh together."""

    path: str
    findings: int
    weight: float
    code_lines: int | None
    max_complexity: int | None


class Excerpt(BaseModel):
    """The lines of a file that its findings are about, each with its number, and what the rules say."""

    path: str
    text: str
    findings: list[str]


class RankOutput(BaseModel):
    """All findings in order. `uri` names JSON Lines of every one of them."""

    uri: str
    files: int
    code_lines: int
    functions: int
    documented: float | None
    """Share of public names with a docstring."""
    findings: int
    high: int
    medium: int
    low: int
    top: list[Finding]
    rules: list[RuleRow]
    worst: list[FileRow]
    excerpts: list[Excerpt]
    missing: int
    """Parts whose review failed."""


@agent.capability("code.package", idempotent=True, timeout=60)
def package(input: PackageInput, context: TaskContext) -> PackageOutput:
    """Measure each module of a standard library package: lines, functions, classes, complexity, docstrings, imports.

    Reads the source files of the interpreter it runs on, without its tests; at most 500 modules. Raises PermanentError for a
    name that is not in the standard library or has no Python source (`sys`).
    """
    modules: list[ModuleRow] = []
    functions: list[FunctionRow] = []
    for name, path in _sources(input.package):
        module, inside = measure(input.package, name, path.read_bytes())
        modules.append(module)
        functions.extend(inside)
    modules.sort(key=lambda row: (-row.code_lines, row.module))
    return PackageOutput(
        package=input.package,
        python=platform.python_version(),
        uri=context.blobs.put("modules.jsonl", _json_lines(modules), "application/x-ndjson"),
        functions_uri=context.blobs.put("functions.jsonl", _json_lines(functions), "application/x-ndjson"),
        totals=_totals(modules),
        rows=modules[: input.limit],
    )


@agent.capability("code.unpack", idempotent=True, timeout=90)
def unpack_source(input: UnpackInput, context: TaskContext) -> UnpackOutput:
    """Take the Python files out of an archive (.zip, .tar, .tar.gz), in parts for `code.review`; tests are only looked at.

    Nothing is written to a disk or run. Raises PermanentError for what is no archive, holds more than 50 MB of Python, or none.
    """
    if not input.uri:
        raise PermanentError("uri: give the archive's address in the web, or the URI of an uploaded one")
    found = unpack(context.blobs.get(input.uri), lambda path: path.endswith(".py"), strip=True)
    below = f"{input.folder.strip('/')}/" if input.folder.strip("/") else ""
    sources = {path: body for path, body in found.files.items() if not is_test(path) and path.startswith(below)}
    tests = {path: body for path, body in found.files.items() if is_test(path)}
    if not sources:
        where = f" below {below}" if below else ""
        raise PermanentError(f"uri: the archive holds no Python files{where} (beside tests)")
    covered = covered_names(tests.values())
    parts: list[Part] = []
    for number, files in enumerate(_parts(sources)):
        uri = context.blobs.put(f"part-{number}.zip", pack(files), "application/zip")
        untested = [path for path in files if tests and is_untested(path, covered, tests)]
        parts.append(Part(uri=uri, files=len(files), bytes=sum(map(len, files.values())), untested=untested))
    return UnpackOutput(
        parts=parts,
        files=len(sources),
        bytes=sum(map(len, sources.values())),
        tests=len(tests),
        left_out=[f"{path}: {why}" for path, why in list(found.left_out.items())[:50]],
    )


@agent.capability("code.review", idempotent=True, timeout=90)
def review_part(input: ReviewInput, context: TaskContext) -> ReviewOutput:
    """Measure every file of a part and find what rules know: complexity, bare excepts, mutable defaults, no docstring …"""
    files = unpack(context.blobs.get(input.uri)).files
    reviews = [review(path, body, untested=path in input.untested) for path, body in files.items()]
    findings = [finding for one in reviews for finding in one.findings]
    modules = [one.module.model_copy(update={"module": one.path}) for one in reviews if one.module]
    functions = [row.model_copy(update={"module": one.path}) for one in reviews for row in one.functions]

    def put(name: str, rows: Sequence[BaseModel]) -> str:
        return context.blobs.put(name, _json_lines(rows), "application/x-ndjson")

    return ReviewOutput(
        part=input.uri,
        findings_uri=put("findings.jsonl", findings),
        modules_uri=put("modules.jsonl", modules),
        functions_uri=put("functions.jsonl", functions),
        files=len(files),
        findings=len(findings),
    )


@agent.capability("code.rank", idempotent=True, timeout=90)
def rank(input: RankInput, context: TaskContext) -> RankOutput:
    """Put the findings of all parts in order, heaviest first, and show the files that need most care."""
    done = [one for one in input.reviews if one is not None]
    findings = ranked(Finding(**row) for one in done for row in _read_lines(context, one.findings_uri))
    modules = {row["module"]: ModuleRow(**row) for one in done for row in _read_lines(context, one.modules_uri)}
    by_path: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_path[finding.path].append(finding)
    weight = {path: sum(one.weight for one in found) for path, found in by_path.items()}
    heaviest = sorted(by_path, key=lambda path: (-weight[path], path))
    severities = Counter(one.severity for one in findings)
    documentable = sum(row.documentable for row in modules.values())
    return RankOutput(
        uri=context.blobs.put("findings.jsonl", _json_lines(findings), "application/x-ndjson"),
        files=sum(one.files for one in done),
        code_lines=sum(row.code_lines for row in modules.values()),
        functions=sum(row.functions for row in modules.values()),
        documented=sum(row.documented for row in modules.values()) / documentable if documentable else None,
        findings=len(findings),
        high=severities["high"],
        medium=severities["medium"],
        low=severities["low"],
        top=findings[: input.limit],
        rules=_by_rule(findings),
        worst=[
            FileRow(
                path=path,
                findings=len(by_path[path]),
                weight=round(weight[path], 2),
                code_lines=modules[path].code_lines if path in modules else None,
                max_complexity=modules[path].max_complexity if path in modules else None,
            )
            for path in heaviest[:20]
        ],
        excerpts=_excerpts(context, done, {path: by_path[path] for path in heaviest[: input.worst]}, input.chars),
        missing=len(input.reviews) - len(done),
    )


def _by_rule(findings: Sequence[Finding]) -> list[RuleRow]:
    rows = []
    for rule, what in RULES.items():
        if found := [one.weight for one in findings if one.rule == rule]:
            rows.append(RuleRow(rule=rule, what=what, findings=len(found), weight=round(sum(found), 2)))
    return sorted(rows, key=lambda row: -row.weight)


def _excerpts(
    context: TaskContext, reviews: Sequence[ReviewOutput], wanted: dict[str, list[Finding]], chars: int
) -> list[Excerpt]:
    """The lines around the findings of these files."""
    found: dict[str, Excerpt] = {}
    for one in reviews:
        if wanted.keys() <= found.keys():
            break
        files = unpack(context.blobs.get(one.part), lambda path: path in wanted).files
        for path, body in files.items():
            lines = body.decode("utf-8", "replace").splitlines()
            said = [f"line {finding.line}: {finding.rule}: {finding.message}" for finding in wanted[path][:12]]
            found[path] = Excerpt(path=path, text=_numbered(lines, wanted[path], chars), findings=said)
    return [found[path] for path in wanted if path in found]


def _numbered(lines: Sequence[str], findings: Sequence[Finding], chars: int) -> str:
    """The lines around findings with their numbers, the heaviest first as far as there is room, then in order."""
    kept: set[int] = set()
    for finding in findings:
        near = {number for number in range(finding.line - AROUND, finding.line + NEXT) if 1 <= number <= len(lines)}
        if sum(len(lines[number - 1]) + 7 for number in kept | near) <= chars:
            kept |= near
    if not kept and lines:
        kept = {1}
    return "\n".join(f"{number:5d} {lines[number - 1]}" for number in sorted(kept))[:chars]


def _parts(files: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    part: dict[str, bytes] = {}
    size = 0
    for path, body in sorted(files.items()):
        if part and (size + len(body) > PART_BYTES or len(part) == PART_FILES):
            yield part
            part, size = {}, 0
        part[path] = body
        size += len(body)
    yield part


def _read_lines(context: TaskContext, uri: str) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in context.blobs.get(uri).splitlines())


def _sources(package: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of each module of a standard library package, sorted, tests left out."""
    if not _DOTTED.fullmatch(package):
        raise PermanentError(f"package: must be a dotted name such as 'asyncio', not {package!r}")
    if package.partition(".")[0] not in sys.stdlib_module_names:
        raise PermanentError(f"package: {package!r} is not in the standard library of Python {platform.python_version()}")
    root = Path(sysconfig.get_path("stdlib"))
    folder = root.joinpath(*package.split("."))
    if folder.is_dir():
        files = sorted(path for path in folder.rglob("*.py") if not _TESTS & set(path.relative_to(root).parts))
    else:
        files = [path for path in [folder.with_suffix(".py")] if path.is_file()]
    if not files:
        raise PermanentError(f"package: {package!r} has no Python source on this machine; it may be built in or not installed")
    if len(files) > MAX_MODULES:
        raise PermanentError(f"package: {package!r} has {len(files)} modules, at most {MAX_MODULES} are allowed")
    for path in files:
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def _totals(rows: list[ModuleRow]) -> Totals:
    summed = ("lines", "code_lines", "functions", "classes", "branches", "documentable", "documented")
    sums: dict[str, Any] = {field: sum(getattr(row, field) for row in rows) for field in summed}
    return Totals(modules=len(rows), max_complexity=max((row.max_complexity for row in rows), default=0), **sums)


def _json_lines(rows: Sequence[BaseModel]) -> bytes:
    return "".join(f"{json.dumps(row.model_dump(), separators=(',', ':'))}\n" for row in rows).encode()
