"""Which folder a rendered set of a workspace gets: its name follows everything that its pictures follow."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
from msgspec import structs

from al_loop.core.console import Silent
from al_loop.core.files import file_sha256
from al_loop.images.synthetic import dataset_folder, without_mirroring
from al_loop.state.workspace import Workspace
from render import load_assets, load_recipe
from render.annotation.record_store import FORMAT, open_dataset

RECIPE = 'name = "r"\n[[parts]]\nname = "die"\nshape = "die"\n'


def station(folder: Path, colour: int = 100, tables: str = '[background]\nfolder = "photos"\n') -> Path:
    """A recipe and the photographs beside it."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    PIL.Image.new("L", (32, 24), colour).save(folder / "photos" / "a.png")
    (folder / "station.toml").write_text(RECIPE + tables)
    return folder / "station.toml"


def test_a_recipe_without_files_is_named_by_its_text(workspace: Workspace, tmp_path: Path) -> None:
    recipe = station(tmp_path, tables="")
    by_text = f"station-{file_sha256(recipe)[:8]}-s7"
    assert dataset_folder(workspace, recipe, 7, None) == workspace.synthetic / by_text


def test_the_files_of_a_recipe_belong_to_its_name_and_its_folder_does_not(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Equal recipes beside different files are two sets; a moved recipe is the same set."""
    first = dataset_folder(workspace, station(tmp_path / "one"), 0, None)
    other = dataset_folder(workspace, station(tmp_path / "two", colour=200), 0, None)
    moved = dataset_folder(workspace, station(tmp_path / "three"), 0, None)
    rooted = dataset_folder(workspace, tmp_path / "one" / "station.toml", 0, tmp_path / "two")
    assert first == moved
    assert other == rooted != first
    assert dataset_folder(workspace, station(tmp_path / "one", colour=200), 0, None) == other


def test_a_set_of_an_earlier_version_goes_on_until_a_file_changes(
    workspace: Workspace, tmp_path: Path
) -> None:
    recipe = station(tmp_path / "one")
    by_text = workspace.synthetic / f"station-{file_sha256(recipe)[:8]}-s0"
    assets = load_assets(load_recipe(recipe), recipe.parent)
    open_dataset(by_text, load_recipe(recipe), 0, assets.digest)
    assert dataset_folder(workspace, recipe, 0, None) == by_text
    identity = by_text / "dataset.json"
    of_today = identity.read_text()
    identity.write_text(of_today.replace(f'"format": {FORMAT}', '"format": 1'))
    assert dataset_folder(workspace, recipe, 0, None) != by_text
    identity.write_text(of_today)
    station(tmp_path / "one", colour=200)
    assert dataset_folder(workspace, recipe, 0, None) != by_text


def test_a_recipe_whose_classes_mirror_each_other_switches_flips_off(
    workspace: Workspace, tmp_path: Path
) -> None:
    for name in ("usual", "lost", "mirrored"):
        workspace.store.execute("INSERT INTO datasets VALUES (?, 'r', 3, 'now')", name)
    usual = load_recipe(station(tmp_path / "one", tables=""))
    open_dataset(workspace.synthetic / "usual", usual, 0)
    tell = Silent()
    assert without_mirroring(workspace, tell) is workspace
    mirrored = load_recipe(station(tmp_path / "two", tables="[labels]\nmirrored_classes = true\n"))
    open_dataset(workspace.synthetic / "mirrored", mirrored, 0)
    off = without_mirroring(workspace, tell)
    for table in ("pretrain", "train"):
        before, after = getattr(workspace.config, table), getattr(off.config, table)
        assert after == structs.replace(before, augment=structs.replace(before.augment, hflip=False))
    assert tell.lines == ["  no image is mirrored: labels.mirrored_classes is true in the recipe of mirrored"]
    assert without_mirroring(off, tell) is off
    assert len(tell.lines) == 1
