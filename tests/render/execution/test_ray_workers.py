"""The same scenes on a Ray cluster: one started here, with two workers, by a stand-in for Blender."""

from __future__ import annotations

import importlib.util
import socket
import sys

import msgspec
import pytest
from support.fake_worker import StandIn

from render import DatasetError, RenderOptions, WorkerError, parse_recipe, plan, render_dataset
from render.annotation.record_store import failures
from render.assets.load import Assets
from render.core.spec import MeshSpec
from render.dataset.validate import validate
from render.execution.ray_workers import Seat, seated
from render.execution.transfer import packed, unpacked

RECIPE = parse_recipe(
    {
        "name": "x",
        "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}],
        "image": {"width": 96, "height": 64},
        "layout": {"views": 2},
    }
)


def test_every_node_gets_a_worker_with_all_its_cores():
    assert seated({"a": 8, "b": 4, "c": 0}, None, None) == (Seat("a", 8, (0, 1)), Seat("b", 4, (0, 1)))


def test_with_threads_a_node_gets_as_many_workers_as_fit():
    """8 cores hold two workers of 3, 4 cores one; they are dealt out around the nodes."""
    assert seated({"a": 8, "b": 4}, 3, None) == (
        Seat("a", 3, (0, 2)),
        Seat("b", 3, (0, 1)),
        Seat("a", 3, (1, 2)),
    )
    assert seated({"a": 2}, 3, None) == ()


def test_workers_limit_the_seats_and_share_the_cores():
    """Two workers on 8 + 4 cores: 6 each fit into the first node only, once."""
    assert seated({"a": 4, "b": 4}, None, 2) == (Seat("a", 4, (0, 1)), Seat("b", 4, (0, 1)))
    assert seated({"a": 8}, None, 2) == (Seat("a", 4, (0, 2)), Seat("a", 4, (1, 2)))
    assert len(seated({"a": 8, "b": 8}, 1, 3)) == 3


def test_a_scene_travels_with_its_files_once(tmp_path, monkeypatch):
    """A texture and an imported mesh: sent with the first scene, found in the other machine's folder."""
    monkeypatch.setenv("AL_LOOP_MESH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ab12.npz").write_bytes(b"mesh")
    texture = tmp_path / "wood.png"
    texture.write_bytes(b"texture")
    spec = plan(RECIPE, Assets(), 0, 0)
    replace = msgspec.structs.replace
    thing = spec.objects[0]
    thing = replace(
        thing,
        mesh=MeshSpec(file="ab12"),
        material=replace(
            thing.material, images={"colour": str(texture), "height": str(tmp_path / "gone.png")}
        ),
    )
    spec = replace(spec, objects=(thing, *spec.objects[1:]))
    data, files = packed(spec, ())
    assert sorted(files.values()) == [b"mesh", b"texture"]
    assert files["ab12.npz"] == b"mesh"
    there = tmp_path / "there"
    found = unpacked(data, there)
    placed = found.objects[0].material.images["colour"]
    assert placed.startswith(str(there))
    assert placed.endswith(".png")
    assert files[placed.removeprefix(f"{there}/")] == b"texture"
    # All else is as it was.
    assert replace(found, objects=()) == replace(spec, objects=())
    assert found.objects[1:] == spec.objects[1:]
    assert packed(spec, files.keys())[1] == {}


def test_without_ray_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match=r"pip install 'al-loop\[ray\]'"):
        render_dataset(RECIPE, tmp_path / "out", 1, 0, RenderOptions(ray="auto"))


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_where_nobody_listens_it_says_so_at_once(tmp_path, form, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # Ray is not even asked for
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        address = form.format(taken.getsockname()[1])
        with pytest.raises(WorkerError, match=f"no Ray cluster at {address} .*refused.*ray start --head"):
            render_dataset(RECIPE, tmp_path / "out", 1, 0, RenderOptions(ray=address))


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two cores on this machine, however many there are."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is an extra: pip install 'al-loop[ray]'")
    from render.execution.ray_connection import ray_for

    ray = ray_for("local")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def pictures(out):
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.glob("*/*")) if p.is_file()}


def test_a_local_cluster_listens_to_this_machine_only(cluster):
    assert {node["NodeManagerAddress"] for node in cluster.nodes()} == {"127.0.0.1"}


def test_a_cluster_makes_the_same_bytes_and_its_files_come_back(tmp_path, cluster):
    """Both workers must be busy at once: each waits in its first scene for the other."""
    behave = """
    def behave(scene, *_):
        end = time.monotonic() + 60
        while scene < 2 and len({line.split()[0] for line in open(LOG)}) < 2:
            if time.monotonic() > end: os._exit(9)
            time.sleep(0.01)
    """
    there, here = StandIn(tmp_path / "there", behave), StandIn(tmp_path / "here")
    told = []
    render_dataset(
        RECIPE,
        tmp_path / "ray",
        9,
        3,
        RenderOptions(python=there.path, ray="local", workers=2),
        on_progress=lambda *x: told.append(x),
    )
    render_dataset(RECIPE, tmp_path / "alone", 9, 3, RenderOptions(python=here.path))
    assert pictures(tmp_path / "ray") == pictures(tmp_path / "alone")
    assert (tmp_path / "ray" / "annotations.json").read_bytes() == (
        tmp_path / "alone" / "annotations.json"
    ).read_bytes()
    assert validate(tmp_path / "ray").problems == ()
    assert len({asked.pid for asked in there.asked}) == 2
    assert {asked.threads for asked in there.asked} == {1}
    assert told[-1] == (9, 9)


def test_a_worker_that_dies_over_there_is_replaced(tmp_path, cluster):
    behave = "def behave(scene, *_):\n  if scene == 1: sys.stderr.write('oh dear'); os._exit(3)"
    there = StandIn(tmp_path / "there", behave)
    render_dataset(RECIPE, tmp_path / "out", 6, 3, RenderOptions(python=there.path, ray="local"))
    assert [(r.index, r.reason) for r in failures(tmp_path / "out", 6)] == [
        (2, "ended with exit status 3"),
        (3, "ended with exit status 3"),
    ]
    assert [asked.scene for asked in there.asked] == [0, 1, 1, 2]
    assert "oh dear" in (tmp_path / "out" / "render.log").read_text()


def test_a_process_of_the_cluster_that_is_lost_costs_nothing(tmp_path, cluster):
    """The stand-in kills the Ray process that it works for, once."""
    behave = (
        "def behave(scene, *_):\n  if scene == 1 and tries(1) == 1: os.kill(os.getppid(), 9); time.sleep(30)"
    )
    there = StandIn(tmp_path / "there", behave)
    render_dataset(RECIPE, tmp_path / "out", 4, 3, RenderOptions(python=there.path, ray="local"))
    assert [asked.scene for asked in there.asked] == [0, 1, 1]
    assert validate(tmp_path / "out").images == 4


def test_what_is_missing_over_there_is_the_same_error_here(tmp_path, cluster):
    bare = StandIn(tmp_path / "bare", "SAY_READY = {'missing': \"No module named 'bpy'\"}")
    with pytest.raises(
        WorkerError, match=r"on node \S+ \(127.0.0.1\) of the Ray cluster: .*pip install 'bpy"
    ):
        render_dataset(RECIPE, tmp_path / "out", 1, 3, RenderOptions(python=bare.path, ray="local"))
    full = StandIn(
        tmp_path / "full", "def behave(*_):\n  say({'unwritable': 'No space left'})\n  return 'answered'"
    )
    with pytest.raises(DatasetError, match=r"on node \S+ \(127.0.0.1\) of the Ray cluster: No space left"):
        render_dataset(RECIPE, tmp_path / "out", 1, 3, RenderOptions(python=full.path, ray="local"))


def test_a_node_without_blender_is_named_and_the_others_go_on(tmp_path, cluster):
    """The first worker that starts finds no Blender."""
    behave = """
    try:
        os.close(os.open(HERE + "/first", os.O_CREAT | os.O_EXCL))
        SAY_READY = {"missing": "No module named 'bpy'"}
    except FileExistsError:
        pass
    """
    there, told = StandIn(tmp_path / "there", behave), []
    render_dataset(
        RECIPE,
        tmp_path / "out",
        4,
        3,
        RenderOptions(python=there.path, ray="local", workers=2),
        on_warning=told.append,
    )
    assert validate(tmp_path / "out").images == 4
    [line] = told
    assert line.startswith("on node ")
    assert "(127.0.0.1) of the Ray cluster: expected a Python with Blender's module bpy" in line


def test_more_threads_than_a_node_has_cores_is_refused(tmp_path, cluster):
    with pytest.raises(WorkerError, match="no node with 64 cores"):
        render_dataset(RECIPE, tmp_path / "out", 1, 3, RenderOptions(ray="local", threads=64))
