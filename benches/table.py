"""Figures beside their limits, and how a person sees them. Standard library only."""

import sys
from dataclasses import dataclass


class Failed(Exception):
    """Why a figure could not be taken."""


@dataclass
class Row:
    what: str
    figure: float
    unit: str
    limit: float | None  # of what is not promised: none
    command: str
    note: str = ""
    least: bool = False  # the limit is one to be reached, not one to stay below

    @property
    def missed(self) -> bool:
        if self.limit is None:
            return False
        return self.figure < self.limit if self.least else self.figure >= self.limit

    def verdict(self) -> str:
        return "" if self.limit is None else "MISSED" if self.missed else "ok"

    def shown(self) -> str:
        return f"{self.figure:.{2 if self.unit == 'x' else 1}f} {self.unit}"

    def limit_shown(self) -> str:
        if self.limit is None:
            return "-"
        return f"{'>= ' if self.least else ''}{self.limit:g} {self.unit}"


def say(text: str) -> None:
    print(f"bench.sh: {text}", file=sys.stderr, flush=True)


def table(rows: list[Row]) -> str:
    heads = ["", "measured", "figure", "limit", "command", "of"]
    lines = [[row.verdict(), row.what, row.shown(), row.limit_shown(), row.command, row.note] for row in rows]
    widths = [max(len(line[at]) for line in [heads, *lines]) for at in range(len(heads))]
    numbers = (2, 3)

    def drawn(line: list[str]) -> str:
        cells = enumerate(zip(line, widths, strict=True))
        return "  ".join(c.rjust(w) if at in numbers else c.ljust(w) for at, (c, w) in cells).rstrip()

    return "\n".join([drawn(heads), *map(drawn, lines)])
