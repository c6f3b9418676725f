"""What people's actions cost, and from which chance on a box is worth showing."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import Prices, learn_prices


def test_a_box_is_shown_if_it_saves_time() -> None:
    """2 s to confirm or delete, 7 s to draw: with the chance q it costs 2 s and saves 7 q s."""
    assert Prices().least_chance == pytest.approx(2 / 7)
    prices = Prices(confirm=1, delete=4, draw=9)
    q = prices.least_chance
    assert q * prices.draw == pytest.approx(q * prices.confirm + (1 - q) * prices.delete)


@pytest.mark.parametrize(
    ("prices", "least"),
    [(Prices(confirm=8, draw=7), 0.6), (Prices(delete=0), 0.1), (Prices(delete=9e9), 0.6)],
)
def test_the_least_chance_stays_moderate(prices: Prices, least: float) -> None:
    assert prices.least_chance == least


def test_prices_are_learnt_from_answers() -> None:
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 8, (300, 3)).astype(float)
    seconds = 20 + actions @ [4.0, 1.0, 12.0] + rng.normal(0, 3, 300)
    found = learn_prices(seconds, actions)
    assert found is not None
    assert [found.image, found.confirm, found.delete, found.draw] == pytest.approx([20, 4, 1, 12], abs=0.7)


def test_few_answers_leave_the_usual_prices() -> None:
    actions = np.tile([2.0, 0.0, 0.0], (30, 1))
    assert learn_prices(np.full(29, 9.0), actions[:29]) is None
    found = learn_prices(np.full(30, 14.0), actions)
    assert found is not None
    assert [found.image, found.confirm, found.delete, found.draw] == pytest.approx([10, 2, 2, 7])


def test_a_price_is_positive() -> None:
    """Answers with deleted boxes are faster. A price of 0 could not divide a gain."""
    actions = np.array([[0.0, n % 4, 0.0] for n in range(40)])
    found = learn_prices(12 - 2 * actions[:, 1], actions)
    assert found is not None
    assert found.delete == pytest.approx(0.2)
    found = learn_prices(np.full(40, 0.2), np.zeros((40, 3)))
    assert found is not None
    assert found.image == pytest.approx(1.0)


def test_a_long_break_changes_little() -> None:
    rng = np.random.default_rng(1)
    actions = rng.integers(0, 5, (60, 3)).astype(float)
    seconds = 10 + actions @ [2.0, 2.0, 7.0] + rng.normal(0, 1, 60)
    usual = learn_prices(seconds, actions)
    seconds[7] += 60
    other = learn_prices(seconds, actions)
    assert usual is not None
    assert other is not None
    assert other.draw == pytest.approx(usual.draw, abs=1.0)


def test_prices_in_words() -> None:
    assert str(Prices()) == (
        "people need 10.0 s for an image, 2.0 s to confirm a box, 2.0 s to delete and 7.0 s to draw one"
    )
