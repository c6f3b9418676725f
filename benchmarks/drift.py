"""The drift trigger: false alarms at its defaults, power beside frouros and Kolmogorov-Smirnov, time of a window.

    .venv/bin/python benchmarks/drift.py [--series 40] [--trials 100]

Embeddings are made up: 64 numbers that vary in 8 directions (as those of one station do) with a little noise, and heavy
tails. False alarms: windows without a shift, 100 to a reference, through the trigger as the monitor runs it. Power: share of
single windows noticed at the 5 % level by each test, the same windows for all; a shift moves the mean along one direction,
in standard deviations there. frouros gets the bandwidth explicitly: the median distance of the same images.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from pathlib import Path

# A script's folder comes first on the path, and it holds a render.py.
sys.path.remove(str(Path(__file__).parent))

import numpy as np
from frouros.callbacks import PermutationTestDistanceBased
from frouros.detectors.data_drift import MMD
from frouros.utils.kernels import rbf_kernel
from numpy.random import Generator, default_rng
from scipy.stats import ks_2samp

from al_loop.core.config import DriftTrigger
from al_loop.monitor.drift_tests import ImageStatistics, drift_signals, level
from al_loop.monitor.mmd import squared_distances, two_sample

WIDTH, DIRECTIONS, REFERENCE, PERMUTATIONS = 64, 8, 500, 199


def embeddings(count: int, rng: Generator, mixing: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """(count, WIDTH) vectors with heavy tails."""
    hidden = rng.standard_t(5, size=(count, DIRECTIONS))
    hidden[:, 0] += shift * np.sqrt(5 / 3)  # Student's t with 5 degrees has this standard deviation
    return hidden @ mixing + 0.1 * rng.normal(size=(count, WIDTH))


def image_statistics(count: int, rng: Generator, mixing: np.ndarray) -> ImageStatistics:
    boxes = rng.poisson(4, count).astype(float)
    return ImageStatistics(
        embeddings(count, rng, mixing).astype(np.float32),
        boxes,
        np.where(boxes > 0, rng.beta(5, 2, count), 0.0),
    )


def false_alarms(series: int, rng: Generator) -> None:
    rule = DriftTrigger()
    mixing = rng.normal(size=(DIRECTIONS, WIDTH))
    alarms = drifted = 0
    for _ in range(series):
        reference, row = {"pool": image_statistics(rule.reference, rng, mixing)}, 0
        for _ in range(100):
            one = any(
                s.drifted
                for s in drift_signals(reference, image_statistics(rule.window, rng, mixing), rule, rng)
            )
            drifted += one
            row = row + 1 if one else 0
            if row == rule.consecutive_windows:
                alarms, row = alarms + 1, 0
    print(f"without a shift, {series} x 100 windows of {rule.window}, settings as they ship:")
    print(
        f"  false alarms per 100 windows   {alarms / series:.3f}   (goal: at most 1; settings ask for {rule.false_alarms:g})"
    )
    print(f"  single windows                 {drifted / series:.2f} %  (settings: {100 * level(rule):.2f} %)")


def power(trials: int, rng: Generator) -> None:
    mixing = rng.normal(size=(DIRECTIONS, WIDTH))
    print(f"\nshare of windows noticed at the 5 % level, {trials} windows each, reference of {REFERENCE}:")
    print(f"  {'images':>6}  {'shift':>5}  {'al-loop':>8}  {'frouros':>8}  {'KS':>6}")
    for count in (50, 200):
        for shift in (0.0, 0.3, 0.5, 0.8):
            hits = np.zeros(3)
            for _ in range(trials):
                first, second = embeddings(REFERENCE, rng, mixing), embeddings(count, rng, mixing, shift)
                hits += [ours(first, second, rng), theirs(first, second, rng), ks(first, second)]
            said = "  ".join(f"{h / trials:8.2f}" for h in hits[:2])
            print(f"  {count:6d}  {shift:5.1f}  {said}  {hits[2] / trials:6.2f}", flush=True)


def ours(first: np.ndarray, second: np.ndarray, rng: Generator) -> bool:
    return two_sample(first, second, rng, permutations=PERMUTATIONS).p <= 0.05


def median_distance(first: np.ndarray, second: np.ndarray) -> float:
    squared = squared_distances(np.concatenate([first, second]))
    return float(np.sqrt(np.median(squared[np.triu_indices(len(squared), 1)])))


def theirs(first: np.ndarray, second: np.ndarray, rng: Generator) -> bool:
    test = PermutationTestDistanceBased(
        num_permutations=PERMUTATIONS,
        random_state=int(rng.integers(1 << 30)),
        num_jobs=1,
        method="estimate",
        name="p",
    )
    detector = MMD(
        kernel=functools.partial(rbf_kernel, sigma=median_distance(first, second)), callbacks=[test]
    )
    detector.fit(X=first)
    return bool(detector.compare(X=second)[1]["p"]["p_value"] <= 0.05)


def ks(first: np.ndarray, second: np.ndarray) -> bool:
    """One test per number, Bonferroni over them."""
    return min(ks_2samp(a, b).pvalue for a, b in zip(first.T, second.T, strict=True)) <= 0.05 / WIDTH


def seconds(rng: Generator) -> None:
    mixing = rng.normal(size=(DIRECTIONS, WIDTH))
    first, second = embeddings(REFERENCE, rng, mixing), embeddings(50, rng, mixing)
    taken = {}
    for name, test in (("al-loop", ours), ("frouros", theirs)):
        test(first, second, rng)
        began = time.perf_counter()
        for _ in range(3):
            test(first, second, rng)
        taken[name] = (time.perf_counter() - began) / 3
    ratio = taken["frouros"] / taken["al-loop"]
    print(f"\none window of 50, {PERMUTATIONS} permutations: al-loop {1000 * taken['al-loop']:.0f} ms, "
          f"frouros {1000 * taken['frouros']:.0f} ms, {ratio:.0f} times")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=40)
    parser.add_argument("--trials", type=int, default=100)
    args = parser.parse_args()
    rng = default_rng(0)
    false_alarms(args.series, rng)
    power(args.trials, rng)
    seconds(rng)


if __name__ == "__main__":
    main()
