"""`python -m render` as a user meets it: output, files, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from PIL import Image
from support.fake_worker import FakeRenderWorker

from render.__main__ import main
from render.recipe.json_schema import recipe_schema

RECIPE = """
name = "cubes"
[image]
width = 96
height = 64
[labels]
masks = "rle"
[[parts]]
name = "cube"
shape = "box"
size_m = 0.02
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "cubes.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def python(tmp_path):
    return FakeRenderWorker(tmp_path / "stand-in").path


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def dataset(tmp_path, recipe, python):
    result = run("make", recipe, "--count", 3, "--out", tmp_path / "out", "--python", python)
    assert result.exit_code == 0, result.output
    return tmp_path / "out"


def test_make_says_what_it_made(tmp_path, recipe, python):
    options = ("--workers", 2, "--threads", 3, "--timeout", 60)
    result = run("make", recipe, "--count", 2, "--out", tmp_path / "out", "--python", python, *options)
    assert result.exit_code == 0
    assert f"{tmp_path / 'out' / 'annotations.json'}: " in result.stdout
    assert "2 images with 2 labels" in result.stdout


def test_make_without_one_image_is_a_failure(tmp_path, recipe):
    behave = "def behave(scene, spec, images): skip(spec, images[0], 'the camera stands inside cube')"
    python = FakeRenderWorker(tmp_path / "blind", behave).path
    result = run("make", recipe, "--count", 2, "--out", tmp_path / "out", "--python", python)
    assert result.exit_code == 1
    assert "2 views skipped before rendering: 2 × the camera stands inside cube" in result.stdout
    assert "no image was rendered" in result.stderr


def test_make_reports_a_wrong_recipe_in_one_line(tmp_path, recipe):
    recipe.write_text(RECIPE + 'colour = "red"\n')
    result = run("make", recipe, "--count", 1, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "colour" in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_make_without_blender_says_how_to_get_it(tmp_path, recipe):
    python = FakeRenderWorker(tmp_path / "bare", "SAY_READY = {'missing': \"No module named 'bpy'\"}").path
    result = run("make", recipe, "--count", 1, "--out", tmp_path / "out", "--python", python)
    assert result.exit_code == 1
    assert "pip install 'bpy>=4.5,<4.6'" in result.stderr


@pytest.mark.integration
def test_make_refuses_another_seed_in_the_same_folder(dataset, recipe, python):
    result = run("make", recipe, "--count", 3, "--seed", 1, "--out", dataset, "--python", python)
    assert result.exit_code == 1
    assert "holds another dataset (seed: was 0, now 1)" in result.stderr


@pytest.mark.integration
def test_preview_of_a_recipe_and_of_a_dataset(tmp_path, recipe, python, dataset):
    sheet = tmp_path / "sheet.jpg"
    result = run("preview", recipe, "--images", 2, "--out", sheet, "--python", python)
    assert result.exit_code == 0, result.output
    assert f"{sheet}: 2 images, 2 labels" in result.stdout
    sheet.unlink()
    result = run("preview", dataset, "--out", sheet)
    assert f"{sheet}: 3 images, 3 labels" in result.stdout
    assert sheet.is_file()


@pytest.mark.integration
def test_stats_compares_and_writes_where_it_is_told(dataset, tmp_path):
    out = tmp_path / "elsewhere"
    result = run("stats", dataset, "--against", dataset / "annotations.json", "--out", out)
    assert result.exit_code == 0, result.output
    assert "Nothing differs by more than chance." in result.stdout
    assert json.loads((out / "stats.json").read_text())["real"]["boxes"] == 3
    assert (out / "stats.png").is_file()


def test_validate_passes_and_fails(dataset):
    result = run("validate", dataset)
    assert result.exit_code == 0
    assert "3 images, 3 labels, 0 skipped, 0 failed, 0 problems" in result.stdout
    (dataset / "images" / "000001.jpg").unlink()
    result = run("validate", dataset)
    assert result.exit_code == 1
    assert "images/000001.jpg is missing" in result.stderr
    assert "1 problems" in result.stdout


def foreign(folder):
    """A COCO file of one picture with a box, a worded one and a picture that is not there."""
    Image.new("RGB", (60, 40), (90, 90, 90)).save(folder / "a.png")
    size = {"width": 60, "height": 40}
    boxes = [{"image_id": 1, "category_id": 1, "bbox": bbox} for bbox in ([5, 5, 10, 10], ["a", 1, 2, 3])]
    images = [{"id": 1, "file_name": "a.png", **size}, {"id": 2, "file_name": "lost.png", **size}]
    file = folder / "coco.json"
    file.write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "bolt"}]})
    )
    return file


@pytest.mark.integration
def test_commands_that_read_coco_say_what_they_could_not_take(tmp_path):
    file = foreign(tmp_path)
    problems = [
        "  image 'lost.png': no such file beside coco.json or in images/",
        "  annotation number 2 of a.png: bbox must be four finite numbers [x, y, width, height], got "
        "['a', 1, 2, 3]",
    ]
    for command in (("stats", file), ("preview", file, "--out", tmp_path / "sheet.jpg")):
        result = run(*command)
        assert result.exit_code == 0, result.output
        assert result.stderr.splitlines() == ["warning: 2 problems in coco.json:", *problems]
    assert (tmp_path / "stats.png").is_file()
    result = run("validate", file)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [problem.strip() for problem in problems]
    assert "2 images, 1 labels, 0 skipped, 0 failed, 2 problems" in result.stdout
    file.write_text(file.read_text().replace("[5, 5, 10, 10]", "null"))
    result = run("stats", file)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: 4 problems in coco.json:\n")
    assert result.stderr.splitlines()[-1].endswith(
        "expected boxes to measure, got none; render more images, or label some"
    )


@pytest.mark.integration
def test_reproduce_passes_and_fails(dataset, python, tmp_path):
    result = run("reproduce", dataset, 1, "--python", python, "--keep", tmp_path / "kept.jpg")
    assert result.exit_code == 0, result.output
    assert "image 1: the same, bit for bit" in result.stdout
    assert (tmp_path / "kept.jpg").read_bytes() == (dataset / "images" / "000001.jpg").read_bytes()
    record = dataset / "records" / "000001.json"
    record.write_text(record.read_text().replace('"visible_fraction": 1.0', '"visible_fraction": 0.5'))
    result = run("reproduce", dataset, 1, "--python", python)
    assert result.exit_code == 1
    assert "visible_fraction was 0.5, is 1.0" in result.stderr
    assert "differs" in result.stdout


def test_export_writes_yolo_and_masks(dataset):
    assert run("export", "yolo", dataset).exit_code == 0
    # Image 0: a box of 10 x 8 px at (3, 2) in 96 x 64 px; its middle is (8, 6).
    assert (dataset / "labels" / "000000.txt").read_text() == "0 0.083333 0.093750 0.104167 0.125000\n"
    result = run("export", "masks", dataset, "--kind", "class")
    assert result.exit_code == 0, result.output
    assert len(list((dataset / "masks" / "class").glob("*.png"))) == 3
    assert run("validate", dataset).exit_code == 0


def test_schema_prints_the_schema():
    assert json.loads(run("schema").stdout) == json.loads(msgspec.json.encode(recipe_schema()))


def test_an_old_name_is_refused_with_the_new_one(tmp_path):
    result = run("again", tmp_path, 1)
    assert result.exit_code == 2
    assert "'again' is now called 'reproduce'" in result.stderr


@pytest.mark.parametrize("command", ["stats", "validate", "preview", "export yolo", "reproduce 1"])
def test_what_is_no_dataset_is_one_line(tmp_path, command):
    name, *rest = command.split()
    inner = [rest.pop(0)] if name == "export" else []
    result = run(name, *inner, tmp_path, *rest)
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert "expected" in result.stderr


def test_an_interrupt_says_how_to_go_on(tmp_path, recipe, monkeypatch):
    from render.dataset import generate as dataset

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "render_dataset", stop)
    result = CliRunner().invoke(main, ["make", str(recipe), "--count", "1", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert f"run the same command again to resume: {tmp_path}" in result.output


@pytest.mark.integration
def test_paths_of_a_recipe_are_its_own(tmp_path, python):
    """Called from anywhere: a folder of pictures beside the recipe is found, and found again later."""
    (tmp_path / "recipes" / "backs").mkdir(parents=True)
    path = tmp_path / "recipes" / "r.toml"
    path.write_text(RECIPE + '[background]\nkind = "photo"\nfolder = "backs"\n')
    out = tmp_path / "sets" / "out"
    out.parent.mkdir()
    assert run("make", path, "--count", 1, "--out", out, "--python", python).exit_code == 0
    assert (out / "root.txt").read_text() == str(Path("..", "..", "recipes"))
    assert run("reproduce", out, 0, "--python", python).exit_code == 0
