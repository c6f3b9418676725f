"""One clear message per failure, and no secret in any of them."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.labelling_tasks import version_of

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.failures import ServerFaultError, UnreachableError
from al_loop.labelling.client.responses import read_answer

TOKEN = "feedfacefeedfacefeedfacefeedfacefeedface"


@contextmanager
def answering(status: int, body: bytes, *, certificate: Path | None = None, **headers: str) -> Iterator[str]:
    """A server that is not Label Studio; with a certificate (PEM, its key inside), one that speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            http.socket = tls.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http{'s' if certificate else ''}://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'["\ud83d", 1]', ["?", 1]),
        (r'{"a": "x\uDC00y"}', {"a": "x?y"}),
        (r'["\ud83d\ude00"]', ["\U0001f600"]),
        (r'["\\ud83d"]', [r"\ud83d"]),
    ],
)
def test_half_a_character_stops_nothing(text: str, value: object) -> None:
    assert read_answer(text.encode()) == value


def test_nothing_listens() -> None:
    with pytest.raises(UnreachableError, match="al-loop label-studio start") as caught:
        version_of(Connection("http://127.0.0.1:9", TOKEN))
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None


def test_not_an_address() -> None:
    with pytest.raises(LabelStudioError, match="'localhost:8080'"):
        version_of(Connection("localhost:8080", TOKEN))


def test_another_web_server() -> None:
    for status in (200, 404):
        with (
            answering(status, b"<html>hello</html>") as url,
            pytest.raises(LabelStudioError, match="does not answer like Label Studio"),
        ):
            version_of(Connection(url, TOKEN))


def test_a_redirect_does_not_get_the_token() -> None:
    with (
        answering(302, b"{}", Location="http://127.0.0.1:9/") as url,
        pytest.raises(LabelStudioError, match="redirects elsewhere"),
    ):
        version_of(Connection(url, TOKEN))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that only its maker trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "labels")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    path = tmp_path / "server.pem"
    path.write_bytes(pem)
    return path


def test_a_certificate_that_nobody_vouches_for(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b'{"release": "1.23.2"}', certificate=certificate) as url:
        with pytest.raises(UnreachableError, match=r"certificate .* not trusted.*SSL_CERT_FILE") as caught:
            version_of(Connection(url, TOKEN))
        assert TOKEN not in str(caught.value)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert version_of(Connection(url, TOKEN)) == "1.23.2"
        monkeypatch.setenv("SSL_CERT_FILE", "none.pem")
        with pytest.raises(LabelStudioError, match=r"SSL_CERT_FILE=none\.pem cannot be read"):
            version_of(Connection(url, TOKEN))


@pytest.mark.integration
def test_a_fault_of_the_server() -> None:
    # A cookie in the headers must not be printed.
    with (
        answering(500, b'{"detail": "database is locked"}', **{"Set-Cookie": "sessionid=s3cret"}) as url,
        pytest.raises(ServerFaultError, match="database is locked") as caught,
    ):
        version_of(Connection(url, TOKEN))
    assert "s3cret" not in str(caught.value)


def test_repr_hides_the_token() -> None:
    assert TOKEN not in repr(Connection("http://127.0.0.1:9", TOKEN))


@pytest.mark.integration
def test_imports_are_cheap() -> None:
    names = "client.client client.image_serving client.task server.server tasks.project tasks.pull tasks.push"
    heavy = "'torch', 'label_studio_sdk', 'httpx', 'PIL'"
    code = f"import sys\nfor n in {names.split()!r}: __import__('al_loop.labelling.' + n)\n"
    code += f"print([n for n in ({heavy}) if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
