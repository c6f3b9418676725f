"""Verifies, renders, labels, exposes and commits the views of a scene."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from render.annotation.annotate import label
from render.annotation.record_store import Record, commit
from render.core.spec import SceneSpec, ViewSpec
from render.postprocess import sensor
from render.postprocess.background import backdrop, composite, foreground_level
from render.worker.passes import configure, shoot
from render.worker.scene import Stage
from render.worker.verify import ViewVisibility, verify, without_hidden


class SceneRenderer:
    """Blender, ready to make images into one dataset folder."""

    def __init__(self, out: Path, threads: int) -> None:
        """Set up the stage."""
        self._out = out
        self.stage = Stage()
        configure(self.stage.scene, threads)

    def make(self, spec: SceneSpec, wanted: frozenset[int]) -> None:
        """Render the wanted views of a scene; commit each as soon as it is done.

        Verification, and so compilation, depends on the scene alone, not on which views are wanted.
        """
        self.stage.set(spec)
        sights: dict[int, ViewVisibility] = {}
        if spec.labels.verify:
            visible = verify(self.stage.scene, spec, self.stage.meshes.surface)
            spec = without_hidden(spec, visible)
            sights = {sight.index: sight for sight in visible}
        materials_assigned = False
        for number, view in enumerate(spec.views):
            if view.index not in wanted:
                continue
            record = Record(
                index=view.index,
                scene=spec.index,
                view=number,
                seed=spec.seed,
                status="done",
                width=spec.width,
                height=spec.height,
                unplaced=len(spec.unplaced),
            )
            sight = sights.get(view.index)
            if sight is not None and sight.reason:
                commit(self._out, replace(record, status="skipped", reason=sight.reason), None)
                continue
            if not materials_assigned:
                self.stage.assign_materials(spec)
                materials_assigned = True
            self._render(spec, view, record)

    def _render(self, spec: SceneSpec, view: ViewSpec, record: Record) -> None:
        shot = shoot(self.stage.scene, spec, view)
        record = replace(record, annotations=label(shot, spec, view, self.stage.meshes.surface))
        light = shot.light
        if spec.background.kind != "sky":
            level = foreground_level(light, shot.alpha)
            light = composite(light, shot.alpha, backdrop(spec.background, spec.width, spec.height, level))
        pixels = sensor.expose(light, view.sensor)
        commit(self._out, record, sensor.to_bytes(pixels, spec.format, view.sensor.jpeg_quality))
