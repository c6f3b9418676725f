"""Rendering on a real Ray cluster of two nodes, by workers without Blender."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fake_worker import FakeRenderWorker

from render import DatasetError, WorkerError, parse_recipe, render_dataset
from render.annotation.record_store import read_records
from render.core.options import RenderOptions
from render.dataset.validate import validate

pytestmark = pytest.mark.ray
RECIPE = parse_recipe(
    {
        "name": "x",
        "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}],
        "image": {"width": 96, "height": 64},
        "layout": {"views": 2},
    }
)


@pytest.fixture(scope="module")
def two_nodes(ray_cluster: Any) -> Any:
    """The address of a cluster of two nodes with a core each, to which this process is connected."""
    from render.execution.ray_connection import connected

    with ray_cluster.nodes({}, {}), connected(ray_cluster.address):
        yield ray_cluster.address


def files(out: Path) -> dict[str, bytes]:
    """Return the images, records and labels of a dataset."""
    paths = [
        path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in ("render.log", ".lock")
    ]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_two_nodes_render_the_same_bytes_as_this_process_though_one_is_lost(
    tmp_path: Path, two_nodes: str
) -> None:
    """Both nodes are busy at once. The actor of scene 2 is killed once; scene 3 ends its worker twice."""
    crash = "if scene == 3: sys.stderr.write('oh dear'); sys.stderr.flush(); os._exit(3)"
    on_cluster = FakeRenderWorker(
        tmp_path / "cluster",
        f"""
        def behave(scene, *_):
            end = time.monotonic() + 60
            while scene < 2 and len({{line.split()[0] for line in open(LOG)}}) < 2:
                if time.monotonic() > end: os._exit(9)
                time.sleep(0.01)
            if scene == 2 and tries(2) == 1: os.kill(os.getppid(), 9); time.sleep(30)
            {crash}
        """,
    )
    alone = FakeRenderWorker(tmp_path / "alone", f"def behave(scene, *_):\n  {crash}")
    progress: list[tuple[int, int]] = []
    render_dataset(
        RECIPE,
        tmp_path / "ray",
        9,
        3,
        RenderOptions(python=on_cluster.path, ray=two_nodes),
        on_progress=lambda done, total: progress.append((done, total)),
    )
    render_dataset(RECIPE, tmp_path / "here", 9, 3, RenderOptions(python=alone.path))
    assert files(tmp_path / "ray") == files(tmp_path / "here")
    reason = "ended with exit status 3"
    assert [(r.index, r.reason) for r in read_records(tmp_path / "ray", 9) if r.status == "failed"] == [
        (6, reason),
        (7, reason),
    ]
    assert "oh dear" in (tmp_path / "ray" / "render.log").read_text()
    scenes = sorted(request.scene for request in on_cluster.requests)
    assert scenes == [0, 1, 2, 2, 3, 3, 4]
    assert {request.threads for request in on_cluster.requests} == {1}
    assert progress[-1] == (9, 9)


def test_a_node_without_blender_is_named_and_the_others_go_on(tmp_path: Path, two_nodes: str) -> None:
    """The first worker that starts finds no Blender."""
    behave = """
    try:
        os.close(os.open(HERE + "/first", os.O_CREAT | os.O_EXCL))
        SAY_READY = {"missing": "No module named 'bpy'"}
    except FileExistsError:
        pass
    """
    worker, warnings = FakeRenderWorker(tmp_path / "worker", behave), list[str]()
    options = RenderOptions(python=worker.path, ray=two_nodes)
    render_dataset(RECIPE, tmp_path / "out", 4, 3, options, on_warning=warnings.append)
    assert validate(tmp_path / "out").images == 4
    [line] = warnings
    assert line.startswith("on node ")
    assert "of the Ray cluster: expected a Python with Blender's module bpy" in line


def test_a_full_disk_on_a_node_is_the_same_error_here(tmp_path: Path, two_nodes: str) -> None:
    behave = "def behave(*_):\n  say({'unwritable': 'No space left'})\n  return 'answered'"
    options = RenderOptions(python=FakeRenderWorker(tmp_path / "worker", behave).path, ray=two_nodes)
    with pytest.raises(DatasetError, match=r"on node \S+ \(127.0.0.\d+\) of the Ray cluster: No space left"):
        render_dataset(RECIPE, tmp_path / "out", 1, 3, options)


def test_more_threads_than_a_node_has_cores_is_refused(tmp_path: Path, two_nodes: str) -> None:
    with pytest.raises(WorkerError, match=r"no node with 64 cores free for us \(nodes have 1, 1\)"):
        render_dataset(RECIPE, tmp_path / "out", 1, 3, RenderOptions(ray=two_nodes, threads=64))
