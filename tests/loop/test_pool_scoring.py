"""`al-loop score`: scores lie where a cycle reads them, and come from one model."""

from __future__ import annotations

import traceback
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from support.factories import write_checkpoint

import al_loop
from al_loop.cli import main
from al_loop.core.console import Silent
from al_loop.core.errors import ModelError
from al_loop.images import repository
from al_loop.loop import selection_stages as stages
from al_loop.loop.cycle import run_cycle
from al_loop.loop.cycle_record import begin_cycle
from al_loop.loop.pool_scoring import score_pool
from al_loop.models import scoring
from al_loop.models.pretrain import import_checkpoint
from al_loop.state import model_registry
from al_loop.state.prediction_store import ShardStore
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from strategies import Ids

pytestmark = pytest.mark.train
PACKAGE = Path(al_loop.__file__).parent


@pytest.fixture
def ready(small: Workspace, tmp_path: Path) -> Workspace:
    """Six photographs and a model, in shards of two."""
    path = small.root / "al-loop.toml"
    path.write_text(
        path.read_text().replace("batch_size = 8\n", "batch_size = 2\nshard_size = 2\nworkers = 0\n")
    )
    from al_loop.state.workspace import open_workspace

    workspace = open_workspace(small.root)
    import_checkpoint(workspace, str(write_checkpoint(tmp_path / "mine.pth")), None, Silent())
    return workspace


def run(*args: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["al-loop", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
    return int(stop.value.code or 0)


def test_the_next_cycle_finds_it_done(
    ready: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = repository.unlabelled(ready)[0]
    source = repository.source_names(ready, [broken.id])[broken.id]
    broken.path.chmod(0o644)
    broken.path.write_bytes(b"no picture")
    assert run("-w", ready.root, "score") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        f"  left out: {source}: {broken.path} has changed since it was stored: expected SHA-256 "
    )
    assert lines[1].startswith("6 images of the pool by import-1: 5 scored in ")
    assert lines[1].endswith(" images/s), 0 scored before, 1 cannot be read")
    assert run("-w", ready.root, "score", "--model", "import-1") == 0
    assert "0 scored in" in (again := capsys.readouterr().out.splitlines()[-1])
    assert "5 scored before" in again
    assert run("-w", ready.root, "score", "--model", "other") == 1
    assert "no model 'other'" in capsys.readouterr().err

    broken.path.unlink()  # else it would be scored again
    monkeypatch.setattr(
        repository, "unlabelled_ids", lambda _, real=repository.unlabelled_ids: islice(real(_), 1, None)
    )
    monkeypatch.setattr(scoring, "load_detector", lambda *_: pytest.fail("scored again"))
    begun, told = begin_cycle(ready, None, Silent()), Silent()
    stages.score_stage(ready, begun, told, None)
    assert told.lines[-1].startswith("  score: 5 images by import-1")


def with_(ready: Workspace, strategy: str, precision: str = "auto") -> Workspace:
    """Return the workspace with other settings."""
    config = structs.replace(
        ready.config,
        score=structs.replace(ready.config.score, precision=precision),
        cycle=structs.replace(ready.config.cycle, strategy=strategy),
    )
    return ready.with_settings(config)


def test_a_cycle_of_0_1_selects_from_what_it_rescored_in_fp32(ready: Workspace) -> None:
    ready = with_(ready, "dbal", "bf16")
    begun, key = begin_cycle(ready, 1, Silent()), ScoreKey.of(ready.config, "import-1")
    assert list(stages.score_stage(ready, begun, Silent(), None)) == []
    assert not ready.scores_dir(key.exact).exists()
    everything = Ids.of(repository.unlabelled_ids(ready))
    rough, rescored = ShardStore(ready.scores_dir(key)).load(everything), list(everything)[:4]
    images = repository.images_by_id(ready, rescored)
    scoring.score(ready, begun.model, images, ready.scores_dir(key.exact), lambda *_: None, scoring.EXACT)
    exact = ShardStore(ready.scores_dir(key.exact)).load(rescored)
    assert not np.array_equal(exact.uncertainty, rough.subset(rescored).uncertainty)
    seen = stages.scored_pool(ready, begun, rescored)
    for i, name in enumerate(everything):
        source = exact if name in rescored else rough
        assert seen.uncertainty[i] == source.uncertainty[source.image_ids.index(name)]
    assert np.array_equal(stages.scored_pool(ready, begun, ()).uncertainty, rough.uncertainty)


def test_auto_is_bf16_for_strategies_that_rank(ready: Workspace) -> None:
    names = {
        (strategy, precision): ScoreKey.of(with_(ready, strategy, precision).config, "m").folder().name
        for strategy in ("dbal", "random", "kmeans")
        for precision in ("auto", "fp32", "bf16")
    }
    expected = {"auto": "thr-0.05-auto", "fp32": "thr-0.05", "bf16": "thr-0.05-bf16"}
    # kmeans compares embeddings: "auto" scores it in fp32.
    assert names == {
        (strategy, precision): expected["fp32" if (strategy, precision) == ("kmeans", "auto") else precision]
        for strategy, precision in names
    }
    assert with_(ready, "dbal").config.exact() == with_(ready, "dbal", "fp32").config
    assert with_(ready, "dbal", "bf16").config.exact() == with_(ready, "dbal", "bf16").config


def test_weights_that_change_meanwhile_end_the_run_and_nothing_of_them_is_kept(
    ready: Workspace, tmp_path: Path
) -> None:
    model, images = model_registry.current_model(ready), repository.unlabelled(ready)
    scoring.score(ready, model, images, tmp_path / "whole", lambda *_: None)
    weights, folder = model.weights.read_bytes(), tmp_path / "scores"

    def change(done: int, total: int) -> None:
        if done == 2:
            write_checkpoint(model.weights, seed=3)

    with pytest.raises(
        ModelError, match=r"weights.pth was changed during the run: expected .*al-loop models list"
    ):
        scoring.score(ready, model, images, folder, change)
    stored = ShardStore(folder).load()
    assert len(stored.image_ids) == 2
    np.testing.assert_array_equal(stored.xyxy, ShardStore(tmp_path / "whole").load(stored.image_ids).xyxy)
    with pytest.raises(ModelError, match="has SHA-256"):
        score_pool(ready, None, Silent())

    def touch(done: int, total: int) -> None:
        model.weights.write_bytes(weights)  # the same bytes, another time

    touch(0, 0)
    scoring.score(ready, model, images, folder, touch)
    assert len(ShardStore(folder).image_ids()) == 6


def test_eight_frames_from_a_cycle_to_the_forward_pass(ready: Workspace) -> None:
    class ReachedError(Exception):
        pass

    frames: list[str] = []

    def note(*_: object) -> None:
        frames.extend(f.name for f in traceback.extract_stack() if Path(f.filename).is_relative_to(PACKAGE))
        raise ReachedError

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        with pytest.raises(ReachedError):
            run_cycle(ready, 1, Silent())
    finally:
        hook.remove()
    path = frames[frames.index("run_cycle") :]
    assert path[-1] == "predict"
    assert len(path) <= 8, path


def test_a_cluster_that_is_not_there(ready: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("score", "cycle"):
        assert run("-w", ready.root, command, "--ray", "127.0.0.1:1") == 1
        error = capsys.readouterr().err
        assert error.startswith(
            "error: no Ray cluster at 127.0.0.1:1 (Connection refused); start one: ray start"
        )
        assert "Traceback" not in error
