"""Promotion, rollback, and the database's view of models."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from support.factories import write_coco_set
from support.metrics import compared, metrics, with_masks

from al_loop.core.config import PromotionConfig
from al_loop.core.errors import DataError, ModelError
from al_loop.evaluation.bootstrap import Difference
from al_loop.images.validation_sets import add_validation
from al_loop.models.promotion import COMPARISON, decide_promotion, evaluate_candidate
from al_loop.state import model_registry
from al_loop.state.database.label_table import set_names
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import VALIDATION, Metrics


@pytest.mark.parametrize(
    ("candidate", "current", "rule", "promoted", "says"),
    [
        (metrics(0.5), None, {}, True, "first model"),
        (metrics(0.5), metrics(0.4), {}, True, "0.400 → 0.500"),
        (metrics(0.4), metrics(0.4), {}, True, "not worse"),
        (metrics(0.399), metrics(0.4), {}, False, "0.399: worse"),
        (metrics(0.39), metrics(0.4), {"tolerance": 0.02}, True, "not worse"),
        (metrics(math.nan), metrics(0.0), {"tolerance": 1.0}, False, "not a number"),
        (
            metrics(0.5, a=0.1),
            metrics(0.4, a=0.4),
            {"class_tolerance": 0.2},
            False,
            "a fell from 0.400 to 0.100",
        ),
        (metrics(0.5, a=None), metrics(0.4, a=0.4), {"class_tolerance": 0.2}, False, "a fell from 0.400"),
        (metrics(0.5, a=0.3), metrics(0.4, a=0.4), {"class_tolerance": 0.2}, True, "not worse"),
        (metrics(0.5, a=0.3), metrics(0.4, a=None), {"class_tolerance": 0.0}, True, "not worse"),
    ],
)
def test_decide(
    candidate: Metrics, current: Metrics | None, rule: dict[str, float], promoted: bool, says: str
) -> None:
    decision = decide_promotion(candidate, current, PromotionConfig(**rule))
    assert decision.promote is promoted
    assert says in decision.reason


GAIN = "0.400 → 0.410, +0.010 (95 % interval -0.030 to +0.050) over 50 images"


@pytest.mark.parametrize(
    ("fell_by", "interval", "tolerance", "promoted", "says"),
    [
        (0.0, (-0.03, 0.03), 0.0, True, "not worse"),  # as good
        (-0.01, (-0.03, 0.05), 0.0, True, GAIN),
        (0.01, (-0.03, 0.01), 0.0, False, "images: worse"),
        (0.01, (-0.03, 0.01), 0.02, False, "worse, the fall may be 0.02 or more"),
        (0.01, (-0.019, 0.01), 0.02, True, "not worse"),  # surely by less than the tolerance
        (0.05, (-0.08, -0.02), 0.1, True, "not worse"),
    ],
)
def test_a_fall_is_tolerated_if_it_is_surely_small(
    fell_by: float, interval: tuple[float, float], tolerance: float, promoted: bool, says: str
) -> None:
    rule, difference = PromotionConfig(tolerance=tolerance), compared(-fell_by, *interval)
    decision = decide_promotion(metrics(0.4 - fell_by), metrics(0.4), rule, difference)
    assert decision.promote is promoted
    assert says in decision.reason


def test_a_model_that_predicts_nothing_never_wins() -> None:
    rule, difference = PromotionConfig(tolerance=1.0), compared(0, 0, 0, predictions=0)
    decision = decide_promotion(metrics(0.0), metrics(0.0), rule, difference)
    assert not decision.promote
    assert "predicts no box at all" in decision.reason


@pytest.mark.parametrize(
    ("candidate", "current", "promoted", "reason"),
    [
        # Masks decide, whatever the boxes.
        (with_masks(0.3, 0.5), with_masks(0.4, 0.4), True, "mask AP 0.400 → 0.500: not worse"),
        (with_masks(0.5, 0.3), with_masks(0.4, 0.4), False, "mask AP 0.400 → 0.300: worse"),
        (with_masks(0.5, 0.3), None, True, "the first model, mask AP 0.300"),
        (
            with_masks(0.5, 0.5, a=0.1),
            with_masks(0.5, 0.4, a=0.4),
            False,
            "mask AP 0.400 → 0.500, but a fell from 0.400 to 0.100, more than the class tolerance of 0.1",
        ),
        (with_masks(0.5, math.nan), with_masks(0.4, 0.4), False, "its mask AP is not a number (nan)"),
        # Of two models, only one predicts masks.
        (with_masks(0.5, 0.1), metrics(0.4), True, "box AP 0.400 → 0.500: not worse"),
        (with_masks(0.3, 0.9), metrics(0.4), False, "box AP 0.400 → 0.300: worse"),
        (metrics(0.9), with_masks(0.4, 0.1), False, "it predicts no masks, unlike the current model"),
        # None does, or the set has no outlines.
        (metrics(0.5), metrics(0.4), True, "box AP 0.400 → 0.500: not worse"),
        (metrics(0.5), None, True, "the first model, box AP 0.500"),
    ],
)
def test_decide_by_masks(candidate: Metrics, current: Metrics | None, promoted: bool, reason: str) -> None:
    decision = decide_promotion(candidate, current, PromotionConfig(), metric="mask_ap")
    assert (decision.promote, decision.reason) == (promoted, reason)


def test_masks_of_few_images_may_fall_by_chance() -> None:
    """The interval is that of the masks."""
    fell, rose = compared(-0.1, -0.2, -0.05), compared(0.1, 0.05, 0.2)
    pair = with_masks(0.5, 0.39), with_masks(0.4, 0.4)
    rule = PromotionConfig(tolerance=0.02)
    sure, unsure = replace(rose, masks=fell), replace(fell, masks=compared(-0.01, -0.015, 0.01))
    assert not decide_promotion(*pair, rule, sure, "mask_ap").promote
    assert decide_promotion(*pair, rule, sure, "box_ap").promote
    decision = decide_promotion(*pair, rule, unsure, "mask_ap")
    assert decision.promote
    assert decision.reason.startswith(
        "mask AP 0.400 → 0.390, -0.010 (95 % interval -0.015 to +0.010) over 50"
    )
    nothing = replace(rose, masks=compared(0, 0, 0, predictions=0))
    assert "predicts no box at all" in decide_promotion(*pair, rule, nothing, "mask_ap").reason


def add(
    workspace: Workspace, name: str, parent: str | None = None, promote: bool = True
) -> model_registry.Model:
    model = model_registry.register_model(workspace, name, "cycle", "0" * 64, parent, None)
    if promote:
        model_registry.promote(workspace, model, "test")
    return model


def test_current_is_the_newest_promotion(workspace: Workspace) -> None:
    with pytest.raises(ModelError, match=r"no model yet.*al-loop pretrain"):
        model_registry.current_model(workspace)
    add(workspace, "pretrain-1")
    add(workspace, "cycle-1", "pretrain-1")
    add(workspace, "cycle-2", "cycle-1", promote=False)
    assert model_registry.current_model(workspace).id == "cycle-1"
    assert [m.id for m in model_registry.all_models(workspace)] == ["pretrain-1", "cycle-1", "cycle-2"]


def test_rollback_goes_to_the_last_promoted_before(workspace: Workspace) -> None:
    for name in ("pretrain-1", "cycle-1", "cycle-2"):
        add(workspace, name, promote=name != "cycle-1")
    old, new = model_registry.rollback(workspace)
    assert (old.id, new.id) == ("cycle-2", "pretrain-1")
    assert model_registry.current_model(workspace).id == "pretrain-1"
    with pytest.raises(ModelError, match="pretrain-1 is the first model"):
        model_registry.rollback(workspace)
    model_registry.rollback(workspace, "cycle-1")  # any earlier model can be named
    assert model_registry.current_model(workspace).id == "cycle-1"
    with pytest.raises(ModelError, match="current model already"):
        model_registry.rollback(workspace, "cycle-1")
    with pytest.raises(ModelError, match="there are: pretrain-1, cycle-1, cycle-2"):
        model_registry.rollback(workspace, "cycle-9")


def test_metrics_are_kept_per_validation_set(workspace: Workspace) -> None:
    add(workspace, "pretrain-1")
    model_registry.save_metrics(workspace, "pretrain-1", "first", metrics(0.25, bolt=0.5))
    model_registry.save_metrics(workspace, "pretrain-1", "second", metrics(0.5))
    assert model_registry.saved_metrics(workspace, "pretrain-1", "first") == metrics(0.25, bolt=0.5)
    assert model_registry.saved_metrics(workspace, "pretrain-1", "third") is None
    assert model_registry.saved_metrics(workspace, "pretrain-1") == metrics(0.5)


def test_a_candidate_trained_again_replaces_the_first(workspace: Workspace) -> None:
    add(workspace, "cycle-1")
    model_registry.save_metrics(workspace, "cycle-1", "val", metrics(0.25))
    same = model_registry.register_model(workspace, "cycle-1", "cycle", "0" * 64, None, None)
    assert same.weights_sha256 == "0" * 64
    assert model_registry.saved_metrics(workspace, "cycle-1") is not None
    again = model_registry.register_model(workspace, "cycle-1", "cycle", "1" * 64, None, None)
    assert again.weights_sha256 == "1" * 64
    assert model_registry.saved_metrics(workspace, "cycle-1") is None


def test_a_candidate_is_compared_with_the_model_in_use_now(
    filled: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback or an import while people label changes the model to beat."""
    from al_loop.core.console import Silent
    from al_loop.core.files import read_json
    from al_loop.images import repository
    from al_loop.models import evaluation

    digest = evaluation.evaluation_hash(filled, repository.validation(filled), VALIDATION)
    monkeypatch.setattr(evaluation, "compare_models", lambda *_: compared(-0.2, -0.3, -0.1))
    for name, ap in (("pretrain-1", 0.2), ("import-1", 0.6), ("cycle-1", 0.4)):
        add(filled, name, promote=name != "cycle-1")
        model_registry.save_metrics(filled, name, digest, metrics(ap))
    candidate = model_registry.get_model(filled, "cycle-1")
    candidate.folder.mkdir(parents=True)
    result = evaluate_candidate(filled, candidate, model_registry.current_model(filled), Silent())
    assert (result.current.ap if result.current else None, result.candidate.ap) == (0.6, 0.4)
    assert not result.decision.promote
    assert read_json(candidate.folder / COMPARISON)["against"] == "import-1"


def test_every_named_set_is_judged_and_those_of_the_rule_decide(
    filled: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from al_loop.core.console import Silent
    from al_loop.images import repository
    from al_loop.models import evaluation

    add_validation(filled, write_coco_set(tmp_path / "night", 3, seed=5), name="night")
    add_validation(filled, write_coco_set(tmp_path / "rain", 2, seed=6), name="rain")
    assert set_names(filled.store) == ["validation", "night", "rain"]
    assert [len(repository.validation(filled, name)) for name in set_names(filled.store)] == [4, 3, 2]
    reached = {"validation": (0.4, 0.5), "night": (0.4, 0.3), "rain": (0.4, 0.1)}
    for name, aps in reached.items():
        digest = evaluation.evaluation_hash(filled, repository.validation(filled, name), name)
        for model, ap in zip(("pretrain-1", "cycle-1"), aps, strict=True):
            add(filled, model, promote=model == "pretrain-1")
            model_registry.save_metrics(filled, model, digest, metrics(ap), name)
    monkeypatch.setattr(evaluation, "compare_models", lambda *given: compared(*_SPREAD[given[3]]))
    candidate, current = model_registry.get_model(filled, "cycle-1"), model_registry.current_model(filled)
    candidate.folder.mkdir(parents=True)

    def decided(*sets: str) -> tuple[bool, str]:
        config = structs.replace(filled.config, promotion=PromotionConfig(sets=sets))
        decision = evaluate_candidate(filled.with_settings(config), candidate, current, Silent()).decision
        return decision.promote, decision.reason

    assert decided("validation") == (
        True,
        "AP 0.400 → 0.500, +0.100 (95 % interval +0.050 to +0.150) over 50 images: not worse",
    )
    promoted, reason = decided("validation", "night")
    assert not promoted
    assert reason.startswith("on night: AP 0.400 → 0.300")
    rain = model_registry.saved_metrics(filled, "cycle-1", name="rain")
    assert rain == metrics(0.1)  # evaluated without a say
    assert model_registry.saved_metrics(filled, "cycle-1") == metrics(0.5)
    with pytest.raises(DataError, match="no evaluation set 'fog'; existing sets: validation, night, rain"):
        decided("fog")


_SPREAD = {"validation": (0.1, 0.05, 0.15), "night": (-0.1, -0.2, -0.05), "rain": (-0.3, -0.4, -0.2)}


def test_one_lost_class_is_refused_though_the_mean_gains() -> None:
    before, after = metrics(0.4, bolt=0.4, nut=0.4), metrics(0.5, bolt=0.9, nut=0.1)
    gain = compared(0.1, 0.05, 0.15)
    sure = replace(gain, per_class={"nut": Difference(-0.3, -0.5, -0.1)})
    decision = decide_promotion(after, before, PromotionConfig(), sure)
    assert not decision.promote
    assert decision.reason.endswith("but nut fell from 0.400 to 0.100, more than the class tolerance of 0.1")
    assert not decide_promotion(after, before, PromotionConfig(), gain).promote  # no interval of the class
    # On few images it may have fallen by chance.
    unsure = replace(gain, per_class={"nut": Difference(-0.3, -0.7, 0.1)})
    assert decide_promotion(after, before, PromotionConfig(), unsure).promote


def test_leaving_a_project_keeps_what_people_answered_in_it(filled: Workspace) -> None:
    from al_loop.images import repository
    from al_loop.labelling import sync

    add(filled, "pretrain-1")
    store = filled.store
    store.execute("INSERT INTO cycles VALUES (1, 2, '{}', 'pretrain-1', NULL, NULL, 'now', NULL, 0, 0)")
    first, second = (image.id for image in repository.unlabelled(filled)[:2])
    for rank, (name, state) in enumerate(((first, "labelled"), (second, "pending"))):
        store.execute(
            "INSERT INTO picks VALUES (1, ?, ?, 1.0, 'x', ?, ?, 0, 0)", rank, name, f"1/{name}", state
        )
    store.execute(
        "INSERT INTO labels (image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines) "
        "VALUES (?, 'labelled', '[[0, 0, 9, 9, 1]]', 1, NULL, NULL, 'now', NULL)",
        first,
    )
    store.execute("INSERT INTO facts VALUES ('label_studio_project embedded', '7')")
    sync.forget_project(filled, 1)
    assert store.row("SELECT 1 FROM facts WHERE key LIKE 'label_studio_project%'") is None
    assert sync.answered_in_old_project(filled, 1) == {first}
    assert [item.image.id for item in repository.labelled(filled)] == [first]
