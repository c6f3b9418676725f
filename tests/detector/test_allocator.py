"""Pages that large arrays took are not cleared anew for the next ones."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")

# The page faults of forty arrays of 40 MB, one after the other.
SCRIPT = """
import resource
import al_loop.detector
import numpy as np
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        np.ones(10_000_000, np.float32).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.parametrize(
    ("told", "kept"),
    [({}, True), ({"AL_LOOP_MALLOC": "system"}, False), ({"MALLOC_ARENA_MAX": "2"}, False),
     ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, False)],
)  # fmt: skip
def test_pages_are_kept_unless_the_user_says_otherwise(told: dict[str, str], kept: bool) -> None:
    plain = {
        name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**plain, **told}, check=True, capture_output=True, text=True
    )
    pages = 40 * 40_000_000 / os.sysconf("SC_PAGE_SIZE")
    assert (int(done.stdout) < pages / 100) is kept
