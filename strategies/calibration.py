"""The chance that a detected box is right, and the number of missed objects, learnt from labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from strategies.rows import AnyFloats, FloatArray, IntArray

#: Least AUC of right and wrong boxes from which chances are used.
MIN_AUC = 0.65
#: Variance of the offset of a class. With ten boxes, half right, it is half of what the boxes alone say.
_CLASS_VARIANCE = 0.4
#: Variance of the slope around 0: weak.
_SLOPE_VARIANCE = 10.0
#: Parts of the images for estimates on images that a part of the calibration has not seen.
_FOLDS = 5
#: Largest logit of a chance, so that its entropy is finite.
_MOST = 20.0
#: Scores are cut to [_LEAST, 1 - _LEAST], so that their logits are finite.
_LEAST = 1e-4


@dataclass(frozen=True, eq=False)
class Evidence:
    """Detections on n labelled images that the detector was not trained on.

    image: (m,) index of the image of each detection.
    labels, scores: (m,) class and score of each detection.
    right: (m,) whether it is the best match of a labelled box of its class, with an IoU of at least 0.5.
    missed: (n,) number of labelled boxes without a match.
    """

    image: IntArray
    labels: IntArray
    scores: AnyFloats
    right: AnyFloats
    missed: AnyFloats


@dataclass(frozen=True)
class Calibration:
    """How well the boxes of a detector are calibrated.

    A ridge logistic regression on the logit of the score, with an offset for each class.

    slope: of the logit of the score.
    offsets: (C,) of each class.
    auc: area under the ROC curve of right and wrong detections, on images that the regression was not fitted
        to.
    missed_per_image, missed_per_object: expected number of missed objects of an image, and of each of its
        expected right boxes.
    """

    slope: float
    offsets: tuple[float, ...]
    auc: float
    missed_per_image: float
    missed_per_object: float

    @property
    def is_useful(self) -> bool:
        """Whether scores tell right boxes from wrong ones."""
        return self.auc >= MIN_AUC and self.slope > 0

    def chances(self, labels: IntArray, scores: AnyFloats) -> FloatArray:
        """Return the chance q(d) that each detection is right at IoU 0.5, (m,), in (0, 1)."""
        logits = self.slope * logit(scores) + np.asarray(self.offsets)[labels]
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -_MOST, _MOST))))

    def least_scores(self, chance: float) -> tuple[float, ...]:
        """Return the score of each class from which boxes are right with at least this chance, (C,).

        chance: in (0, 1). It must rise with the score, see `is_useful`.
        """
        wanted = np.log(chance / (1 - chance))
        logits = (wanted - np.asarray(self.offsets)) / self.slope
        return tuple((1 / (1 + np.exp(-np.clip(logits, -_MOST, _MOST)))).tolist())

    def missed(self, right: FloatArray) -> FloatArray:
        """Return the expected number of missed objects of each image.

        right: (n,) expected number of right boxes.
        """
        return self.missed_per_image + self.missed_per_object * right


def logit(scores: AnyFloats) -> FloatArray:
    """Return ln p / (1 - p) of scores."""
    p = np.clip(np.asarray(scores, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(p / (1 - p)))


def calibrate(evidence: Evidence, classes: int) -> Calibration | None:
    """Return the calibration of a detector. None if it cannot be learnt.

    That is the case without a right or a wrong detection, or if there are too few images with both to
    estimate the AUC.
    The offset of a class shrinks towards a common one: by half with ten detections, half of them right.
    Missed objects are a linear function of the expected right boxes, with coefficients >= 0.
    Source: Platt 1999, with the offsets of Gelman & Hill 2007, chapter 14.
    """
    auc = _auc_on_other_images(evidence, classes)
    if auc is None:
        return None
    from sklearn.linear_model import LinearRegression

    slope, offsets = _fit(evidence, np.ones(len(evidence.scores), bool), classes)
    draft = Calibration(slope, offsets, auc, 0.0, 0.0)
    chances = draft.chances(evidence.labels, evidence.scores)
    expected = np.bincount(evidence.image, chances, minlength=len(evidence.missed))
    columns = np.stack([np.ones(len(expected)), expected], axis=1)
    line = LinearRegression(fit_intercept=False, positive=True).fit(columns, evidence.missed)
    return Calibration(slope, offsets, auc, float(line.coef_[0]), float(line.coef_[1]))


def _auc_on_other_images(evidence: Evidence, classes: int) -> float | None:
    """Return the AUC of chances that are predicted for each fold of the images from the other folds."""
    from sklearn.metrics import roc_auc_score

    fold, predicted = evidence.image % _FOLDS, np.full(len(evidence.scores), np.nan)
    for number in range(_FOLDS):
        inside = fold == number
        if len(np.unique(evidence.right[~inside])) < 2:
            return None
        slope, offsets = _fit(evidence, ~inside, classes)
        part = Calibration(slope, offsets, 0.0, 0.0, 0.0)
        predicted[inside] = part.chances(evidence.labels[inside], evidence.scores[inside])
    return float(roc_auc_score(evidence.right, predicted))


def _fit(evidence: Evidence, rows: AnyFloats, classes: int) -> tuple[float, tuple[float, ...]]:
    """Return slope and offsets of the classes, fitted to some of the detections."""
    from sklearn.linear_model import LogisticRegression

    labels, scale = evidence.labels[rows], np.sqrt(_CLASS_VARIANCE)
    columns = np.zeros((len(labels), 1 + classes))
    columns[:, 0] = logit(evidence.scores[rows]) * np.sqrt(_SLOPE_VARIANCE)
    columns[np.arange(len(labels)), 1 + labels] = scale
    # A penalty of half the squared coefficients of scaled columns is a normal prior with these variances.
    model = LogisticRegression(C=1.0, max_iter=1000).fit(columns, evidence.right[rows])
    slope = float(model.coef_[0, 0] * np.sqrt(_SLOPE_VARIANCE))
    return slope, tuple((model.intercept_[0] + model.coef_[0, 1:] * scale).tolist())
