"""The OpenAI-compatible server behind the gateway: Ollama, vLLM, llama.cpp or a hosted one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

TIMEOUT: Final = httpx.Timeout(600.0, connect=5.0)
_LENGTH: Final = ("context", "too long", "too large", "n_ctx", "maximum length")


class BedrockError(Exception):
    """An error as Bedrock names it: a type with its status, and words."""

    STATUSES: Final = {
        "AccessDeniedException": 403,
        "InternalServerException": 500,
        "ModelErrorException": 424,
        "ModelTimeoutException": 408,
        "ResourceNotFoundException": 404,
        "ServiceUnavailableException": 503,
        "ThrottlingException": 429,
        "ValidationException": 400,
    }

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = self.STATUSES[kind]


class Upstream:
    """`Upstream(url, key, model)`: requests under `url`/v1; `model` replaces the name in each (Ollama and vLLM want theirs)."""

    def __init__(self, url: str, key: str = "", model: str = "") -> None:
        base = url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Its own address, whatever proxy this machine is told to use.
        self._client = httpx.Client(base_url=f"{base}/v1", headers=headers, timeout=TIMEOUT, trust_env=False)
        self._model = model

    def close(self) -> None:
        """Let its connections go."""
        self._client.close()

    @property
    def model(self) -> str:
        """The name of the model that answers: as given, else what the server says first. Raises BedrockError."""
        if not self._model:
            found = self._asked(lambda: self._client.get("/models")).json()
            listed = found.get("data") or [{}]
            self._model = str(listed[0].get("id", "unnamed")).rpartition("/")[2].removesuffix(".gguf")
        return self._model

    def complete(self, chat: Mapping[str, Any]) -> dict[str, Any]:
        """A chat completion. Raises BedrockError."""
        body = {**chat, "model": self.model}
        answer: dict[str, Any] = self._asked(lambda: self._client.post("/chat/completions", json=body)).json()
        return answer

    @contextmanager
    def stream(self, chat: Mapping[str, Any]) -> Iterator[Iterator[str]]:
        """The lines of a streamed chat completion. Raises BedrockError."""
        body = {**chat, "model": self.model}
        with _named(), self._client.stream("POST", "/chat/completions", json=body) as answer:
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            yield answer.iter_lines()

    def embed(self, text: str) -> tuple[list[float], int]:
        """A vector and how many tokens it took. Raises BedrockError."""
        found = self._asked(lambda: self._client.post("/embeddings", json={"model": self.model, "input": text})).json()
        vector = found["data"][0]["embedding"]
        # Some servers wrap the vector once more, one per token or pooled.
        return (vector[0] if vector and isinstance(vector[0], list) else vector), found.get("usage", {}).get("prompt_tokens", 0)

    def _asked(self, ask: Any) -> httpx.Response:
        with _named():
            answer: httpx.Response = ask()
            if answer.is_error:
                raise _refusal(answer)
            return answer


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise BedrockError("ModelTimeoutException", f"The model did not answer in time: {error}") from error
    except httpx.ConnectError as error:
        raise BedrockError("ServiceUnavailableException", f"The model behind the gateway can't be reached: {error}") from error
    except httpx.HTTPError as error:
        raise BedrockError("ModelErrorException", f"The model behind the gateway broke off: {error}") from error


def _refusal(answer: httpx.Response) -> BedrockError:
    """The error for a status that says no."""
    said = _words(answer)
    if answer.status_code == 429:
        return BedrockError("ThrottlingException", said)
    if answer.status_code == 503:
        return BedrockError("ServiceUnavailableException", said)
    if answer.status_code in {401, 403}:
        return BedrockError("AccessDeniedException", said)
    if answer.status_code == 404:
        return BedrockError("ResourceNotFoundException", said)
    if answer.status_code in {400, 413, 422} and any(word in said.lower() for word in _LENGTH):
        return BedrockError("ValidationException", f"Input is too long for requested model. {said}")
    if answer.status_code < 500 or answer.status_code == 501:
        return BedrockError("ValidationException", said)
    return BedrockError("ModelErrorException", said)


def _words(answer: httpx.Response) -> str:
    try:
        error = answer.json().get("error", answer.text)
        return str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        return answer.text[:500] or f"HTTP {answer.status_code}"
