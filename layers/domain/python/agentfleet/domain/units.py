"""DynamoDB's sizes and units: what a write or a read costs, from the item alone.

Amazon DynamoDB Developer Guide, 'DynamoDB item sizes and formats' and 'DynamoDB read and write operations': a write costs
a unit per started 1 KB of the item, a strongly consistent read one per started 4 KB, an eventually consistent one half.
"""

from collections.abc import Mapping
from typing import Any, Final

Item = Mapping[str, Any]
"""An item in DynamoDB's own JSON: `{"pk": {"S": "…"}, …}`."""

WRITE_BYTES: Final = 1024
READ_BYTES: Final = 4096
CONTAINER_BYTES: Final = 3


def item_size(item: Item) -> int:
    """Bytes of an item: its attributes' names and values."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: Mapping[str, Any]) -> int:
    """Bytes of one typed attribute value such as `{"N": "42"}`. Raises ValueError for a type that there isn't."""
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return _number_size(content)
        case "B":
            return _binary_size(content)
        case "BOOL" | "NULL":
            return 1
        case "SS":
            return sum(len(one.encode()) for one in content)
        case "NS":
            return sum(map(_number_size, content))
        case "BS":
            return sum(map(_binary_size, content))
        case "L":
            return CONTAINER_BYTES + sum(1 + value_size(one) for one in content)
        case "M":
            return CONTAINER_BYTES + sum(1 + len(name.encode()) + value_size(one) for name, one in content.items())
    raise ValueError(f"{kind!r} is not one of DynamoDB's types")


def _number_size(text: str) -> int:
    """A byte, and one per two significant digits; zeros at either end don't count."""
    digits = text.lower().partition("e")[0].lstrip("+-").replace(".", "").strip("0")
    return 1 + (len(digits) + 1) // 2


def _binary_size(text: str) -> int:
    """The raw length of what base64 text holds."""
    return len(text) * 3 // 4 - text.count("=")


def write_units(size: int) -> float:
    """Units of one write of an item of so many bytes (the larger of before and after)."""
    return float(max(1, -(-size // WRITE_BYTES)))


def read_units(size: int, *, consistent: bool) -> float:
    """Units of one read of so many bytes together; an absent item costs what the smallest does."""
    return max(1, -(-size // READ_BYTES)) * (1.0 if consistent else 0.5)
