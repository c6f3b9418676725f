"""Where trials run in parallel."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from al_loop.benchmark.run.executors import _share, _threads_per_process, make_executor
from al_loop.benchmark.run.trial import Trial
from al_loop.core.errors import ConfigError

pytestmark = pytest.mark.integration


class FakeRay:
    """The resources of a cluster. nodes: cores and GPUs of each."""

    def __init__(self, *nodes: tuple[int, int]) -> None:
        self._nodes = nodes

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": cores, "GPU": gpus}} for cores, gpus in self._nodes]

    def cluster_resources(self) -> dict[str, int]:
        cores, gpus = zip(*self._nodes, strict=True)
        return {"CPU": sum(cores), "GPU": sum(gpus)}


@pytest.mark.parametrize(
    ("nodes", "jobs", "share"),
    [
        ([(8, 0), (4, 0)], None, (6, 0, 2)),  # a trial per node
        ([(8, 2), (4, 0)], None, (6, 1, 2)),  # a trial per GPU
        ([(8, 0)], 3, (2, 0, 3)),
        ([(2, 0), (2, 0)], 1, (2, 0, 1)),  # no more cores than a node has
        ([(8, 1)], 4, (2, 1, 1)),  # no more trials than GPUs
        ([(1, 0)], 4, (1, 0, 1)),
    ],
)
def test_a_trial_gets_its_share_of_a_cluster(
    nodes: list[tuple[int, int]], jobs: int | None, share: tuple[int, int, int]
) -> None:
    assert _share(FakeRay(*nodes), jobs) == share


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with _threads_per_process(3):
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "3"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.slow
@pytest.mark.ray
def test_a_local_cluster_is_closed_to_others_and_its_node_must_see_the_folder(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is an extra: pip install 'al-loop[ray]'")
    with make_executor(dict, tmp_path / "out", 1, "local") as executor:  # type: ignore[arg-type]  # not reached
        import ray

        assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}
        assert executor is not None
        with pytest.raises(ConfigError, match=r"does not see .*/out: expected a folder that all nodes share"):
            list(executor.run([Trial("scratch/random/seed-0", ())]))
