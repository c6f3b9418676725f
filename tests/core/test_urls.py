"""Secrets in addresses, and the list of classes on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs
from PIL import Image

from al_loop.cli.classes import parse_classes
from al_loop.core.config import parse_config
from al_loop.core.console import Silent, say, say_json
from al_loop.core.errors import ConfigError, DataError
from al_loop.core.urls import masked, masked_error, masked_in
from al_loop.images.import_sources import note, states
from al_loop.images.ingest import IngestBatch, IngestReport, prepare_image
from al_loop.images.sources import FileStat
from al_loop.loop.cycle_record import begin_cycle
from al_loop.state import model_registry
from al_loop.state.workspace import Workspace


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:s3cret@host:8080/a/b", "https://***@host:8080/a/b"),
        ("https://t0ken@host", "https://***@host"),
        ("ftp://u:p%40ss@host/x.jpg is gone", "ftp://***@host/x.jpg is gone"),
        ("'s3://key:secret@bucket/folder'", "'s3://***@bucket/folder'"),
        ("https://s3/b/a.jpg?X-Amz-Date=1&X-Amz-Signature=ab12&X-Amz-Credential=k%2F1", "https://s3/b/a.jpg?X-Amz-Date=1&X-Amz-Signature=***&X-Amz-Credential=***"),
        ("https://blob/a.jpg?sv=2&sig=a%2Bb=&se=3", "https://blob/a.jpg?sv=2&sig=***&se=3"),
        ("https://h/a?token=x#part", "https://h/a?token=***#part"),
        ("http://127.0.0.1:8080/projects/1/data?task=3", "http://127.0.0.1:8080/projects/1/data?task=3"),
        ("http://h:80/a@2x.jpg", "http://h:80/a@2x.jpg"),
        ("mail ada@example.org, ?sig=x", "mail ada@example.org, ?sig=x"),
        ("https://h/a?key=photo-1.jpg", "https://h/a?key=photo-1.jpg"),
        ("https://user:p@ss@host/x", "https://***@host/x"),
        ("https://user:pa/s#s@host/x", "https://***@host/x"),
        ("/home/ada/https:/user:s3cret@host/x", "/home/ada/https:/***@host/x"),
        ("https://[::1]:80/a@2x.jpg", "https://[::1]:80/a@2x.jpg"),
        ("C:/photos@line3/a.jpg", "C:/photos@line3/a.jpg"),
        ('{"url":"https://h","mail":"ada@example.org"}', '{"url":"https://h","mail":"ada@example.org"}'),
    ],
)  # fmt: skip
def test_what_is_shown_of_an_address(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    ("address", "error", "shown"),
    [
        (
            "s3://key:s3cret@bucket/x",
            'Invalid bucket name "key:s3cret@bucket"',
            'Invalid bucket name "***@bucket"',
        ),
        ("https://eve:s3cret@host/x", "no login with s3cret", "no login with ***"),
        ("https://host/x", "no such host", "no such host"),
    ],
)
def test_what_another_program_says_of_an_address(address: str, error: str, shown: str) -> None:
    assert masked_error(ValueError(error), address) == shown


def test_nothing_that_is_printed_holds_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    say("error: https://u:s3cret@host", err=True)
    say_json(json.dumps({"url": "https://u:s3cret@host/?sig=abc"}))
    printed = capsys.readouterr()
    assert printed.err == "error: https://***@host\n"
    assert json.loads(printed.out) == {"url": "https://***@host/?sig=***"}


@pytest.mark.parametrize("key", ["url", "s3.url", "s3.endpoint"])
@pytest.mark.parametrize("secret", ["u:s3cret@host", "host?sig=s3cret"])
def test_the_settings_hold_no_secret(key: str, secret: str) -> None:
    text = f'classes = ["a"]\n[label_studio]\n{key} = "https://{secret}"\n'
    with pytest.raises(ConfigError, match=rf"label_studio.{key} = .*without login or signature") as caught:
        parse_config(text.encode(), "al-loop.toml")
    assert "s3cret" not in str(caught.value)


def test_plain_data() -> None:
    assert masked_in({"a": ["x", "ftp://u:p@h"], "b": {"c": 1.5}}) == {
        "a": ["x", "ftp://***@h"],
        "b": {"c": 1.5},
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"bolt, hex",nut', ("bolt, hex", "nut")),
        ("bolt, nut", ("bolt", "nut")),
        ('"bolt;nut"', ("bolt;nut",)),
        ('"say ""hi""",y', ('say "hi"', "y")),
        ("M8 bolt", ("M8 bolt",)),
    ],
)
def test_classes_are_one_line_of_csv(text: str, names: tuple[str, ...]) -> None:
    assert parse_classes(text) == names


@pytest.mark.parametrize("text", ["bolt;nut", "bolt|nut", "bolt\nnut", "bolt\tnut", "bolt;nut,washer"])
def test_a_list_by_something_else_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ConfigError, match="Write: --classes 'bolt,nut"):
        parse_classes(text)


def test_a_class_that_looks_like_another_is_refused() -> None:
    with pytest.raises(ConfigError, match="'caf\u00e9' twice"):
        parse_classes("caf\u00e9,nut,cafe\u0301")


@pytest.mark.parametrize(
    ("text", "says"), [("a,,b", "empty name"), ('"a', "is no list"), ("", "empty name|is no list")]
)
def test_what_is_no_list(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_classes(text)


ADDRESS = "https://ada:s3cret@store.example.org/line3/a.png?sig=s3cret"


def test_no_secret_of_an_address_is_written_down(filled: Workspace, tmp_path: Path) -> None:
    """Not with an image, not with its state, and not with a cycle's settings; a linked image has none."""
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "red").save(path)
    image, seen = prepare_image(path), FileStat(ADDRESS, 5, "tag", None)
    batch = IngestBatch(filled, "pool")
    with pytest.raises(DataError, match=r"https://\*\*\*@store.example.org.* is not stored"):
        batch.put(image, ADDRESS, IngestReport(), linked=True)
    batch.put(image, ADDRESS, IngestReport())
    with filled.store.transaction():
        batch.insert()
        note(filled, seen, "taken")
    assert states(filled, [seen]) == ["taken"]  # known again by what is written down

    model_registry.register_model(filled, "m0", "import", "0" * 64, None, None)
    filled.store.execute("INSERT INTO promotions (model_id, reason, at) VALUES ('m0', 'first', 'now')")
    monitor = structs.replace(filled.config.monitor, inbox=(ADDRESS,))
    config = structs.replace(
        filled.config, monitor=monitor, model=structs.replace(filled.config.model, load_from=ADDRESS)
    )
    begin_cycle(Workspace(filled.root, config, filled.store), 2, Silent())
    dump = "\n".join(filled.store.connection.iterdump())
    assert "store.example.org/line3/a.png" in dump
    assert "s3cret" not in dump
