"""The labelling page in Chromium, driven by Playwright, as a person sees and uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.browser import CHROMIUM

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="NO CHROMIUM: nobody has looked at the labelling page"
)

#: The picture that is shown: [x, y, width, height] px on the screen, and its own [width, height] px.
_PICTURE = """() => {
  const image = [...document.images].find(i => i.src.startsWith('blob:') && i.naturalWidth > 0);
  const box = image && image.getBoundingClientRect();
  return box && box.width > 100
    ? [box.x, box.y, box.width, box.height, image.naturalWidth, image.naturalHeight] : null;
}"""
#: What is drawn: [x, y, w, h] in percent of the picture, and the class.
_REGIONS = """() => window.Htx?.annotationStore?.selected?.regions
  ?.map(r => [r.x, r.y, r.width, r.height, r.labels?.[0]])"""

#: Whether each corner of the picture can be seen: nothing cuts it off or lies over it.
_CORNERS = """([x, y, width, height]) => {
  const image = [...document.images].find(i => i.src.startsWith('blob:') && i.naturalWidth > 0);
  return [[x + 2, y + 2], [x + width - 2, y + 2], [x + 2, y + height - 2], [x + width - 2, y + height - 2]]
    .map(([left, top]) => image.parentElement.parentElement.contains(document.elementFromPoint(left, top)));
}"""

#: The keys of the labels that are chosen now.
_CHOSEN = """() => [...window.Htx.annotationStore.selected.names.values()]
  .flatMap(control => control.children ?? []).filter(label => label.selected).map(label => label.hotkey)"""


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


class AnnotationPage:
    """What one person sees and does, in px of the picture; `page` is a Playwright page."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.size = (0, 0)

    @classmethod
    def log_in(cls, browser: Any, url: str, email: str, password: str) -> AnnotationPage:
        """Log in as a person does, with cookies of one's own."""
        page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.set_default_timeout(30_000)
        page.goto(f"{url}/user/login/")
        page.fill("input[name=email]", email)
        page.fill("input[name=password]", password)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda there: "/user/login" not in there)
        return cls(page)

    @contextmanager
    def fresh(self) -> Iterator[AnnotationPage]:
        """Yield another page of the same login, which remembers nothing: neither tools nor sizes."""
        self.page.evaluate("() => localStorage.clear()")
        page = self.page.context.new_page()
        page.set_default_timeout(30_000)
        yield AnnotationPage(page)
        page.close()

    def open(self, task: int, boxes: int) -> None:
        """Wait until a task is there: its picture has loaded, and that many boxes are drawn."""
        self.page.wait_for_function(f"() => window.Htx?.task && Number(window.Htx.task.id) === {task}")
        self.page.wait_for_function(_PICTURE)
        self.wait_for(boxes)
        close = self.page.query_selector("button[aria-label='Close modal']")
        if close is not None:
            close.click()
        self.page.wait_for_timeout(500)  # the page moves things about until it is still
        *place, width, height = self.page.evaluate(_PICTURE)
        self.x, self.y, self.width, self.height = place
        self.size = (width, height)

    def wait_for(self, boxes: int) -> None:
        """Wait until that many boxes are drawn."""
        self.page.wait_for_function(f"() => ({_REGIONS})()?.length === {boxes}")

    def corners_seen(self) -> list[bool]:
        """Whether each corner of the picture can be seen."""
        found = self.page.evaluate(_CORNERS, [self.x, self.y, self.width, self.height])
        return [bool(one) for one in found]

    def boxes(self) -> np.ndarray:
        """What is drawn, as rows of x, y, w, h."""
        percent = [row[:4] for row in self.page.evaluate(_REGIONS)]
        return np.asarray(percent, dtype=float).reshape(-1, 4) * [*self.size, *self.size] / 100

    def classes(self) -> list[str]:
        """The classes of what is drawn."""
        return [row[4] for row in self.page.evaluate(_REGIONS)]

    def regions(self) -> list[dict[str, Any]]:
        """What the page would submit now."""
        return list(self.page.evaluate("() => window.Htx.annotationStore.selected.serializeAnnotation()"))

    def painted(self, region: dict[str, Any]) -> np.ndarray:
        """The pixels of a brush region that are more than half painted, (h, w)."""
        from label_studio_sdk.converter.brush import decode_rle

        width, height = self.size
        numbers = decode_rle(bytes(region["value"]["rle"]))
        return np.asarray(numbers.reshape(height, width, 4)[:, :, 3] > 127)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self._move(*start)
        self.page.mouse.down()
        self._move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        self._move(*end)
        self.page.mouse.up()

    def click(self, x: float, y: float) -> None:
        self._move(x, y)
        self.page.mouse.down()
        self.page.mouse.up()

    def click_until(self, x: float, y: float, done: str) -> None:
        """Click until the page says so, of its `polygon`: while it sets a tool up, it hears no click."""
        said = f"() => (polygon => {done})(window.Htx.annotationStore.selected.regions.find(r => r.points))"
        for _ in range(5):
            self.click(x, y)
            self.page.wait_for_timeout(600)  # two clicks at once are something else
            if self.page.evaluate(said):
                return
        raise AssertionError(f"five clicks at {x}, {y}, and not {done}")

    def choose(self, key: str) -> None:
        """Press the key of a label, and wait until it is chosen and its tool is there."""
        from playwright.sync_api import TimeoutError as NotYetError

        chosen = f"() => ({_CHOSEN})().join() === '{key}'"
        for _ in range(5):  # a page that is busy hears no key
            self.page.keyboard.press(key)
            with suppress(NotYetError):
                self.page.wait_for_function(chosen, timeout=5000)
            if self.page.evaluate(chosen):
                self.page.wait_for_timeout(500)
                return
        raise AssertionError(f"key {key} was pressed five times, and its label is not chosen")

    def tool(self, key: str, name: str) -> None:
        """Press the key of a tool, and wait until it is chosen."""
        self.page.keyboard.press(key)
        self.page.wait_for_selector(f"button[aria-label='{name}'].lsf-tool_active")
        self.page.wait_for_timeout(300)

    def press(self, name: str, method: str = "POST") -> int:
        """Press a button that ends a task, wait until the server has answered, and return the status."""
        with self.page.expect_response(
            lambda r: "/annotations" in r.url and r.request.method == method
        ) as answer:
            self.page.click(f"button[aria-label='{name}']")
        return int(answer.value.status)

    def submit(self) -> int:
        return self.press("Submit current annotation")

    def skip(self) -> int:
        return self.press("skip-task")

    def screenshot(self, path: Path) -> np.ndarray:
        """Keep what can be seen, and return the picture's part of it: (h, w, 3) RGB."""
        self.page.screenshot(path=str(path))
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        left, top = round(self.x), round(self.y)
        return pixels[top : top + round(self.height), left : left + round(self.width)]

    def near(self, seen: np.ndarray, x: float, y: float) -> np.ndarray:
        """The pixels of a screenshot around a point of the picture: (n, 3) RGB."""
        column, row = round(x * self.width / self.size[0]), round(y * self.height / self.size[1])
        return seen[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4].reshape(-1, 3)

    def _move(self, x: float, y: float) -> None:
        self.page.mouse.move(self.x + x * self.width / self.size[0], self.y + y * self.height / self.size[1])


def corners(boxes: np.ndarray) -> np.ndarray:
    """Return rows of x, y, w, h as x1, y1, x2, y2."""
    return np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
