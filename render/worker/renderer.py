"""Renders a scene from its spec to committed images: verify, render, label, expose, commit."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from render.annotation.annotate import label
from render.annotation.record_store import Record, commit
from render.core.spec import SceneSpec, ViewSpec
from render.postprocess import sensor
from render.postprocess.background import backdrop, composite, foreground_level
from render.worker.passes import configure, render_view
from render.worker.scene import SceneBuilder
from render.worker.verify import ViewVisibility, verify, without_hidden


class SceneRenderer:
    """Renders scenes into one dataset folder."""

    def __init__(self, out: Path, threads: int) -> None:
        """Start with an empty Blender scene."""
        self._out = out
        self.builder = SceneBuilder()
        configure(self.builder.scene, threads)

    def render_scene(self, spec: SceneSpec, wanted: frozenset[int]) -> None:
        """Render the wanted views of a scene; commit each as soon as it is done.

        All views are verified, also those that are not wanted: the materials that are compiled depend on the
        scene alone.
        """
        self.builder.build(spec)
        visibilities: dict[int, ViewVisibility] = {}
        if spec.labels.verify:
            visible = verify(self.builder.scene, spec, self.builder.meshes.surface)
            spec = without_hidden(spec, visible)
            visibilities = {visibility.index: visibility for visibility in visible}
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
            visibility = visibilities.get(view.index)
            if visibility is not None and visibility.reason:
                commit(self._out, replace(record, status="skipped", reason=visibility.reason), None)
                continue
            if not materials_assigned:
                self.builder.assign_materials(spec)
                materials_assigned = True
            self._render(spec, view, record)

    def _render(self, spec: SceneSpec, view: ViewSpec, record: Record) -> None:
        rendered = render_view(self.builder.scene, spec, view)
        record = replace(record, annotations=label(rendered, spec, view, self.builder.meshes.surface))
        light = rendered.light
        if spec.background.kind != "sky":
            level = foreground_level(light, rendered.alpha)
            light = composite(
                light, rendered.alpha, backdrop(spec.background, spec.width, spec.height, level)
            )
        pixels = sensor.expose(light, view.sensor)
        commit(self._out, record, sensor.to_bytes(pixels, spec.format, view.sensor.jpeg_quality))
