"""Scoring on a real Ray cluster of two nodes on loopback: the same as here, and what is lost when nodes are."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.factories import CLASSES, draw, write_coco_set

from al_loop.core.config import CycleConfig
from al_loop.core.console import Silent
from al_loop.core.errors import ClusterError
from al_loop.detector.cluster import scheduler
from al_loop.images import repository
from al_loop.images.ingest import add_images
from al_loop.images.validation_sets import add_validation
from al_loop.loop.pool_scoring import score_pool
from al_loop.loop.selection import pick
from al_loop.models import service
from al_loop.models.pretrain import import_checkpoint
from al_loop.state import model_registry
from al_loop.state.prediction_store import ShardStore
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, init_workspace, open_workspace
from al_loop.structures.images import ImageFile
from al_loop.structures.predictions import ScoredImages

pytestmark = pytest.mark.train
SHARD, BATCH, IMAGES, CORRUPT = 4, 2, 64, 5


@pytest.fixture(scope="module")
def home(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a model that sees something, and photographs of two sizes, one of them damaged since."""
    folder = tmp_path_factory.mktemp("cluster")
    root = init_workspace(folder / "line3", CLASSES).root
    text = (root / "al-loop.toml").read_text()
    text = text.replace('config = "small"', 'config = "small"\nimage_size = [96, 64]')
    text = text.replace("batch_size = 8\n", f"batch_size = {BATCH}\nshard_size = {SHARD}\nworkers = 0\n")
    (root / "al-loop.toml").write_text(text)
    workspace = open_workspace(root)
    pool = write_coco_set(folder / "pool", IMAGES - 4, seed=1).parent / "images"
    for number in range(4):
        draw(300, 160, [[30, 20, 66, 36]], seed=number).save(pool / f"large-{number}.png")
    add_images(workspace, sorted(pool.iterdir()))
    add_validation(workspace, write_coco_set(folder / "val", 2, seed=2))
    torch.save(trained[0].weights, folder / "weights.pth")
    import_checkpoint(workspace, str(folder / "weights.pth"), None, Silent())
    victim = repository.unlabelled(workspace)[CORRUPT].path
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:60])
    return workspace


@pytest.fixture(scope="module")
def alone(home: Workspace, tmp_path_factory: pytest.TempPathFactory) -> ScoredImages:
    """What scoring here says."""
    with one_thread():
        return scored(home, tmp_path_factory.mktemp("alone"))[0]


@contextmanager
def one_thread() -> Iterator[None]:
    """As many as a node of the cluster has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def scored(
    home: Workspace,
    folder: Path,
    ray: str | None = None,
    progress: Any = lambda *_: None,
    images: list[ImageFile] | None = None,
) -> tuple[ScoredImages, list[str]]:
    """Score the pool into a folder; return it in the pool's order, with what was said."""
    images, told = images or repository.unlabelled(home), list[str]()
    model = model_registry.current_model(home)
    failed = service.score(home, model, images, folder, progress, say=told.append, ray=ray)
    assert [item.image_id for item in failed] == [images[CORRUPT].id]
    assert "is not what was stored" in failed[0].reason
    return whole(home, folder), told


def whole(home: Workspace, folder: Path) -> ScoredImages:
    """Every image that can be read, each of them once."""
    images = repository.unlabelled(home)
    names = [image.id for image in images if image.id != images[CORRUPT].id]
    found = ShardStore(folder).load()
    assert sorted(found.image_ids) == sorted(names)
    return found.subset(names)


def same(one: ScoredImages, other: ScoredImages) -> None:
    for name in ("offsets", "labels", "xyxy", "scores", "distributions", "embeddings"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert len(one.labels) > 20
    for strategy in ("margin", "dbal"):
        settings = CycleConfig(k=6, strategy=strategy)  # type: ignore[arg-type]
        assert pick(one, 6, settings, 1) == pick(other, 6, settings, 1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and a way to add nodes of one core, each with an address of its own."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is an extra: pip install 'al-loop[ray]'")
    from render.execution.ray_connection import ray_for

    ray_for("local")
    from ray.cluster_utils import Cluster

    # A node that does not answer is taken for dead within a second, not ten.
    quick = {
        "health_check_period_ms": 250,
        "health_check_failure_threshold": 3,
        "health_check_timeout_ms": 5000,
    }
    made = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "_system_config": quick,
        },
    )
    count = 1

    def add(**environment: str) -> Any:
        nonlocal count
        count += 1
        node = made.add_node(num_cpus=1, node_ip_address=f"127.0.0.{count}", env_vars=environment or None)
        node.name = f"127.0.0.{count}"
        return node

    yield SimpleNamespace(address=made.address, add=add, remove=made.remove_node)
    made.shutdown()


@contextmanager
def nodes(cluster: Any, *environments: dict[str, str]) -> Iterator[list[Any]]:
    """Nodes that are there for a while, with environments of their own."""
    up = [cluster.add(**environment) for environment in environments]
    try:
        yield up
    finally:
        for node in up:
            cluster.remove(node)


def killed(node: Any) -> None:
    """End a node as a power cut would: it and all its processes at once."""
    [raylet] = node.all_processes["raylet"]
    pid = raylet.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        os.kill(each, signal.SIGKILL)


class Cut:
    """Ends the node that has most to do as soon as a shard has come back and more are at work."""

    def __init__(self, up: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost: list[str] = []
        runs: list[Any] = []

        class Watched(scheduler._Run):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                runs.append(self)

        monkeypatch.setattr(scheduler, "_Run", Watched)
        self._runs, self._up = runs, up

    def __call__(self, done: int, total: int) -> None:
        place = max(self._runs[-1]._places, key=lambda place: len(place.at_work))
        if not self.lost:
            assert place.at_work
            self.lost.append(place.seat.name)
            killed(next(node for node in self._up if node.name in place.seat.name))


def test_two_nodes_say_what_this_process_says_though_one_is_lost_and_a_third_has_no_al_loop(
    home: Workspace, alone: ScoredImages, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images have paths that lead nowhere but from this process: they are sent."""
    bare = tmp_path / "bare" / "al_loop"
    bare.mkdir(parents=True)
    (bare / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'al_loop'\")")
    images = [replace(image, path=image.path.relative_to(home.root)) for image in repository.unlabelled(home)]
    sent: set[str] = set()
    read = scheduler._read
    monkeypatch.setattr(
        scheduler, "_read", lambda some: sent.update(image.id for image in some) or read(some)
    )
    with nodes(cluster, {}, {"PYTHONPATH": str(bare.parent)}, {}) as up:
        cut = Cut(up, monkeypatch)
        # Not where the nodes were started, and not the repository: Ray looks for modules where the driver is, too.
        monkeypatch.chdir(home.root)
        found, told = scored(home, tmp_path / "scores", cluster.address, cut, images)
    same(found, alone)
    assert sent == {image.id for image in images}
    assert told[0] == "  on 3 nodes of the Ray cluster"
    without = next(line for line in told if f"({up[1].name})" in line)
    assert " is left out: No module named 'al_loop'; expected al-loop" in without
    assert [name for name in (up[0].name, up[2].name) if name in cut.lost[0]]
    assert any(line.startswith(f"  {cut.lost[0]} is left out: ") for line in told)


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was_and_so_does_one_without_nodes(
    home: Workspace, alone: ScoredImages, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ShardStore(home.scores_dir(ScoreKey.of(home.config, model_registry.current_model(home).id)))
    command = [sys.executable, "-m", "al_loop", "-w", str(home.root), "score", "--ray", cluster.address]
    with nodes(cluster, {}) as up:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        end = time.monotonic() + 120
        while not store.image_ids() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        process.kill()
        out, _ = process.communicate()
        first = len(store.image_ids())
        assert 0 < first < IMAGES // 2, out
        # The same command, and its only node is lost.
        images, cut = repository.unlabelled(home), Cut(up, monkeypatch)
        with pytest.raises(
            ClusterError, match=rf"no node .* is left .*: .*{up[0].name}.* of {IMAGES} images are done"
        ):
            service.score(
                home, model_registry.current_model(home), images, store.folder, cut, ray=cluster.address
            )
    second = len(store.image_ids())
    assert first < second < IMAGES - 1
    told = Silent()
    with one_thread():
        failed = score_pool(home, None, told)
    same(whole(home, store.folder), alone)
    assert [item.image_id for item in failed] == [images[CORRUPT].id]
    assert f": {IMAGES - 1 - second} scored in" in told.lines[-1]
    assert f"{second} scored before, 1 cannot be read" in told.lines[-1]


def test_another_version_of_ray_or_python_is_named(cluster: Any) -> None:
    code = (
        "import sys, ray\n"
        "from al_loop.detector.cluster.seats import joined\n"
        "from al_loop.core.errors import ClusterError\n"
        "{change}\n"
        "try:\n    joined('{address}').__enter__()\n"
        "except ClusterError as error:\n    print(error)\n"
    )
    for change, says in (
        ("ray.__version__ = '2.1.0'", "this command Ray 2.1.0 on Python"),
        (
            "sys.version_info = (3, 11, 0)",
            "this command on Python 3.11.0; Python must be the same",
        ),
    ):
        source = code.format(change=change, address=cluster.address)
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
        assert f"the Ray cluster at {cluster.address} runs Ray " in done.stdout
        assert says in done.stdout
        assert len(done.stdout.splitlines()) == 1
