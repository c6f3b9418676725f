"""Rendering with worker processes that speak the protocol without Blender, and misbehave on demand."""

from __future__ import annotations

import contextlib
import os
import sys
import time

import msgspec
import pytest
from support.fake_worker import FakeRenderWorker

from render import BlenderMissingError, DatasetError, WorkerCrashedError, WorkerError, parse_recipe, plan
from render.annotation.record_store import open_dataset, read_record, read_records
from render.assets.load import Assets
from render.core.options import RenderOptions
from render.execution import worker_process
from render.execution.jobs import Job
from render.execution.rendering import render_jobs
from render.execution.worker_process import WorkerProcess, split_cores

RECIPE = parse_recipe({"name": "x", "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}]})
TWO_VIEWS = msgspec.structs.replace(RECIPE, layout=msgspec.structs.replace(RECIPE.layout, views=2))


@pytest.fixture
def run(tmp_path):
    """Render scenes 0 to count - 1 by a worker with some behaviour; return finished images and failures."""

    def run(behave, count, recipe=RECIPE, on_done=None, **options):
        run.worker, run.out = FakeRenderWorker(tmp_path / "worker", behave), tmp_path / "out"
        open_dataset(run.out, recipe, 7)
        specs = (plan(recipe, Assets(), 7, scene) for scene in range(count))
        jobs = (Job(spec, tuple(view.index for view in spec.views)) for spec in specs)
        done = []
        render_jobs(jobs, run.out, RenderOptions(python=run.worker.path, **options), on_done or done.append)
        return done, [r for r in read_records(run.out, 100) if r.status == "failed"]

    return run


def scenes(run):
    return [request.scene for request in run.worker.requests]


def pids(run):
    return {request.pid for request in run.worker.requests}


@pytest.mark.integration
def test_a_scene_that_ends_the_worker_twice_is_recorded_with_the_reason_and_skipped(run):
    behave = """
    def behave(scene, *_):
        if scene in (1, 3): os.kill(os.getpid(), {1: 11, 3: 9}[scene])
        if scene == 5 and tries(5) == 1: sys.exit(3)
    """
    done, failed = run(behave, 7)
    assert done == list(range(7))
    assert [(r.index, r.scene, r.seed, r.reason) for r in failed] == [
        (1, 1, 7, "ended by signal 11"),
        (3, 3, 7, "ended by signal 9 (killed from outside, or the machine ran out of memory)"),
    ]
    assert scenes(run) == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6]
    assert len(pids(run)) == 6
    assert [read_record(run.out, i).status for i in (0, 2, 4, 5, 6)] == ["done"] * 5


@pytest.mark.integration
def test_a_hung_worker_is_ended_and_its_scene_given_up(run):
    done, failed = run("def behave(scene, *_):\n  if scene == 0: time.sleep(600)", 2, timeout_s=0.7)
    assert done == [0, 1]
    assert [(r.index, r.reason) for r in failed] == [(0, "no answer within 0.7 s")]
    for pid in pids(run):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.integration
def test_a_scene_has_the_time_of_all_its_images(run):
    _, failed = run("def behave(scene, *_): time.sleep(1.2)", 1, TWO_VIEWS, timeout_s=0.8)
    assert not failed


def test_a_worker_that_answers_without_the_image_stays_and_the_scene_is_given_up(run):
    behave = """
    def behave(scene, *_):
        if scene == 2: return None
        say({"failed": 0, "reason": "ValueError: odd"} if scene == 0 else {"done": scene, "rss_mb": 1})
        return "answered"
    """
    _, failed = run(behave, 3)
    assert [(r.index, r.reason) for r in failed] == [
        (0, "ValueError: odd"),
        (1, "the worker is done, but image 1 was not written"),
    ]
    assert scenes(run) == [0, 0, 1, 1, 2]
    assert len(pids(run)) == 1


@pytest.mark.integration
def test_views_that_were_committed_before_a_crash_are_not_rendered_again(run):
    """Scene 0 has images 0 and 1; the worker writes 0 and dies, both times."""
    behave = """
    def behave(scene, spec, images):
        if scene == 0:
            if 0 in images: render(spec, 0)
            os._exit(4)
    """
    done, failed = run(behave, 2, TWO_VIEWS)
    assert [request.images for request in run.worker.requests] == [(0, 1), (1,), (2, 3)]
    assert [(r.index, r.scene, r.view, r.reason) for r in failed] == [(1, 0, 1, "ended with exit status 4")]
    assert read_record(run.out, 0).status == "done"
    assert done == [0, 1, 2, 3]


@pytest.mark.integration
@pytest.mark.parametrize(("count", "tried"), [(10, 3), (2, 2)])
def test_if_every_scene_fails_rendering_stops_and_none_is_recorded(run, count, tried):
    with pytest.raises(WorkerCrashedError, match=rf"{tried} scenes in a row .*exit status 5.*render\.log"):
        run("def behave(*_): os._exit(5)", count)
    assert set(scenes(run)) == set(range(tried))
    assert not list((run.out / "records").iterdir())


def test_a_full_disk_stops_at_once_and_blames_no_scene(run):
    behave = """
    def behave(scene, *_):
        if scene == 1:
            say({"unwritable": "No space left"})
            return "answered"
    """
    with pytest.raises(DatasetError, match="No space left"):
        run(behave, 3)
    assert scenes(run) == [0, 1]
    assert [p.name for p in (run.out / "records").iterdir()] == ["000000.json"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("behave", "renew_after", "shares"), [("", 2, [2, 2, 1]), ("MEMORY_MB = 7000", 300, [1] * 5)]
)
def test_an_old_or_large_worker_is_replaced(run, monkeypatch, behave, renew_after, shares):
    monkeypatch.setattr(worker_process, "RENEW_AFTER", renew_after)
    assert run(behave, 5) == ([0, 1, 2, 3, 4], [])
    order = [request.pid for request in run.worker.requests]
    assert [order.count(pid) for pid in dict.fromkeys(order)] == shares


def test_two_workers_share_the_scenes_each_on_its_own_cores(run):
    """Both must be busy at once: each waits in its first scene until the other has one too."""
    behave = """
    def behave(scene, *_):
        end = time.monotonic() + 10
        while scene < 2 and len({line.split()[0] for line in open(LOG)}) < 2:
            if time.monotonic() > end: os._exit(9)
            time.sleep(0.01)
    """
    done, failed = run(behave, 6, workers=2)
    assert (sorted(done), failed) == ([0, 1, 2, 3, 4, 5], [])
    cores = {request.pid: frozenset(request.cores) for request in run.worker.requests}
    assert sorted(cores.values(), key=min) == split_cores(tuple(sorted(os.sched_getaffinity(0))), 2)
    assert {request.threads for request in run.worker.requests} == {len(min(cores.values(), key=len))}


def test_an_interrupt_ends_all_workers_at_once(run):
    def stop(image):
        raise KeyboardInterrupt

    behave = "def behave(scene, *_):\n  if scene > 0: time.sleep(600)"
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(behave, 9, workers=2, on_done=stop)
    assert time.monotonic() - began < 20
    for pid in pids(run):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            pytest.fail(f"worker {pid} is still there")


def test_without_bpy_it_says_how_to_get_it(run):
    with pytest.raises(BlenderMissingError, match=r"No module named 'bpy'.*pip install 'bpy>=4\.5.*--python"):
        run("SAY_READY = {'missing': \"No module named 'bpy'\"}", 1)


def test_a_worker_that_cannot_start_is_named_with_its_log(tmp_path):
    command = [sys.executable, "-c", "raise SystemError('no')"]
    worker = WorkerProcess(command, tmp_path, 1, 1.0)
    with pytest.raises(WorkerError, match=r"exit status 1.*render\.log"):
        worker.prepare()
    worker.close()
    assert "SystemError: no" in (tmp_path / "render.log").read_text()


@pytest.mark.parametrize(
    ("cores", "workers", "shares"),
    [
        ((4, 5, 6, 7, 9), 2, [{4, 5, 6}, {7, 9}]),
        ((0, 1), 2, [{0}, {1}]),
        ((0, 1), 3, [{0}, {1}, {0}]),
        ((0, 1), 1, [{0, 1}]),
    ],
)
def test_cores_are_split_over_workers(cores, workers, shares):
    assert split_cores(cores, workers) == shares
