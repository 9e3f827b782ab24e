"""CPU times from /proc."""

import os
import subprocess
import sys

import pytest

from bench.cpu import PROC, Usage, read_usage

pytestmark = pytest.mark.skipif(not PROC.exists(), reason="needs /proc")


def test_a_childs_time_is_counted_below_its_parent() -> None:
    """What a child used counts for the tree, also after it has ended and was waited for."""
    before = read_usage(os.getpid())

    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)

    used = read_usage(os.getpid()).since(before)
    assert used.below > 0
    assert used.total == used.own + used.below


def test_a_process_that_is_gone_is_said() -> None:
    """No zero for a process that isn't there."""
    with pytest.raises(ProcessLookupError, match="is gone"):
        read_usage(2**22 + 1)


def test_usage_is_a_difference() -> None:
    """Two readings give what was used between them."""
    assert Usage(3.0, 5.0).since(Usage(1.0, 2.0)) == Usage(2.0, 3.0)
