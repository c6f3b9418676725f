"""A report as a tree, to be asked what it shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from al_loop.report import write_report
from al_loop.state.workspace import Workspace

_VOID = {"meta", "link", "br", "img", "rect", "image", "use", "path", "input", "hr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    contents: list[Element | str] = field(default_factory=list)

    @property
    def children(self) -> list[Element]:
        return [item for item in self.contents if isinstance(item, Element)]

    def all(self, tag: str, css: str = "") -> list[Element]:
        found = []
        for child in self.children:
            if child.tag == tag and (not css or css in child.attributes.get("class", "").split()):
                found.append(child)
            found += child.all(tag, css)
        return found

    @property
    def text(self) -> str:
        return " ".join(self._raw().split())

    def _raw(self) -> str:
        gap = "" if self.tag in ("b", "i", "a", "code", "span", "strong") else " "
        inside = (item if isinstance(item, str) else item._raw() for item in self.contents)
        return gap + "".join(inside) + gap


class Page(HTMLParser):
    """The written file as a tree; text belongs to the element it stands in."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text()
        self.root = self.here = Element("root", {})
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.contents.append(element)
        if tag not in _VOID:
            self.here = element

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.here.tag == tag, f"<{self.here.tag}> closed by </{tag}> at {self.getpos()}"
            assert self.here.parent is not None
            self.here = self.here.parent

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        self.here.contents.append(data)

    @property
    def text(self) -> str:
        return " ".join(element.text for element in self.root.all("body"))

    def table(self, section: str) -> list[list[str]]:
        (found,) = [s for s in self.root.all("section") if s.attributes.get("id") == section]
        rows = found.all("table")[0].all("tr")
        return [[cell.text for cell in row.children] for row in rows]

    def cards(self) -> dict[str, Element]:
        return {card.all("span", "name")[0].text: card for card in self.root.all("figure", "card")}


def written(workspace: Workspace) -> Page:
    path = workspace.root / "report.html"
    assert write_report(workspace, path) == path
    return Page(path)


def rects(element: Element, css: str) -> list[tuple[float, ...]]:
    return [
        tuple(float(rect.attributes[name]) for name in ("x", "y", "width", "height"))
        for rect in element.all("rect", css)
    ]
