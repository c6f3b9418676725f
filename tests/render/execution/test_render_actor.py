"""The part of a render worker that runs on a node of a cluster, without the cluster."""

from __future__ import annotations

from pathlib import Path

from support.fake_worker import FakeRenderWorker

from render import parse_recipe, plan
from render.annotation.record_store import FORMAT
from render.assets.load import Assets
from render.execution.actor_pool import Placement
from render.execution.ray_workers import RenderActor
from render.execution.transfer import packed

RECIPE = parse_recipe({"name": "x", "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}]})


def test_images_records_and_log_are_sent_once_and_nothing_stays(tmp_path: Path) -> None:
    behave = """
    def behave(scene, *_):
        print("scene", scene, file=sys.stderr, flush=True)
        if scene == 1: os._exit(7)
    """
    worker = FakeRenderWorker(tmp_path, behave)
    actor = RenderActor(worker.path, Placement("a", "host", cores=1, share=(1, 2)), timeout_s=30)
    folder = actor._folder
    assert actor.prepare() == FORMAT
    spec, _ = packed(plan(RECIPE, Assets(), 0, 0), ())
    reason, files, log, fit = actor.ask(spec, (0,), {"ab.npz": b"a mesh"})
    assert (reason, log, fit) == (None, b"scene 0\n", True)
    assert [name for name, _ in files] == ["images/000000.jpg", "records/000000.json"]
    assert (folder / "files" / "ab.npz").read_bytes() == b"a mesh"
    assert not list((folder / "images").iterdir())
    spec, _ = packed(plan(RECIPE, Assets(), 0, 1), ())
    assert actor.ask(spec, (1,), {}) == ("ended with exit status 7", [], b"scene 1\n", False)
    actor.close()
    assert not folder.exists()
    assert {request.threads for request in worker.requests} == {1}
