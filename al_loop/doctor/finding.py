"""The input and the output of a check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from al_loop.core.console import Reporter
from al_loop.images.integrity import CheckDepth
from al_loop.state.workspace import Workspace

_T = TypeVar("_T")


@dataclass(frozen=True)
class Finding:
    """A problem.

    check: its kind, such as "images.missing".  subject: the file, row or setting.
    mend: the command to type, or what to do where no command helps.
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

    depth: how closely photographs are checked, and whether other files are hashed.
    at_work: the command that holds the workspace, whose unfinished work is not wrong.
    ask: also ask a labelling server of the user's own, with its token.
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

    def each(self, description: str, items: Sequence[_T]) -> Iterator[_T]:
        """Yield the items with a progress bar."""
        with self.reporter.progress(description) as progress:
            for done, item in enumerate(items, start=1):
                yield item
                progress(done, len(items))


#: Checks a part of a workspace. An error that it raises becomes a finding.
Check = Callable[[CheckContext], Iterator[Finding]]
