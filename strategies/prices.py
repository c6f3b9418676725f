"""Seconds that people need for what they do to an image, learnt from answers of which the time is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.rows import AnyFloats

#: Least number of answers from which prices are learnt.
LEAST_ANSWERS = 30
#: Standard deviation of a price around its usual value, as a share of it.
_SPREAD = 1.0
#: Of a normal distribution: standard deviation for the median of the absolute deviations.
_MAD = 1.4826
#: Least spread of the time of an answer, seconds.
_LEAST_NOISE = 1.0
#: Least learnt price, as a share of the usual one.
_LEAST_SHARE = 0.1
#: Limits of the chance from which a box is shown: prices of few answers are rough.
_CHANCES = (0.1, 0.6)


@dataclass(frozen=True)
class Prices:
    """Seconds of annotators: to open an image, and to confirm, delete, and draw a box."""

    image: float = 10.0
    confirm: float = 2.0
    delete: float = 2.0
    draw: float = 7.0

    def __str__(self) -> str:
        """Describe the prices."""
        return (
            f"people need {self.image:.1f} s for an image, {self.confirm:.1f} s to confirm a box, "
            f"{self.delete:.1f} s to delete and {self.draw:.1f} s to draw one"
        )

    @property
    def least_chance(self) -> float:
        """The chance q from which showing a box saves time: q draw > q confirm + (1 − q) delete.

        Cut to [0.1, 0.6], since prices of few answers are rough.
        """
        saved = max(self.draw - self.confirm, 0.0)
        return min(max(self.delete / max(self.delete + saved, 1e-9), _CHANCES[0]), _CHANCES[1])


def learn_prices(seconds: AnyFloats, actions: AnyFloats) -> Prices | None:
    """Return the prices of people's actions. None for fewer than LEAST_ANSWERS answers.

    seconds: (n,) time of each answer.
    actions: (n, 3) number of boxes of each answer that were confirmed or corrected, deleted, and drawn.
    A ridge regression without negative coefficients: each price has a normal prior around its usual value,
    with this value as standard deviation. The noise is that of the median deviation from the usual prices.
    No price is below a tenth of the usual one.
    """
    if len(seconds) < LEAST_ANSWERS:
        return None
    from sklearn.linear_model import LinearRegression

    usual = Prices()
    prior = np.array([usual.image, usual.confirm, usual.delete, usual.draw])
    columns = np.column_stack([np.ones(len(seconds)), actions])
    residuals = np.asarray(seconds) - columns @ prior
    noise = max(_LEAST_NOISE, _MAD * float(np.median(np.abs(residuals - np.median(residuals)))))
    rows = np.concatenate([columns / noise, np.diag(1 / (_SPREAD * prior))])
    targets = np.concatenate([np.asarray(seconds) / noise, np.full(4, 1 / _SPREAD)])
    line = LinearRegression(fit_intercept=False, positive=True).fit(rows, targets)
    return Prices(*np.maximum(line.coef_, _LEAST_SHARE * prior).tolist())
