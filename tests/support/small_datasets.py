"""Small datasets, rendered by a stand-in for Blender."""

import json

import msgspec

from render import parse_recipe

RECIPE = parse_recipe(
    {
        "name": "x",
        "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}],
        "image": {"width": 96, "height": 64},
        "labels": {"masks": "rle"},
    }
)
THREE_VIEWS = msgspec.structs.replace(RECIPE, layout=msgspec.structs.replace(RECIPE.layout, views=3))


def files(out):
    """Everything that a dataset consists of: not the log, and not where the recipe's own files lie."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and path.name not in ("render.log", "root.txt", ".lock")
        and path.suffix != ".partial"
    }


def edit_record(out, label, **changes):
    """Change the record of image 1, and its first label."""
    path = out / "records" / "000001.json"
    record = json.loads(path.read_text()) | changes
    record["annotations"][0] |= label
    path.write_text(json.dumps(record))
