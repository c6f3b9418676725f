"""al-loop benchmark, al-loop corrupt"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from al_loop.cli.output import say_lines
from al_loop.cli.parameters import FILE, FOLDER, F, number_option, ray_option
from al_loop.cli.renamed import refused_option
from al_loop.core.console import Terminal
from al_loop.core.errors import ConfigError, WorkspaceError

if TYPE_CHECKING:
    from al_loop.benchmark.spec.spec import BenchmarkSpec

T = TypeVar("T")
#: Options that only some kinds of benchmarks read: "" compares strategies.
_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("strategies", "k", "cycles", "batches", "early_stop", "from_initial", "target"), ("",)),
    **dict.fromkeys(("seconds_per_image", "seconds_per_box"), ("",)),
    **dict.fromkeys(("synthetic", "schedules", "healthy", "healthy_synthetic", "total"), ("mix",)),
    **dict.fromkeys(("rendered", "real"), ("mix", "transfer")),
    "starts": ("", "mix"),
}


def _list_option(name: str, default: str, text: str) -> Callable[[F], F]:
    """Return an option that takes a list separated by commas."""
    return click.option(name, default=default, show_default=True, metavar="A,B,...", help=text)


def _seconds_option(name: str, text: str) -> Callable[[F], F]:
    """Return an option that takes seconds of an annotator."""
    return click.option(name, type=click.FloatRange(0, 86_400), help=f"{text}  [default: fitted]")


@click.command()
@click.option("--data", "pool", type=FILE, required=True, help="COCO file of the pool; labels are hidden.")
@click.option("--val", "validation", type=FILE, required=True, help="COCO file of the validation set.")
@click.option("--test", "tests", multiple=True, metavar="NAME=FILE", help="Further evaluation sets.")
@_list_option("--strategies", "random,margin,dbal", "Strategies to compare.")
@click.option(
    "--start", "starts", metavar="[NAME:]MODEL,...",
    help="Initial models: scratch, coco (model.load_from), current, or a model of the workspace.  "
    "[default: current; with --mix scratch]",
)  # fmt: skip
@number_option("--k", 1_000_000, "Images labelled in each cycle.", 25)
@number_option("--cycles", 10_000, "Cycles of each trial.", 4)
@click.option("--batch", "batches", default="", metavar="N,N,...", help="Run one cycle of each size instead.")
@number_option("--seeds", 10_000, "Repetitions, the same for every strategy.", 5)
@number_option("--iterations", 10_000_000, "Steps of each training.", 400)
@click.option("--mix", is_flag=True, help="Compare mixes of photographs and rendered images instead.")
@click.option("--transfer", is_flag=True, help="Compare pretrainings of the encoder instead.")
@click.option(
    "--rendered", type=FILE, multiple=True, help="With --mix or --transfer: COCO files of rendered images."
)
@click.option(
    "--real", metavar="A,B,...",
    help="With --mix or --transfer: numbers or shares of photographs.  "
    "[default: 0,25%,50%,75%,100%; with --transfer 100%]",
)  # fmt: skip
@_list_option("--synthetic", "0,25%,50%,75%,100%", "With --mix: numbers or shares of rendered images.")
@click.option("--healthy", metavar="A,B,...", help="With --mix: photographs without boxes, in addition.")
@click.option(
    "--healthy-synthetic", metavar="A,B,...", help="With --mix: rendered images without boxes, in addition."
)
@number_option("--total", 10_000_000, "With --mix: images of every cell; photographs fill the rest of it.")
@_list_option("--schedules", "pretrain,joint,replay", "With --mix: order of both kinds in a training.")
@refused_option("--ways", "was renamed: use `--schedules`")
@click.option("--early-stop", is_flag=True, help="Stop a training when the validation AP stops improving.")
@click.option("--from-initial", is_flag=True, help="Train each cycle from the initial model.")
@refused_option("--anew", "was renamed: use `--from-initial`")
@_seconds_option("--seconds-per-image", "Annotator time for an image, if it was not measured.")
@_seconds_option("--seconds-per-box", "Annotator time for each box, in addition.")
@click.option(
    "--target", type=click.FloatRange(0, 1, min_open=True), metavar="AP",
    help="AP to count labels for.  [default: the last AP of random]",
)  # fmt: skip
@click.option(
    "--rule", type=click.Choice(["iou", "cordier", "faltings"]), default="iou", show_default=True,
    help="How boxes are matched and counted.",
)  # fmt: skip
@click.option("--out", type=FOLDER, required=True, help="Folder for results.")
@number_option("--jobs", 1024, "Parallel trials.  [default: 1; with --ray one per GPU or node]")
@ray_option("Run the trials")
@click.option("--resume", is_flag=True, help="Continue the benchmark in --out.")
@click.pass_context
def benchmark(context: click.Context, /, out: Path, **options: Any) -> None:
    """Compare strategies on a labelled set: cycles with hidden labels, over several seeds.

    Settings of model and training are those of the workspace. A killed benchmark continues with --resume.
    """
    from al_loop.benchmark.results.labelling_cost import labelling_cost
    from al_loop.benchmark.results.report import report_of, write_report
    from al_loop.benchmark.run.runner import Execution, run_benchmark
    from al_loop.state.workspace import open_workspace

    try:
        home = open_workspace(context.obj)
    except WorkspaceError as error:
        raise WorkspaceError(f"a benchmark takes classes and settings from a workspace: {error}") from None
    _refuse_other_kind(context, _kind(options))
    execution = Execution(options["resume"], options["jobs"], options["ray"])
    outcome = run_benchmark(out, _spec(options), home.config, home, Terminal(), execution)
    cost = labelling_cost(home, options["seconds_per_image"], options["seconds_per_box"])
    report = report_of(outcome, cost, options["target"])
    paths = write_report(report, out)
    say_lines([*report.summary, "", *map(str, paths)])


def _spec(options: dict[str, Any]) -> BenchmarkSpec:
    """Return the spec of the options; ConfigError for lists that cannot be read."""
    from al_loop.benchmark.spec.spec import BenchmarkSpec, MixGrid, StrategyGrid, TransferGrid

    grid: MixGrid | StrategyGrid | TransferGrid
    if options["mix"]:
        names = ("schedules", "synthetic", "healthy", "healthy_synthetic")
        lists = {name: _words(options[name] or "") for name in names}
        real = options["real"] or ("" if options["total"] else "0,25%,50%,75%,100%")
        grid = MixGrid(rendered=options["rendered"], real=_words(real), total=options["total"], **lists)
    elif options["transfer"]:
        grid = TransferGrid(rendered=options["rendered"], real=_words(options["real"] or "100%"))
    else:
        same = {name: options[name] for name in ("k", "cycles", "early_stop", "from_initial")}
        grid = StrategyGrid(
            strategies=_words(options["strategies"]), batches=_sizes(options["batches"]), **same
        )
    starts = options["starts"] or ("scratch" if _kind(options) else "current")
    return BenchmarkSpec(
        pool=options["pool"],
        validation=options["validation"],
        tests=_distinct("--test", map(_test, options["tests"])),
        starts=_distinct("--start", map(_named, _words(starts))),
        seeds=options["seeds"],
        iterations=options["iterations"],
        grid=grid,
        rule=options["rule"],
    )


def _kind(options: Mapping[str, Any]) -> str:
    """Return the kind of benchmark: "mix", "transfer", or "" for strategies."""
    kinds = [kind for kind in ("mix", "transfer") if options[kind]]
    if len(kinds) > 1:
        raise ConfigError("--mix and --transfer are two benchmarks: expected one of them, got both")
    return "".join(kinds)


def _refuse_other_kind(context: click.Context, kind: str) -> None:
    """Raise ConfigError for options that this kind of benchmark does not read."""
    given = {
        max(option.opts, key=len): _OF_KINDS[option.name or ""]
        for option in context.command.params
        if kind not in _OF_KINDS.get(option.name or "", (kind,))
        and context.get_parameter_source(option.name or "") is not ParameterSource.DEFAULT
    }
    if given and kind:
        raise ConfigError(f"--{kind} does not read these options: leave {' and '.join(given)} out")
    if given:
        kinds = " or ".join(f"--{name}" for name in dict.fromkeys(chain(*given.values())))
        raise ConfigError(f"{', '.join(given)}: expected with {kinds}, got none. Add one, or leave them out")


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
@click.argument("coco", type=FILE)
@click.option("--kinds", default="", metavar="KIND,...", help="Corruptions.  [default: all]")
@number_option("--level", 5, "From slight to strong.", 3)
@click.option("--out", type=FOLDER, required=True, help="Folder to fill.")
def corrupt(coco: Path, kinds: str, level: int, out: Path) -> None:
    """Write corrupted copies of COCO, a labelled set: blur, noise, light, colour, compression.

    Use them with benchmark --test if you have no photographs of another station.
    """
    from al_loop.images.corruptions import CORRUPTIONS, write_corrupted

    terminal = Terminal()
    with terminal.progress("corrupt") as progress:
        made = write_corrupted(coco, out, _words(kinds) or tuple(CORRUPTIONS), level, progress, terminal.line)
    say_lines(f"--test {kind}-{level}={path}" for kind, path in made.items())
