"""The number of GPUs of a training, from the command line and the settings to the processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from al_loop.cli import cli
from al_loop.core.config import parse_config
from al_loop.core.errors import ConfigError
from al_loop.core.frozen_settings import hashed
from al_loop.state.workspace import Workspace, open_workspace


@pytest.fixture
def shared(filled: Workspace) -> Workspace:
    """A workspace with settings for two processes on the CPU."""
    path = filled.root / "al-loop.toml"
    text = path.read_text().replace('device = "auto"', 'device = "cpu"')
    path.write_text(text.replace("gpus = 1", "gpus = 2"))
    return open_workspace(filled.root)


def test_the_command_line_wins_over_the_settings(shared: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "al_loop.models.pretrain.pretrain", lambda workspace, *_: seen.append(workspace.config.gpus)
    )
    monkeypatch.setattr(
        "al_loop.loop.cycle.begin_cycle", lambda workspace, *_: seen.append(workspace.config.gpus) or stop()
    )

    def stop() -> None:
        raise ConfigError("enough")

    for words in (["pretrain"], ["pretrain", "--gpus", "3"], ["cycle"], ["cycle", "--gpus", "1"]):
        CliRunner().invoke(cli, ["-w", str(shared.root), *words])
    assert seen == [2, 3, 2, 1]
    assert CliRunner().invoke(cli, ["-w", str(shared.root), "pretrain", "--gpus", "0"]).exit_code == 2


def test_a_cycle_under_way_takes_the_gpus_of_now(shared: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from al_loop.core.console import Silent
    from al_loop.loop.cycle_record import begin_cycle, open_cycle
    from al_loop.state import model_registry

    model_registry.promote(
        shared, model_registry.register_model(shared, "m0", "import", "0" * 64, None, None), "the first model"
    )
    begin_cycle(shared, 2, Silent())
    cycle = open_cycle(shared.with_gpus(1), None, Silent())
    assert cycle is not None
    assert cycle.settings.gpus == 1


def test_a_finished_training_of_0_1_keeps_its_hash() -> None:
    """The settings as 0.1 hashed them among the inputs of the stage."""
    config = parse_config(b'classes = ["a"]\n[pretrain]\nepochs = 50', "al-loop.toml")
    assert hashed(config, "pretrain") == {
        "epochs": 50, "batch_size": 4, "lr": None, "val_every": 1, "patience": 10, "turns": False,
        "repeat": 1, "workers": None, "precision": None, "seed": 0,
    }  # fmt: skip


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_runs(shared: Workspace) -> None:
    from al_loop.core.console import Silent
    from al_loop.models.pretrain import pretrain

    reporter = Silent()
    with pytest.raises(ConfigError, match="a batch of 4 images cannot be shared evenly by 3 GPUs"):
        pretrain(shared.with_gpus(3), reporter)
    assert not reporter.lines
    assert not list(shared.root.glob("models/*"))


@pytest.mark.train
@pytest.mark.slow
def test_two_processes_make_a_model(small: Workspace, tmp_path: Path) -> None:
    """`al-loop pretrain --gpus 2` on a CPU, from the settings to the registered model."""
    from support.factories import write_coco_set

    from al_loop.core.console import Silent
    from al_loop.models import model_training
    from al_loop.models.pretrain import pretrain
    from al_loop.state import model_registry

    path = small.root / "al-loop.toml"
    text = path.read_text().replace('device = "auto"', 'device = "cpu"')
    path.write_text(text.replace("steps = 1500", "steps = 2"))
    data = write_coco_set(tmp_path / "rendered", 8, seed=3)
    workspace = open_workspace(small.root).with_gpus(2)
    model = pretrain(workspace, Silent(), [data])
    notes = model_training.training_notes(workspace, model)
    assert notes["images"] == 8
    assert model_registry.current_model(workspace).id == model.id == "pretrain-1"
    assert (model.folder / "training" / "processes.log").is_file()
    assert not (model.folder / "training" / "processes").exists()
    assert not list((model.folder / "training").glob("*.pth"))
    # The number of processes is no input: with one process, the finished training counts.
    assert pretrain(open_workspace(small.root), Silent(), [data]).id == model.id
