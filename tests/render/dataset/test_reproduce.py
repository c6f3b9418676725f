"""An image rendered again is compared with the stored one."""

import pytest
from support.fake_worker import FakeRenderWorker
from support.small_datasets import edit_record

from render import DatasetError, RenderOptions
from render.annotation.record_store import read_record
from render.dataset.reproduce import reproduce_image


def test_an_image_made_again_is_the_same(dataset, stand_in):
    result = reproduce_image(dataset, 1, RenderOptions(python=stand_in.path))
    assert result.differences == ()
    assert result.sha256 == read_record(dataset, 1).sha256
    assert stand_in.requests[-1].images == (1,)


@pytest.mark.integration
def test_an_image_made_again_shows_how_it_differs(dataset, tmp_path):
    darker = FakeRenderWorker(
        tmp_path / "darker", "def behave(*_):\n  Image.Image.paste = lambda *a: None  # no rectangle"
    )
    keep = tmp_path / "made.jpg"
    result = reproduce_image(dataset, 1, RenderOptions(python=darker.path), keep=keep)
    assert len(result.differences) == 1
    assert "the image differs in" in result.differences[0]
    assert keep.read_bytes() != (dataset / "images" / "000001.jpg").read_bytes()
    edit_record(dataset, {"area": 87})
    result = reproduce_image(dataset, 1, RenderOptions(python=darker.path))
    assert "annotations[0].area was 87, is 88" in result.differences


def test_an_image_that_is_not_there_cannot_be_made_again(dataset):
    with pytest.raises(DatasetError, match=r"no image 3.*--count 4"):
        reproduce_image(dataset, 3)
