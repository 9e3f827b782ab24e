"""Run llama.cpp's OpenAI-compatible server on one model file: `python llama.py MODEL PORT CONTEXT SLOTS THREADS [TEMPLATE]`.

It runs in an environment of its own that has xllamacpp and nothing of this project.
"""

import os
import signal
import sys
from pathlib import Path

import xllamacpp


def main(model: str, port: str, context: str, slots: str, threads: str, template: str = "") -> None:
    """Serve on the loopback address until told to stop. `context`: tokens, shared by the slots."""
    given = xllamacpp.CommonParams()
    given.model.path = model
    given.hostnames = ["127.0.0.1"]
    given.port = int(port)
    given.n_ctx = int(context)
    given.n_parallel = int(slots)
    given.use_jinja = True
    for cpu in (given.cpuparams, given.cpuparams_batch):
        cpu.n_threads = int(threads)
    if template:
        given.chat_template = Path(template).read_text(encoding="utf-8")
    # It serves from threads of its own as long as the object lives.
    server = xllamacpp.Server(given)
    sys.stderr.write(f"listening at {server.listening_address}\n")
    # Its C++ threads outlast sys.exit.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
