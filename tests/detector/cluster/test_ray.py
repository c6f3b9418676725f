"""Scoring on a real Ray cluster: the same results as in this process, though nodes are lost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.factories import CLASSES, draw, write_coco_set
from support.pool_images import add_images
from support.ray_cluster import RayCluster, RayNode

from al_loop.core.config import CycleConfig
from al_loop.core.console import Silent
from al_loop.core.errors import ClusterError
from al_loop.detector.cluster import scoring as cluster_scoring
from al_loop.images import repository
from al_loop.images.validation_sets import add_validation
from al_loop.loop.pool_scoring import score_pool
from al_loop.loop.selection import pick
from al_loop.models import scoring
from al_loop.models.pretrain import import_checkpoint
from al_loop.models.scoring import ScoreOptions
from al_loop.state import model_registry
from al_loop.state.prediction_store import ShardStore
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace, init_workspace, open_workspace
from al_loop.structures.images import ImageFile
from al_loop.structures.predictions import ScoredImages

pytestmark = [pytest.mark.train, pytest.mark.ray]
SHARD, BATCH, IMAGES, CORRUPT = 4, 2, 64, 5


@pytest.fixture(scope="module")
def home(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a trained model, and photographs of two sizes, one of which was damaged later.

    All nodes score in one precision: "auto" is timed by each process.
    """
    folder = tmp_path_factory.mktemp("cluster")
    root = init_workspace(folder / "line3", CLASSES).root
    text = (root / "al-loop.toml").read_text()
    text = text.replace('config = "lite"', 'config = "small"\nimage_size = [96, 64]')
    text = text.replace("batch_size = 8\n", f"batch_size = {BATCH}\nshard_size = {SHARD}\nworkers = 0\n")
    text = text.replace('\nprecision = "auto"', '\nprecision = "fp32"')
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
    """The predictions of one thread of this process."""
    with one_thread():
        return scored(home, tmp_path_factory.mktemp("alone"))[0]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as a node of the cluster does."""
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
    """Score the pool into a folder; return the predictions in the pool's order, and the messages."""
    images, lines = images or repository.unlabelled(home), list[str]()
    model = model_registry.current_model(home)
    failed = scoring.score(home, model, images, folder, progress, ScoreOptions(ray=ray), lines.append)
    assert [item.image_id for item in failed] == [images[CORRUPT].id]
    assert "has changed since it was stored" in failed[0].reason
    return predictions_of(home, folder), lines


def predictions_of(home: Workspace, folder: Path) -> ScoredImages:
    """Return the predictions; check that there is one for every readable image."""
    images = repository.unlabelled(home)
    names = [image.id for image in images if image.id != images[CORRUPT].id]
    predictions = ShardStore(folder).load()
    assert sorted(predictions.image_ids) == sorted(names)
    return predictions.subset(names)


def assert_equal(a: ScoredImages, b: ScoredImages) -> None:
    for name in ("offsets", "labels", "xyxy", "scores", "distributions", "embeddings"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)
    assert len(a.labels) > 20
    for strategy in ("margin", "dbal"):
        settings = CycleConfig(k=6, strategy=strategy)  # type: ignore[arg-type]
        assert pick(a, 6, settings, 1) == pick(b, 6, settings, 1)


class NodeKiller:
    """Kills the node with most shards as soon as one shard has come back."""

    def __init__(self, nodes: list[RayNode], monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed: list[str] = []
        self._nodes = nodes
        self._slots: Any = None
        real = cluster_scoring.actor_scheduler

        def watched(*arguments: Any) -> Any:
            run = real(*arguments)
            self._slots = run._slots
            return run

        monkeypatch.setattr(cluster_scoring, "actor_scheduler", watched)

    def __call__(self, done: int, total: int) -> None:
        slot = max(self._slots, key=lambda slot: len(slot.running))
        if not self.killed:
            assert slot.running
            self.killed.append(slot.name)
            next(node for node in self._nodes if f"({node.address})" in slot.name).kill()


@pytest.mark.slow
def test_two_nodes_score_like_this_process_though_one_is_lost_and_a_third_has_no_al_loop(
    home: Workspace,
    alone: ScoredImages,
    ray_cluster: RayCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The paths of the images are relative to this process, so that they are sent."""
    bare = tmp_path / "bare" / "al_loop"
    bare.mkdir(parents=True)
    (bare / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'al_loop'\")")
    images = [replace(image, path=image.path.relative_to(home.root)) for image in repository.unlabelled(home)]
    sent: set[str] = set()
    read = cluster_scoring._read_files
    monkeypatch.setattr(
        cluster_scoring, "_read_files", lambda some: sent.update(image.id for image in some) or read(some)
    )
    with ray_cluster.nodes({}, {"PYTHONPATH": str(bare.parent)}, {}) as nodes:
        killer = NodeKiller(nodes, monkeypatch)
        # Ray also looks for modules in the working directory of the driver: not in the repository, here.
        monkeypatch.chdir(home.root)
        predictions, lines = scored(home, tmp_path / "scores", ray_cluster.address, killer, images)
    assert_equal(predictions, alone)
    assert sent == {image.id for image in images}
    assert lines[0] == "  on 3 nodes of the Ray cluster"
    without = next(line for line in lines if f"({nodes[1].address})" in line)
    assert " is left out: No module named 'al_loop'; expected the same al-loop" in without
    assert [name for name in (nodes[0].address, nodes[2].address) if name in killer.killed[0]]
    assert any(line.startswith(f"  {killer.killed[0]} is left out: ") for line in lines)


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was_and_so_does_one_without_nodes(
    home: Workspace, alone: ScoredImages, ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ShardStore(home.scores_dir(ScoreKey.of(home.config, model_registry.current_model(home).id)))
    command = [sys.executable, "-m", "al_loop", "-w", str(home.root), "score", "--ray", ray_cluster.address]
    with ray_cluster.nodes({}) as nodes:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        end = time.monotonic() + 120
        while not store.image_ids() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        process.kill()
        out, _ = process.communicate()
        first = len(store.image_ids())
        assert 0 < first < IMAGES // 2, out
        # The same command, and its only node is lost.
        images, killer = repository.unlabelled(home), NodeKiller(nodes, monkeypatch)
        with pytest.raises(
            ClusterError, match=rf"no node .* is left .*: .*{nodes[0].address}.* of {IMAGES} images are done"
        ):
            model, options = model_registry.current_model(home), ScoreOptions(ray=ray_cluster.address)
            scoring.score(home, model, images, store.folder, killer, options)
    second = len(store.image_ids())
    assert first < second < IMAGES - 1
    reporter = Silent()
    with one_thread():
        failed = score_pool(home, None, reporter)
    assert_equal(predictions_of(home, store.folder), alone)
    assert [item.image_id for item in failed] == [images[CORRUPT].id]
    assert f": {IMAGES - 1 - second} scored in" in reporter.lines[-1]
    assert f"{second} scored before, 1 cannot be read" in reporter.lines[-1]
