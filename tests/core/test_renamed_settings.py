"""Settings of al-loop 0.1: refused where people write them, translated where that version did."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from al_loop.core.config import Config, load_config, parse_config
from al_loop.core.console import Silent
from al_loop.core.errors import ConfigError
from al_loop.core.frozen_settings import hashed, thawed
from al_loop.core.renamed_settings import RENAMED, rewritten, with_new_names, with_old_names
from al_loop.core.training_config import AugmentConfig, TrainConfig
from al_loop.doctor import examine
from al_loop.state.database.migrations import SETTINGS_RENAMED
from al_loop.state.workspace import init_workspace, open_workspace

OLD_TOML = """# mine
classes = ["a", "b"] # two

[train]
turns = true
val_every = 2 # a validation takes long

[pretrain]
epochs = 12 # until it is good
repeat = 3 # of few images

[cycle]
strategy = 'ours' # explore = 0.3
explore = 0.2 # more than usual
audit=0.3

[monitor]
settle_s = 0.5
[ monitor.drift ] # when
effect = 0.4
in_a_row = 3
"""


def old_workspace(root: Path, text: str = OLD_TOML) -> Path:
    """Make a workspace as al-loop 0.1 left it."""
    workspace = init_workspace(root, ("a", "b"))
    for table, column in (("cycles", "validation_images"), ("picks", "validation")):  # of later versions
        workspace.store.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    for table in ("verdicts", "fingerprints"):
        workspace.store.execute(f"DROP TABLE {table}")
    workspace.store.execute(f"PRAGMA user_version = {SETTINGS_RENAMED - 1}")
    workspace.store.close()
    (root / "al-loop.toml").write_text(text)
    return root


@pytest.mark.parametrize("key", RENAMED)
def test_an_old_name_is_refused_with_the_new_one(key: str) -> None:
    table, _, name = key.rpartition(".")
    with pytest.raises(ConfigError, match=f"a.toml: {key} is called {table}.{RENAMED[key]} now"):
        parse_config(f'classes = ["a"]\n[{table}]\n{name} = 1'.encode(), "a.toml")


def test_what_steps_replace_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.repeat is gone: expected train\.steps, the number"):
        parse_config(b'classes = ["a"]\n[train]\nrepeat = 2', "a.toml")


@pytest.mark.parametrize(
    ("old", "counted"),
    [
        ("", (400, 100)),  # nothing was chosen
        ("epochs = 50", (350, 7)),
        ("val_every = 4", (350, 28)),
        ("repeat = 2", (700, 14)),
        ("epochs = 12\nrepeat = 2\nval_every = 3", (168, 42)),
    ],
)
def test_trainings_of_0_1_last_as_long(old: str, counted: tuple[int, int]) -> None:
    """25 images in batches of 4 are 7 steps."""
    config = parse_config(f'classes = ["a"]\n[train]\n{old}'.encode(), "a.toml", of_0_1=True)
    assert config.train.duration(25) == counted


def test_the_old_name_of_a_strategy_is_refused_with_the_new_one() -> None:
    with pytest.raises(ConfigError, match=r'cycle\.strategy = "ours" is called "coverage" now'):
        parse_config(b'classes = ["a"]\n[cycle]\nstrategy = "ours"', "a.toml")


def test_a_file_is_rewritten_key_by_key() -> None:
    new, long = rewritten(OLD_TOML.encode()), "val_every = 2 # a validation takes long\n"
    assert new is not None
    assert new.decode() == (
        OLD_TOML.replace("turns", "augment.rotate90")
        .replace(long, long + long.replace("val_every = 2", "epochs = 50"))
        .replace("epochs = 12", "epochs = 36")
        .replace("repeat = 3", "val_every = 3")
        .replace("'ours'", "'coverage'")
        .replace("explore = 0.2", "explore_fraction = 0.2")
        .replace("audit=", "random_audit_fraction=")
        .replace("settle_s", "min_age_s")
        .replace("in_a_row", "consecutive_windows")
        .replace("effect", "min_effect")
    )
    assert rewritten(new) is None
    assert (
        rewritten(b"[train]\nepochs = 2\nrepeat = 3\nval_every = 1_0\n")
        == b"[train]\nepochs = 6\nval_every = 30\n"
    )


@pytest.mark.parametrize(
    "text",
    ["[cycle]\n'explore' = 0.2", "cycle = {explore = 0.2}", "[cycle]\nexplore = 0.2\nexplore_fraction = 0.1"],
)
def test_what_is_not_understood_is_not_rewritten(text: str) -> None:
    assert rewritten(f'classes = ["a"]\n{text}\n'.encode()) is None


def test_settings_go_to_the_old_names_and_back() -> None:
    plain = msgspec.to_builtins(Config(classes=("a",)))
    old = with_old_names(plain)
    assert {"explore", "audit"} < old["cycle"].keys()
    assert with_new_names(old) == plain
    for name in ("validation_images", "cost", "near_duplicates"):  # unknown to 0.1
        del old["cycle"][name]
    assert hashed(Config(classes=("a",)), "cycle") == old["cycle"]
    plain["train"].update(epochs=50, val_every=1)
    trained = with_old_names(plain)["train"]
    assert (trained["repeat"], "steps" in trained) == (1, False)
    assert with_new_names({"train": trained})["train"] | {"steps": 400} == plain["train"]


def test_settings_that_0_1_did_not_have_change_a_hash_only_if_they_are_set() -> None:
    usual, turned, grey = (
        hashed(Config(classes=("a",), train=TrainConfig(augment=augment)), "train")
        for augment in (AugmentConfig(), AugmentConfig(rotate90=True), AugmentConfig(grayscale=0.5))
    )
    assert turned == {**usual, "turns": True}
    assert "augment" not in usual
    assert grey["augment"]["grayscale"] == 0.5


def test_a_setting_of_0_1_that_has_moved_twice_is_read() -> None:
    for name in ("turns", "rotate90"):
        config = thawed(msgspec.json.encode({"train": {name: True}, "pretrain": {"augment": {}, name: True}}))
        assert config.train.augment.rotate90
        assert config.pretrain.augment.rotate90


def test_settings_that_0_1_froze_are_read_with_their_values() -> None:
    frozen = msgspec.json.encode(msgspec.toml.decode(OLD_TOML))
    config = thawed(frozen)
    assert (config.cycle.strategy, config.cycle.random_audit_fraction) == ("coverage", 0.3)
    assert (config.monitor.drift.min_effect, config.monitor.drift.consecutive_windows) == (0.4, 3)


def test_an_old_workspace_is_rewritten_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = old_workspace(tmp_path / "w")
    config = open_workspace(root).config
    assert (config.cycle.strategy, config.cycle.explore_fraction) == ("coverage", 0.2)
    assert capfd.readouterr().err.splitlines() == [
        "al-loop.toml: settings have the names of al-loop 0.2 now. Before: al-loop.toml.before-0.2"
    ]
    assert (root / "al-loop.toml.before-0.2").read_text() == OLD_TOML
    assert load_config(root / "al-loop.toml") == config
    assert open_workspace(root).config == config
    # From now on an old name is a mistake.
    (root / "al-loop.toml").write_text(OLD_TOML)
    with pytest.raises(ConfigError, match="is called"):
        open_workspace(root)


def test_an_old_workspace_whose_settings_cannot_be_used_is_left_as_it_is(tmp_path: Path) -> None:
    root = old_workspace(tmp_path / "w", OLD_TOML.replace("0.2", "2.0"))
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"explore_fraction = 2\.0"):
            open_workspace(root)
    (root / "al-loop.toml").write_text(OLD_TOML)
    assert open_workspace(root).config.train.augment.rotate90


@pytest.mark.usefixtures("temporary")
def test_an_old_workspace_is_examined_and_not_changed(tmp_path: Path) -> None:
    root = old_workspace(tmp_path / "w")
    assert [f.check for f in examine(root, Silent()).findings] == []
    assert (root / "al-loop.toml").read_text() == OLD_TOML
    assert not (root / "al-loop.toml.before-0.2").exists()
