"""The page on which people verify boxes: over HTTP, and in a real browser."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from support.annotation_page import chromium, needs_chromium
from support.factories import draw

from al_loop.core.errors import DataError
from al_loop.labelling.verification.page import Page
from al_loop.labelling.verification.questions import SIDE_PX, Answer, Question, picture_of
from al_loop.structures.images import ImageFile

CLASSES = ("bolt", "nut <b>", "pin")


def make_questions(folder: Path, count: int) -> list[Question]:
    path = folder / "part 1.png"
    draw(200, 100, [(60, 20, 50, 40)], seed=1).save(path)
    image = ImageFile("a" * 64, path, 200, 100)
    return [Question(image, (60.0, 20.0, 110.0, 60.0), 3 * number // count, 0.5) for number in range(count)]


@contextmanager
def serving(questions: list[Question]) -> Iterator[tuple[str, dict[int, Answer | None]]]:
    """Yield the address of a page, and its answers so far."""
    page, answers = Page(questions, CLASSES), dict[int, Answer | None]()

    def store(number: int, answer: Answer | None) -> None:
        answers[number] = answer

    thread = threading.Thread(target=page.run, args=(store,), daemon=True)
    thread.start()
    yield page.url, answers
    with suppress(httpx.TransportError):  # a person may have ended it
        httpx.post(f"{page.url}end")
    thread.join(10)
    assert not thread.is_alive()


def test_an_answer_is_stored_before_the_reply(tmp_path: Path) -> None:
    with serving(make_questions(tmp_path, 6)) as (url, answers):
        listed = httpx.get(f"{url}questions.json").json()
        assert listed["classes"] == list(CLASSES)
        assert [row["label"] for row in listed["questions"]] == [0, 0, 1, 1, 2, 2]
        for body, expected in (
            ({"verdict": "right", "seconds": 1.5}, Answer("right", 1.5)),
            ({"verdict": "class", "seconds": 1, "label": 2}, Answer("class", 1.0, 2)),
            (None, None),
        ):
            reply = httpx.post(f"{url}answer", json={"number": 4, "answer": body})
            assert (reply.status_code, answers) == (200, {4: expected})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"number": 6, "answer": null}',
        b'{"number": -1, "answer": null}',
        b'{"number": 0}',
        b'{"number": 0, "answer": {"verdict": "maybe", "seconds": 1}}',
        b'{"number": 0, "answer": {"verdict": "right", "seconds": -1}}',
        b'{"number": 0, "answer": {"verdict": "right", "seconds": 1, "label": 1}}',
        b'{"number": 0, "answer": {"verdict": "class", "seconds": 1}}',
        b'{"number": 0, "answer": {"verdict": "class", "seconds": 1, "label": 3}}',
        b'{"number": 0, "answer": null}' + b" " * 5000 + b"x",
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(tmp_path: Path, body: bytes) -> None:
    with serving(make_questions(tmp_path, 6)) as (url, answers):
        reply = httpx.post(f"{url}answer", content=body)
        if body.endswith(b"x"):  # what is too long is not read
            assert reply.status_code in (200, 400)
            return
        assert (reply.status_code, answers) == (400, {})


def test_only_who_knows_the_address_sees_the_page(tmp_path: Path) -> None:
    with serving(make_questions(tmp_path, 6)) as (url, answers):
        assert "Verify boxes" in httpx.get(url).text
        root, secret = url.rstrip("/").rsplit("/", 1)
        for path in (
            "",
            "/",
            "/x/",
            f"/{secret}x/",
            f"/{secret}",
            f"/{secret}/crop/6.jpg",
            f"/{secret}/crop/x",
        ):
            assert httpx.get(f"{root}{path}").status_code == 404, path
        assert httpx.get(url, headers={"Host": "example.org:80"}).status_code == 404
        assert httpx.get(url, headers={"Host": "localhost:9000"}).status_code == 200  # of a tunnel
        for path in ("/answer", "/x/answer", "/x/end"):
            assert httpx.post(f"{root}{path}", json={"number": 0, "answer": None}).status_code == 404
        assert answers == {}


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with serving(make_questions(tmp_path, 3)) as (url, _), pytest.raises(DataError, match="--port N"):
        Page(make_questions(tmp_path, 3), CLASSES, int(url.split(":")[2].split("/")[0]))


def test_an_answer_that_cannot_be_stored_is_an_error(tmp_path: Path) -> None:
    page, failed = Page(make_questions(tmp_path, 3), CLASSES), list[BaseException]()

    def store(*_: object) -> None:
        raise OSError("disk full")

    def run() -> None:
        try:
            page.run(store)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    reply = httpx.post(f"{page.url}answer", json={"number": 0, "answer": {"verdict": "right", "seconds": 1}})
    thread.join(10)
    assert (reply.status_code, reply.text) == (500, "disk full")
    assert str(failed[0]) == "disk full"


def test_a_picture_shows_the_box_and_what_is_around_it(tmp_path: Path) -> None:
    question = make_questions(tmp_path, 1)[0]
    picture = np.asarray(Image.open(io.BytesIO(picture_of(question))))
    assert max(picture.shape[:2]) == SIDE_PX
    # 50 px wide and 30 px around: 30 to 141 px. The left side of the box is white, with black around it.
    left = round((60 - 30) * SIDE_PX / 111)
    row = picture[picture.shape[0] // 2, left - 4 : left + 4].mean(axis=1)
    assert row.max() > 200
    assert row.min() < 60
    corner = Question(question.image, (0.0, 0.0, 200.0, 100.0), 0, 0.5)
    assert max(np.asarray(Image.open(io.BytesIO(picture_of(corner)))).shape[:2]) == SIDE_PX
    question.image.path.unlink()
    with pytest.raises(DataError):
        picture_of(question)


def opened(browser: Any, url: str) -> Any:
    """Open a page, and wait for its pictures."""
    page = browser.new_context(viewport={"width": 1200, "height": 900}).new_page()
    page.goto(url)
    page.wait_for_selector("figure.current img")
    return page


def current(page: Any) -> int:
    """The number of the marked box."""
    return int(page.get_attribute("figure.current", "id").removeprefix("box-"))


@needs_chromium
def test_200_boxes_are_answered_with_the_keyboard(tmp_path: Path) -> None:
    keys = "ynby3"  # right, wrong, off, right, the third class
    with serving(make_questions(tmp_path, 201)) as (url, answers), chromium() as browser:
        page = opened(browser, url)
        page.wait_for_function("() => [...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert page.inner_text("#title") == "Is this bolt?"
        for number in range(201):
            assert current(page) == number
            page.keyboard.press(keys[number % 5])
        page.wait_for_function("() => document.querySelector('#count').textContent.startsWith('201 of 201')")
        assert page.inner_text("#title") == "Is this pin?"
        page.screenshot(path=tmp_path / "verify.png", full_page=True)
        page.keyboard.press("u")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("1")
        page.click("#end")
        page.wait_for_function("() => document.querySelector('#title').textContent.includes('stored')")
        given = [item and (item.verdict, item.label) for _, item in sorted(answers.items())]
    expected: list[object] = []
    for number in range(201):
        third = ("right", None) if 3 * number // 201 == 2 else ("class", 2)
        kinds = ("right", None), ("wrong", None), ("off", None), ("right", None), third
        expected.append(kinds[number % 5])
    expected[200], expected[199] = None, ("class", 0)
    assert given == expected


@needs_chromium
def test_a_page_that_is_loaded_again_goes_on(tmp_path: Path) -> None:
    with serving(make_questions(tmp_path, 12)) as (url, answers), chromium() as browser:
        page = opened(browser, url)
        page.keyboard.down("y")
        page.keyboard.down("y")  # a key that is held answers once
        page.keyboard.up("y")
        page.keyboard.press("n")
        page.wait_for_function("() => document.querySelector('#box-1 figcaption').textContent === 'wrong'")
        page.wait_for_timeout(300)
        page.reload()
        page.wait_for_selector("figure.current img")
        assert current(page) == 2
        assert page.inner_text("#box-1 figcaption") == "wrong"
        # The last answer is taken back, wherever the person is, and what was there before returns.
        page.click("#box-0")
        page.keyboard.press("b")
        page.click("#box-3")
        page.keyboard.press("u")
        assert current(page) == 0
        page.wait_for_timeout(300)
        assert {number: item and item.verdict for number, item in answers.items()} == {0: "right", 1: "wrong"}


@needs_chromium
def test_what_is_not_stored_is_said_and_taken_back(tmp_path: Path) -> None:
    with serving(make_questions(tmp_path, 12)) as (url, answers), chromium() as browser:
        page = opened(browser, url)
        page.keyboard.press("y")
        page.wait_for_function("() => document.querySelector('#box-0 figcaption').textContent === 'right'")
        page.route("**/answer", lambda route: route.abort())
        page.keyboard.press("n")
        page.wait_for_selector("#error:not([hidden])")
        assert "Earlier answers are stored" in page.inner_text("#error")
        page.wait_for_function("() => document.querySelector('#box-1 figcaption').textContent === ''")
        assert list(answers) == [0]
        page.route("**/end", lambda route: route.abort())
        page.click("#end")
        page.wait_for_timeout(300)
        assert page.is_visible("#end")  # it does not say that all is stored
