"""Every damage to a dataset is found and named."""

import json

import numpy as np
import pytest
from support.small_datasets import edit_record

from render import DatasetError
from render.annotation import masks
from render.dataset.validate import validate


def test_a_sound_dataset_has_no_problems(dataset):
    verdict = validate(dataset)
    assert verdict.problems == ()
    assert (verdict.images, verdict.annotations, verdict.skipped, verdict.failed) == (3, 3, 0, 0)


DAMAGES = {
    "image 1 is missing": lambda out: (out / "records" / "000001.json").unlink(),
    "records/000001.json cannot be read": lambda out: (out / "records" / "000001.json").write_text("{"),
    "images/000001.jpg is missing": lambda out: (out / "images" / "000001.jpg").unlink(),
    "its hash is not the record's": lambda out: (out / "images" / "000001.jpg").write_bytes(
        (out / "images" / "000001.jpg").read_bytes() + b"x"
    ),
    "is no picture": lambda out: (out / "images" / "000001.jpg").write_text("x"),
    "images/extra.jpg belongs to no record": lambda out: (out / "images" / "extra.jpg").write_text("x"),
    "annotations.json is missing": lambda out: (out / "annotations.json").unlink(),
    "annotations.json is no COCO file": lambda out: (out / "annotations.json").write_text("[]"),
    "annotations.json lists other images (2) than the records (3)": lambda out: _edit_coco(
        out, lambda coco: coco["images"].pop()
    ),
    "other categories than the recipe": lambda out: _edit_coco(out, lambda coco: coco["categories"].pop()),
    "image 2: annotations.json has other labels": lambda out: _edit_coco(
        out, lambda coco: coco["annotations"][2].update(bbox=[0, 0, 5, 5])
    ),
}
RECORDS = {
    "expected 97 x 64 px, got 96 x 64": {"width": 97},
    "of seed 6; expected 5": {"seed": 6},
    "its record says it is image 2": {"index": 2},
    "it is failed, but has a picture": {"status": "failed"},
}
LABELS = {
    "the recipe has no such category": {"category": "ball"},
    "is not inside 96 x 64 px": {"bbox": [90, 3, 11, 8]},
    "area 999 does not fit": {"area": 999},
    "visible_fraction 1.5": {"visible_fraction": 1.5},
    "its mask's box is [10, 7, 11, 8], its own [11, 7, 11, 8]": {"bbox": [11, 7, 11, 8]},
    "its mask has 88 px, its area says 87": {"area": 87},
    "its mask cannot be decoded": {"polygons": [[1.0, 2.0]]},
    "its polygon's box is [0, 0, 9, 9], its own [10, 7, 11, 8]": {
        "polygons": [[0.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0]]
    },
    "its mask is empty": {"rle": masks.encode(np.zeros((64, 96), bool))},
}


def _edit_coco(out, change):
    path = out / "annotations.json"
    coco = json.loads(path.read_text())
    change(coco)
    path.write_text(json.dumps(coco))


@pytest.mark.parametrize("problem", [*DAMAGES, *RECORDS, *LABELS])
def test_every_damage_is_found(dataset, problem):
    if problem in DAMAGES:
        DAMAGES[problem](dataset)
    else:
        edit_record(dataset, LABELS.get(problem, {}), **RECORDS.get(problem, {}))
    found = validate(dataset).problems
    assert any(problem in sentence for sentence in found), found


def test_what_is_no_dataset_cannot_be_validated(tmp_path):
    with pytest.raises(DatasetError, match=r"no dataset\.json"):
        validate(tmp_path)
