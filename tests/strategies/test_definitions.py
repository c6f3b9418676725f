"""The definitions of the strategies, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import default_rng
from support.candidate_pools import detections_of, make, names, points

from strategies import (
    Candidates,
    CandidatesError,
    entropies,
    least_confidences,
    margin_sum,
    margins,
    mask_margins,
    select,
    select_kmeans,
    without_detections,
)
from strategies.badge import gradients
from strategies.cald import consistency, jensen_shannon
from strategies.clusters import SAMPLE
from strategies.objects import iou
from strategies.ppal import difficulty, matching, medoids
from strategies.scores import balanced_entropies, mask_margin_sums, per_image


def test_margin_by_hand_several_classes() -> None:
    # Largest two, background (last) included: 0.6 - 0.3, 0.5 - 0.5, 0.9 - 0.1.
    distributions = np.array([[0.6, 0.1, 0.3], [0.5, 0.0, 0.5], [0.1, 0.9, 0.0]])
    np.testing.assert_allclose(margins(distributions), [0.7, 1.0, 0.2])
    # Image 0 has the first two, image 1 none, image 2 the last.
    np.testing.assert_allclose(margin_sum(distributions, np.array([0, 2, 2, 3])), [1.7, 0.0, 0.2])


def test_margin_by_hand_one_class_uses_the_background() -> None:
    np.testing.assert_allclose(margins(np.array([[0.9, 0.1], [0.55, 0.45]])), [0.2, 0.9])
    with pytest.raises(CandidatesError, match="background"):
        margins(np.array([[1.0], [1.0]]))


def test_entropy_and_least_confidence_by_hand() -> None:
    rows = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(entropies(rows), [1.5 * math.log(2), 0, math.log(3)], atol=1e-12)
    np.testing.assert_allclose(least_confidences(rows), [0.5, 0, 2 / 3])


def test_rare_classes_weigh_more_in_balanced_entropies() -> None:
    """Three boxes of class 0 are labelled and one of class 1: weights (4 + 2) / 4 and (4 + 2) / 2."""
    detections = detections_of([0, 1, 3], [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [1.0, 0.0, 0.0]])
    pool = points([0, 0], detections=detections, labelled_classes=np.array([3.0, 1.0]))
    entropy = 1.5 * math.log(2)
    np.testing.assert_allclose(balanced_entropies(pool), [1.5 * entropy, 3 * entropy], atol=1e-12)
    assert names(pool, select("entropy-balanced", pool, 1, default_rng(0))) == ["b"]


def test_sum_mean_and_maximum_of_an_image() -> None:
    values, offsets = np.array([1.0, 3.0, 5.0]), np.array([0, 0, 2, 2, 3])
    assert per_image(values, offsets, "sum").tolist() == [0, 4, 0, 5]
    assert per_image(values, offsets, "mean").tolist() == [0, 2, 0, 5]
    assert per_image(values, offsets, "max").tolist() == [0, 3, 0, 5]


def test_an_image_s_sum_does_not_depend_on_its_neighbours() -> None:
    values = default_rng(0).uniform(size=100_003)
    alone = per_image(values[-3:], np.array([0, 3]), "sum")
    among = per_image(values, np.array([0, 100_000, 100_003]), "sum")
    assert among[1] == alone[0]


def test_scores_rank_images_by_what_they_sum() -> None:
    # a: one detection that says nothing; b: three that are fairly sure; c: none.
    pool = points(
        np.zeros(3),
        detections=detections_of([0, 1, 4, 4], [[0.5, 0.0, 0.5], *[[0.75, 0.0, 0.25]] * 3]),
    )
    for score in ("margin", "entropy", "least-confidence"):
        assert names(pool, select(f"{score}-max", pool, 3, default_rng(0))) == ["a", "b", "c"]
        assert names(pool, select(f"{score}-mean", pool, 3, default_rng(0))) == ["a", "b", "c"]
    assert names(pool, select("entropy", pool, 3, default_rng(0))) == ["b", "a", "c"]
    assert names(pool, select("least-confidence", pool, 3, default_rng(0))) == ["b", "a", "c"]


def test_margin_takes_the_largest_and_breaks_ties_by_id() -> None:
    pool = Candidates(("c", "b", "a", "d"), np.array([1.0, 3.0, 1.0, 2.0]), np.zeros((4, 1)))
    assert names(pool, select("margin", pool, 3, default_rng(0))) == ["b", "d", "a"]


def test_mask_margins_by_hand() -> None:
    """Of 255: a sure mask, one that says nothing, one at 3/4 and 1/4, and one that is half sure."""
    masks = np.array(
        [[0, 255, 255, 0], [127, 128, 128, 127], [191, 64, 191, 64], [255, 127, 0, 128]], np.uint8
    )
    # 1 - |2 p - 1|: 0 where p is 0 or 1, and 254 / 255 next to one half.
    expected = [0, 254 / 255, 1 - 127 / 255, 127 / 255]
    np.testing.assert_allclose(mask_margins(masks), expected, atol=1e-12)
    assert mask_margins(masks[:0]).shape == (0,)


def test_mask_margin_ranks_by_the_sum_over_the_masks() -> None:
    rows = [[0.5, 0.0, 0.5]] * 4
    shown = detections_of([0, 1, 4, 4], rows, mask_margins=np.array([0.6, 0.3, 0.2, 0.2]))
    pool = points(np.zeros(3), detections=shown)
    assert names(pool, select("mask-margin", pool, 3, default_rng(0))) == ["b", "a", "c"]
    np.testing.assert_allclose(mask_margin_sums(pool), [0.6, 0.7, 0])


def test_most_boxes_counts_what_is_likely() -> None:
    sure, faint = [0.4, 0.0, 0.6], [0.2, 0.0, 0.8]
    pool = points(
        np.zeros(3), detections=detections_of([0, 1, 4, 6], [sure, faint, faint, faint, sure, sure])
    )
    assert names(pool, select("most-boxes", pool, 3, default_rng(0))) == ["c", "a", "b"]
    assert names(pool, select("most-boxes", pool, 1, default_rng(0), min_score=0.1)) == ["b"]


@pytest.mark.integration
def test_random_is_uniform_and_changes_with_the_seed() -> None:
    pool = make(20)
    counts = np.bincount(
        np.concatenate([select("random", pool, 5, default_rng(s)) for s in range(2000)]), minlength=20
    )
    # Each of 20 is drawn 500 times of 2000 on the average, with a standard deviation of 19.4.
    assert abs(counts - 500).max() < 5 * 19.4
    assert set(select("random", pool, 5, default_rng(0))) != set(select("random", pool, 5, default_rng(1)))


def test_dbal_prefilters_and_takes_one_of_each_cluster() -> None:
    # Two tight groups of uncertain images, and far away a group that beta * k leaves out.
    pool = points(
        [[0, 0], [0.1, 0], [10, 10], [10.1, 10], [-50, 50], [-50, 51]], [5.0, 1.1, 4.0, 1.2, 0.5, 0.4]
    )
    # The weighted centre of (0, 0.1) with weights (5, 1.1) is 0.018: nearest is a; likewise c.
    assert set(names(pool, select("dbal", pool, 2, default_rng(0)))) == {"a", "c"}
    # With beta = 3 all six take part, and the far group may be a cluster of its own.
    wide = set(names(pool, select("dbal", pool, 3, default_rng(0), beta=2)))
    assert wide & set("ab")
    assert wide & set("cd")
    assert wide & set("ef")


def test_dbal_with_beta_one_is_margin() -> None:
    pool = make(40)
    dbal = select("dbal", pool, 9, default_rng(0), beta=1)
    assert dbal.tolist() == select("margin", pool, 9, default_rng(0)).tolist()


def test_silent_and_diverse() -> None:
    pool = points([0.0, 0.1, 5.0, 5.1, 9.0], [0, 0, 0, 0, 2])
    assert without_detections(pool).tolist() == [0, 1, 2, 3]
    picked = set(names(pool, select_kmeans(pool, 3, default_rng(0))))
    assert len(picked & set("ab")) == len(picked & set("cd")) == len(picked & {"e"}) == 1


def test_kmeans_of_a_large_pool_is_found_on_a_sample() -> None:
    rng = default_rng(0)
    n, centres = SAMPLE + 5000, rng.normal(0, 100, (6, 4))
    group = rng.integers(0, 6, n)
    pool = Candidates(
        [f"{i:06d}" for i in range(n)],
        np.ones(n),
        (centres[group] + rng.normal(size=(n, 4))).astype(np.float32),
    )
    assert sorted(group[select("kmeans", pool, 6, default_rng(1))]) == [0, 1, 2, 3, 4, 5]


def test_coreset_goes_where_nothing_is_labelled() -> None:
    pool = points([0.0, 1.0, 5.0, 9.0, 10.0], labelled=np.array([[0.5]]))
    assert names(pool, select("coreset", pool, 3, default_rng(0))) == ["e", "c", "d"]
    # Without labels the one nearest to the mean of 5 comes first, then the ends: both at 5, so by name.
    fresh = points([0.0, 1.0, 5.0, 9.0, 10.0])
    assert names(fresh, select("coreset", fresh, 3, default_rng(0))) == ["c", "a", "e"]


def test_coreset_covers_as_well_as_its_definition() -> None:
    pool = make(200)
    assert pool.labelled is not None
    picked = select("coreset", pool, 8, default_rng(0)).tolist()
    x, chosen = pool.embeddings, list(pool.labelled)
    for index in picked:  # each is a farthest one, by distances in full
        apart = np.linalg.norm(x[:, None] - np.asarray(chosen)[None], axis=2).min(axis=1)
        assert apart[index] == pytest.approx(apart.max(), rel=1e-4)
        chosen.append(x[index])


def test_coreset_picks_what_scikit_activeml_picks() -> None:
    from skactiveml.pool import CoreSet

    pool = make(300)
    assert pool.labelled is not None
    x = np.concatenate([pool.embeddings, pool.labelled])
    y = np.concatenate([np.full(300, np.nan), np.zeros(len(pool.labelled))])
    theirs = CoreSet(random_state=0, missing_label=np.nan).query(X=x, y=y, batch_size=12)
    assert set(select("coreset", pool, 12, default_rng(0)).tolist()) == set(theirs.tolist())


def test_typiclust_takes_the_densest_of_clusters_without_labels() -> None:
    rng = default_rng(0)
    groups = np.concatenate([rng.normal(at, 0.5, (8, 2)) for at in (0, 50, 100)])
    groups[16] = [100, 100]  # the middle of the third
    pool = points(groups, labelled=np.array([[0.0, 0.0]]))
    picked = set(select("typiclust", pool, 2, default_rng(0)).tolist())
    assert len(picked & set(range(8, 16))) == 1
    assert len(picked & set(range(16, 24))) == 1


def test_badge_s_gradient_by_hand() -> None:
    pool = points(
        np.zeros(2),
        detections=detections_of(
            [0, 2, 2], [[0.7, 0.2, 0.1], [0.3, 0.5, 0.2]], features=[[1.0, 2.0], [0.0, 1.0]]
        ),
    )
    # (p - onehot) of both: (-0.3, 0.2, 0.1), (0.3, -0.5, 0.2); each times its feature, then added up.
    expected = np.outer([-0.3, 0.2, 0.1], [1, 2]) + np.outer([0.3, -0.5, 0.2], [0, 1])
    np.testing.assert_allclose(gradients(pool), [expected.ravel(), np.zeros(6)], atol=1e-6)


def test_badge_begins_with_the_largest_gradient_and_leaves_it() -> None:
    unsure, sure = [0.5, 0.1, 0.4], [0.98, 0.01, 0.01]
    pool = points(
        np.zeros(4),
        detections=detections_of(
            [0, 1, 2, 3, 4], [sure, unsure, unsure, unsure], features=[[1, 0], [3, 0], [3.001, 0], [0, 2]]
        ),
    )
    firsts = [names(pool, select("badge", pool, 2, default_rng(seed))) for seed in range(20)]
    assert {first[0] for first in firsts} == {"c"}
    # d, at a right angle, is most of the distance; b, all but equal to c, never.
    assert sum(first[1] == "d" for first in firsts) >= 10
    assert all(first[1] != "b" for first in firsts)


def test_ppal_weights_hard_classes_more() -> None:
    np.testing.assert_allclose(difficulty(np.array([1.0, 0.0])), [1.0, 1.2])
    sixth = 1 + 0.3 * 0.2 * math.log((math.exp(1 / 0.3) - 1) * 0.5 + 1)
    np.testing.assert_allclose(difficulty(np.array([0.5])), [sixth])
    rows = [[0.5, 0.1, 0.4], [0.1, 0.5, 0.4]]
    for quality, first in (([1.0, 0.0], "b"), ([0.0, 1.0], "a")):
        pool = points(
            np.zeros(2),
            detections=detections_of([0, 1, 2], rows, features=np.eye(2)),
            class_quality=np.array(quality),
        )
        assert names(pool, select("ppal", pool, 1, default_rng(0), pool=1)) == [first]


def test_ppal_s_distance_by_hand() -> None:
    # a: two boxes of class 0; b: one of class 0 at 60 degrees to the first; c: one of class 1; d, e: none.
    features = [[1, 0], [0, 1], [0.5, math.sqrt(0.75)], [1, 0]]
    rows = [[0.6, 0.1, 0.3], [0.3, 0.1, 0.6], [0.8, 0.1, 0.1], [0.1, 0.7, 0.2]]
    distance = matching(
        detections_of(
            [0, 2, 3, 4, 4, 4], rows, labels=[0, 0, 0, 1], scores=[0.6, 0.3, 0.8, 0.7], features=features
        )
    )
    a_to_b = (0.6 * 0.5 + 0.3 * (1 - math.sqrt(0.75))) / 0.9
    b_to_a = 1 - math.sqrt(0.75)
    assert distance[0, 1] == pytest.approx((a_to_b + b_to_a) / 2)
    assert distance[0, 2] == distance[0, 3] == distance[2, 4] == 2
    assert distance[3, 4] == 0
    np.testing.assert_array_equal(distance, distance.T)
    assert not distance.diagonal().any()


def test_medoids_are_the_middles_of_groups() -> None:
    x = np.array([0.0, 1.0, 2.0, 50.0, 51.0, 52.0, 53.0, 54.0])
    for seed in range(5):
        assert medoids(abs(x[:, None] - x[None]), 2, default_rng(seed)).tolist() == [1, 5]
    assert medoids(np.zeros((5, 5)), 3, default_rng(0)).tolist() == sorted(
        {*medoids(np.zeros((5, 5)), 3, default_rng(0))}
    )


def test_cald_by_hand() -> None:
    p, q = [0.8, 0.1, 0.1], [0.6, 0.3, 0.1]
    mine = detections_of([0, 2, 2, 3], [p, q, p], boxes=[[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10]])
    copy = detections_of([0, 2, 2, 2], [q, p], boxes=[[0, 0, 10, 5], [90, 90, 99, 99]])
    js = jensen_shannon(np.array([p]), np.array([q]))[0]
    first = 0.5 + (1 - js) * (0.8 + 0.6) / 2
    # The second box of image 0 has no partner: consistency 0. Image 1 has no box, image 2's has no partner.
    expected = [min(abs(first - 1.3), 1.3), 3.3, 1.3]
    np.testing.assert_allclose(consistency(mine, copy), expected)


def test_divergence_and_overlap() -> None:
    np.testing.assert_allclose(jensen_shannon(np.eye(2), np.eye(2)[::-1]), 1.0, atol=1e-9)
    np.testing.assert_allclose(jensen_shannon(np.eye(2), np.eye(2)), 0.0, atol=1e-9)
    overlap = iou(np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]]))
    np.testing.assert_allclose(overlap, [[1 / 3, 0]])


def test_cald_prefers_what_is_inconsistent_and_rare() -> None:
    sure, half = [0.98, 0.01, 0.01], [0.65, 0.05, 0.30]
    other = [0.05, 0.65, 0.30]
    rows, boxes = [sure, half, half, other], np.tile([0.0, 0, 10, 10], (4, 1))
    pool = points(
        np.zeros(4),
        detections=detections_of([0, 1, 2, 3, 4], rows, boxes=boxes),
        augmented=(detections_of([0, 1, 2, 3, 4], rows, boxes=boxes),),
        labelled_classes=np.array([20.0, 0.0]),
    )
    # b, c and d are as inconsistent as each other, a is not; labels have class 0 only, d shows class 1.
    assert names(pool, select("cald", pool, 2, default_rng(0), spare=0.5))[0] == "d"
    assert "a" not in names(pool, select("cald", pool, 2, default_rng(0), spare=0.5))
