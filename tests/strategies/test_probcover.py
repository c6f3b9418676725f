"""ProbCover by hand, and beside scikit-activeml."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from support.candidate_pools import make, names, points

from strategies import select
from strategies.probcover import pure_radius


def test_the_radius_of_two_lines() -> None:
    """Twenty points each, 1 apart; the ends of the two lines are 10 apart, and their neighbours 11."""
    x = np.concatenate([np.arange(20.0), np.arange(20.0) + 29])[:, None]
    # 5 % of the balls may hold points of both lines: those of the two ends. The next are 11 away.
    assert pure_radius(x, 2, default_rng(0)) == pytest.approx(11)
    assert pure_radius(x, 2, default_rng(0)) < 11


def test_each_pick_covers_the_most_that_is_left() -> None:
    """Groups of 7, 5 and 3 alike, each around a middle; a label lies in the second."""
    groups = [np.linspace(at - 1, at + 1, count) for at, count in ((0, 7), (50, 5), (100, 3))]
    pool = points(np.concatenate(groups), labelled=np.array([[50.0]]))
    assert names(pool, select("probcover", pool, 2, default_rng(0)))[0] in "abcdefg"
    assert names(pool, select("probcover", pool, 2, default_rng(0)))[1] in "mno"


def test_once_all_is_covered_the_balls_shrink() -> None:
    pool = points(
        np.concatenate([np.linspace(0, 1, 11), np.linspace(90, 91, 11)]), labelled_classes=np.zeros(2)
    )
    picked = select("probcover", pool, 8, default_rng(0))
    assert len(set(picked.tolist())) == 8
    assert {0, 1} == {int(i >= 11) for i in picked[:2]}
    same = points(np.zeros(9))
    assert len(set(select("probcover", same, 4, default_rng(0)).tolist())) == 4


@pytest.mark.filterwarnings("ignore:The maximum purity")
def test_it_covers_as_much_as_scikit_activeml_with_the_same_radius(monkeypatch: pytest.MonkeyPatch) -> None:
    from skactiveml.pool import ProbCover

    pool = make(200, d=2)
    assert pool.labelled is not None
    monkeypatch.setattr("strategies.probcover.pure_radius", lambda *_: 0.5)
    x = np.concatenate([pool.embeddings, pool.labelled])
    y = np.concatenate([np.full(200, np.nan), np.zeros(len(pool.labelled))])
    method = ProbCover(n_classes=2, deltas=[0.5], random_state=0, missing_label=np.nan)
    theirs = method.query(X=x, y=y, batch_size=10)

    def covered(picked: np.ndarray) -> int:
        centres = np.concatenate([x[picked], pool.labelled])
        return int((np.linalg.norm(x[:, None] - centres[None], axis=2) <= 0.5).any(axis=1).sum())

    ours = select("probcover", pool, 10, default_rng(0))
    assert covered(ours) == covered(np.asarray(theirs))
