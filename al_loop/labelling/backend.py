"""The labelling server of a workspace, and how annotators' browsers get the images."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from al_loop.core.config import LabelStudioConfig
from al_loop.core.errors import ConfigError, LabelStudioError
from al_loop.core.files import read_regular
from al_loop.labelling.client.client import Connection
from al_loop.labelling.client.image_serving import ImageServing, LocalFiles, Upload
from al_loop.labelling.client.s3 import S3Objects, server_key
from al_loop.labelling.server.server import media_root, running_server
from al_loop.state.workspace import Workspace

_MAX_TOKEN_BYTES = 65_536  # a personal access token is some 300 bytes


def connect(workspace: Workspace) -> tuple[Connection, ImageServing]:
    """Return the connection to the server, and the way in which browsers get the images.

    Raises LabelStudioError if the embedded server does not run or the token is missing, ConfigError if the
    settings do not fit the server.
    """
    settings = workspace.config.label_studio
    if settings.url is None:
        if settings.images == "s3" or settings.document_root is not None:
            raise ConfigError(
                'label_studio.images = "s3" and label_studio.document_root need a server of your own: set '
                "label_studio.url. The embedded server shows files of this machine"
            )
        home = workspace.server_home
        connection = running_server(home).connection
        return connection, Upload() if settings.images == "upload" else LocalFiles(media_root(home))
    return Connection(settings.url, _token(workspace)), _image_serving(workspace.root, settings)


def server_name(workspace: Workspace) -> str:
    """Return the server's address, or "embedded" for the embedded one, whose port may change."""
    url = workspace.config.label_studio.url
    return url.rstrip("/") if url else "embedded"


def _image_serving(root: Path, settings: LabelStudioConfig) -> ImageServing:
    """Return the way in which a server of the user's own gets the images."""
    if settings.images == "s3":
        s3 = settings.s3
        if s3.url is None:
            raise ConfigError(
                'label_studio.images = "s3" needs label_studio.s3.url, like s3://labels/al-loop'
            )
        key_id, secret = server_key(s3.key_env, s3.secret_env)
        return S3Objects(s3.url, s3.endpoint, s3.region, s3.minutes, key_id, secret)
    if settings.images == "local-files":
        return LocalFiles(_document_root(root, settings))
    return Upload()


def _document_root(root: Path, settings: LabelStudioConfig) -> Path:
    """Return the folder that a server on this machine may show; refuse one that contains the workspace."""
    if settings.document_root is None:
        raise ConfigError(
            'label_studio.images = "local-files" with a label_studio.url needs label_studio.document_root: '
            "the folder of this machine with which the server was started as "
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"
        )
    folder = (root / Path(settings.document_root).expanduser()).resolve()
    if not folder.is_dir():
        raise ConfigError(f"label_studio.document_root: {folder} is not a folder on this machine")
    if root.resolve().is_relative_to(folder):
        raise ConfigError(
            f"label_studio.document_root: {folder} contains the workspace, and the server shows all of "
            "the folder. Use a separate one"
        )
    return folder


def _token(workspace: Workspace) -> str:
    """Return the access token from its file or its variable."""
    settings = workspace.config.label_studio
    if settings.token_file is not None:
        path = workspace.root / Path(settings.token_file).expanduser()
        try:
            mode = path.stat().st_mode
            token = read_regular(path, _MAX_TOKEN_BYTES).decode("ascii").strip()
        except OSError as error:
            raise ConfigError(f"label_studio.token_file: {path} cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise ConfigError(
                f"label_studio.token_file: {path} does not contain a token of ASCII characters"
            ) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"label_studio.token_file: others can read {path}. Run: chmod 600 {shlex.quote(str(path))}"
            )
    else:
        token = os.environ.get(settings.token_env, "").strip()
    if not token:
        raise LabelStudioError(
            f"no token for {settings.url}: expected it in the variable {settings.token_env} or in "
            "label_studio.token_file. Copy it from Label Studio, Account & Settings, and run: "
            f"export {settings.token_env}=..."
        )
    return token
