"""A workspace: a folder with settings, a database and all results."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from al_loop.core.config import FILE_NAME, MAX_BYTES, Config, load_config, parse_config
from al_loop.core.console import say
from al_loop.core.errors import ConfigError, WorkspaceError
from al_loop.core.files import printable, read_regular, write_atomically
from al_loop.core.lock import locked
from al_loop.core.renamed_settings import rewritten
from al_loop.core.resources import resource
from al_loop.core.setting_types import check_classes
from al_loop.state.approvals import approve, is_approved
from al_loop.state.database.facts import first_fact, read_fact
from al_loop.state.database.migrations import SETTINGS_RENAMED
from al_loop.state.database.sqlite_file import database_files, keep_private, read_only_message
from al_loop.state.database.store import Store
from al_loop.state.score_key import ScoreKey

DATABASE = "al-loop.db"


@dataclass(frozen=True)
class Workspace:
    """The folders and settings of a workspace. Open it with `open_workspace`."""

    root: Path
    config: Config
    store: Store

    @property
    def images(self) -> Path:
        """Images, named by their SHA-256."""
        return self.root / "images"

    @property
    def cache(self) -> Path:
        """Fetched copies of images that stay in object stores. The folder may be deleted."""
        return self.root / "cache"

    @property
    def synthetic(self) -> Path:
        """Rendered datasets."""
        return self.root / "synthetic"

    @property
    def server_home(self) -> Path:
        """The embedded labelling server's files."""
        return self.root / "label-studio"

    @property
    def private(self) -> list[Path]:
        """Files and folders that only the owner may read: labels, sources of images, and logins."""
        server_files = [self.server_home / name for name in ("credentials.json", "data", "backups")]
        return [*database_files(self.root / DATABASE), *server_files]

    @property
    def mark(self) -> str:
        """A random id of this workspace, made on the first call."""
        return first_fact(self.store, "workspace", secrets.token_hex(4))

    @property
    def trusted(self) -> bool:
        """Whether the user made or approved it on this machine. Only then is its Python code executed."""
        if (
            self.store.path == ":memory:"
        ):  # the workspace of a benchmark, which has checked the workspace that its settings come from
            return True
        mark = read_fact(self.store, "workspace")
        return mark is not None and is_approved(Path(self.store.path), mark)

    def model_dir(self, model_id: str) -> Path:
        """Return the folder of a model: weights, resolved config, predictions on the validation set."""
        return self.root / "models" / model_id

    def scores_dir(self, key: ScoreKey, augmentation: str = "") -> Path:
        """Return the folder with scores of the pool, or of augmented copies of it."""
        return self.root / "scores" / key.folder(augmentation)

    def cycle_dir(self, number: int) -> Path:
        """Return the folder of a cycle."""
        return self.root / "cycles" / str(number)

    def with_settings(self, settings: Config) -> Workspace:
        """Return this workspace with other settings, such as those that a cycle began with."""
        return replace(self, config=settings)

    def with_gpus(self, gpus: int | None) -> Workspace:
        """Return this workspace with another number of GPUs per training. None: as in its settings."""
        return self if gpus is None else self.with_settings(msgspec.structs.replace(self.config, gpus=gpus))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the workspace to write to it.

        Raises LockedError with the holder of the lock, WorkspaceError if it is read-only or damaged.
        """
        if self.store.read_only:
            raise WorkspaceError(read_only_message(self.root))
        with locked(self.root / ".lock"):
            self.store.check()
            yield

    @contextmanager
    def lock_unless_read_only(self) -> Iterator[None]:
        """Lock the workspace unless it is read-only, for work whose results are stored elsewhere."""
        with nullcontext() if self.store.read_only else self.lock():
            yield


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def find_workspace(start: Path | None = None) -> Path:
    """Return the workspace that contains `start`, else AL_LOOP_WORKSPACE, else the current folder."""
    origin = start or Path(os.environ.get("AL_LOOP_WORKSPACE") or ".")
    origin = origin.expanduser().resolve()
    for folder in (origin, *origin.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise WorkspaceError(
        f"no workspace at {origin}: expected a folder with {FILE_NAME}. "
        "Go into one, name it with --workspace, or make one: al-loop init NAME --classes a,b"
    )


def open_workspace(start: Path | None = None) -> Workspace:
    """Open the workspace that contains `start` or the current folder."""
    root = find_workspace(start)
    _check_path(root)
    settings = root / FILE_NAME
    if not (root / DATABASE).is_file():
        load_config(settings)
        raise WorkspaceError(
            f"{root} has {FILE_NAME} but no {DATABASE}. Restore it, or start over: al-loop init"
        )
    store = Store(root / DATABASE, before_migration=partial(_rewrite_settings, settings))
    try:
        workspace = Workspace(root, settings_of(root, store), store)
    except ConfigError:
        store.close()
        raise
    keep_private(workspace.private)
    _check_stored_classes(workspace)
    return workspace


def settings_of(root: Path, store: Store | None) -> Config:
    """Load al-loop.toml. If an old database could not be migrated, expect the names of al-loop 0.1."""
    unchanged = store is not None and store.read_only and store.version < SETTINGS_RENAMED
    return load_config(root / FILE_NAME, of_0_1=unchanged)


def _rewrite_settings(path: Path, version: int) -> None:
    """Rewrite al-loop.toml of al-loop 0.1 with the new names. An unusable file prevents the migration."""
    if version < SETTINGS_RENAMED:
        old = read_regular(path, MAX_BYTES)
        new = rewritten(old)
        if new is not None:
            backup = path.with_name(f"{path.name}.before-0.2")
            if not backup.exists():
                write_atomically(backup, old)
            write_atomically(path, new)
            say(f"{path.name}: settings have the names of al-loop 0.2 now. Before: {backup.name}", err=True)
    load_config(path)


def init_workspace(root: Path, classes: tuple[str, ...], template: str = "default") -> Workspace:
    """Make a workspace. The folder must be new or empty."""
    check_classes(classes, "--classes")
    root = root.expanduser().resolve()
    _check_path(root)
    if (root / FILE_NAME).exists():
        raise WorkspaceError(
            f"{root} is a workspace already. Look at it with: "
            f"al-loop --workspace {shlex.quote(str(root))} status"
        )
    if root.exists() and not root.is_dir():
        raise WorkspaceError(f"{root} is a file: expected a new or empty folder. Choose another name.")
    # A database without settings was left by a killed init.
    unfinished = [*database_files(root / DATABASE), root / f"{FILE_NAME}.partial"]
    if root.exists() and set(root.iterdir()) - set(unfinished):
        raise WorkspaceError(f"{root} is not empty: expected a new or empty folder. Choose another name.")
    text = resource(f"configs/loop/{template}.toml").read_text()
    listed = ", ".join(json.dumps(name, ensure_ascii=False) for name in classes)
    head = f"name = {json.dumps(printable(root.name), ensure_ascii=False)}\nclasses = [{listed}]\n"
    text = text.replace("# @head@\n", head)
    parse_config(text.encode(), FILE_NAME)
    root.mkdir(parents=True, exist_ok=True)
    for path in unfinished:
        path.unlink(missing_ok=True)
    Store(root / DATABASE).close()
    # The settings come last: they make the folder a workspace.
    write_atomically(root / FILE_NAME, text.encode())
    workspace = open_workspace(root)
    with suppress(WorkspaceError):  # without approval, a Python config needs `models trust`
        approve(root / DATABASE, workspace.mark)
    return workspace


def _check_path(root: Path) -> None:
    """Refuse a path that mmengine and the labelling server cannot write into their files."""
    try:
        str(root).encode()
    except UnicodeEncodeError:
        raise WorkspaceError(
            f"{printable(root)}: the path of a workspace must be UTF-8. Rename the folder and run again"
        ) from None


def _check_stored_classes(workspace: Workspace) -> None:
    """Refuse another list of classes, because stored labels are indices into the list."""
    stored = read_fact(workspace.store, "classes")
    current = "\n".join(workspace.config.classes)
    if stored is None and not workspace.store.read_only:
        first_fact(workspace.store, "classes", current)
    elif stored not in (None, current):
        raise ConfigError(
            f"classes in {FILE_NAME} are {', '.join(workspace.config.classes)}; this workspace was made for "
            f"{', '.join(str(stored).splitlines())}. Put them back, or make another workspace: al-loop init"
        )
