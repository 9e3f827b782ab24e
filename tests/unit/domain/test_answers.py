"""Words, rankings, word pieces and answers made of sentences."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agentfleet import adapters
from agentfleet.domain.answers import best_sentences, cited, sentences
from agentfleet.domain.ranking import bm25, fuse, words
from agentfleet.domain.wordpiece import WordPiece

VOCABULARY = Path(adapters.__file__).with_name("minilm_vocabulary.txt.gz")


def test_words_are_folded_and_names_are_taken_apart() -> None:
    """Plurals are cut, the commonest left out; a name of code is found whole and by its parts."""
    assert words("The Queries of the BOSSES are classes") == ["query", "bosse", "classe"]
    assert words("maxRetries open_file") == ["maxretry", "max", "retry", "open_file", "open", "file"]
    assert words("a_b __init__ HTTPServer") == ["a_b", "b", "__init__", "init", "httpserver", "http", "server"]
    assert words("Grüße, ключ!") == ["grüsse", "ключ"]


def test_rare_words_count_more_and_long_texts_less() -> None:
    """The two ideas of BM25."""
    texts = {"a": ["common", "rare"], "b": ["common", "common"], "c": ["common", *["x"] * 50, "rare"]}

    scores = bm25(["common", "rare"], texts)

    assert scores["a"] > scores["c"] > scores["b"] > 0
    assert bm25(["nowhere"], texts) == {}
    assert bm25(["x"], {}) == {}


@given(some.lists(some.lists(some.sampled_from("abcdef"), unique=True), min_size=1, max_size=4))
def test_what_leads_every_ranking_leads_all(rankings: list[list[str]]) -> None:
    """Scores lie between 0 and 1; being further up anywhere is never worse."""
    joined = fuse(*(["first", *ranking] for ranking in rankings))

    assert joined[0][0] == "first"
    assert joined[0][1] == pytest.approx(1.0)
    assert {name for name, _ in joined[1:]} == {name for ranking in rankings for name in ranking}
    assert all(0 < score <= 1 + 1e-9 for _, score in joined)


def test_answers_are_the_best_sentences_in_their_order() -> None:
    """Not two that say the same, nothing that is far from the question or from the best."""
    passages = ["Cats sleep a lot. Cats sleep a lot today.\n\n   code = sleep(cats)", "Dogs bark. Some cats sleep by day."]
    given = sentences(passages)
    likeness = {"Cats sleep a lot.": 0.9, "Cats sleep a lot today.": 0.89, "Some cats sleep by day.": 0.8, "Dogs bark.": 0.1}

    chosen = best_sentences("when do cats sleep", given, lambda number: likeness.get(given[number].text, 0.2))

    assert "   code = sleep(cats)" not in [one.text for one in given]
    assert [one.text for one in sentences(["   x = f(1)\n   y = 2"])] == ["   x = f(1)\n   y = 2"]
    assert [(one.passage, one.text) for one in chosen] == [(0, "Cats sleep a lot."), (1, "Some cats sleep by day.")]
    assert best_sentences("when do cats sleep", given, lambda _: 0.1) == []


def test_citations_are_read_from_a_text() -> None:
    """Each once, in order."""
    assert cited("So [2] and [1], also [2]; not [x] or (3).") == [2, 1]


def test_word_pieces_are_those_of_bert() -> None:
    """Numbers as the model's own tokenizer gives them: recorded from the package tokenizers 0.23.3."""
    pieces = WordPiece(gzip.decompress(VOCABULARY.read_bytes()).decode().splitlines())

    recorded = {
        "Grüße 🚀 naïve café": [101, 24665, 2226, 17499, 100, 15743, 7668, 102],
        "日本語 text": [101, 1864, 1876, 1950, 3793, 102],
        "x=^y $5 `a`\u200b z\u00ad": [101, 1060, 1027, 1034, 1061, 1002, 1019, 1036, 1037, 1036, 1062, 102],
        "İstanbul ǅ": [101, 9960, 100, 102],
        "\x00\ufffd a": [101, 1037, 102],
        "": [101, 102],
    }
    assert {text: pieces.numbers(text, 256) for text in recorded} == recorded
    assert pieces.numbers("word " * 500, 16)[-1] == 102
    assert len(pieces.numbers("word " * 500, 16)) == 16
    assert pieces.numbers("x" * 101, 16) == [101, 100, 102]
