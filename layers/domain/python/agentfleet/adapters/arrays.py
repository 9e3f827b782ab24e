"""Arrays in one file that can be mapped into memory: nothing is read before it is used, and processes share what is.

Layout: `AFA1`, the length of the header (4 bytes, little-endian), the header (JSON: name → type, shape, offset), the arrays,
each at a multiple of 64 bytes.
"""

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, "NDArray[Any]"]

_MARK: Final = b"AFA1"
_ALIGNMENT: Final = 64


def dump_arrays(arrays: "Arrays") -> bytes:
    """The file of these arrays."""
    import numpy as np  # noqa: PLC0415 (only in layers of functions that search)

    header: dict[str, Any] = {}
    offset = 0
    for name, values in arrays.items():
        header[name] = [values.dtype.str, list(values.shape), offset]
        offset += -(-values.nbytes // _ALIGNMENT) * _ALIGNMENT
    head = json.dumps(header).encode()
    start = _aligned(len(_MARK) + 4 + len(head))
    parts = [_MARK, len(head).to_bytes(4, "little"), head.ljust(start - len(_MARK) - 4)]
    for values in arrays.values():
        body = np.ascontiguousarray(values).tobytes()
        parts.append(body.ljust(_aligned(len(body)), b"\0"))
    return b"".join(parts)


def map_arrays(path: Path) -> "dict[str, np.ndarray[Any, Any]]":
    """The arrays of a file, mapped; they stay readable when the file is removed. Raises ValueError for another kind of file."""
    import numpy as np  # noqa: PLC0415

    with path.open("rb") as file:
        body = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if body[:4] != _MARK:
        raise ValueError(f"{path.name} is not a file of arrays")
    length = int.from_bytes(body[4:8], "little")
    start = _aligned(8 + length)
    found = {}
    for name, (kind, shape, offset) in json.loads(body[8 : 8 + length]).items():
        values = np.frombuffer(body, np.dtype(kind), int(np.prod(shape)), start + offset)
        found[name] = values.reshape(shape)
    return found


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
