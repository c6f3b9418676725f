"""The two-sample test on embeddings: by hand, by another implementation, and by its level."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from al_loop.monitor.mmd import two_sample, witness


def by_hand(first: np.ndarray, second: np.ndarray, sigma: float) -> float:
    """MMD²_u, pair by pair (Gretton et al. 2012, lemma 6)."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-float(((a - b) ** 2).sum()) / (2 * sigma**2))

    m, n = len(first), len(second)
    within = sum(k(first[i], first[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    other = sum(k(second[i], second[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within + other - 2 * sum(k(a, b) for a in first for b in second) / (m * n)


def test_the_estimate_is_unbiased_mmd_squared() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(9, 3)), rng.normal(size=(5, 3)) + 0.7
    found = two_sample(first, second, rng, bandwidth=1.3)
    assert found.mmd2 == pytest.approx(by_hand(first, second, 1.3), abs=1e-12)
    both = np.vstack([first, second])
    distances = [float(np.linalg.norm(a - b)) for i, a in enumerate(both) for b in both[i + 1 :]]
    median = two_sample(first, second, rng)
    assert median.mmd2 == pytest.approx(by_hand(first, second, float(np.median(distances))), abs=1e-12)


@pytest.mark.parametrize(("m", "n", "shift"), [(60, 20, 0.0), (60, 20, 0.4), (100, 100, 0.1)])
def test_frouros_agrees(m: int, n: int, shift: float) -> None:
    from frouros.detectors.data_drift import MMD
    from frouros.utils.kernels import rbf_kernel

    rng = np.random.default_rng(m + n)
    first, second = rng.normal(size=(m, 8)), rng.normal(size=(n, 8)) + shift
    detector = MMD(kernel=functools.partial(rbf_kernel, sigma=2.5))
    detector.fit(X=first)
    expected = detector.compare(X=second)[0].distance
    assert two_sample(first, second, rng, bandwidth=2.5).mmd2 == pytest.approx(expected, abs=1e-12)


@pytest.mark.integration
def test_p_is_as_small_as_it_should_be_and_no_smaller() -> None:
    """Without a shift, 5 % of the tests say 5 % or less; with one, nearly all do."""
    rng = np.random.default_rng(0)
    quiet = [
        two_sample(rng.normal(size=(60, 4)), rng.normal(size=(30, 4)), rng, permutations=99).p
        for _ in range(300)
    ]
    assert np.mean(np.array(quiet) <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(quiet) == pytest.approx(0.5, abs=0.06)
    loud = [
        two_sample(rng.normal(size=(60, 4)), rng.normal(size=(30, 4)) + 0.8, rng, permutations=99).p
        for _ in range(50)
    ]
    assert np.mean(np.array(loud) <= 0.05) > 0.95
    assert min(quiet + loud) >= 0.01


def test_the_effect_does_not_grow_with_the_number_of_images() -> None:
    rng = np.random.default_rng(3)
    effects = [
        two_sample(rng.normal(size=(4 * n, 4)), rng.normal(size=(n, 4)) + 0.5, rng, permutations=9).effect
        for n in (100, 400)
    ]
    assert effects[0] == pytest.approx(effects[1], rel=0.2)


def test_pictures_that_are_all_alike() -> None:
    same = np.ones((10, 3))
    found = two_sample(same, same[:5], np.random.default_rng(0), permutations=19)
    assert (found.mmd2, found.effect, found.p) == (0.0, 0.0, 1.0)
    other = two_sample(same, same[:5] * 2, np.random.default_rng(0), permutations=999)
    assert other.effect > 1
    assert other.p < 0.01


@pytest.mark.parametrize("shape", [(1, 3), (5, 2), (5,)])
def test_arrays_that_do_not_belong_together(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least 2 rows and of one width, got \(5, 3\)"):
        two_sample(np.zeros((5, 3)), np.zeros(shape), np.random.default_rng(0))


def test_the_witness_names_the_stranger() -> None:
    rng = np.random.default_rng(5)
    window = rng.normal(size=(20, 4))
    window[[3, 11, 12, 13]] += 6
    assert set(np.argsort(-witness(rng.normal(size=(80, 4)), window))[:4]) == {3, 11, 12, 13}
