"""The command line. A command parses its arguments, makes one call and prints.

Modules that are slow to import are imported inside the command that needs them: `--help` answers at once.
"""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path

import click

from al_loop.cli.benchmark import benchmark, corrupt
from al_loop.cli.cycle import cycle, report, reproduce, score, status, verify
from al_loop.cli.doctor import doctor
from al_loop.cli.label_studio import label_studio
from al_loop.cli.labels import labels
from al_loop.cli.models import gc, models, pretrain, render, rollback
from al_loop.cli.monitor import monitor
from al_loop.cli.parameters import FOLDER
from al_loop.cli.pool import init, pool
from al_loop.cli.predict import predict
from al_loop.cli.renamed import RenamingGroup
from al_loop.core.console import say
from al_loop.core.errors import AlLoopError
from al_loop.core.files import printable
from al_loop.core.versions import __version__

_INTERRUPTED = 130  # what a shell expects after Ctrl-C: 128 + SIGINT
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: Errors of the disk or of its permissions. They need no traceback.
_SYSTEM_ERRORS = _DISK_FULL | {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG
}  # fmt: skip
_COMMANDS = (
    init, pool, labels, render, pretrain, models, gc, label_studio, score, cycle, status, doctor, report,
    rollback, predict, verify, reproduce, monitor, benchmark, corrupt,
)  # fmt: skip


@click.group(
    cls=RenamingGroup,
    commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="al-loop")
@click.option(
    "--workspace",
    "-w",
    type=FOLDER,
    envvar="AL_LOOP_WORKSPACE",
    help="Workspace.  [default: the one that contains the current folder]",
)
@click.pass_context
def cli(context: click.Context, workspace: Path | None) -> None:
    """Active-learning labelling loop for industrial object detection.

    First: init, pool add, pool add-val, render, pretrain, label-studio start. Then, each shift: cycle.
    """
    context.obj = workspace


def main() -> None:
    """Run the command line; an expected error is one message on stderr and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack characters
    sys.exit(_run())


def _run() -> int:
    """Run the command line and return its exit status."""
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        say(text.getvalue().rstrip("\n"), err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("\ninterrupted; nothing is lost: run the same command again to continue", err=True)
        return _INTERRUPTED
    except BrokenPipeError:
        return 1
    except AlLoopError as error:
        say(f"error: {error}", err=True)
        return 1
    except OSError as error:
        if error.errno not in _SYSTEM_ERRORS:
            raise
        say(f"error: {_explain(error)}", err=True)
        return 1
    return status if isinstance(status, int) else 0


def _explain(error: OSError) -> str:
    """Return which file the operating system refused, why, and what to do."""
    file = printable(error.filename) if error.filename else "a file"
    full = error.errno in _DISK_FULL
    advice = "Make room on the disk (al-loop gc)" if full else "Check its permissions and its disk"
    return f"{file}: {error.strerror}. {advice}, and run the same again; or find the cause: al-loop doctor"
