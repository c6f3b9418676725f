"""Rows of models, of their metrics, and of the promotions that made them current."""

from __future__ import annotations

import json
from dataclasses import dataclass

from al_loop.state.database.image_table import LAST_ARRIVED
from al_loop.state.database.store import Store
from al_loop.structures.metrics import VALIDATION, Metrics, metrics_from_plain, metrics_to_plain


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model.

    parent: the model that it was fine-tuned from.
    origin: 'pretrain', 'import', 'cycle' or 'initial'.
    removed_at: when gc deleted its files.
    config_sha256: None if an older al-loop stored no hash.
    """

    id: str
    parent: str | None
    origin: str
    cycle: int | None
    weights_sha256: str
    created_at: str
    removed_at: str | None = None
    config_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PromotionRow:
    """A model that became current. arrived: index of the last image that had arrived by then."""

    id: int
    model_id: str
    reason: str
    at: str
    arrived: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of a model on the set with this hash."""

    metrics: Metrics
    validation_hash: str


def read_model(store: Store, model_id: str) -> ModelRow | None:
    """Return a model by its id."""
    return store.first(ModelRow, "SELECT * FROM models WHERE id = ?", model_id)


def all_models(store: Store) -> list[ModelRow]:
    """Return all models, the oldest first."""
    return store.all(ModelRow, "SELECT * FROM models ORDER BY rowid")


def model_of_cycle(store: Store, cycle: int) -> ModelRow | None:
    """Return the candidate of a cycle."""
    return store.first(ModelRow, "SELECT * FROM models WHERE cycle = ? ORDER BY rowid DESC LIMIT 1", cycle)


def count_of_origin(store: Store, origin: str) -> int:
    """Return the number of models of an origin."""
    return store.count("SELECT count(*) FROM models WHERE origin = ?", origin)


def models_in_use(store: Store) -> set[str]:
    """Return the models that gc must keep: formerly current, parents of others, or of an open cycle."""
    return set(
        store.column(
            "SELECT model_id AS id FROM promotions UNION SELECT parent FROM models WHERE parent IS NOT NULL "
            "UNION SELECT model_id FROM cycles WHERE outcome IS NULL "
            "UNION SELECT m.id FROM models m JOIN cycles c ON c.number = m.cycle WHERE c.outcome IS NULL"
        )
    )


def write_model(store: Store, model: ModelRow) -> None:
    """Store a model, within a transaction. A model that was trained again loses its old metrics."""
    store.execute(
        "DELETE FROM evaluations "
        "WHERE model_id IN (SELECT id FROM models WHERE id = ? AND weights_sha256 != ?)",
        *(model.id, model.weights_sha256),
    )
    store.execute(
        "INSERT INTO models (id, parent, origin, cycle, weights_sha256, created_at, config_sha256) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
        "SET weights_sha256 = excluded.weights_sha256, config_sha256 = excluded.config_sha256",
        *(model.id, model.parent, model.origin, model.cycle),
        *(model.weights_sha256, model.created_at, model.config_sha256),
    )


def mark_removed(store: Store, model_id: str, at: str) -> None:
    """Record that gc deletes the files of a model."""
    store.execute("UPDATE models SET removed_at = ? WHERE id = ?", at, model_id)


def insert_promotion(store: Store, model_id: str, reason: str, at: str) -> None:
    """Make a model current."""
    store.execute(
        f"INSERT INTO promotions (model_id, reason, at, arrived) VALUES (?, ?, ?, {LAST_ARRIVED})",
        *(model_id, reason, at),
    )


def all_promotions(store: Store) -> list[PromotionRow]:
    """Return all promotions, the oldest first."""
    return store.all(PromotionRow, "SELECT * FROM promotions ORDER BY id")


def newest_promotion(store: Store) -> PromotionRow | None:
    """Return the promotion of the current model. Ignore promotions of models without a row."""
    return store.first(
        PromotionRow,
        "SELECT p.* FROM promotions p JOIN models m ON m.id = p.model_id ORDER BY p.id DESC LIMIT 1",
    )


def promoted_before(store: Store, model_id: str) -> str | None:
    """Return the newest formerly current model that is older than `model_id`."""
    return store.text(
        "SELECT p.model_id FROM promotions p JOIN models m ON m.id = p.model_id "
        "WHERE m.rowid < (SELECT rowid FROM models WHERE id = ?) ORDER BY m.rowid DESC LIMIT 1",
        model_id,
    )


def write_evaluation(store: Store, model_id: str, validation_hash: str, metrics: Metrics, name: str) -> None:
    """Store the metrics of a model on the set of that name."""
    store.execute(
        "INSERT OR REPLACE INTO evaluations (model_id, validation_hash, metrics, set_name) "
        "VALUES (?, ?, ?, ?)",
        *(model_id, validation_hash, json.dumps(metrics_to_plain(metrics)), name),
    )


def read_evaluation(
    store: Store, model_id: str, validation_hash: str | None = None, name: str = VALIDATION
) -> Evaluation | None:
    """Return the metrics of a model on the set with that hash. None: on the last set of that name."""
    row = store.row(
        "SELECT metrics, validation_hash FROM evaluations WHERE model_id = ? "
        "AND validation_hash = coalesce(?, validation_hash) AND set_name = ? ORDER BY rowid DESC LIMIT 1",
        *(model_id, validation_hash, name),
    )
    if row is None:
        return None
    return Evaluation(metrics_from_plain(json.loads(row["metrics"])), row["validation_hash"])


def newest_common_hash(store: Store, first: str, second: str) -> str | None:
    """Return the hash of the newest validation set that both models were evaluated on."""
    return store.text(
        "SELECT a.validation_hash FROM evaluations a JOIN evaluations b USING (validation_hash) "
        "WHERE a.model_id = ? AND b.model_id = ? AND a.set_name = 'validation' ORDER BY a.rowid DESC LIMIT 1",
        *(first, second),
    )


def ap_on_newest_set(store: Store) -> dict[str, float]:
    """Return the AP of each model that was evaluated on the newest validation set, by model."""
    rows = store.pairs(
        "SELECT model_id, json_extract(metrics, '$.ap') FROM evaluations WHERE validation_hash = "
        "(SELECT validation_hash FROM evaluations WHERE set_name = 'validation' ORDER BY rowid DESC LIMIT 1)"
    )
    return {model: float(ap) for model, ap in rows if ap is not None}
