"""Markdown, HTML and plain text as blocks under headings, with their lines."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Final

from agentfleet.domain.structure import Block, Outline

_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT: Final = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_FRONT_MATTER: Final = re.compile(r"---\n.*?\n(?:---|\.\.\.)\n", re.DOTALL)
_UNDERLINE: Final = re.compile(r"([=\-~^\"'*#+`.:_])\1{2,}[ \t]*$")


class _Lines:
    """Lines that will be a block."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._lines: list[str] = []
        self._first = 0

    def add(self, number: int, line: str) -> None:
        """One more line."""
        if not self._lines:
            self._first = number
        self._lines.append(line)

    @property
    def only(self) -> str | None:
        """The line, if there is exactly one."""
        return self._lines[0] if len(self._lines) == 1 else None

    def drop(self) -> None:
        """They were a heading."""
        self._lines = []

    def take(self, *, whole: bool = False) -> Iterator[Block]:
        """The block of these lines, if there are any that hold something."""
        text = "\n".join(self._lines).rstrip()
        if text.strip():
            yield Block(text, self._outline.headings, self._first, self._first + text.count("\n"), whole)
        self._lines = []


def markdown_blocks(text: str) -> Iterator[Block]:
    """Paragraphs, lists, tables and whole code fences (CommonMark 0.31, 4.2, 4.3 and 4.5); front matter is left out."""
    outline = Outline()
    lines = _Lines(outline)
    fence: str | None = None
    start = match[0].count("\n") if (match := _FRONT_MATTER.match(text)) else 0
    for number, line in enumerate(text.split("\n")[start:], start + 1):
        mark = _FENCE.match(line)
        if fence is not None:
            lines.add(number, line)
            closes = mark is not None and mark[1].startswith(fence) and not line[mark.end() :].strip()
            if closes:
                yield from lines.take(whole=True)
                fence = None
        elif mark is not None:
            yield from lines.take()
            lines.add(number, line)
            fence = mark[1]
        elif heading := _ATX.match(line):
            yield from lines.take()
            outline.enter(len(heading[1]), heading[2] or "")
        elif (under := _SETEXT.match(line)) and lines.only is not None and not lines.only.lstrip().startswith(("-", "|", ">")):
            title = lines.only
            lines.drop()
            outline.enter(1 if under[1][0] == "=" else 2, title)
        elif not line.strip():
            yield from lines.take()
        else:
            lines.add(number, line)
    yield from lines.take(whole=fence is not None)


def text_blocks(text: str) -> Iterator[Block]:
    """Paragraphs, under headings that are underlined as in reStructuredText; the first kind of underline is the top level."""
    outline = Outline()
    lines = _Lines(outline)
    levels: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        under = _UNDERLINE.match(line)
        title = lines.only
        if under and title and len(title.strip()) <= len(line.rstrip()) + 1 and not title.startswith((" ", "\t")):
            lines.drop()
            if under[1] not in levels:
                levels.append(under[1])
            outline.enter(levels.index(under[1]), title)
        elif not line.strip():
            yield from lines.take()
        else:
            lines.add(number, line)
    yield from lines.take()


_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_SILENT: Final = frozenset(
    {"script", "style", "nav", "header", "footer", "aside", "template", "noscript", "svg", "form", "button"}
)
_INLINE: Final = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "cite",
        "code",
        "data",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "img",
        "input",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    ]
)
_VOID: Final = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"])


def html_blocks(text: str) -> Iterator[Block]:
    """The main text of a page: what is in `<main>` or `<article>` if it has one, without navigation, scripts and forms."""
    reader = _HtmlReader()
    reader.feed(text)
    reader.close()
    reader.end_block()
    return iter(reader.main or reader.blocks)


class _HtmlReader(HTMLParser):
    """Python's own parser: of the parsers it is the one that tells where in the source it is."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.main: list[Block] = []
        self._outline = Outline()
        self._silent: list[str] = []
        self._main = 0
        self._code = 0
        self._heading: int | None = None
        self._parts: list[str] = []
        self._first = self._last = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            if tag in {"br", "hr"}:
                self._parts.append("\n")
            return
        if self._silent or tag in _SILENT:
            self._silent.append(tag)
            return
        if tag in _INLINE:
            return
        if tag not in {"td", "th"}:
            self.end_block()
        else:
            self._parts.append(" ")
        if tag == "pre":
            self._code += 1
        elif tag in {"main", "article"} or ("role", "main") in attrs:
            self._main += 1
        self._heading = _HEADINGS.get(tag, self._heading if tag in {"td", "th"} else None)

    def handle_endtag(self, tag: str) -> None:
        if self._silent:
            if tag in self._silent:
                # What was left open inside ends with it.
                while self._silent.pop() != tag:
                    pass
            return
        if tag in _INLINE or tag in _VOID or tag in {"td", "th"}:
            return
        self.end_block(whole=tag == "pre" and self._code > 0)
        if tag == "pre":
            self._code = max(0, self._code - 1)
        elif tag in {"main", "article"}:
            self._main = max(0, self._main - 1)

    def handle_data(self, data: str) -> None:
        if self._silent or (not data.strip() and not self._parts):
            return
        line = self.getpos()[0]
        if not "".join(self._parts).strip():
            self._parts = []
            self._first = line + data[: len(data) - len(data.lstrip())].count("\n")
        self._parts.append(data)
        if data.strip():
            self._last = line + data.rstrip().count("\n")

    def end_block(self, *, whole: bool = False) -> None:
        """What was read since the last block is one, or a heading."""
        text = "".join(self._parts)
        self._parts = []
        text = text.strip("\n").rstrip() if whole else "\n".join(" ".join(line.split()) for line in text.split("\n")).strip()
        if not text.strip():
            return
        if self._heading is not None:
            self._outline.enter(self._heading, text)
            self._heading = None
            return
        block = Block(text, self._outline.headings, self._first, max(self._first, self._last), whole)
        self.blocks.append(block)
        if self._main:
            self.main.append(block)
