"""What became of a dataset's images, in a few lines."""

import msgspec
import pytest
from support.fake_worker import FakeRenderWorker
from support.small_datasets import RECIPE

from render import RenderOptions, render_dataset
from render.dataset.summary import summary
from render.dataset.validate import validate


@pytest.mark.integration
def test_the_summary_counts_and_says_what_to_do(tmp_path):
    behave = """
    def behave(scene, spec, images):
        if scene == 1: os._exit(1)
        if scene == 2: skip(spec, images[0], "nothing to see")
    """
    render_dataset(
        RECIPE,
        tmp_path / "out",
        4,
        5,
        RenderOptions(python=FakeRenderWorker(tmp_path / "stand-in", behave).path),
    )
    lines = summary(tmp_path / "out", 4)
    assert lines[0] == "2 images with 2 labels"
    assert lines[1] == "1 views skipped before rendering: 1 × nothing to see"
    assert lines[2].startswith("1 images failed and were left out, the last: ended with exit status 1")
    assert lines[2].endswith("to try them again remove records/000001.json")
    assert validate(tmp_path / "out").problems == ()


def test_the_summary_warns_of_a_scale_that_cannot_be_meant(tmp_path, stand_in):
    """A label of 10 x 8 px in 400 x 300 px is 0.07 % of the picture."""
    large = msgspec.structs.replace(
        RECIPE, image=msgspec.structs.replace(RECIPE.image, width=400, height=300)
    )
    render_dataset(large, tmp_path / "out", 1, 5, RenderOptions(python=stand_in.path))
    assert any(
        "less than 0.07% of their picture; check units" in line for line in summary(tmp_path / "out", 1)
    )
