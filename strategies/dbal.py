"""DBAL: a batch that is informative and diverse."""

from __future__ import annotations

from math import ceil

from numpy.random import Generator

from strategies.candidates import Candidates, CandidatesError, most_uncertain
from strategies.clusters import cluster_representatives
from strategies.rows import IntArray


def select_dbal(candidates: Candidates, k: int, rng: Generator, *, beta: float = 2.0) -> IntArray:
    """Pick k informative and diverse images; indices into `candidates`, most uncertain first.

    The beta * k candidates with the largest uncertainty are clustered into k clusters, weighted by
    uncertainty, or equally if all are 0. Each centre takes the nearest free candidate. beta is 2 in Eversberg
    & Lambrecht 2024 and 10 in Zhdanov 2019; beta = 1 is uncertainty sampling.

    Cost: O(n) to pre-filter, O(beta k^2 d) per KMeans iteration; O(n + beta k d) memory.
    Source: Zhdanov 2019, Algorithm 1; Eversberg & Lambrecht 2024, Algorithm 2.
    """
    if beta < 1:
        raise CandidatesError(f"beta must be >= 1, got {beta:g}")
    top = most_uncertain(candidates, ceil(beta * k))
    if len(top) <= k:
        return top
    return top[cluster_representatives(candidates.embeddings[top], candidates.uncertainty[top], k, rng)]
