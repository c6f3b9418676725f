"""The server's Python environment, created once per user and shared by all workspaces.

Label Studio needs other versions of numpy and pydantic than the loop. In the user's cache:

    label-studio-1.23.2/
        venv/        the environment; venv/complete is written last
        template/    a data directory with a migrated database (32-46 s), without user, token and secret
                     key. A workspace starts from a copy of it.

``python -m al_loop.labelling.server.environment`` creates it before the first use.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.errors import LabelStudioError
from al_loop.core.files import cache_dir
from al_loop.core.lock import waiting_lock
from al_loop.core.resources import resource
from al_loop.state.database.integrity import row_count

VERSION = "1.23.2"

# Nothing listens at this address: every request of the server to another machine fails at once.
NO_PROXY_TARGET = "http://127.0.0.1:9"

_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Environment:
    """Paths of the server's environment."""

    root: Path

    @property
    def python(self) -> Path:
        """The interpreter of the server's environment."""
        return self.root / "venv" / "bin" / "python"

    @property
    def template(self) -> Path:
        """A migrated data directory without users."""
        return self.root / "template"

    @property
    def installed(self) -> bool:
        """Whether the virtual environment is complete, and its Python still exists."""
        return (self.root / "venv" / "complete").exists() and self.python.exists()

    @property
    def complete(self) -> bool:
        """Whether environment and template are complete."""
        return self.installed and self.template.is_dir()


def find_environment() -> Environment:
    """Return the paths of the environment; create nothing."""
    return Environment(cache_dir().absolute() / f"label-studio-{VERSION}")


def ensure_environment(on_progress: Progress | None = None) -> Environment:
    """Return the server's environment; create missing parts.

    Safe to kill and to run in parallel: a second call waits, and incomplete parts are created again.
    Raises LabelStudioError if pip or the server fails.
    """
    environment = find_environment()
    if environment.complete:
        return environment
    say = on_progress or (lambda _: None)
    environment.root.mkdir(parents=True, exist_ok=True)
    with waiting_lock(environment.root / "lock"):
        if not environment.installed:
            say(f"installing Label Studio {VERSION} into {environment.root} (once, some minutes)")
            _create_venv(environment)
        if not environment.template.is_dir():
            say("preparing an empty Label Studio database (once, under a minute)")
            _create_template(environment)
    return environment


def clean_environ(data: Path) -> dict[str, str]:
    """Return the environment variables of a server process that works in `data`.

    Nothing is inherited, since the server also reads unprefixed variables such as USERNAME, HOST and DEBUG.
    """
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(data / "home"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        **dict.fromkeys(_PROXIES, NO_PROXY_TARGET),
        **{name: os.environ[name] for name in ("TMPDIR", "TZ") if name in os.environ},
    }


def _create_venv(environment: Environment) -> None:
    # Created at its final path, since the scripts in it contain that path.
    venv = environment.root / "venv"
    shutil.rmtree(venv, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(venv)], "python -m venv")
    pip = [
        str(environment.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "--no-compile", "--no-cache-dir", "-c", str(resource("label_studio/constraints.txt")),
        f"label-studio=={VERSION}",
    ]  # fmt: skip
    _run(pip, "pip install label-studio")
    (venv / "complete").touch()


def _create_template(environment: Environment) -> None:
    partial = environment.root / "template.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    # `version` migrates the database before it prints, and creates neither user nor organisation.
    command = [str(environment.python), str(environment.python.with_name("label-studio")), "version"]
    _run(command, "label-studio version", environ=clean_environ(partial))
    (partial / ".env").unlink(missing_ok=True)  # it holds a secret key: each workspace gets its own
    database = partial / "label_studio.sqlite3"
    users, organisations = row_count(database, "htx_user"), row_count(database, "organization")
    if users or organisations:
        raise LabelStudioError(
            f"expected an empty template database, got {users} users and {organisations} organisations. "
            f"This al-loop works with Label Studio {VERSION}"
        )
    partial.rename(environment.template)


def _run(command: list[str], what: str, environ: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise LabelStudioError(f"cannot run {what}: {error}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise LabelStudioError(
            f"{what} failed with status {done.returncode} while preparing the Label Studio server:\n{tail}\n"
            "Try again with: python -m al_loop.labelling.server.environment"
        )


def main() -> int:
    """Create the environment and print its path."""
    try:
        environment = ensure_environment(lambda line: print(line, flush=True))
    except LabelStudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Label Studio {VERSION} is ready in {environment.root}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
