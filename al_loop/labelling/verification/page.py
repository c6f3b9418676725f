"""The server of the page: on 127.0.0.1, with a secret in its address.

Each answer is stored before its reply.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from al_loop.core.errors import DataError
from al_loop.labelling.verification.questions import Answer, Question, picture_of

HOST = "127.0.0.1"
_PAGE = Path(__file__).with_name("page.html")
_MOST_BYTES = 4096  # of an answer

#: Stores the answer to the question with a number; None takes it back.
Store = Callable[[int, Answer | None], None]


class Page:
    """The page of some questions.

    url: address, with the secret.
    answers: stored answers, by number of the question.
    `run` stores answers in the thread that calls it, until the person ends the page.
    """

    def __init__(self, questions: Sequence[Question], classes: Sequence[str], port: int = 0) -> None:
        """Begin to listen. port: 0 for a free one. Raises DataError if the port is taken."""
        self._secret = secrets.token_urlsafe(16)
        self._todo: queue.Queue[tuple[int, Answer | None, Future[None]] | None] = queue.Queue()
        self.answers: dict[int, Answer] = {}
        parts: dict[str, Any] = {"questions": questions, "classes": tuple(classes), "secret": self._secret}
        parts |= {"todo": self._todo, "answers": self.answers}
        handler = type("Handler", (_Handler,), parts)
        try:
            self._server = _Server((HOST, port), handler)
        except OSError as error:
            raise DataError(
                f"port {port} cannot be used ({error.strerror}). Name another: al-loop labels verify --port N"
            ) from None

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self._server.server_port}/{self._secret}/"

    def run(self, store: Store) -> None:
        """Serve the page and store its answers, until the person ends it or this process is interrupted."""
        with self._serving():
            while (item := self._todo.get()) is not None:
                number, answer, done = item
                try:
                    store(number, answer)
                except Exception as error:
                    done.set_exception(error)
                    raise
                if answer is None:
                    self.answers.pop(number, None)
                else:
                    self.answers[number] = answer
                done.set_result(None)

    @contextmanager
    def _serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Print nothing: a browser may close a connection at any time."""


class _Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request. answer: None takes an answer back."""

    number: int
    answer: Answer | None


class _Handler(BaseHTTPRequestHandler):
    questions: Sequence[Question]
    classes: tuple[str, ...]
    secret: str
    todo: queue.Queue[Any]
    answers: Mapping[int, Answer]

    def do_GET(self) -> None:
        match self._path():
            case [""]:
                self._reply(200, "text/html; charset=utf-8", _PAGE.read_bytes())
            case ["questions.json"]:
                rows = [
                    {"label": item.label, "answer": self.answers.get(number)}
                    for number, item in enumerate(self.questions)
                ]
                body = {"classes": self.classes, "questions": rows}
                self._reply(200, "application/json", msgspec.json.encode(body))
            case ["crop", name] if (number := self._number(name)) is not None:
                try:
                    self._reply(200, "image/jpeg", picture_of(self.questions[number]))
                except DataError as error:
                    self._reply(404, "text/plain; charset=utf-8", str(error).encode())
            case _:
                self._reply(404, "text/plain", b"not found")

    def do_POST(self) -> None:
        match self._path():
            case ["answer"]:
                self._answer()
            case ["end"]:
                self._reply(200, "application/json", b"{}")
                self.todo.put(None)
            case _:
                self._reply(404, "text/plain", b"not found")

    def _answer(self) -> None:
        """Store an answer, then reply."""
        length = self.headers.get("Content-Length", "")
        data = self.rfile.read(min(int(length), _MOST_BYTES)) if length.isdecimal() else b""
        try:
            body = msgspec.json.decode(data, type=_Answered)
        except msgspec.MsgspecError as error:
            self._reply(400, "text/plain; charset=utf-8", str(error).encode())
            return
        label = None if body.answer is None else body.answer.label
        is_class = body.answer is not None and body.answer.verdict == "class"
        if not 0 <= body.number < len(self.questions) or is_class != (label is not None):
            self._reply(400, "text/plain", b"expected a number of a question, and a class for 'class' alone")
            return
        if label is not None and label >= len(self.classes):
            self._reply(400, "text/plain", b"expected the index of a class")
            return
        done: Future[None] = Future()
        self.todo.put((body.number, body.answer, done))
        try:
            done.result(timeout=30)
        except Exception as error:
            self._reply(500, "text/plain; charset=utf-8", str(error).encode())
            return
        self._reply(200, "application/json", b"{}")

    def _path(self) -> list[str]:
        """Return the parts of the path below the secret; none for another secret or another host."""
        _, *parts = self.path.partition("?")[0].split("/", 2)
        secret, rest = parts if len(parts) == 2 else ("", "")
        here = self.headers.get("Host", "").rpartition(":")[0] in (HOST, "localhost")  # of any tunnel
        known = secrets.compare_digest(secret.encode(), self.secret.encode())
        return rest.split("/") if here and known else []

    def _number(self, name: str) -> int | None:
        """Return the number of a question in a path."""
        text = name.removesuffix(".jpg")
        return int(text) if text.isdecimal() and int(text) < len(self.questions) else None

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing: the address has a secret."""
