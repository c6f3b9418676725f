"""Two models side by side: how far apart, how sure, and on which images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from al_loop.core.console import Reporter
from al_loop.evaluation.bootstrap import Comparison
from al_loop.evaluation.detection_counts import SCORE, all_right
from al_loop.images import repository
from al_loop.models import evaluation
from al_loop.state import model_registry
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage

#: Images that are named; the rest are counted.
_NAMED = 8


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Model `first` minus model `second` on a set. right_alone: images that only this model gets entirely right.

    predicted: by model, the boxes that are meant, by image.  names: of the files that images came from.
    """

    first: Model
    second: Model
    set_name: str
    apart: Comparison
    right_alone: Mapping[str, Sequence[LabelledImage]]
    predicted: Mapping[str, Mapping[str, Boxes]]
    names: Mapping[str, str]

    @property
    def rows(self) -> dict[str, str]:
        """Every difference with its interval, by what it is of."""
        apart = self.apart
        found = {"AP": apart.ap, "AP50": apart.ap50}
        found |= {f"AP, {name} boxes": d for name, d in apart.by_area.items()}
        found |= {f"AP of {name}": d for name, d in apart.per_class.items()}
        return {name: str(d) for name, d in found.items()}

    @property
    def lines(self) -> list[str]:
        """All of it for a terminal."""
        apart, width = self.apart, max(map(len, self.rows))
        lines = [
            f"{self.first.id} − {self.second.id} on {apart.images} {self.set_name} images, {apart.resamples} resamples"
        ]
        lines += [f"  {name.ljust(width)}  {text}" for name, text in self.rows.items()]
        for model, images in self.right_alone.items():
            named = [self.names[item.image.id] for item in images]
            shown = ", ".join(named[:_NAMED])
            shown += f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
            lines.append(f"entirely right with {model} alone: {len(named)}{': ' + shown if named else ''}")
        return lines


def compare_models(
    workspace: Workspace, first: str, second: str, name: str, reporter: Reporter
) -> ModelComparison:
    """Hold two models against each other on a set; ModelError or DataError for what there is not."""
    pair = model_registry.get_model(workspace, first), model_registry.get_model(workspace, second)
    truth = repository.validation(workspace, name)
    apart = evaluation.compare_models(workspace, *pair, name, reporter)
    seen = {
        model.id: {
            image: boxes.above(SCORE)
            for image, boxes in evaluation.predictions(workspace, model, name, reporter).items()
        }
        for model in pair
    }
    right = {
        model: {item.image.id for item in truth if all_right(item, seen[model].get(item.image.id, Boxes()))}
        for model in seen
    }
    a, b = (model.id for model in pair)
    alone = {
        model: [item for item in truth if item.image.id in right[model] - right[other]]
        for model, other in ((a, b), (b, a))
    }
    names = repository.source_names(workspace, [item.image.id for item in truth])
    return ModelComparison(*pair, name, apart, alone, seen, names)
