"""al-loop benchmark, al-loop corrupt"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from al_loop.cli.renamed import renamed_option
from al_loop.core.console import Terminal, say
from al_loop.core.errors import ConfigError, WorkspaceError

if TYPE_CHECKING:
    from al_loop.benchmark.spec.spec import BenchmarkSpec

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
#: Options that are refused with --mix, and without it.
_WITHOUT_MIX = (
    "strategies", "k", "cycles", "batches", "early_stop", "from_initial",
    "seconds_per_image", "seconds_per_box", "target",
)  # fmt: skip
_WITH_MIX = ("rendered", "real", "synthetic", "schedules")


def _count(name: str, default: int, most: int, text: str) -> Callable[[F], F]:
    """An option that is a number from 1."""
    return click.option(
        f"--{name}", default=default, type=click.IntRange(1, most), show_default=True, help=text
    )


def _text(name: str, default: str, text: str) -> Callable[[F], F]:
    """An option that is a list with commas."""
    return click.option(name, default=default, show_default=bool(default), help=text)


@click.command()
@click.option(
    "--data", "pool", type=_FILE, required=True, help="COCO file of the pool; its labels are hidden."
)
@click.option(
    "--val", "validation", type=_FILE, required=True, help="COCO file that models are evaluated on."
)
@click.option(
    "--test", "tests", multiple=True, metavar="NAME=FILE", help="A further set to evaluate on; repeatable."
)
@_text("--strategies", "random,margin,dbal", "Names with commas between.")
@click.option(
    "--start", "starts", metavar="[NAME:]MODEL,...",
    help="Initial models: scratch, coco (model.load_from), current, or a model of the workspace.  "
         "[default: current; with --mix scratch]",
)  # fmt: skip
@_count("k", 25, 1_000_000, "Images labelled in each cycle.")
@_count("cycles", 4, 10_000, "Cycles of each trial.")
@click.option(
    "--batch", "batches", default="", metavar="N,N,...", help="Instead of cycles: one of each size."
)
@_count("seeds", 5, 10_000, "Repetitions, the same for every strategy.")
@_count("iterations", 400, 10_000_000, "Steps of each training.")
@click.option("--mix", is_flag=True, help="Instead: numbers of photographs by numbers of rendered images.")
@click.option(
    "--rendered", type=_FILE, multiple=True, metavar="COCO",
    help="With --mix: labelled rendered images; repeatable.  [default: the workspace's]",
)  # fmt: skip
@_text("--real", "0,25%,50%,75%,100%", "With --mix: numbers or shares of the photographs.")
@_text("--synthetic", "0,25%,50%,75%,100%", "With --mix: the same of the rendered images.")
@_text(
    "--schedules", "pretrain,joint,replay",
    "With --mix: in which order a training sees both; also pretrain-frozen, replay-frozen.",
)  # fmt: skip
@renamed_option("--ways", "--schedules")
@click.option("--early-stop", is_flag=True, help="End a training when the validation AP no longer improves.")
@click.option(
    "--from-initial", is_flag=True,
    help="Train each cycle from the initial model, not from that of the cycle before.",
)  # fmt: skip
@renamed_option("--anew", "--from-initial")
@click.option(
    "--seconds-per-image",
    type=click.FloatRange(0, 86_400),
    help="Annotator time for an image, where none was measured ...",
)
@click.option(
    "--seconds-per-box",
    type=click.FloatRange(0, 86_400),
    help="... and for each of its boxes.  [default: fitted, else 10 and 7]",
)
@click.option(
    "--target", type=click.FloatRange(0, 1, min_open=True), metavar="AP",
    help="Count labels for this AP.  [default: the last AP of random]",
)  # fmt: skip
@click.option("--out", type=_FOLDER, required=True, help="Folder for results.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    help="Trials at a time.  [default: 1; with --ray one per GPU or node]",
)
@click.option("--ray", metavar="ADDRESS", help="Run the trials on a Ray cluster: auto, HOST:PORT, local.")
@click.option("--resume", is_flag=True, help="Go on with the benchmark in --out.")
@click.pass_context
def benchmark(context: click.Context, /, out: Path, **options: Any) -> None:
    """Compare strategies on a labelled set: cycles with its labels hidden, over several seeds.

    Settings of model and training are those of the workspace. Killed at any moment, it goes on with --resume.
    """
    from al_loop.benchmark.results.labelling_cost import labelling_cost
    from al_loop.benchmark.results.report import report_of, write_report
    from al_loop.benchmark.run.runner import Execution, run_benchmark
    from al_loop.state.workspace import open_workspace

    try:
        home = open_workspace(context.obj)
    except WorkspaceError as error:
        raise WorkspaceError(f"a benchmark takes classes and settings from a workspace: {error}") from None
    _refuse_other_kind(context, mix=options["mix"])
    execution = Execution(options["resume"], options["jobs"], options["ray"])
    outcome = run_benchmark(out, _spec(options), home.config, home, Terminal(), execution)
    cost = labelling_cost(home, options["seconds_per_image"], options["seconds_per_box"])
    report = report_of(outcome, cost, options["target"])
    paths = write_report(report, out)
    for line in (*report.summary, "", *map(str, paths)):
        say(line)


def _spec(options: dict[str, Any]) -> BenchmarkSpec:
    """Return the spec that the options give; ConfigError for lists that cannot be read."""
    from al_loop.benchmark.spec.spec import BenchmarkSpec, MixGrid, StrategyGrid

    grid: MixGrid | StrategyGrid
    if options["mix"]:
        lists = {name: _words(options[name]) for name in ("schedules", "real", "synthetic")}
        grid = MixGrid(rendered=options["rendered"], **lists)
    else:
        same = {name: options[name] for name in ("k", "cycles", "early_stop", "from_initial")}
        grid = StrategyGrid(
            strategies=_words(options["strategies"]), batches=_sizes(options["batches"]), **same
        )
    starts = options["starts"] or ("scratch" if options["mix"] else "current")
    return BenchmarkSpec(
        pool=options["pool"],
        validation=options["validation"],
        tests=_distinct("--test", map(_test, options["tests"])),
        starts=_distinct("--start", map(_named, _words(starts))),
        seeds=options["seeds"],
        iterations=options["iterations"],
        grid=grid,
    )


def _refuse_other_kind(context: click.Context, *, mix: bool) -> None:
    """Raise ConfigError for options that this kind of benchmark does not read."""
    given = [
        max(option.opts, key=len)
        for option in context.command.params
        if option.name in (_WITHOUT_MIX if mix else _WITH_MIX)
        and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT
    ]
    if given and mix:
        raise ConfigError(
            f"--mix trains a grid of --real and --synthetic by --schedules: leave {' and '.join(given)} out"
        )
    if given:
        raise ConfigError(f"{', '.join(given)}: expected with --mix, got none. Add --mix, or leave them out")


def _words(text: str) -> tuple[str, ...]:
    """Return the distinct words between commas."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def _distinct(option: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Return values by name; ConfigError where two have the same."""
    values: dict[str, T] = {}
    for name, value in pairs:
        if name in values:
            raise ConfigError(
                f"{option}: expected distinct names, got {name} twice, for {values[name]} and {value}"
            )
        values[name] = value
    return values


def _test(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not (name and file):
        raise ConfigError(f"--test {text}: expected NAME=FILE")
    return name, Path(file)


def _named(text: str) -> tuple[str, str]:
    """`synthetic:pretrain-1` is the model pretrain-1, called synthetic; a model alone is called by its id."""
    name, _, model = text.partition(":")
    return name, model or name


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
