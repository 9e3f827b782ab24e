"""Documents into chunks along their own structure: blocks of one section go together until a chunk is full."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct

from agentfleet.domain.knowledge import Chunk, Media
from agentfleet.domain.markup import html_blocks, markdown_blocks, text_blocks
from agentfleet.domain.source_code import code_blocks, python_blocks
from agentfleet.domain.structure import Block

FULL: Final = 900
"""Characters at which a chunk is full: about 230 word pieces; the embedding model reads 256."""
LONGEST: Final = 1200
"""Characters of a block of prose that need not be divided."""
LONGEST_CODE: Final = 8000
"""Code is kept whole up to here: half an example is none."""

_READERS: Final = {
    "text/markdown": markdown_blocks,
    "text/html": html_blocks,
    "text/plain": text_blocks,
    "text/x-python": python_blocks,
    "text/x-code": code_blocks,
}


def chunk_text(text: str, media: Media) -> list[Chunk]:
    """The chunks of a text, which is not a PDF. Lines count from 1; a text without any words gives none."""
    return _numbered(_pack(_READERS[media](text.replace("\r\n", "\n").replace("\r", "\n"))))


def chunk_pages(pages: Sequence[str]) -> list[Chunk]:
    """The chunks of a document in pages: none spans two, lines count from 1 on each."""
    parts = ((number, part) for number, page in enumerate(pages, 1) for part in _pack(text_blocks(page)))
    return _numbered(_Part(part.blocks, number) for number, part in parts)


class _Part(Struct, frozen=True):
    """Blocks of one section that go together."""

    blocks: tuple[Block, ...]
    page: int | None = None


def _numbered(parts: Iterable[_Part]) -> list[Chunk]:
    chunks: list[Chunk] = []
    for part in parts:
        text = "\n\n".join(block.text for block in part.blocks)
        if any(character.isalnum() for character in text):
            first, last = part.blocks[0], part.blocks[-1]
            chunks.append(Chunk(len(chunks), text, first.headings, first.first, last.last, part.page))
    return chunks


def _pack(blocks: Iterable[Block]) -> Iterator[_Part]:
    """Blocks under the same headings, together as long as they fit."""
    held: list[Block] = []
    size = 0
    for block in chain.from_iterable(map(_divided, blocks)):
        if held and (block.headings != held[0].headings or size + len(block.text) > FULL):
            yield _Part(tuple(held))
            held, size = [], 0
        held.append(block)
        size += len(block.text)
    if held:
        yield _Part(tuple(held))


def _divided(block: Block) -> Iterator[Block]:
    """A block that is too long, in pieces at ends of lines, or of words where a line alone is too long."""
    longest = LONGEST_CODE if block.whole else LONGEST
    if len(block.text) <= longest:
        yield block
        return
    piece: list[str] = []
    first, size = block.first, 0
    for number, line in enumerate(block.text.split("\n"), block.first):
        for part in _cut(line, longest):
            if piece and size + len(part) > FULL:
                yield Block("\n".join(piece), block.headings, first, max(first, number - 1), whole=block.whole)
                piece, size, first = [], 0, number
            piece.append(part)
            size += len(part) + 1
    if piece:
        yield Block("\n".join(piece), block.headings, first, block.last, whole=block.whole)


def _cut(line: str, longest: int) -> Iterator[str]:
    while len(line) > longest:
        end = line.rfind(" ", FULL // 2, FULL)
        end = end if end > 0 else FULL
        yield line[:end]
        line = line[end:].lstrip()
    yield line
