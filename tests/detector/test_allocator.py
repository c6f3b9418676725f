"""What a large array took is kept for the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told"),
]

# By how many bytes the process has grown once an array of 400 MB, every page of it written, has been given
# back. (Page faults would tell less: with huge pages there are few of them either way.)
SCRIPT = """
import os
import al_loop.detector
import numpy as np
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
np.ones(100_000_000, np.float32)
print(resident() - before)
"""


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({}, True),
        ({"MALLOC_ARENA_MAX": "2"}, False),
        pytest.param({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, False, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_pages_are_kept_unless_the_user_says_otherwise(told: dict[str, str], kept: bool) -> None:
    plain = {
        name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**plain, **told}, check=True, capture_output=True, text=True
    )
    assert (int(done.stdout) > 200_000_000) is kept
