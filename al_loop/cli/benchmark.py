"""al-loop benchmark"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from click.core import ParameterSource

from al_loop.core.console import Terminal, say
from al_loop.core.errors import ConfigError, WorkspaceError

if TYPE_CHECKING:
    from al_loop.benchmark.run.mix import MixQuestion
    from al_loop.state.workspace import Workspace

T = TypeVar("T")
_FILE = click.Path(path_type=Path, dir_okay=False)
#: Options that a grid of trainings does not read, and those that nothing else does.
_NO_MIX = (
    "strategies", "k", "cycles", "batches", "early", "anew", "seconds_per_image", "seconds_per_box", "target", "jobs",
    "ray",
)  # fmt: skip
_MIX_ALONE = ("rendered", "real", "synthetic", "ways")


@click.command()
@click.option("--data", type=_FILE, required=True, help="COCO file of the pool; its labels are hidden.")
@click.option("--val", "validation", type=_FILE, required=True, help="COCO file that models are judged on.")
@click.option(
    "--test", "tests", multiple=True, metavar="NAME=FILE", help="A further set to judge on; repeatable."
)
@click.option(
    "--strategies", default="random,margin,dbal", show_default=True, help="Names with commas between."
)
@click.option("--start", "starts", metavar="[NAME:]MODEL,...",
              help="What chains begin with: scratch, coco (model.load_from), current, or a model of the workspace.  "
                   "[default: current; with --mix scratch]")  # fmt: skip
@click.option(
    "--k",
    default=25,
    type=click.IntRange(1, 1_000_000),
    show_default=True,
    help="Images labelled in each cycle.",
)
@click.option(
    "--cycles", default=4, type=click.IntRange(1, 10_000), show_default=True, help="Cycles of each chain."
)
@click.option(
    "--batch", "batches", default="", metavar="N,N,...", help="Instead of cycles: one of each size."
)
@click.option(
    "--seeds",
    default=5,
    type=click.IntRange(1, 10_000),
    show_default=True,
    help="Repetitions, the same for every strategy.",
)
@click.option(
    "--iterations",
    default=400,
    type=click.IntRange(1, 10_000_000),
    show_default=True,
    help="Steps of each training.",
)
@click.option(
    "--mix", is_flag=True, help="Instead: photographs and rendered images in what numbers, and how?"
)
@click.option("--rendered", type=_FILE, multiple=True, metavar="COCO",
              help="With --mix: labelled rendered images; repeatable.  [default: the workspace's]")  # fmt: skip
@click.option(
    "--real", default="0,25%,50%,75%,100%", show_default=True, help="With --mix: numbers or shares."
)
@click.option(
    "--synthetic", default="0,25%,50%,75%,100%", show_default=True, help="With --mix: the same of these."
)
@click.option("--ways", default="pretrain,joint,replay", show_default=True,
              help="With --mix: how both come together; also pretrain-frozen, replay-frozen.")  # fmt: skip
@click.option(
    "--early-stop", "early", is_flag=True, help="End a training when the validation no longer gains."
)
@click.option("--anew", is_flag=True, help="Train each cycle from the start, not from the cycle before.")
@click.option(
    "--seconds-per-image",
    type=click.FloatRange(0, 86_400),
    help="Model of an annotator's time, where none was measured ...",
)
@click.option(
    "--seconds-per-box",
    type=click.FloatRange(0, 86_400),
    help="... for every box.  [default: fitted, else 10 and 7]",
)
@click.option("--target", type=click.FloatRange(0, 1, min_open=True), metavar="AP",
              help="Count labels for this AP.  [default: that with which random ends]")  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for results."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    help="Chains side by side.  [default: 1; with --ray one per GPU or node]",
)
@click.option("--ray", metavar="ADDRESS", help="Run the chains on a Ray cluster: auto, HOST:PORT, local.")
@click.option("--resume", is_flag=True, help="Go on with the benchmark in --out.")
@click.pass_context
def benchmark(
    context: click.Context,
    data: Path,
    validation: Path,
    tests: tuple[str, ...],
    strategies: str,
    starts: str | None,
    k: int,
    cycles: int,
    batches: str,
    seeds: int,
    iterations: int,
    mix: bool,
    rendered: tuple[Path, ...],
    real: str,
    synthetic: str,
    ways: str,
    early: bool,
    anew: bool,
    seconds_per_image: float | None,
    seconds_per_box: float | None,
    target: float | None,
    out: Path,
    jobs: int | None,
    ray: str | None,
    resume: bool,
) -> None:
    """Compare strategies on a labelled set: cycles with its labels hidden, side by side, over several seeds.

    Settings of model and training are those of the workspace. Killed at any moment, it goes on with --resume.
    """
    from al_loop.benchmark.results.labelling_cost import pace_of
    from al_loop.benchmark.results.page import write_page
    from al_loop.benchmark.results.summary import Results
    from al_loop.benchmark.results.tables import summary, write_files
    from al_loop.benchmark.run.mix import MixQuestion
    from al_loop.benchmark.run.runner import Question, run_benchmark
    from al_loop.state.workspace import open_workspace

    try:
        home = open_workspace(context.obj)
    except WorkspaceError as error:
        raise WorkspaceError(f"a benchmark takes classes and settings from a workspace: {error}") from None
    _refuse_of_the_other(context, mix)
    judged_on = _distinct("--test", map(_test, tests))
    begun = _distinct("--start", map(_named, _words(starts or ("scratch" if mix else "current"))))
    if mix:
        grid = MixQuestion(
            data,
            validation,
            judged_on,
            rendered,
            begun,
            _words(ways),
            _words(real),
            _words(synthetic),
            seeds,
            iterations,
        )
        _mix(home, out, grid, resume=resume)
        return
    question = Question(
        data,
        validation,
        judged_on,
        _words(strategies),
        begun,
        k,
        cycles,
        _sizes(batches),
        seeds,
        iterations,
        early,
        anew,
    )
    outcome = run_benchmark(out, question, home.config, home, Terminal(), resume=resume, jobs=jobs, ray=ray)
    results = Results(outcome, pace_of(home, seconds_per_image, seconds_per_box), target)
    table, plain = write_files(results, out)
    for line in summary(results):
        say(line)
    say(f"\n{table}\n{plain}\n{write_page(results, out)}")


def _refuse_of_the_other(context: click.Context, mix: bool) -> None:
    """Refuse options that were given and mean nothing in this kind of benchmark."""
    given = [
        max(option.opts, key=len)
        for option in context.command.params
        if option.name in (_NO_MIX if mix else _MIX_ALONE)
        and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT
    ]
    if given and mix:
        raise ConfigError(
            "--mix trains a grid of --real and --synthetic by --ways, one cell after another: "
            f"leave {' and '.join(given)} out"
        )
    if given:
        raise ConfigError(f"{', '.join(given)}: expected with --mix, got none. Add --mix, or leave them out")


def _mix(home: Workspace, out: Path, grid: MixQuestion, *, resume: bool) -> None:
    """Run a mix study and say what came of it."""
    from al_loop.benchmark.results.mix_page import Mixed, mix_summary, write_mix
    from al_loop.benchmark.run.mix import run_mix

    mixed = Mixed(run_mix(out, grid, home.config, home, Terminal(), resume=resume))
    paths = write_mix(mixed, out)
    for line in ("", *mix_summary(mixed), "", *map(str, paths)):
        say(line)


def _words(text: str) -> tuple[str, ...]:
    """What stands between the commas, each once."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def _distinct(option: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """By name; ConfigError where two have the same."""
    found: dict[str, T] = {}
    for name, what in pairs:
        if name in found:
            raise ConfigError(
                f"{option}: expected distinct names, got {name} twice, for {found[name]} and {what}"
            )
        found[name] = what
    return found


def _test(text: str) -> tuple[str, Path]:
    name, found, file = text.partition("=")
    if not (name and found and file):
        raise ConfigError(f"--test {text}: expected NAME=FILE")
    return name, Path(file)


def _named(text: str) -> tuple[str, str]:
    """`synthetic:pretrain-1` is the model pretrain-1, called synthetic; a name alone is both."""
    name, _, what = text.partition(":")
    return name, what or name


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise ConfigError(f"--batch {text}: expected numbers with commas between, as in 10,25,50") from None


@click.command()
@click.argument("coco", type=_FILE)
@click.option("--kinds", default="", metavar="KIND,...", help="Which corruptions.  [default: all]")
@click.option(
    "--level", default=3, show_default=True, type=click.IntRange(1, 5), help="From slight to strong."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill."
)
def corrupt(coco: Path, kinds: str, level: int, out: Path) -> None:
    """Write corrupted copies of COCO, a labelled set: blur, noise, light, colour, compression.

    For a benchmark's --test, when there are no photographs of another station.
    """
    from al_loop.images.corruptions import CORRUPTIONS, write_corrupted

    terminal = Terminal()
    with terminal.progress("corrupt") as progress:
        made = write_corrupted(coco, out, _words(kinds) or tuple(CORRUPTIONS), level, progress, terminal.line)
    for kind, path in made.items():
        say(f"--test {kind}-{level}={path}")
