"""Models to begin a training with: which layers keep which weights."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from support.benchmark_specs import CONFIG

from al_loop.detector.checkpoint import read_weights
from al_loop.detector.config.stored_config import read_config
from al_loop.models.transfer_start import Keep, trained_parameters, write_start
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace

pytestmark = pytest.mark.integration


def test_layers_keep_their_weights_or_get_random_ones(workspace: Workspace, tmp_path: Path) -> None:
    model = msgspec.structs.replace(CONFIG.model, config="lite", image_size=(64, 64))
    lite = workspace.with_settings(msgspec.structs.replace(CONFIG, model=model))

    def start(source: Model | None, keep: Keep, seed: int) -> Model:
        return write_start(lite, tmp_path / f"{keep}-{seed}", source, keep, seed, lambda *_: None)

    def same(one: Model, other: Model) -> set[str]:
        """Parts whose weights are all equal."""
        a, b = read_weights(one.weights), read_weights(other.weights)
        differ = {n.partition(".")[0] for n in a if n.endswith("weight") and not torch.equal(a[n], b[n])}
        return {n.partition(".")[0] for n in a} - differ

    imagenet = start(None, "all", 0)
    assert same(imagenet, start(None, "encoder", 1)) == {"backbone"}
    random = start(imagenet, "nothing", 0)
    assert "backbone" not in same(imagenet, random)
    assert same(random, start(random, "encoder", 2)) == {"backbone"}
    assert same(random, start(random, "all", 3)) == {"backbone", "neck", "rpn_head", "roi_head"}
    # All of a random backbone is trained, with the statistics of batches; a model that begins from it is
    # trained as the settings say.
    assert not read_config(random.folder).model.backbone.norm_eval
    assert "norm_eval" not in read_config(tmp_path / "all-3").model.backbone
    counts = [trained_parameters(lite, random, freeze) for freeze in (None, "stem", "encoder")]
    assert counts[0] > counts[1] > counts[2]
