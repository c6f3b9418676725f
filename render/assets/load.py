"""Everything a recipe takes from files, found and read once: meshes, pictures, texture sets, lamps.

`plan` works with these alone and never touches the disk. Paths are relative to the recipe's folder. A mesh
file is read in its own numbers and axes, whatever its format: `units` is what one of its numbers means, `up`
the axis of the file that points upwards (for glTF that is always "y"). A file with several objects has a
component for each, by its name; all else is one component, "".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from render.assets.ies import MAX_BYTES, peak
from render.assets.image_folders import SUFFIXES as PICTURE_SUFFIXES
from render.assets.image_folders import ImageCache, pictures_in
from render.assets.meshcache import MeshAsset, cache_folder, stored_surface
from render.assets.meshfiles import METRES, SUFFIXES, MeshSource, load_meshes
from render.assets.textures import TextureSet, texture_sets
from render.core.errors import AssetError
from render.core.files import sha256_regular
from render.recipe.distributions import Distribution
from render.recipe.tables import Background, Distractors, Lamps, Light, Material, Part, Recipe, Stage

__all__ = ["Assets", "MeshAsset", "load_assets", "stored_surface"]

#: The longest side of a part that is no mistake about units, metres.
SMALLEST_M, LARGEST_M = 0.0001, 100.0
#: Longer than this, a part in metres is warned of, and so is one of so many widths of the widest view ...
HUGE_M, HUGE_VIEWS = 10.0, 10.0
#: ... or, in other units, one of so small a share of it.
TINY_VIEWS = 0.002


@dataclass(frozen=True)
class Assets:
    """Content of the files that a recipe names, by the names that the recipe uses.

    meshes: the mesh of each part.
    mesh_folders: the meshes of each distractor folder, sorted by file name.
    pictures: the image files of each folder.
    textures: the texture sets of each material's or stage's folder.
    files: photometric files of lamps.
    digest: SHA-256 of the content of all files, including those they refer to; "" without files.
    warnings: files that were left out, and probable mistakes.
    """

    meshes: Mapping[str, MeshAsset] = field(default_factory=dict)
    mesh_folders: Mapping[str, tuple[MeshAsset, ...]] = field(default_factory=dict)
    pictures: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    textures: Mapping[str, tuple[TextureSet, ...]] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    digest: str = ""
    warnings: tuple[str, ...] = ()


def load_assets(recipe: Recipe, root: Path, *, python: str | None = None) -> Assets:
    """Find and read every file that a recipe names.

    root: folder that the recipe's paths are relative to.
    python: interpreter that has bpy, for meshes not imported before; None: the running one.

    Raises AssetError with the key at fault, and BlenderMissingError.
    """
    files = _Finder(root, _widest_view(recipe))
    for where, table in _tables(recipe):
        match table:
            case Part(mesh=mesh) if mesh:
                files.want_mesh(f"{where}.mesh", table)
            case Distractors(folder=folder) if folder:
                files.want_meshes(f"{where}.folder", folder)
            case Material(kind="image" | "pbr", folder=""):
                raise AssetError(f"{where}.folder: expected a picture or a folder of them, got none")
            case Material(folder=folder) | Stage(folder=folder) if folder:
                files.find_textures(f"{where}.folder", folder)
            case Light(sky_folder=folder) if folder:
                files.find_pictures(f"{where}.sky_folder", folder)
            case Background(folder=folder) if folder:
                files.find_pictures(f"{where}.folder", folder, may_be_empty=True)
            case Lamps(ies=ies) if ies:
                files.find_lamp(f"{where}.ies", ies)
    return files.assets(python)


def _tables(value: object, where: str = "") -> Iterator[tuple[str, msgspec.Struct]]:
    """Every table of a recipe and the path of its key, `parts[0].materials[1]`."""
    if isinstance(value, msgspec.Struct):
        yield where, value
        for name in value.__struct_fields__:
            yield from _tables(getattr(value, name), f"{where}.{name}" if where else name)
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _tables(item, f"{where}[{number}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _tables(item, f"{where}.{name}")


_Loaded = Mapping[MeshSource, MeshAsset | AssetError]


class _Finder:
    """Collects the files of a recipe. Meshes come last, in one batch: Blender takes seconds to start."""

    def __init__(self, root: Path, view_m: float) -> None:
        self._root, self._view_m = root, view_m
        self._images = ImageCache(cache_folder() / "pictures.json")
        self._parts: list[tuple[MeshSource, Part]] = []
        self._folders: dict[str, tuple[str, tuple[MeshSource, ...]]] = {}
        self._pictures: dict[str, tuple[Path, ...]] = {}
        self._textures: dict[str, tuple[TextureSet, ...]] = {}
        self._files: dict[str, Path] = {}
        self._content: dict[str, object] = {}
        self._warnings: dict[str, None] = {}  # in order, each once

    def want_mesh(self, where: str, part: Part) -> None:
        """A part's mesh. A path has one mesh, so all parts must read it alike."""
        source = MeshSource(where, self._path(part.mesh), part.units, part.up)
        for other, first in self._parts:
            if first.mesh == part.mesh and (first.units, first.up) != (part.units, part.up):
                raise AssetError(
                    f'{where} = {part.mesh}: expected units = "{first.units}" and up = "{first.up}" as at '
                    f'{other.where}, got "{part.units}" and "{part.up}"; one of the two is wrong'
                )
        self._parts.append((source, part))

    def want_meshes(self, where: str, folder: str) -> None:
        """A folder of meshes of any unit: distractors are scaled to a size of the recipe's."""
        place = self._folder(where, folder, "mesh files")
        named = (f for f in place.rglob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        files = sorted(file for file in named if not file.is_dir())
        if not files:
            raise AssetError(f"{where} = {place}: expected files {', '.join(SUFFIXES)}, got none")
        self._folders[folder] = (where, tuple(MeshSource(where, file, dropped=False) for file in files))

    def find_pictures(self, where: str, folder: str, *, may_be_empty: bool = False) -> None:
        """The pictures of a folder that can be read."""
        place = self._path(folder)
        if not place.is_file():
            place = self._folder(where, folder, "pictures")
        good, content, faults = [], [], []
        for picture in pictures_in(place):
            digest, fault = self._images.check(picture)
            if fault:
                faults.append((picture, fault))
            else:
                good.append(picture)
                content.append((picture.relative_to(place).as_posix(), digest))
        if not good and not (may_be_empty and not faults):
            got = (
                f"{len(faults)} that cannot be read, the first: {': '.join(map(str, faults[0]))}"
                if faults
                else "none"
            )
            raise AssetError(f"{where} = {place}: expected pictures {', '.join(PICTURE_SUFFIXES)}, got {got}")
        self._pictures[folder] = tuple(good)
        self._content[f"pictures {folder}"] = content
        self._warnings |= dict.fromkeys(f"{p}: left out: expected a picture, got {why}" for p, why in faults)

    def find_textures(self, where: str, folder: str) -> None:
        """The texture sets of a folder, or a picture by itself."""
        self.find_pictures(where, folder)
        place = self._path(folder)
        if place.is_file():
            self._textures[folder] = (TextureSet(place.stem, {"colour": place}),)
            return
        sets, warnings = texture_sets(self._pictures[folder], place)
        if not sets:
            raise AssetError(f"{where} = {place}: expected a colour picture, got none; {warnings[0]}")
        self._textures[folder] = sets
        self._warnings |= dict.fromkeys(warnings)

    def find_lamp(self, where: str, ies: str) -> None:
        """A photometric file (IES LM-63)."""
        path = self._path(ies)
        try:
            peak(path)
        except AssetError as error:
            raise AssetError(f"{where}: {error}") from error
        self._files[ies] = path
        self._content[f"lamp {ies}"] = sha256_regular(path, MAX_BYTES)

    def assets(self, python: str | None) -> Assets:
        """Everything found, and the meshes imported."""
        self._images.save()
        sources = [source for source, _ in self._parts]
        sources += [source for _, folder in self._folders.values() for source in folder]
        loaded = dict(zip(sources, load_meshes(sources, python), strict=True))
        meshes = {part.mesh: self._checked(source, part, loaded) for source, part in self._parts}
        folders = {name: self._usable(name, *wanted, loaded) for name, wanted in self._folders.items()}
        content = self._content | {f"mesh {name}": mesh.key for name, mesh in meshes.items()}
        content |= {f"meshes {name}": [mesh.key for mesh in inside] for name, inside in folders.items()}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() if content else ""
        return Assets(
            meshes, folders, self._pictures, self._textures, self._files, digest, tuple(self._warnings)
        )

    def _checked(self, source: MeshSource, part: Part, loaded: _Loaded) -> MeshAsset:
        mesh = loaded[source]
        if isinstance(mesh, AssetError):
            raise mesh
        if part.size_m is None and not SMALLEST_M <= mesh.longest_m <= LARGEST_M:
            raise AssetError(_nonsense(source, mesh))
        strange = sorted(set(part.components) - set(mesh.components))
        if strange:
            raise AssetError(
                f"{source.where.removesuffix('mesh')}components.{strange[0]}: expected one of "
                f"{', '.join(map(repr, mesh.components))}, the objects in {source.path}"
            )
        warnings = [*_contradictions(source, part, mesh)] or [*_implausible(source, part, mesh, self._view_m)]
        remarks = (f"{source.where} = {source.path}: {remark}" for remark in mesh.remarks)
        self._warnings |= dict.fromkeys((*warnings, *remarks))
        return mesh

    def _usable(
        self, folder: str, where: str, sources: tuple[MeshSource, ...], loaded: _Loaded
    ) -> tuple[MeshAsset, ...]:
        meshes = [loaded[source] for source in sources]
        faults = [str(mesh) for mesh in meshes if isinstance(mesh, AssetError)]
        good = tuple(mesh for mesh in meshes if isinstance(mesh, MeshAsset))
        if not good:
            raise AssetError(f"{where} = {folder}: expected a mesh that can be used, got none; {faults[0]}")
        self._warnings |= dict.fromkeys(f"left out: {fault}" for fault in faults)
        self._warnings |= dict.fromkeys(
            f"{where} = {folder}: {mesh.name}: {remark}" for mesh in good for remark in mesh.remarks
        )
        return good

    def _path(self, name: str) -> Path:
        return (self._root / Path(name).expanduser()).resolve()

    def _folder(self, where: str, name: str, what: str) -> Path:
        place = self._path(name)
        if not place.is_dir():
            got = "a file" if place.exists() else "nothing there; paths are relative to the recipe's folder"
            raise AssetError(f"{where} = {place}: expected a folder of {what}, got {got}")
        return place


def _nonsense(source: MeshSource, mesh: MeshAsset) -> str:
    """What is wrong with a size, and which units would make sense, the likeliest first."""
    in_file = mesh.longest_m / METRES[source.units]
    sizes = {units: in_file * metres for units, metres in METRES.items()}
    sensible = [units for units, size in sizes.items() if SMALLEST_M <= size <= LARGEST_M]
    # Most parts are some ten centimetres long.
    sensible.sort(key=lambda units: abs(math.log10(sizes[units] / 0.1)))
    advice = " or ".join(f'units = "{units}" ({sizes[units]:.3g} m)' for units in sensible)
    return (
        f"{source.where} = {source.path}: expected a longest side of {SMALLEST_M:g} to {LARGEST_M:g} m, "
        f'got {mesh.longest_m:.4g} m with units = "{source.units}"; '
        f"give {advice or 'its true length as size_m'}"
    )


def _contradictions(source: MeshSource, part: Part, mesh: MeshAsset) -> Iterator[str]:
    """Where a file says of itself what the recipe does not."""
    if mesh.stated is None:
        return
    unit_m, up = mesh.stated
    table = source.where.removesuffix(".mesh")
    if up != part.up:
        yield f'{table}.up = "{part.up}": {source.path.name} itself says "{up}"'
    if part.size_m is None and abs(unit_m - METRES[part.units]) > 1e-3 * unit_m:
        yield f'{table}.units = "{part.units}": {source.path.name} itself says {unit_m:g} m'


def _widest_view(recipe: Recipe) -> float:
    """How wide the cameras see at most, metres; infinite where one does not say it."""
    if any(camera.distance_m is not None or camera.position_m is not None for camera in recipe.cameras):
        return math.inf
    views = (camera.view_m for camera in recipe.cameras)
    return max(float(v.extremes()[1]) if isinstance(v, Distribution) else v for v in views)


def _implausible(source: MeshSource, part: Part, mesh: MeshAsset, view_m: float) -> Iterator[str]:
    """Warn of a part that is far longer or shorter than the cameras' view: its file may be in other units."""
    if part.size_m is not None:
        return
    longest = mesh.longest_m
    if part.units == "m" and (longest > HUGE_M or longest > HUGE_VIEWS * view_m):
        other = "mm"
    elif part.units != "m" and longest < TINY_VIEWS * view_m < math.inf:
        other = "m"
    else:
        return
    seen = f", and the cameras see {view_m:.3g} m" if view_m < math.inf else ""
    length = longest / METRES[source.units] * METRES[other]
    yield (
        f'{source.where} = {source.path} is {longest:.3g} m long as read (units = "{part.units}"){seen}; '
        f'if the file is in {other}, write units = "{other}" ({length:.3g} m)'
    )
