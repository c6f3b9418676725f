"""The pool against a worker that speaks the protocol without Blender, and misbehaves on demand."""

from __future__ import annotations

import contextlib
import os
import sys
import time

import msgspec
import pytest
from support.fake_worker import StandIn

from render import BlenderMissingError, DatasetError, WorkerCrashedError, WorkerError, parse_recipe, plan
from render.annotation.record_store import failures, open_dataset, read_record
from render.assets.load import Assets
from render.execution import worker_process as process_module
from render.execution.scheduler import Job, render_all
from render.execution.worker_process import Worker, shared_out

RECIPE = parse_recipe({"name": "x", "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}]})
TWO_VIEWS = msgspec.structs.replace(RECIPE, layout=msgspec.structs.replace(RECIPE.layout, views=2))


def jobs(count, recipe=RECIPE):
    for scene in range(count):
        spec = plan(recipe, Assets(), 7, scene)
        yield Job(spec, tuple(view.index for view in spec.views))


@pytest.fixture
def run(tmp_path):
    """Render scenes 0..count-1 with a stand-in whose `behave` is given: what is done, what failed."""

    def run(behave, count, timeout_s=20.0, recipe=RECIPE, workers=1, on_done=None, cores=None):
        run.stand_in, run.out = StandIn(tmp_path / "stand-in", behave), tmp_path / "out"
        open_dataset(run.out, recipe, 7)
        done = []
        render_all(
            jobs(count, recipe),
            lambda seat: Worker([run.stand_in.path], run.out, 1, cores[seat] if cores else None),
            run.out,
            timeout_s=timeout_s,
            on_done=on_done or done.append,
            workers=workers,
        )
        return done, failures(run.out, 100)

    return run


def scenes(run):
    return [asked.scene for asked in run.stand_in.asked]


def pids(run):
    return {asked.pid for asked in run.stand_in.asked}


def test_one_worker_renders_everything(run):
    assert run("", 3) == ([0, 1, 2], [])
    assert scenes(run) == [0, 1, 2]
    assert len(pids(run)) == 1
    assert [read_record(run.out, i).status for i in range(3)] == ["done"] * 3


def test_a_scene_that_kills_the_worker_twice_is_recorded_and_skipped(run):
    done, failed = run("def behave(scene, *_):\n  if scene == 1: os.kill(os.getpid(), 11)", 4)
    assert done == [0, 1, 2, 3]
    assert [(r.index, r.scene, r.seed, r.reason) for r in failed] == [(1, 1, 7, "ended by signal 11")]
    assert scenes(run) == [0, 1, 1, 2, 3]
    assert len(pids(run)) == 3


def test_a_worker_that_dies_once_costs_nothing(run):
    behave = "def behave(scene, *_):\n  if scene == 1 and tries(1) == 1: sys.exit(3)"
    assert run(behave, 3) == ([0, 1, 2], [])
    assert scenes(run) == [0, 1, 1, 2]


def test_a_worker_killed_from_outside_is_named_as_such(run):
    _, failed = run("def behave(scene, *_):\n  if scene == 0: os.kill(os.getpid(), 9)", 2)
    assert [r.reason for r in failed] == [
        "ended by signal 9 (killed from outside, or the machine ran out of memory)"
    ]


def test_a_hung_worker_is_ended_and_its_scene_given_up(run):
    done, failed = run("def behave(scene, *_):\n  if scene == 0: time.sleep(600)", 2, timeout_s=0.7)
    assert done == [0, 1]
    assert [(r.index, r.reason) for r in failed] == [(0, "no answer within 0.7 s")]
    for pid in pids(run):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_scene_has_the_time_of_all_its_images(run):
    behave = "def behave(scene, *_): time.sleep(1.2)"
    _, failed = run(behave, 1, timeout_s=0.8, recipe=TWO_VIEWS)
    assert not failed


def test_a_python_error_is_recorded_with_its_text_and_the_worker_stays(run):
    behave = """
    def behave(scene, *_):
        if scene == 0:
            say({"failed": 0, "reason": "ValueError: odd"})
            return "answered"
    """
    _, failed = run(behave, 2)
    assert [(r.index, r.reason) for r in failed] == [(0, "ValueError: odd")]
    assert scenes(run) == [0, 0, 1]
    assert len(pids(run)) == 1


def test_views_that_were_committed_before_a_crash_are_kept(run):
    """Scene 0 has images 0 and 1; the worker writes 0 and dies, both times."""
    behave = """
    def behave(scene, spec, images):
        if scene == 0:
            if 0 in images: render(spec, 0)
            os._exit(4)
    """
    done, failed = run(behave, 2, recipe=TWO_VIEWS)
    assert [asked.images for asked in run.stand_in.asked] == [(0, 1), (1,), (2, 3)]
    assert [(r.index, r.scene, r.view, r.reason) for r in failed] == [(1, 0, 1, "ended with exit status 4")]
    assert read_record(run.out, 0).status == "done"
    assert done == [0, 1, 2, 3]


def test_done_without_the_image_is_not_believed(run):
    behave = """
    def behave(scene, *_):
        if scene == 0:
            say({"done": 0, "rss_mb": 1})
            return "answered"
    """
    _, failed = run(behave, 2)
    assert [(r.index, r.reason) for r in failed] == [(0, "the worker is done, but image 0 was not written")]


def test_when_every_scene_fails_it_says_so_and_stops(run):
    with pytest.raises(WorkerCrashedError, match=r"3 scenes in a row .*exit status 5.*render\.log"):
        run("def behave(*_): os._exit(5)", 10)
    assert set(scenes(run)) == {0, 1, 2}


def test_scenes_are_not_blamed_when_none_succeeds(run):
    with pytest.raises(WorkerCrashedError, match="2 scenes in a row"):
        run("def behave(*_): os._exit(5)", 2)
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


def test_a_worker_is_renewed_after_so_many_scenes(run, monkeypatch):
    monkeypatch.setattr(process_module, "RENEW_AFTER", 2)
    assert run("", 5) == ([0, 1, 2, 3, 4], [])
    order = [asked.pid for asked in run.stand_in.asked]
    assert [order.count(pid) for pid in dict.fromkeys(order)] == [2, 2, 1]


def test_a_worker_that_grew_too_large_is_renewed(run):
    run("MEMORY_MB = 7000", 2)
    assert len(pids(run)) == 2


def test_the_next_scene_is_planned_while_one_is_rendered(tmp_path):
    """The worker waits in scene 0 for a sign that scene 1 was planned."""
    sign, out = tmp_path / "planned", tmp_path / "out"
    stand_in = StandIn(
        tmp_path / "stand-in",
        f"""
        def behave(scene, *_):
            end = time.monotonic() + 10
            while scene == 0 and not os.path.exists({str(sign)!r}):
                if time.monotonic() > end: os._exit(9)
                time.sleep(0.01)
        """,
    )
    open_dataset(out, RECIPE, 7)

    def planned():
        for job in jobs(2):
            if job.spec.index == 1:
                sign.touch()
            yield job

    start = lambda seat: Worker([stand_in.path], out, 1)  # noqa: E731
    render_all(planned(), start, out, timeout_s=20, on_done=lambda _: None)
    assert [asked.scene for asked in stand_in.asked] == [0, 1]


def test_two_workers_share_the_scenes_each_on_its_own_cores(run):
    """Both must be busy at once: each waits in its first scene until the other has one too."""
    behave = """
    def behave(scene, *_):
        end = time.monotonic() + 10
        while scene < 2 and len({line.split()[0] for line in open(LOG)}) < 2:
            if time.monotonic() > end: os._exit(9)
            time.sleep(0.01)
    """
    cores = sorted(os.sched_getaffinity(0))
    shares = shared_out((cores[0], cores[-1]), 2)
    done, failed = run(behave, 6, workers=2, cores=shares)
    assert (sorted(done), failed) == ([0, 1, 2, 3, 4, 5], [])
    assert len(pids(run)) == 2
    by_pid = {asked.pid: asked.cores for asked in run.stand_in.asked}
    assert sorted(by_pid.values()) == sorted([(cores[0],), (cores[-1],)])


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
    open_dataset(tmp_path / "out", RECIPE, 7)
    worker = Worker([sys.executable, "-c", "raise SystemError('no')"], tmp_path / "out", 1)
    with pytest.raises(WorkerError, match=r"exit status 1.*render\.log"):
        worker.prepare()
    worker.close()
    assert "SystemError: no" in (tmp_path / "out" / "render.log").read_text()


def test_a_log_that_cannot_be_written_is_a_dataset_error(tmp_path):
    (tmp_path / "render.log").mkdir()
    with pytest.raises(DatasetError, match=r"render\.log: cannot be written"):
        Worker([sys.executable, "-c", ""], tmp_path, 1)


@pytest.mark.parametrize(
    ("cores", "workers", "shares"),
    [
        ((0, 1, 2, 3), 2, [{0, 1}, {2, 3}]),
        ((4, 5, 6, 7, 9), 2, [{4, 5}, {6, 7, 9}]),
        ((0, 1), 2, [{0}, {1}]),
        ((3,), 2, [{3}, {3}]),
        ((0, 1), 3, [{0}, {1}, {0}]),
        ((0, 1), 1, [{0, 1}]),
    ],
)
def test_cores_are_shared_out(cores, workers, shares):
    assert shared_out(cores, workers) == shares


def test_a_worker_that_cannot_be_had_is_left_out_and_the_others_go_on(tmp_path):
    bare = StandIn(tmp_path / "bare", "SAY_READY = {'missing': \"No module named 'bpy'\"}")
    good, out, done, told = StandIn(tmp_path / "good"), tmp_path / "out", [], []
    open_dataset(out, RECIPE, 7)

    def render(*who, count=4):
        render_all(
            jobs(count),
            lambda seat: Worker([who[seat].path], out, 1),
            out,
            timeout_s=20.0,
            on_done=done.append,
            workers=len(who),
            on_warning=told.append,
        )

    render(bare, good, bare)
    assert sorted(done) == [0, 1, 2, 3]
    assert sorted(asked.scene for asked in good.asked) == [0, 1, 2, 3]
    assert len(told) == 2
    assert all("No module named 'bpy'" in line and line.endswith("; the others go on") for line in told)
    with pytest.raises(BlenderMissingError, match="No module named 'bpy'"):
        render(bare, bare, count=2)


def test_a_worker_holds_nothing_of_who_called_it_open(tmp_path):
    """A pipe of the caller's ends when the caller closes it, though a worker is alive."""
    (tmp_path / "out").mkdir()
    there, here = os.pipe()
    os.set_inheritable(here, True)
    worker = Worker(["/bin/sh", "-c", "cat >/dev/null"], tmp_path / "out", 1)
    try:
        os.close(here)
        os.set_blocking(there, False)
        assert os.read(there, 1) == b""
        assert worker.fit
    finally:
        worker.close()
        os.close(there)
