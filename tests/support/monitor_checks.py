"""Checks of the monitor in tests: settings, a check, and what it found."""

from __future__ import annotations

from msgspec import structs

from al_loop.core.config import Config, DriftTrigger, MonitorConfig
from al_loop.core.console import Silent
from al_loop.monitor.run import CheckResult, check
from al_loop.monitor.triggers import Verdict
from al_loop.state.workspace import Workspace

QUICK = DriftTrigger(reference=200)


def monitored(workspace: Workspace, **settings: object) -> Workspace:
    config: Config = structs.replace(workspace.config, monitor=MonitorConfig(**settings))  # type: ignore[arg-type]
    return Workspace(workspace.root, config, workspace.store)


def see(workspace: Workspace, *, act: bool = False) -> CheckResult:
    return check(workspace, Silent(), act=act)


def verdict(found: CheckResult, trigger: str) -> Verdict:
    return next(v for v in found.verdicts if v.trigger == trigger)


def begun(workspace: Workspace) -> int:
    return workspace.store.count("SELECT count(*) FROM cycles")
