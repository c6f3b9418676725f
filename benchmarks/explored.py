"""How many of the images that a cycle explores show an object that the model does not see.

    .venv/bin/python benchmarks/explored.py --data SET --weights WEIGHTS.pth [--size 480 480]
        [--trained 100 --seed 0] [--share 0.05] [--picks 10] [--seeds 3]

SET holds pool.json (COCO) with many images without an object. WEIGHTS are of a model that was trained on
`trained` images of it that `seed` draws, as benchmarks/ablation.py does. The model predicts all images. Each
of `seeds` removes images with objects until `share` of the unlabelled ones have some. Images are picked by
their distance to the labelled ones, of the maxima of the feature map, as a cycle does, or of its averages,
the embeddings; spread over the embeddings; and at random: among all images, among those without a box of
score 0.3, and among those without any box, as al-loop 0.1 did. Prints the share of the picks on which the
model misses an object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from measuring import class_names, labelled_images, parser_of_a_model, random_order, scored_by

from al_loop.detector.checkpoint import read_weights
from al_loop.detector.config.model_config import load_model_config
from al_loop.structures.boxes import Boxes, iou
from al_loop.structures.images import LabelledImage
from strategies import Candidates, select_coreset, select_kmeans

Pick = Callable[[Candidates, int, np.random.Generator], Any]
PICKS: dict[str, tuple[str, Pick]] = {
    "unlike the labelled images, maxima": ("maxima", select_coreset),
    "unlike the labelled images, averages": ("embeddings", select_coreset),
    "spread": ("embeddings", select_kmeans),
    "at random": ("embeddings", lambda candidates, k, rng: rng.permutation(len(candidates))[:k]),
}


def main() -> None:
    parser = parser_of_a_model(__doc__.splitlines()[0], trained=100)
    parser.set_defaults(share=0.05)
    parser.add_argument("--picks", type=int, default=10)
    args = parser.parse_args()

    classes = class_names(args.data / "pool.json")
    config = load_model_config(args.config, classes, tuple(args.size) if args.size else None)
    pool = labelled_images(args.data / "pool.json", classes)
    with TemporaryDirectory() as folder:
        scored = scored_by(config, read_weights(args.weights), pool, Path(folder, "pool"))
        tables = {name: np.array(getattr(scored, name)[:], np.float32) for name in ("embeddings", "maxima")}
        predicted = scored.boxes_by_image()
    groups = {
        "all": np.ones(len(pool), bool),
        "without a sure box": np.array([not len(predicted[item.image.id].above(0.3)) for item in pool]),
        "without a box": np.array([not len(predicted[item.image.id]) for item in pool]),
    }
    shows = np.array([len(item.boxes) > 0 for item in pool])
    missed = np.array([misses(item, predicted[item.image.id]) for item in pool])
    order = np.array(random_order(len(pool), args.seed))
    labelled, rest = order[: args.trained], order[args.trained :]
    shares: dict[tuple[str, str], list[float]] = {}
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        healthy, defective = rest[~shows[rest]], rng.permutation(rest[shows[rest]])
        kept = round(args.share / (1 - args.share) * len(healthy))
        unlabelled = np.sort(np.concatenate([healthy, defective[:kept]]))
        for group, inside in groups.items():
            some = unlabelled[inside[unlabelled]]
            names = [pool[int(i)].image.id for i in some]
            print(
                f"seed {seed}: {len(some)} images, {group}; the model misses objects on {missed[some].sum()}"
            )
            if len(some) < args.picks:
                continue
            for name, (column, pick) in PICKS.items():
                table = tables[column]
                candidates = Candidates(names, np.zeros(len(some)), table[some], labelled=table[labelled])
                chosen = pick(candidates, args.picks, np.random.default_rng(seed))
                shares.setdefault((group, name), []).append(float(missed[some[chosen]].mean()))
    report(shares, args.picks)


def report(shares: Mapping[tuple[str, str], Sequence[float]], picks: int) -> None:
    """Print the mean share of each group and rule, and that of each draw."""
    for (group, name), found in shares.items():
        text = ", ".join(f"{share:.2f}" for share in found)
        print(f"{group}, {name}: {np.mean(found):.2f} of {picks} picks ({text})")


def misses(item: LabelledImage, found: Boxes) -> bool:
    """Whether the model misses an object: none of its class and a score of 0.3 has an IoU of 0.5 with it."""
    assert found.scores is not None
    sure = found.above(0.3)
    same = item.boxes.labels[:, None] == sure.labels[None]
    return bool(((iou(item.boxes.xyxy, sure.xyxy) * same).max(axis=1, initial=0.0) < 0.5).any())


if __name__ == "__main__":
    main()
