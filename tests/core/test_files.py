"""Files from outside: regular ones, of a bounded size, from the host that was asked; and their names."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from support.web_server import Answer, endless, redirect, web_servers

from al_loop.core.config import load_config
from al_loop.core.download import download
from al_loop.core.errors import ConfigError, DataError
from al_loop.core.files import (
    file_sha256,
    name_as_text,
    name_from_text,
    printable,
    read_json,
    read_regular,
    write_json,
)
from al_loop.core.urls import same_host
from render import AssetError, RecipeError, load_recipe
from render.assets.ies import peak
from render.assets.image_folders import ImageCache


def test_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"
    (tmp_path / "empty").touch()
    assert read_regular(str(tmp_path / "empty"), 0) == b""
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link", 100) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, expected at most 4 bytes"):
        read_regular(tmp_path / "a", 4)
    assert read_regular("/proc/self/cmdline", 1 << 20)  # names a size of 0
    with pytest.raises(OSError, match="it has 3 bytes, expected at most 2 bytes"):
        read_regular("/proc/self/cmdline", 2)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.jpg"))
        began = time.monotonic()
        kinds = {"pipe": "a named pipe", "zero": "a device", "folder": "a folder", "s": "a socket"}
        for name, kind in kinds.items():
            with pytest.raises(OSError, match=f"{kind}, expected a regular file"):
                read_regular(tmp_path / f"{name}.jpg", 1 << 20)
            with pytest.raises(OSError, match=kind):
                file_sha256(tmp_path / f"{name}.jpg")
        assert time.monotonic() - began < 1
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing", 1)


def test_settings_recipes_and_pictures_of_them_are_no_pipes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for read, error in (
        (load_config, ConfigError),
        (load_recipe, RecipeError),
        (peak, AssetError),
        (read_json, OSError),
    ):
        with pytest.raises(error, match="a named pipe, expected a regular file"):
            read(pipe)
    assert ImageCache(tmp_path / "images.json").check(pipe) == ("", "a named pipe, expected a regular file")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("weld 07.jpg", "weld 07.jpg"),
        ("Schweißnaht-溶接.png", "Schweißnaht-溶接.png"),
        ("a\nb\t.png", "a\\nb\\t.png"),
        ("\x1b[2J\x07.png", "\\x1b[2J\\x07.png"),
        ("\udcff\udce4.jpg", "\\xff\\xe4.jpg"),
        ("\ud800.jpg", "\\ud800.jpg"),
        ("gpj.\u202egnp", "gpj.\\u202egnp"),
        ("\u2028\x85\x9b31m", "\\u2028\\x85\\x9b31m"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_names_are_printable(name: str, shown: str) -> None:
    assert printable(name) == shown
    shown.encode()


def test_json_holds_names_that_are_no_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"weld \xff \xc3\xa9.png")
    write_json(tmp_path / "a.json", {"file_name": name})
    assert (tmp_path / "a.json").read_bytes() == b'{\n  "file_name": "weld \\udcff \xc3\xa9.png"\n}\n'
    assert read_json(tmp_path / "a.json") == {"file_name": name}


def test_a_name_that_is_no_utf8_is_kept_as_text() -> None:
    path = os.fsdecode(b"/photos/\xff 1%.jpg")
    assert name_as_text(path) == "file:///photos/%FF%201%25.jpg"
    assert name_from_text(name_as_text(path)) == path
    json.dumps(name_as_text(path)).encode()
    for plain in ("/photos/a%20b\n.jpg", "/photos/ä.jpg"):
        assert name_as_text(plain) == plain == name_from_text(plain)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    with web_servers() as start:
        yield lambda answer: f"{start(answer)}/file.pth"


def sends(data: bytes, *, stated: int | None = None) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) if stated is None else stated))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def redirects(to: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/here":
            sends(b"here")(handler)
            return
        redirect(handler, to)

    return answer


def drips_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(200):
        handler.wfile.write(b"X-%d: 1\r\n" % number)
        time.sleep(0.05)


def drips_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def test_a_download_is_whole(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    target = tmp_path / "got"
    download(serve(sends(b"weights")), target, limit_bytes=7, limit_s=10)
    assert target.read_bytes() == b"weights"
    download(serve(redirects("/here")), target, limit_bytes=7, limit_s=10)
    assert target.read_bytes() == b"here"
    assert list(tmp_path.iterdir()) == [target]


def test_a_redirect_to_another_host_is_followed_only_where_allowed(
    serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    elsewhere = serve(sends(b"elsewhere"))
    url = serve(redirects(elsewhere))
    with pytest.raises(DataError, match=r"redirected to another host, 127\.0\.0\.1:"):
        download(url, tmp_path / "got", limit_bytes=100, limit_s=10)
    assert not list(tmp_path.iterdir())
    download(url, tmp_path / "got", limit_bytes=100, limit_s=10, other_hosts=True)
    assert (tmp_path / "got").read_bytes() == b"elsewhere"
    with pytest.raises(DataError, match="more than 5 redirects"):
        download(serve(redirects("/round")), tmp_path / "got", limit_bytes=100, limit_s=10)


def test_same_host() -> None:
    assert same_host("http://a/x", "https://a/y")
    assert same_host("https://a:8443/x", "https://a:8443/y")
    assert not same_host("https://a/x", "http://a/x")
    assert not same_host("http://a/x", "http://a:81/x")
    assert not same_host("http://a:81/x", "https://a/x")
    assert not same_host("https://a/x", "https://a.b/x")


@pytest.mark.integration
def test_a_download_has_limits(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    cases: dict[str, tuple[Answer, float]] = {
        "more than 0 MiB": (sends(b"x" * 9, stated=1 << 40), 10),
        "it has more than 0": (endless, 10),
        "incomplete message body|peer closed": (sends(b"12", stated=8), 10),
        "more than 0.5 s": (drips_headers, 0.5),
        "more than 0.4 s": (drips_body, 0.4),
        "404 Not Found": (lambda handler: handler.send_error(404), 10),
    }
    for message, (answer, limit_s) in cases.items():
        began = time.monotonic()
        with pytest.raises(DataError, match=message):
            download(serve(answer), tmp_path / "got", limit_bytes=100_000, limit_s=limit_s)
        assert time.monotonic() - began < limit_s + 1
        assert not (tmp_path / "got").exists()
