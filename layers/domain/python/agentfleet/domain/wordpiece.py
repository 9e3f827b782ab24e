"""Word pieces: how BERT models read text (Devlin et al., 2019; Schuster and Nakajima, 2012). Lower case, accents stripped."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

LONGEST_WORD: Final = 100
"""Characters; a longer word is unknown."""


class WordPiece:
    """`WordPiece(vocabulary)`: the pieces in the order of their numbers, `[CLS]`, `[SEP]` and `[UNK]` among them."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self._numbers: Mapping[str, int] = {piece: number for number, piece in enumerate(vocabulary)}
        self._first, self._last, self._unknown = (self._numbers[mark] for mark in ("[CLS]", "[SEP]", "[UNK]"))
        self._pieces = lru_cache(maxsize=20_000)(self._pieces_of)

    def numbers(self, text: str, longest: int) -> list[int]:
        """The numbers of a text's pieces between the first and the last mark, at most `longest` in all."""
        found = [self._first]
        for word in _split(text):
            found += self._pieces(word)
            if len(found) >= longest:
                break
        return [*found[: longest - 1], self._last]

    def _pieces_of(self, word: str) -> tuple[int, ...]:
        """Greedy, longest piece first; a word that can't be made of pieces is unknown as a whole."""
        if len(word) > LONGEST_WORD:
            return (self._unknown,)
        found: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._numbers.get(word[start:end] if start == 0 else f"##{word[start:end]}")
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return (self._unknown,)
        return tuple(found)


def _split(text: str) -> Iterator[str]:
    """Words and single punctuation marks, without control characters."""
    spaced: list[str] = []
    for character in unicodedata.normalize("NFD", _cleaned(text).lower()):
        kind = unicodedata.category(character)
        if kind == "Mn":
            continue
        alone = _is_punctuation(character, kind) or _is_ideograph(ord(character))
        spaced.append(f" {character} " if alone else character)
    yield from "".join(spaced).split()


def _cleaned(text: str) -> str:
    return "".join(
        " " if character in "\t\n\r" or unicodedata.category(character) == "Zs" else character
        for character in text
        if character in "\t\n\r" or (character != "\ufffd" and unicodedata.category(character) not in {"Cc", "Cf", "Cn", "Co"})
    )


def _is_punctuation(character: str, kind: str) -> bool:
    # All of ASCII's that is neither a letter nor a digit counts, symbols such as ^ and $ among them.
    return kind.startswith("P") or ("!" <= character <= "~" and not character.isalnum())


def _is_ideograph(code: int) -> bool:
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2CEAF
        or 0x2F800 <= code <= 0x2FA1F
    )
