"""Documents into chunks: along their structure, with the lines where each stands."""

import json.decoder
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agentfleet.domain.chunking import FULL, LONGEST_CODE, chunk_pages, chunk_text
from agentfleet.domain.knowledge import Chunk, Media, media_of

MARKDOWN = """\
---
author: nobody
---
# Top

Intro.

Setext
======

## Code

Look:

```python
# not a heading

x = 1
```

| a | b |
|---|---|
| 1 | 2 |
"""

HTML = """<!doctype html>
<html><head><title>t</title><script>if (a < b) {}</script></head>
<body><nav><a href="/">menu</a></nav>
<main><h1>Top</h1>
<p>Hello <b>big</b>
world.</p>
<h2>Second</h2>
<pre>
code

  more</pre>
<table><tr><td>a</td><td>b</td></tr></table><p>Unclosed<p>paragraphs &amp; more
</main><footer>foot</footer></body></html>
"""


def shown(chunks: list[Chunk]) -> list[tuple[tuple[str, ...], int, int, str]]:
    """What a citation needs."""
    return [(chunk.headings, chunk.first, chunk.last, chunk.text) for chunk in chunks]


def test_markdown_goes_by_headings_and_keeps_fences_whole() -> None:
    """Both kinds of headings; a # in a fence is none; front matter is no text."""
    assert shown(chunk_text(MARKDOWN, "text/markdown")) == [
        (("Top",), 6, 6, "Intro."),
        (("Setext", "Code"), 13, 23, "Look:\n\n```python\n# not a heading\n\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"),
    ]


def test_html_gives_its_main_text() -> None:
    """No navigation, scripts and footers; lines are those of the source; code keeps its line breaks."""
    assert shown(chunk_text(HTML, "text/html")) == [
        (("Top",), 5, 6, "Hello big\nworld."),
        (("Top", "Second"), 9, 12, "code\n\n  more\n\na b\n\nUnclosed\n\nparagraphs & more"),
    ]


def test_text_goes_by_paragraphs_under_underlined_headings() -> None:
    """The first kind of underline is the top level."""
    text = "Title\n*****\n\nOne.\n\nPart\n====\n\nTwo\nlines.\n\nNext\n****\n\nThree.\n"

    assert shown(chunk_text(text, "text/plain")) == [
        (("Title",), 4, 4, "One."),
        (("Title", "Part"), 9, 10, "Two\nlines."),
        (("Next",), 15, 15, "Three."),
    ]


def test_python_goes_by_functions_and_classes() -> None:
    """Decorators and comments belong to what they stand before; large classes are divided into their methods."""
    source = textwrap.dedent('''\
        """Module."""

        import re

        # About f.
        @cache
        def f():
            return 1


        class Small:
            def m(self): ...


        X = 1
        ''')
    large = "class Large:\n    '''Doc.'''\n" + "\n".join(
        f"    def m{n}(self):\n        return '{'x' * 900}'\n" for n in range(2)
    )

    assert shown(chunk_text(source, "text/x-python")) == [
        ((), 1, 3, '"""Module."""\n\nimport re'),
        (("def f",), 5, 8, "# About f.\n@cache\ndef f():\n    return 1"),
        (("class Small",), 11, 12, "class Small:\n    def m(self): ..."),
        ((), 15, 15, "X = 1"),
    ]
    assert [chunk.headings for chunk in chunk_text(large, "text/x-python")] == [
        ("class Large",),
        ("class Large", "def m0"),
        ("class Large", "def m1"),
    ]


def test_other_code_goes_by_definitions() -> None:
    """Python that does not parse is read so too."""
    source = "use std;\n\nfn one() {\n    1\n}\n\npub struct Two {\n    x: u8,\n}\n"

    assert [(chunk.headings, chunk.first, chunk.last) for chunk in chunk_text(source, "text/x-code")] == [
        ((), 1, 1),
        (("fn one",), 3, 5),
        (("struct Two",), 7, 9),
    ]
    assert [chunk.headings for chunk in chunk_text("def broken(:\n    pass\n", "text/x-python")] == [("def broken",)]


def test_pages_are_not_mixed() -> None:
    """Each chunk says its page, and lines count from 1 on each."""
    assert [(chunk.number, chunk.page, chunk.first, chunk.text) for chunk in chunk_pages(["One.", "", "\nTwo."])] == [
        (0, 1, 1, "One."),
        (1, 3, 2, "Two."),
    ]


def test_lines_point_at_the_text() -> None:
    """A whole module: every chunk is exactly the lines that it names."""
    text = Path(json.decoder.__file__).read_text(encoding="utf-8")
    lines = text.split("\n")

    for chunk in chunk_text(text, "text/x-python"):
        assert chunk.text == "\n".join(lines[chunk.first - 1 : chunk.last])


@pytest.mark.parametrize("media", ["text/plain", "text/markdown", "text/html", "text/x-code", "text/x-python"])
@given(text=some.text(alphabet="ab #=-`~<p>h1/\n\"'(): defclas.", max_size=400))
def test_any_text_can_be_read(media: Media, text: str) -> None:
    """Numbered in order, with lines that exist, within one another; nothing is too long."""
    chunks = chunk_text(text, media)

    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert 1 <= chunk.first <= chunk.last <= text.count("\n") + 1
        assert any(character.isalnum() for character in chunk.text)


def test_long_blocks_are_divided() -> None:
    """Prose at words and lines, code only when it is very long; no word is lost."""
    prose = " ".join(f"word{number}" for number in range(2000))
    code = "```\n" + "\n".join(f"line {number}" for number in range(600)) + "\n```"
    huge = "```\n" + "\n".join(f"line {number}" for number in range(2000)) + "\n```"

    parts = chunk_text(prose, "text/plain")

    assert max(len(part.text) for part in parts) <= FULL
    assert " ".join(part.text for part in parts).split() == prose.split()
    assert len(chunk_text(code, "text/markdown")) == 1
    assert len(code) < LONGEST_CODE < len(huge)
    assert len(chunk_text(huge, "text/markdown")) > 10


def test_kinds_go_by_endings() -> None:
    """Whatever the case; what has no known ending is of no kind."""
    assert [media_of(name) for name in ("a.MD", "x/y.html", "z.py", "b.pdf", "c.rs", "d", "e.jpg")] == [
        "text/markdown",
        "text/html",
        "text/x-python",
        "application/pdf",
        "text/x-code",
        None,
        None,
    ]
