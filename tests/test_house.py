"""The rules of the house: who may import whom, what stays cheap, what is documented."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import click
import networkx
import pytest
from support.cli_commands import commands
from support.factories import picture_bytes

from al_loop.cli import cli
from render.__main__ import main as render_cli
from strategies import STRATEGIES

ROOT = Path(__file__).parent.parent
PACKAGES = ("al_loop", "render", "strategies")
HEAVY = {"torch", "torchvision", "mmdet", "mmengine", "mmcv", "albumentations"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def nodes_of(path: Path) -> list[ast.Import | ast.ImportFrom | ast.Compare | ast.Constant]:
    """Return the nodes that the rules are about: what is imported, compared, and written as a constant."""
    kinds = (ast.Import, ast.ImportFrom, ast.Compare, ast.Constant)
    return [node for node in ast.walk(parsed(path)) if isinstance(node, kinds)]


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, at the top or inside a function."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@cache
def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name; a package by its own."""
    found = {}
    for path in (p for package in PACKAGES for p in files(package)):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def import_graph() -> dict[str, set[str]]:
    """Return which module imports which of ours, inside functions and for type checkers too."""
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        wanted: set[str] = set()
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= {member if member in known else node.module or "" for member in members}
        graph[name] = (wanted & set(known)) - {name}
    return graph


def folder_of(module: str) -> str:
    """Return the package that a module lies in; of a package, itself."""
    return module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes that reach each other."""
    built = networkx.DiGraph((a, b) for a, targets in graph.items() for b in targets)
    return [sorted(group) for group in networkx.strongly_connected_components(built) if len(group) > 1]


def contracted(graph: dict[str, set[str]], group_of: Callable[[str], str]) -> dict[str, set[str]]:
    """Return which group of modules imports from which other."""
    arrows: dict[str, set[str]] = {}
    for module, targets in graph.items():
        arrows.setdefault(group_of(module), set()).update(map(group_of, targets))
    return {group: targets - {group} for group, targets in arrows.items()}


def test_a_circle_is_found() -> None:
    graph = {"a.x": {"b.y"}, "b.z": {"a.x"}, "b.y": set[str]()}
    assert circles(graph) == []
    assert circles(contracted(graph, lambda module: module[0])) == [["a", "b"]]


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = import_graph()
    assert len(graph) > 300
    assert circles(graph) == []


def test_arrows_between_folders_point_one_way() -> None:
    """Both for each folder by itself, and for each folder with all that lies in it."""
    graph = import_graph()
    assert circles(contracted(graph, folder_of)) == []
    assert circles(contracted(graph, lambda module: ".".join(folder_of(module).split(".")[:2]))) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_the_pictures_in_the_docs_are_the_tree(package: str) -> None:
    """Of folders, of strategies modules; without the arrows that follow from others."""

    def node(module: str) -> str:
        place = module if package == "strategies" else folder_of(module)
        return place.split(".")[1] if place.count(".") and place.split(".")[0] == package else ""

    arrows = contracted({m: to for m, to in import_graph().items() if m.split(".")[0] == package}, node)
    built = networkx.DiGraph((a, b) for a, targets in arrows.items() for b in targets if a and b)
    expected = {f"{a} --> {b}" for a, b in networkx.transitive_reduction(built).edges}
    section = (ROOT / "docs" / "architecture.md").read_text().split(f"\n## `{package}`\n")[1]
    drawn = section.split("```mermaid\n")[1].split("```")[0].splitlines()[1:]
    assert {line.strip() for line in drawn} == expected


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_modules_that_a_page_names_exist(page: str) -> None:
    """A path starts at the repository, at `al_loop/` or at `render/`; a bare name is somewhere."""
    folders = (*PACKAGES, "tests", "benchmarks")
    known = {path.relative_to(ROOT).as_posix() for folder in folders for path in files(folder)}
    for name in re.findall(r"`([\w/]+\.py)`", (ROOT / page).read_text()):
        if name not in {"utils.py", "config.py"}:  # a rule, and a file of older workspaces
            assert any(path == name or path.endswith(f"/{name}") for path in known), name


@pytest.mark.parametrize(("package", "most"), [("al_loop", 6), ("render", 3)])
def test_few_modules_lie_beside_the_folders(package: str, most: int) -> None:
    assert len(list((ROOT / package).glob("*.py"))) <= most


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_are_small_and_named_for_what_they_hold(package: str) -> None:
    for path in files(package):
        assert len(path.read_text().splitlines()) <= 400, path
        assert path.stem not in {"utils", "util", "helpers", "common", "misc"}, path


@pytest.mark.parametrize("package", ["render", "strategies"])
def test_the_lower_packages_do_not_know_the_loop(package: str) -> None:
    others = {*PACKAGES, "label_studio"} - {package}
    for path in files(package):
        assert not {name.split(".")[0] for name in imports(path)} & others, path


def test_strategies_use_numpy_and_scikit_learn_only() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "sklearn", "strategies"}
    for path in files("strategies"):
        assert {name.split(".")[0] for name in imports(path)} <= allowed, path


def test_torch_stays_in_the_detector() -> None:
    inside = ROOT / "al_loop" / "detector"
    for path in (p for package in PACKAGES for p in files(package)):
        names = {name.split(".")[0] for name in imports(path)}
        if path.is_relative_to(inside):
            continue
        assert not names & HEAVY, path


@pytest.mark.parametrize("name", ["evaluation", "export", "scoring", "starting_point", "model_training"])
def test_models_import_the_detector_only_inside_functions(name: str) -> None:
    tree = parsed(ROOT / "al_loop" / "models" / f"{name}.py")
    top = {n.module or "" for n in tree.body if isinstance(n, ast.ImportFrom)}
    top |= {alias.name for n in tree.body if isinstance(n, ast.Import) for alias in n.names}
    assert not {name for name in top if name.split(".")[0] in HEAVY or name.startswith("al_loop.detector")}


def test_bpy_stays_in_the_render_worker() -> None:
    for path in (p for package in PACKAGES for p in files(package)):
        if not path.is_relative_to(ROOT / "render" / "worker"):
            assert not {name.split(".")[0] for name in imports(path)} & {"bpy", "bmesh", "mathutils"}, path


def test_no_strategy_is_compared_by_its_name() -> None:
    """What differs between strategies are fields of `strategies.Strategy`."""
    for path in files("al_loop"):
        for node in nodes_of(path):
            if isinstance(node, ast.Compare):
                values = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
                assert not set(values) & set(STRATEGIES), f"{path}:{node.lineno}"


def test_label_studio_is_no_import_package() -> None:
    """The server's own package has that name, and ours would hide it."""
    assert not list((ROOT / "label_studio").rglob("*.py"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == list(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.integration
def test_commands_without_a_model_import_nothing_heavy(tmp_path: Path) -> None:
    """`--help`, `status`, `pool add` and `pool list` import nothing that takes long to load."""
    code = (
        "import sys\n"
        "sys.argv = ['al-loop', *{args!r}]\n"
        "from al_loop.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {heavy!r} & {{name.split('.')[0] for name in sys.modules}}\n"
        "assert not heavy, heavy\n"
    )
    heavy = HEAVY | {"label_studio_sdk", "sklearn", "matplotlib", "bpy", "cv2", "scipy", "httpx", "psutil"}
    where, photo = str(tmp_path / "w"), tmp_path / "photo.png"
    photo.write_bytes(picture_bytes())
    for args in (
        ["--help"],
        ["init", where, "--classes", "a,b"],
        ["-w", where, "status"],
        ["-w", where, "pool", "add", str(photo)],
        ["-w", where, "pool", "list"],
    ):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                code.format(args=args, heavy=heavy | ({"numpy"} if "add" not in args else set())),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{args}: {done.stderr}"


@cache
def sections() -> dict[str, str]:
    """Return what docs/commands.md says of each command: its own section and the intro of the chapter.

    A heading may name several commands. The name of a command ends before its first argument.
    """
    found = {}
    text = (ROOT / "docs" / "commands.md").read_text()
    for chapter in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        intro, *parts = re.split(r"^### ", chapter, flags=re.MULTILINE)
        for part in parts:
            heading, _, body = part.partition("\n")
            for name in re.findall(r"`((?:al-loop|python -m render)(?: [a-z][a-z0-9-]*)+)", heading):
                found[name] = f"{intro}\n{heading}\n{body}"
    return found


ALL_COMMANDS = dict([*commands(cli), *commands(render_cli, "python -m render")])


def test_the_documentation_speaks_of_the_commands_that_there_are() -> None:
    assert sections().keys() == ALL_COMMANDS.keys()


@pytest.mark.parametrize("name", ALL_COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    """In the command's own section; its help has a sentence for the command and for each option."""
    section, command = sections()[name], ALL_COMMANDS[name]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, option.opts[0]
            assert re.search(rf"{re.escape(option.opts[0])}(?![\w-])", section), option.opts[0]


def test_every_setting_and_variable_has_a_row() -> None:
    import msgspec

    from al_loop.core.config import Config

    def keys(struct: type, prefix: str = "") -> Iterator[str]:
        for field in msgspec.structs.fields(struct):
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                yield from keys(field.type, f"{prefix}{field.name}.")
            else:
                yield f"{prefix}{field.name}"

    text = (ROOT / "docs" / "settings.md").read_text()
    rows = "\n".join(re.findall(r"(?m)^\|([^|]*)\|", text))
    sources = [path.read_text() for package in PACKAGES for path in files(package)]
    variables = {name for source in sources for name in re.findall(r"\bAL_LOOP_[A-Z_]*[A-Z]\b", source)}
    internal = {"AL_LOOP_COOKIES"}  # from al-loop to the server that it starts
    assert len(variables) > 5
    assert [key for key in (*keys(Config), *sorted(variables - internal)) if f"`{key}`" not in rows] == []


def test_one_version_everywhere() -> None:
    from al_loop.core.versions import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(
        rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_constraints_hold_names_and_versions_only() -> None:
    for file in ("constraints.txt", "label_studio/constraints.txt"):
        for line in (ROOT / file).read_text().splitlines():
            assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line), line


def test_the_readmes_test_command_is_what_ci_runs() -> None:
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text()
    assert "scripts/test" in (ROOT / "README.md").read_text()


def test_an_installation_that_cannot_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    clone, programs = tmp_path / "clone", tmp_path / "bin"
    (clone / "scripts").mkdir(parents=True)
    programs.mkdir()
    for name in ("scripts/setup", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, clone / name)
    (programs / "df").write_text(
        "#!/bin/sh\necho FREE OF A FULL DISK\necho /dev/disk 9000 8713 287000 1% /\n"
    )
    (programs / "df").chmod(0o755)
    done = subprocess.run(
        [clone / "scripts" / "setup"],
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "needs 9500 MB" in done.stderr
    assert "287 MB are free" in done.stderr
    assert not (clone / ".venv").exists()


def test_the_compose_file_holds_no_secret_and_shows_only_the_proxy() -> None:
    import yaml

    text = (ROOT / "label_studio" / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    asked = set(re.findall(r"\$\{(\w+):\?\}", text))
    named = {
        line.split("=")[0]
        for line in (ROOT / "label_studio" / "example.env").read_text().splitlines()
        if "=" in line and line[0] != "#"
    }
    assert asked == named
    for service in services.values():
        for key, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|MC_HOST", key):
                assert "${LABELS_" in value, key
    from al_loop.labelling.server.environment import VERSION

    assert services["server"]["image"].endswith(f":{VERSION}")


SQL = re.compile(
    r"\s*(SELECT\b.*|INSERT (OR \w+ )?INTO\b|REPLACE INTO\b|UPDATE \w+ SET\b|DELETE FROM\b|PRAGMA \w+)", re.S
)


def statements(path: Path) -> list[str]:
    """Return the SQL statements among the string constants of a module; its docstrings are none."""
    return [
        node.value
        for node in nodes_of(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]


def test_sql_stands_in_state_alone() -> None:
    """Tables and columns are named in one folder; other modules call its functions and get dataclasses."""
    inside = ROOT / "al_loop" / "state" / "database"
    assert sum(len(statements(path)) for path in inside.glob("*.py")) > 100
    outside = [p for package in PACKAGES for p in files(package) if not p.is_relative_to(inside)]
    found = {str(path): statements(path) for path in outside}
    assert {path: sql for path, sql in found.items() if sql} == {}
