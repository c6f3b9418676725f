import json

import pytest

from render import DatasetError, parse_recipe
from render.labels import Box
from render.writers import Record, commit, failures, is_done, merge, open_dataset

RECIPE = parse_recipe({"name": "x"})


def fill(out, index, *boxes, picture=b"\x89PNG picture"):
    commit(out, Record(index, 0, "done", 32, 32, boxes=boxes), picture + str(index).encode())


@pytest.fixture
def out(tmp_path):
    open_dataset(tmp_path / "data", RECIPE, 0)
    return tmp_path / "data"


def test_coco_is_the_merge_of_the_records_in_order(out):
    fill(out, 2, Box(6, (1, 2, 3, 4), 9, 1.0, 1), Box(1, (5, 6, 7, 8), 40, 0.5, 2))
    fill(out, 0, Box(3, (0, 0, 4, 4), 16, 1.0, 1))
    commit(out, Record(1, 0, "failed", 32, 32, reason="boom"), None)
    fill(out, 3)
    coco = json.loads(merge(out, 3).read_text())
    assert [(i["id"], i["file_name"]) for i in coco["images"]] == [(1, "000000.png"), (3, "000002.png")]
    assert [
        (a["id"], a["image_id"], a["category_id"], a["bbox"], a["area"]) for a in coco["annotations"]
    ] == [
        (1, 1, 3, [0, 0, 4, 4], 16),
        (2, 3, 6, [1, 2, 3, 4], 9),
        (3, 3, 1, [5, 6, 7, 8], 40),
    ]
    assert [c["name"] for c in coco["categories"]] == ["one", "two", "three", "four", "five", "six"]
    assert [(r.index, r.reason) for r in failures(out, 4)] == [(1, "boom")]


def test_an_image_without_dice_stays(out):
    fill(out, 0)
    assert len(json.loads(merge(out, 1).read_text())["images"]) == 1


def test_done_means_committed_whole(out):
    fill(out, 0)
    assert is_done(out, 0)
    assert not is_done(out, 1)
    # Killed between picture and record: not done.
    (out / "images" / "000001.png").write_bytes(b"half")
    assert not is_done(out, 1)
    (out / "images" / "000000.png").write_bytes(b"damaged")
    assert not is_done(out, 0)
    (out / "records" / "000000.json").write_text('{"index": 0, "se')
    assert not is_done(out, 0)


def test_no_partial_file_is_left(out):
    fill(out, 0)
    merge(out, 1)
    assert not list(out.rglob("*.partial"))


def test_what_cannot_be_written_is_a_dataset_error(out):
    (out / "images").rmdir()
    with pytest.raises(DatasetError, match=r"000000\.png: cannot be written"):
        fill(out, 0)
    assert not is_done(out, 0)


def test_the_same_dataset_opens_again(out):
    before = (out / "dataset.json").read_bytes()
    open_dataset(out, RECIPE, 0)
    assert (out / "dataset.json").read_bytes() == before


@pytest.mark.parametrize(
    ("recipe", "seed", "said"),
    [
        (RECIPE, 5, "seed: was 0, now 5"),
        (parse_recipe({"name": "x", "dice": {"count": 3}}), 0, "recipe.dice.count: was 6.0, now 3.0"),
    ],
)
def test_another_recipe_or_seed_is_refused_and_named(out, recipe, seed, said):
    with pytest.raises(DatasetError) as error:
        open_dataset(out, recipe, seed)
    assert said in str(error.value)
    assert "choose another folder" in str(error.value)


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        open_dataset(tmp_path, RECIPE, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["thesis.doc"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="another folder"):
        open_dataset(tmp_path / "file", RECIPE, 0)
