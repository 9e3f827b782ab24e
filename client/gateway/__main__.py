"""`python -m client.gateway --port N --upstream URL`: run the gateway until it is told to stop."""

import argparse
import os
import signal
import sys
from typing import Final

from client.gateway.server import LIMIT, Gateway
from client.gateway.upstream import Upstream

KEY: Final = "FLEET_MODEL_KEY"
"""The variable with the upstream's key: not an argument, which every process of this machine could read."""


def main() -> None:
    """Serve on the loopback address."""
    parser = argparse.ArgumentParser(prog="python -m client.gateway", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="an OpenAI-compatible server, with or without /v1")
    parser.add_argument("--model", default="", help="its name of the model; default: the first that it lists")
    parser.add_argument("--embeddings", default="", help="another server for embeddings")
    parser.add_argument("--limit", type=int, default=LIMIT, help="calls at once")
    given = parser.parse_args()
    key = os.environ.get(KEY, "")
    embeddings = Upstream(given.embeddings, key) if given.embeddings else None
    upstream = Upstream(given.upstream, key, given.model)
    gateway = Gateway(("127.0.0.1", given.port), upstream, embeddings=embeddings, limit=given.limit)

    # Its threads are daemons: ending the process ends them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    gateway.serve_forever()


if __name__ == "__main__":
    main()
