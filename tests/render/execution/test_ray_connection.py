"""What the command says when it cannot connect to a Ray cluster."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest

from render import WorkerError
from render.execution.ray_connection import connected

pytestmark = pytest.mark.integration


def test_without_ray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match=r"pip install 'al-loop\[ray\]'"), connected("auto"):
        pass


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_where_nobody_listens_it_says_so_at_once(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # Ray is not even imported
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        address = form.format(taken.getsockname()[1])
        refused = pytest.raises(WorkerError, match=f"no Ray cluster at {address} .*refused.*ray start --head")
        with refused, connected(address):
            pass


@pytest.mark.ray
def test_another_version_of_ray_or_python_is_named(ray_cluster: Any) -> None:
    code = f"""
import sys, ray
from render import WorkerError
from render.execution.ray_connection import connected
ours = ray.__version__
for ray.__version__, sys.version_info in (("2.1.0", sys.version_info), (ours, (3, 11, 0))):
    try:
        with connected("{ray_cluster.address}"):
            pass
    except WorkerError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ray_line, python_line = done.stdout.splitlines()
    cluster = f"the Ray cluster at {ray_cluster.address} runs Ray "
    assert ray_line.startswith(cluster)
    assert "this command Ray 2.1.0 on Python" in ray_line
    assert python_line.startswith(cluster)
    assert "this command on Python 3.11.0; Python must be the same" in python_line
