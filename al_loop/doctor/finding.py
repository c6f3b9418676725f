"""The input and the output of a check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from al_loop.core.console import Reporter
from al_loop.images.integrity import CheckDepth
from al_loop.state.workspace import Workspace


@dataclass(frozen=True)
class Finding:
    """One problem.

    check: what found it, as in "images.missing".
    subject: what it is about.
    problem: what is wrong with it.
    mend: the command to type, or what to do where no command can.
    """

    check: str
    subject: str
    problem: str
    mend: str

    def __post_init__(self) -> None:
        """Check that all fields are given."""
        if not all((self.check, self.subject, self.problem, self.mend)):
            raise ValueError(f"expected check, subject, problem and mend, got {self}")


@dataclass(frozen=True)
class CheckContext:
    """The input of a check. The database is read-only.

    depth: how closely photographs are looked at, and whether other files are hashed.
    at_work: the command that holds the workspace, whose unfinished work is not wrong.
    ask: also a labelling server of the user's own, with its token.
    """

    workspace: Workspace
    reporter: Reporter
    depth: CheckDepth = CheckDepth.BYTES
    at_work: str | None = None
    ask: bool = False

    @property
    def quick(self) -> bool:
        """Whether checks that read every byte are left out."""
        return self.depth is CheckDepth.QUICK


#: Checks a part of a workspace. An error that it raises becomes a finding.
Check = Callable[[CheckContext], Iterator[Finding]]
