"""The command line. A command only parses and prints; what it does is one call into the loop.

Nothing here imports torch, and modules that are slow to import are imported inside the command that
needs them: `al-loop --help` has to answer at once.
"""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path

import click

from al_loop.cli.benchmark import benchmark, corrupt
from al_loop.cli.cycle import cycle, report, reproduce, score, status, verify
from al_loop.cli.doctor import doctor, repair
from al_loop.cli.label_studio import label_studio
from al_loop.cli.models import gc, models, pretrain, render, rollback
from al_loop.cli.monitor import monitor
from al_loop.cli.pool import init, pool
from al_loop.cli.renamed import RenamingGroup
from al_loop.core.console import say
from al_loop.core.errors import AlLoopError
from al_loop.core.files import printable
from al_loop.core.versions import __version__

# What a shell expects of a command that was interrupted by Ctrl-C: 128 + SIGINT.
_INTERRUPTED = 130
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: What a disk or its owner refuses is no mistake of ours, wherever it happens.
_OF_THE_SYSTEM = _NO_ROOM | {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
}


@click.group(
    cls=RenamingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="al-loop")
@click.option(
    "--workspace",
    "-w",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="AL_LOOP_WORKSPACE",
    help="The workspace; by default the one that the current folder lies in.",
)
@click.pass_context
def cli(context: click.Context, workspace: Path | None) -> None:
    """Active-learning labelling loop for industrial object detection.

    A first time: init, pool add, pool add-val, render, pretrain, label-studio start.
    Then, each shift: cycle.
    """
    context.obj = workspace


for command in (
    init,
    pool,
    render,
    pretrain,
    models,
    gc,
    label_studio,
    score,
    cycle,
    status,
    doctor,
    report,
    rollback,
    verify,
    reproduce,
    monitor,
    benchmark,
    corrupt,
):
    cli.add_command(command)
pool.add_command(repair)


def _system(error: OSError) -> str:
    """What the operating system refused, of which file, and what to do."""
    where = printable(error.filename) if error.filename else "a file"
    what = (
        "Make room on the disk (al-loop gc)" if error.errno in _NO_ROOM else "Look at its rights and its disk"
    )
    return f"{where}: {error.strerror}. {what}, and run the same again; or see what is wrong: al-loop doctor"


def main() -> None:
    """Run the command line; an error of ours is one message on stderr and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not know every letter
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        say(text.getvalue().rstrip("\n"), err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say("\ninterrupted; nothing is lost: run the same command again to go on", err=True)
        sys.exit(_INTERRUPTED)
    except AlLoopError as error:
        say(f"error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        if error.errno not in _OF_THE_SYSTEM:
            raise
        say(f"error: {_system(error)}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
