"""How many labels each strategy needs for an AP, and for how many of random's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from al_loop.benchmark.results.statistics import Interval, cost_to_reach, paired
from al_loop.benchmark.results.summary import Results, ap

YARDSTICK = "random"


@dataclass(frozen=True)
class Reach:
    """Where one strategy first reaches an AP.

    labels: of its mean curve; None where it never is there.  by_seed: of the seeds whose own curve gets there.
    bound: the first point is there already, so `labels` says at most; seeds_bound: the same of some seed.
    hole: the curve stops at a hole before its end.  most: labels at its last point.
    """

    strategy: str
    labels: float | None
    bound: bool
    by_seed: Mapping[int, float]
    seeds_bound: bool
    hole: bool
    most: float


@dataclass(frozen=True)
class Savings:
    """Labels for an AP. given: whether somebody named it; else random ends with it. seeds: how many there are."""

    target: float
    given: bool
    seeds: int
    reached: tuple[Reach, ...]

    def ratio(self, reach: Reach) -> float | None:
        """Labels over random's; None where one of both is not known, or random needs none."""
        theirs = self._yardstick()
        if reach.labels is None or theirs is None or not theirs.labels or reach.bound or theirs.bound:
            return None
        return reach.labels / theirs.labels

    def apart(self, reach: Reach) -> Interval | None:
        """Labels minus random's, paired by seed; only where every seed gets there with both.

        A mean over those that do would be one over the lucky.
        """
        theirs = self._yardstick()
        if theirs is None or theirs is reach or reach.seeds_bound or theirs.seeds_bound:
            return None
        if self.seeds < 2 or not len(reach.by_seed) == len(theirs.by_seed) == self.seeds:
            return None
        return paired(reach.by_seed, theirs.by_seed)

    def _yardstick(self) -> Reach | None:
        return next((reach for reach in self.reached if reach.strategy == YARDSTICK), None)


def savings(results: Results, start: str) -> Savings | None:
    """Labels for the AP that was named, else for that at which random ends; None where there is neither."""
    target = results.target
    if target is None:
        ends = results.ends(start, YARDSTICK)
        if not ends or len(results.places(start)) < 2:
            return None
        target = results.points(start, YARDSTICK, "labels")[-1].ap.mean
    reached = [_reach(results, start, strategy, target) for strategy in results.strategies]
    return Savings(target, results.target is not None, len(results.seeds), tuple(reached))


def savings_words(results: Results, start: str) -> list[str]:
    """Say it, a line for each strategy after a first one."""
    found = savings(results, start)
    if found is None:
        if YARDSTICK in results.strategies and not results.ends(start, YARDSTICK):
            return [f"labels for an AP: {YARDSTICK} has a hole and no end. Name an AP: --target 0.3 --resume"]
        return []
    lines = [f"labels for AP {found.target:.3f}{'' if found.given else ', with which random ends'}:"]
    return lines + [f"  {reach.strategy}: {_words(found, reach)}" for reach in found.reached]


def savings_plain(found: Savings | None) -> dict[str, Any] | None:
    """The same as plain data."""
    if found is None:
        return None
    strategies = {
        reach.strategy: {
            "labels": reach.labels,
            "at_most": reach.bound,
            "hole": reach.hole,
            "of_random": found.ratio(reach),
            "by_seed": {str(seed): labels for seed, labels in reach.by_seed.items()},
            "minus_random": None if (apart := found.apart(reach)) is None else asdict(apart),
        }
        for reach in found.reached
    }
    return {"ap": found.target, "given": found.given, "strategies": strategies}


def _reach(results: Results, start: str, strategy: str, target: float) -> Reach:
    points = results.points(start, strategy, "labels")
    labels, bound = _first([p.cost for p in points], [p.ap.mean for p in points], target)
    by_seed, seeds_bound = {}, False
    for seed in results.seeds:
        chain = results.chain(start, strategy, seed)
        own, at_once = _first([r.labels for r in chain], [ap(r) for r in chain], target)
        if own is not None:
            by_seed[seed], seeds_bound = own, seeds_bound or at_once
    hole = [p.place for p in points[-1:]] != results.places(start)[-1:]
    return Reach(strategy, labels, bound, by_seed, seeds_bound, hole, points[-1].cost if points else 0.0)


def _first(costs: Sequence[float], values: Sequence[float], target: float) -> tuple[float | None, bool]:
    """Where a curve is first at the target, and whether it may have been before its first point."""
    found = cost_to_reach(costs, values, target)
    return found, found is not None and 0 < found == costs[0] and values[0] >= target


def _words(found: Savings, reach: Reach) -> str:
    ratio, apart = found.ratio(reach), found.apart(reach)
    if reach.labels is not None:
        said = f"{reach.labels:.0f}" + (" or fewer" if reach.bound else "")
    else:
        said = "hole" if reach.hole else f"not reached with {reach.most:.0f}"
    if reach.strategy == YARDSTICK:
        ratio = None
    if ratio is not None:
        said += f", {ratio:.2f} of random's"
    if apart is not None:
        said += f"; by seed {apart.mean:+.0f} labels (95 % interval {apart.low:+.0f} to {apart.high:+.0f}, {apart.seeds} seeds)"
    elif found.seeds > 1:
        said += f"; {len(reach.by_seed)} of {found.seeds} seeds get there"
    return said
