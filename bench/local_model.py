"""How fast a model on this machine reads and writes: `python -m bench.local_model http://127.0.0.1:4567`.

The address is that of a gateway as `fleet up --model coder` starts one. It is asked about parts of Python's language reference
as long as what answers are made of; the rates are llama.cpp's own, as the gateway keeps them. Results go to
bench/results/local_model.json.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from pydoc_data.topics import topics
from typing import Any, Final

import boto3
import httpx
from botocore.config import Config

from bench.programs import BenchFailed, run_bench
from bench.report import save
from client.gateway.rates import RecentCalls

NAMED: Final = "amazon.nova-micro-v1:0"
"""Whatever is asked for, the gateway answers with the model that it has."""
CHARACTERS: Final = 4_000
"""Of each prompt: about a thousand tokens."""
MAX_TOKENS: Final = 64
PATIENCE: Final = 600
"""Seconds for one answer."""


def measure(url: str, prompts: int) -> dict[str, Any]:
    """Medians over prompts of which none begins as another does: llama.cpp reads again only what it has not just read."""
    waits = Config(read_timeout=PATIENCE, retries={"total_max_attempts": 1})
    session = boto3.Session("local", "local", region_name="us-east-1")
    bedrock = session.client("bedrock-runtime", endpoint_url=url, config=waits)
    texts = [text for _, text in sorted(topics.items()) if len(text) > CHARACTERS][:prompts]
    for number, text in enumerate(texts):
        asked = f"{number}. Say in one sentence what this is about:\n\n{text[:CHARACTERS]}"
        bedrock.converse(
            modelId=NAMED,
            messages=[{"role": "user", "content": [{"text": asked}]}],
            inferenceConfig={"maxTokens": MAX_TOKENS, "temperature": 0.0},
        )
    calls = RecentCalls.model_validate_json(httpx.get(f"{url}/rates").content).calls[: len(texts)]
    if len(calls) < len(texts):
        raise BenchFailed(f"the server behind {url} does not say how fast it is: only llama.cpp does")
    return {
        "model": httpx.get(f"{url}/health").json()["model"],
        "load": round(os.getloadavg()[0], 1),
        "prompts": len(calls),
        "input_tokens": round(statistics.median(call.input_tokens for call in calls)),
        "output_tokens": round(statistics.median(call.output_tokens for call in calls)),
        "read_tokens_per_second": round(statistics.median(call.read_per_second for call in calls), 1),
        "written_tokens_per_second": round(statistics.median(call.written_per_second for call in calls), 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, show, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--prompts", type=int, default=5)
    given = parser.parse_args(arguments)
    result = save("local_model", measure(given.url, given.prompts))
    read, written = result["read_tokens_per_second"], result["written_tokens_per_second"]
    print(f"{result['model']}: {read} tokens/s read, {written} written, at a load of {result['load']}")
    return 0


if __name__ == "__main__":
    sys.exit(run_bench(main))
