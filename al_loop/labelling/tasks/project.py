"""The labelling project of a workspace: its labelling config and its classes."""

from __future__ import annotations

import colorsys
import html
from collections.abc import Sequence
from xml.etree import ElementTree

from al_loop.core.errors import LabelStudioError
from al_loop.core.resources import resource
from al_loop.labelling.client.client import NEW_PROJECT_COMMAND, Api, Connection
from al_loop.labelling.tasks.convert import CONTROLS, FROM_NAME, TO_NAME

# In the order of a keyboard, without the keys of Label Studio's own tools (b, e, h, p, r, v) and u, which leaves a region.
# A label without a key gets one from Label Studio, which gives those of its tools too: then both act.
_HOTKEYS = [*"1234567890qwtasdfgzxcyiojklnm"]
_HOTKEYS += [f"shift+{key}" for key in _HOTKEYS[10:]]  # with the digits it zooms
_JOINT = "\N{WORD JOINER}"  # has no width
_GOLDEN_ANGLE = 0.381966  # of a turn: neighbours in the list differ most in hue

_RECTANGLES = """\
<p>Draw one tight rectangle around every visible part, and choose its class: {classes}.</p>
<ul>
<li>The rectangles you see first were proposed by the model: correct, delete or add where it is wrong.</li>"""
_OUTLINES = """\
<p>Draw one polygon around every visible part, or paint it with the brush, and choose its class: {classes}.</p>
<ul>
<li>The rectangles you see first were proposed by the model: delete each once its part has an outline. One that stays counts
as a part without an outline.</li>"""
_ALWAYS = """
<li>Nothing to label on the image? Delete everything and submit it empty.</li>
<li>The image cannot be judged? Skip it.</li>
</ul>"""


def ensure_project(
    connection: Connection,
    title: str,
    classes: Sequence[str],
    project_id: int | None = None,
    *,
    outlined: bool = False,
) -> int:
    """Return the id of the workspace's project, created when `project_id` is None.

    outlined: whether people are to draw outlines, and not rectangles alone.
    Raises NotFoundError when the project was deleted, and LabelStudioError when its labels are not
    `classes`, or when it does not offer what people are to draw; all say what to do.
    """
    with connection.open() as api:
        if project_id is None:
            title = _title(title)
            return _find_unused(api, title, classes, outlined) or _create(api, title, classes, outlined)
        check_labels(project_id, api.project(project_id)["label_config"], classes, outlined=outlined)
        return project_id


def labelling_config(classes: Sequence[str], *, outlined: bool = False) -> str:
    """Return the labelling config; each control has one label per class, in its colour, with a hotkey of its own."""
    if not classes or len(set(classes)) != len(classes):
        raise LabelStudioError(f"expected distinct classes, at least one, got {list(classes)}")
    root = ElementTree.fromstring(resource(_config_file(outlined)).read_text(encoding="utf-8"))
    keys = iter(_HOTKEYS)
    for control in _controls(root):
        for index, name in enumerate(classes):
            label = ElementTree.SubElement(control, "Label", value=name, background=_colour(index))
            _make_literal(label)
            if key := next(keys, None):
                label.set("hotkey", key)
    return ElementTree.tostring(root, encoding="unicode")


def with_literal_labels(config: str) -> str | None:
    """Return a labelling config whose labels are shown as they are; None where they are already."""
    root = ElementTree.fromstring(config)
    labels = [label for control in _controls(root) for label in control.iter("Label")]
    changed = [_make_literal(label) for label in labels]
    return ElementTree.tostring(root, encoding="unicode") if any(changed) else None


def _make_literal(label: ElementTree.Element) -> bool:
    """Show a label as it is: without a joint the page would put a field of the task in the place of "$price"."""
    name = label.get("value") or ""
    if "$" not in name or label.get("alias"):
        return False
    label.set("value", name.replace("$", f"${_JOINT}"))
    label.set("alias", name)  # what results say, and what predictions may say
    return True


def check_labels(project_id: int, config: str, classes: Sequence[str], *, outlined: bool = False) -> None:
    """Raise LabelStudioError when a project's labelling config does not fit `classes`, or what people are to draw."""
    there = read_labels(config)
    if not there.get(FROM_NAME):
        raise LabelStudioError(
            f"project {project_id} has no rectangle labels named {FROM_NAME!r} on an image named "
            f"{TO_NAME!r}: its labelling config was replaced. Put the config of "
            f"{_config_file(outlined)} back, or begin another project with: {NEW_PROJECT_COMMAND}"
        )
    wanted = list(CONTROLS.values()) if outlined else [FROM_NAME]
    if set(there) != set(wanted):
        raise LabelStudioError(
            f"project {project_id} has the controls {', '.join(there)}; al-loop.toml says "
            f'task = "{"segmentation" if outlined else "detection"}", which takes {", ".join(wanted)}. '
            f"Begin another project with: {NEW_PROJECT_COMMAND} (labels of finished cycles stay); or bring the controls "
            f"under Settings, Labeling Interface, into line with {_config_file(outlined)}"
        )
    for control, labels in there.items():
        missing = [name for name in classes if name not in labels]
        extra = [name for name in labels if name not in classes]
        if missing or extra:
            raise LabelStudioError(
                f"the classes of project {project_id} were changed in Label Studio: control {control!r} has "
                f"{', '.join(labels) or 'none'}; the workspace has {', '.join(classes)} (missing there: "
                f"{', '.join(missing) or 'none'}; unknown here: {', '.join(extra) or 'none'}). Change them back under "
                f"Settings, Labeling Interface, or begin another project with: {NEW_PROJECT_COMMAND}"
            )


def read_labels(config: str) -> dict[str, list[str]]:
    """Return the labels of each of our controls that a labelling config has, by its name, in their order."""
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError:
        return {}
    return {
        control.get("name", ""): [
            label.get("alias") or label.get("value") or "" for label in control.iter("Label")
        ]
        for control in _controls(root)
    }


def _controls(root: ElementTree.Element) -> list[ElementTree.Element]:
    """Return the controls of ours that a labelling config has."""
    return [
        item
        for item in root.iter()
        if item.get("name") == CONTROLS.get(item.tag.lower(), "") and item.get("toName") == TO_NAME
    ]


def _config_file(outlined: bool) -> str:
    return f"label_studio/{'segmentation' if outlined else 'labeling'}_config.xml"


def _create(api: Api, title: str, classes: Sequence[str], outlined: bool) -> int:
    instructions = (_OUTLINES if outlined else _RECTANGLES) + _ALWAYS
    return api.create_project(
        title=title,
        description="Made by al-loop: each cycle adds its tasks and a view of its own.",
        label_config=labelling_config(classes, outlined=outlined),
        expert_instruction=instructions.format(classes=html.escape(", ".join(classes))),
        show_instruction=True,
        show_skip_button=True,
        enable_empty_annotation=True,
        show_collab_predictions=True,
        maximum_annotations=1,
        sampling="Sequential sampling",
        skip_queue="IGNORE_SKIPPED",  # a skip is an answer: the image does not come back
    )


def _find_unused(api: Api, title: str, classes: Sequence[str], outlined: bool) -> int | None:
    """Return a project we made and were killed before we could note its id: same title, labels, no task."""
    for project in api.projects(title):
        if project["title"] == title and project.get("task_number") == 0:
            try:
                check_labels(project["id"], project["label_config"], classes, outlined=outlined)
            except LabelStudioError:
                continue
            return int(project["id"])
    return None


def _title(title: str) -> str:
    """Return a title of the 3 to 50 characters that the server accepts."""
    return (title if len(title) >= 3 else f"al-loop {title}")[:50]


def _colour(index: int) -> str:
    """Return the colour of a class: hues apart, dark enough for white text, light and dark in turn."""
    lightness = 0.36 if index % 2 else 0.46
    rgb = colorsys.hls_to_rgb(index * _GOLDEN_ANGLE % 1.0, lightness, 0.85)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
