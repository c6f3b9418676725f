"""Write predictions of photographs: boxes as COCO JSON, and pictures with the boxes drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from al_loop.core.errors import DataError
from al_loop.images.coco import write_coco
from al_loop.images.overlays import overlay
from al_loop.models.prediction import PredictedPhoto
from al_loop.structures.images import ImageFile, LabelledImage

_QUALITY = 90  # of JPEG


@dataclass(eq=False)
class PredictionWriter:
    """Writes predictions.

    out: COCO file; written by `close`. None: no file.
    overlays: new or empty folder of JPEGs. None: no pictures.
    Raises DataError if the file exists, if the folder holds files, or if they cannot be written.
    """

    classes: Sequence[str]
    out: Path | None
    overlays: Path | None
    images: int = 0
    boxes: int = 0
    _found: list[LabelledImage] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Check the places before anything is predicted."""
        if self.out is not None and self.out.exists():
            raise DataError(f"{self.out} exists already: choose another file")
        try:
            for folder in (self.overlays, self.out and self.out.absolute().parent):
                if folder is not None:
                    folder.mkdir(parents=True, exist_ok=True)
            if self.overlays is not None and any(self.overlays.iterdir()):
                raise DataError(f"{self.overlays} is not empty: choose another folder for the pictures")
        except OSError as error:
            raise DataError(f"the predictions cannot be written: {error}") from None

    def add(self, photo: PredictedPhoto) -> None:
        """Add a photograph, and write its picture."""
        self.images += 1
        self.boxes += len(photo.boxes)
        if self.out is not None:
            image = ImageFile(photo.image.id, Path(photo.file), photo.image.width, photo.image.height)
            self._found.append(LabelledImage(image, photo.boxes))
            self._names.append(photo.file)
        if self.overlays is not None:
            picture = overlay(photo.image.data, photo.boxes, self.classes)
            picture.save(self.overlays / self._free_name(photo.file), "JPEG", quality=_QUALITY)

    def close(self) -> None:
        """Write the COCO file."""
        if self.out is not None and self.images:
            write_coco(self.out, self._found, self.classes, self._names)

    def _free_name(self, file: str) -> str:
        """Return a name of its own for the picture of a photograph."""
        stem = PurePosixPath(file).stem or "photograph"
        name, number = f"{stem}.jpg", 1
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}.jpg"
        self._taken.add(name)
        return name
