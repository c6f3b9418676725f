"""The pool against a worker that speaks the protocol without Blender, and misbehaves on demand."""

import sys
import textwrap
from functools import partial

import pytest

from render import DatasetError, WorkerCrashedError, WorkerError, parse_recipe, plan, render_dataset
from render.dataset import _only_one
from render.pool import Worker, render_all
from render.writers import failures, open_dataset

RECIPE = parse_recipe({"name": "x"})

STAND_IN = """
import json, os, sys, time
def say(message):
    print(json.dumps(message), flush=True)
json.loads(sys.stdin.readline())
say({"ready": "stand-in"})
for line in sys.stdin:
    index = json.loads(line)["spec"]["index"]
    with open(LOG, "a") as log:
        log.write(f"{os.getpid()} {index}\\n")
    behave(index)
    say({"done": index})
"""


@pytest.fixture
def run(tmp_path):
    """Render scenes 0..count-1 with a stand-in whose `behave(index)` is given: what is done, what failed."""

    def run(behave, count, timeout_s=20.0):
        log, script, out = tmp_path / "asked", tmp_path / "worker.py", tmp_path / "out"
        script.write_text(f"LOG = {str(log)!r}\n{textwrap.dedent(behave)}\n{STAND_IN}")
        open_dataset(out, RECIPE, 7)
        done = []
        start = partial(Worker, [sys.executable, str(script)], out, 1)
        specs = [plan(RECIPE, 7, index) for index in range(count)]
        try:
            render_all(specs, start, out, timeout_s=timeout_s, on_done=done.append)
        finally:
            run.asked = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
        return done, failures(out, count)

    return run


def test_one_worker_renders_everything(run):
    assert run("def behave(index): pass", 3) == ([0, 1, 2], [])
    assert [index for _, index in run.asked] == [0, 1, 2]
    assert len({pid for pid, _ in run.asked}) == 1


def test_a_scene_that_kills_the_worker_twice_is_recorded_and_skipped(run):
    done, failed = run("def behave(index):\n  if index == 1: os.kill(os.getpid(), 9)", 4)
    assert done == [0, 1, 2, 3]
    assert [(r.index, r.seed, r.reason) for r in failed] == [(1, 7, "ended by signal 9")]
    assert [index for _, index in run.asked] == [0, 1, 1, 2, 3]
    assert len({pid for pid, _ in run.asked}) == 3


def test_a_worker_that_dies_once_costs_nothing(run):
    behave = """
    def behave(index):
        if index == 1 and open(LOG).read().count(" 1\\n") == 1:
            sys.exit(3)
    """
    assert run(behave, 3) == ([0, 1, 2], [])
    assert [index for _, index in run.asked] == [0, 1, 1, 2]


def test_a_hung_worker_is_ended_and_its_scene_given_up(run):
    done, failed = run("def behave(index):\n  if index == 0: time.sleep(600)", 2, timeout_s=0.5)
    assert done == [0, 1]
    assert [(r.index, r.reason) for r in failed] == [(0, "no answer within 0.5 s")]


def test_a_python_error_is_recorded_with_its_text_and_the_worker_stays(run):
    behave = """
    def behave(index):
        if index == 0:
            say({"failed": 0, "reason": "ValueError: odd"})
            raise_done = sys.stdin.readline()  # asked a second time
            say({"failed": 0, "reason": "ValueError: odd"})
            json.loads(sys.stdin.readline())
    """
    _, failed = run(behave, 2)
    assert [(r.index, r.reason) for r in failed] == [(0, "ValueError: odd")]
    assert len({pid for pid, _ in run.asked}) == 1


def test_when_every_scene_fails_it_says_so_and_stops(run):
    with pytest.raises(WorkerCrashedError, match=r"3 scenes in a row .*exit status 5.*render\.log"):
        run("def behave(index): os._exit(5)", 10)
    assert {index for _, index in run.asked} == {0, 1, 2}


def test_scenes_are_not_blamed_when_none_succeeds(run, tmp_path):
    with pytest.raises(WorkerCrashedError, match="2 scenes in a row"):
        run("def behave(index): os._exit(5)", 2)
    assert not list((tmp_path / "out" / "records").iterdir())


def test_a_full_disk_stops_at_once_and_blames_no_scene(run, tmp_path):
    behave = "def behave(index):\n  if index == 1: say({'unwritable': 'No space left'})"
    with pytest.raises(DatasetError, match="No space left"):
        run(behave, 3)
    assert [index for _, index in run.asked] == [0, 1]
    assert not list((tmp_path / "out" / "records").iterdir())


def test_a_worker_that_cannot_start_is_named_with_its_log(tmp_path):
    open_dataset(tmp_path / "out", RECIPE, 7)
    with pytest.raises(WorkerError, match=r"exit status 1.*render\.log"):
        Worker([sys.executable, "-c", "raise SystemError('no')"], tmp_path / "out", 1)
    assert "SystemError: no" in (tmp_path / "out" / "render.log").read_text()


def test_a_python_that_is_not_there_is_a_render_error(tmp_path):
    with pytest.raises(WorkerError, match=r"no-python.*--python"):
        render_dataset(RECIPE, tmp_path / "out", 1, 0, python=str(tmp_path / "no-python"))


def test_two_renders_do_not_share_a_folder(tmp_path):
    open_dataset(tmp_path, RECIPE, 0)
    with _only_one(tmp_path), pytest.raises(DatasetError, match="another render is writing"):
        render_dataset(RECIPE, tmp_path, 1, 0)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_nonsense_counts_are_refused(tmp_path, count, seed):
    with pytest.raises(DatasetError, match="expected count >= 1 and seed >= 0"):
        render_dataset(RECIPE, tmp_path, count, seed)
