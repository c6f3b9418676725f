"""The drift trigger: its false alarms, its power compared with frouros and Kolmogorov-Smirnov, its time.

    .venv/bin/python benchmarks/drift.py [--series 40] [--trials 100]

Embeddings are synthetic: 64 numbers that vary in 8 directions, as those of one station do, with some noise
and heavy tails. False alarms: 100 windows without a shift per reference, through the trigger of the monitor.
Power: share of single windows that each test detects at the 5 % level, on the same windows. A shift moves the
mean along one direction, in standard deviations of that direction. frouros gets its bandwidth explicitly: the
median distance of the same images.
"""

from __future__ import annotations

import argparse
import functools

import numpy as np
from frouros.callbacks import PermutationTestDistanceBased
from frouros.detectors.data_drift import MMD
from frouros.utils.kernels import rbf_kernel
from measuring import seconds
from numpy.random import Generator, default_rng
from scipy.stats import ks_2samp

from al_loop.core.config import DriftTrigger
from al_loop.monitor.drift_tests import ImageStatistics, drift_signals, level
from al_loop.monitor.mmd import squared_distances, two_sample

WIDTH, DIRECTIONS, REFERENCE, PERMUTATIONS = 64, 8, 500, 199


def embeddings(count: int, rng: Generator, mixing: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Return (count, WIDTH) vectors with heavy tails."""
    hidden = rng.standard_t(5, size=(count, DIRECTIONS))
    hidden[:, 0] += shift * np.sqrt(5 / 3)  # the standard deviation of Student's t with 5 degrees
    return hidden @ mixing + 0.1 * rng.normal(size=(count, WIDTH))


def image_statistics(count: int, rng: Generator, mixing: np.ndarray) -> ImageStatistics:
    boxes = rng.poisson(4, count).astype(float)
    return ImageStatistics(
        embeddings(count, rng, mixing).astype(np.float32),
        boxes,
        np.where(boxes > 0, rng.beta(5, 2, count), 0.0),
    )


def print_false_alarms(series: int, rng: Generator) -> None:
    rule = DriftTrigger()
    mixing = rng.normal(size=(DIRECTIONS, WIDTH))
    alarms = drifted = 0
    for _ in range(series):
        reference, consecutive = {"pool": image_statistics(rule.reference, rng, mixing)}, 0
        for _ in range(100):
            window = image_statistics(rule.window, rng, mixing)
            detected = any(signal.drifted for signal in drift_signals(reference, window, rule, rng))
            drifted += detected
            consecutive = consecutive + 1 if detected else 0
            if consecutive == rule.consecutive_windows:
                alarms, consecutive = alarms + 1, 0
    print(f"without a shift, {series} x 100 windows of {rule.window}, default settings:")
    goal = f"(goal: at most 1; the settings allow {rule.false_alarms:g})"
    print(f"  false alarms per 100 windows   {alarms / series:.3f}   {goal}")
    print(f"  single windows                 {drifted / series:.2f} %  (settings: {100 * level(rule):.2f} %)")


def print_power(trials: int, rng: Generator) -> None:
    mixing = rng.normal(size=(DIRECTIONS, WIDTH))
    print(f"\nshare of windows detected at the 5 % level, {trials} windows each, reference of {REFERENCE}:")
    print(f"  {'images':>6}  {'shift':>5}  {'al-loop':>8}  {'frouros':>8}  {'KS':>6}")
    for count in (50, 200):
        for shift in (0.0, 0.3, 0.5, 0.8):
            hits = np.zeros(3)
            for _ in range(trials):
                first, second = embeddings(REFERENCE, rng, mixing), embeddings(count, rng, mixing, shift)
                hits += [by_al_loop(first, second, rng), by_frouros(first, second, rng), by_ks(first, second)]
            al_loop, frouros, ks = hits / trials
            print(f"  {count:6d}  {shift:5.1f}  {al_loop:8.2f}  {frouros:8.2f}  {ks:6.2f}", flush=True)


def by_al_loop(first: np.ndarray, second: np.ndarray, rng: Generator) -> bool:
    return two_sample(first, second, rng, permutations=PERMUTATIONS).p <= 0.05


def by_frouros(first: np.ndarray, second: np.ndarray, rng: Generator) -> bool:
    test = PermutationTestDistanceBased(
        num_permutations=PERMUTATIONS,
        random_state=int(rng.integers(1 << 30)),
        num_jobs=1,
        method="estimate",
        name="p",
    )
    squared = squared_distances(np.concatenate([first, second]))
    bandwidth = float(np.sqrt(np.median(squared[np.triu_indices(len(squared), 1)])))
    detector = MMD(kernel=functools.partial(rbf_kernel, sigma=bandwidth), callbacks=[test])
    detector.fit(X=first)
    return bool(detector.compare(X=second)[1]["p"]["p_value"] <= 0.05)


def by_ks(first: np.ndarray, second: np.ndarray) -> bool:
    """Test each number, with Bonferroni's correction."""
    return min(ks_2samp(a, b).pvalue for a, b in zip(first.T, second.T, strict=True)) <= 0.05 / WIDTH


def print_times(rng: Generator) -> None:
    mixing = rng.normal(size=(DIRECTIONS, WIDTH))
    first, second = embeddings(REFERENCE, rng, mixing), embeddings(50, rng, mixing)
    times = []
    for test in (by_al_loop, by_frouros):
        run = functools.partial(test, first, second, rng)
        run()
        times.append(np.mean([seconds(run) for _ in range(3)]))
    print(f"\none window of 50, {PERMUTATIONS} permutations: al-loop {1000 * times[0]:.0f} ms, "
          f"frouros {1000 * times[1]:.0f} ms, {times[1] / times[0]:.0f} times")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=40)
    parser.add_argument("--trials", type=int, default=100)
    args = parser.parse_args()
    rng = default_rng(0)
    print_false_alarms(args.series, rng)
    print_power(args.trials, rng)
    print_times(rng)


if __name__ == "__main__":
    main()
