"""Which pictures of a folder make up one texture set, told from their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Words of a file name -> what the picture says of the surface. Seen at ambientCG, Poly Haven, textures.com
#: and in the exports of Substance and Quixel. "": known, and of no use here (a packed or inverted map, a
#: preview).
ROLES: Mapping[str, str] = {
    "albedo": "colour", "basecolor": "colour", "basecolour": "colour", "col": "colour", "color": "colour",
    "colour": "colour", "diff": "colour", "diffuse": "colour",
    "rough": "roughness", "roughness": "roughness", "rgh": "roughness",
    "normal": "normal", "normals": "normal", "norm": "normal", "nor": "normal", "nrm": "normal",
    "normalgl": "normal", "nrmgl": "normal", "norgl": "normal",
    "normalogl": "normal", "normalopengl": "normal",
    "normaldx": "normal-dx", "nrmdx": "normal-dx", "nordx": "normal-dx", "normaldirectx": "normal-dx",
    "metal": "metallic", "metallic": "metallic", "metalness": "metallic", "metallness": "metallic",
    "height": "height", "disp": "height", "displacement": "height", "bump": "height",
    "ao": "ao", "ambientocclusion": "ao", "occlusion": "ao",
    "arm": "", "orm": "", "rma": "", "gloss": "", "glossiness": "", "spec": "", "specular": "",
    "opacity": "", "alpha": "", "mask": "", "emission": "", "emissive": "", "preview": "", "thumb": "",
}  # fmt: skip
#: Words that may follow the role and tell nothing: a resolution, a file type, a number of bits.
_TAIL = re.compile(r"\d+k|512|1024|2048|4096|8192|jpe?g|png|exr|tiff?|\d+bit")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+(?:[kK](?![a-z])|bit)?|[^\W_]")
#: A role of two words: base_color, nor_gl, ambient occlusion.
_LONGEST = 2


@dataclass(frozen=True)
class TextureSet:
    """Pictures of one surface by role: "colour" always; perhaps roughness, normal, metallic, height and ao.

    Normal maps have green upwards, as in OpenGL. A plain picture is a set of its colour alone.
    """

    name: str
    images: Mapping[str, Path]


def texture_sets(pictures: Iterable[Path], folder: Path) -> tuple[tuple[TextureSet, ...], tuple[str, ...]]:
    """The sets among a folder's pictures, by name, and warnings about what was left out.

    Pictures with the same name up to their role, in the same sub-folder, are one set. Where that is one role
    only, each is a plain picture; beside a set, previews and maps of no use are left out in silence.
    """
    groups: dict[tuple[Path, str], dict[Path, str | None]] = {}
    for picture in sorted(pictures):
        name, role = split_role(picture.stem)
        groups.setdefault((picture.parent, name), {})[picture] = role
    sets: list[TextureSet] = []
    warnings: list[str] = []
    plain: list[Path] = []
    set_names: set[tuple[Path, str]] = set()
    for (parent, name), roles in groups.items():
        if len({role for role in roles.values() if role is not None}) < 2:
            plain += roles
            continue
        set_names.add((parent, name))
        images: dict[str, Path] = {}
        for picture, role in roles.items():
            if role:
                images.setdefault(role, picture)
        if "colour" not in images:
            got = ", ".join(sorted(images))
            warnings.append(f"{parent / name}*: left out: expected a colour among its pictures, got {got}")
            continue
        directx = images.pop("normal-dx", None)
        if directx and "normal" not in images:
            warnings.append(f"{directx}: left out: expected a normal map with green upwards (GL), got DX")
        sets.append(TextureSet(_place(parent, folder, name) or folder.name, images))
    for picture in plain:
        if not any(parent == picture.parent and _beside(picture.stem, name) for parent, name in set_names):
            sets.append(TextureSet(_place(picture.parent, folder, picture.stem), {"colour": picture}))
    return tuple(sorted(sets, key=lambda texture_set: texture_set.name)), tuple(warnings)


def split_role(stem: str) -> tuple[str, str | None]:
    """Name of the texture set, in lower case, and role of an image; (stem, None) if the name has no role."""
    words = [(m.group().lower(), m.start()) for m in _WORDS.finditer(stem)]
    variant = ""
    while len(words) > 1 and stem[words[-1][1] - 1] in "_-. ":
        word = words[-1][0]
        if word.isdigit() and not _TAIL.fullmatch(word):
            variant = f"_{word}{variant}"  # wall_color_03 goes with wall_normal_03
        elif not _TAIL.fullmatch(word):
            break
        words.pop()
    for count in range(min(_LONGEST, len(words)), 0, -1):
        role = ROLES.get("".join(word for word, _ in words[-count:]))
        if role is not None:
            name = stem[: words[-count][1]].rstrip("_-. ") + variant
            return name.lower().lstrip("_"), role
    return stem.lower(), None


def _place(parent: Path, folder: Path, name: str) -> str:
    return "/".join(part for part in (*parent.relative_to(folder).parts, name) if part)


def _beside(stem: str, name: str) -> bool:
    """Whether a picture belongs to the set beside it: a preview of that name, or a map of no use."""
    preview = (name + "_").startswith(tuple(stem.lower() + mark for mark in "_-. "))
    return preview or split_role(stem) == (name, "")
