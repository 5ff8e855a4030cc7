"""What a server's answers must have for commands to show them; they may have more.

A server may be of another version, or another service altogether: that is found out here, once, and
not wherever a value is used. Types alone; asks nobody.
"""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta, ValidationError, convert

# Seconds since the epoch, of a date that can be written.
At = Annotated[float, Meta(ge=0, lt=253_402_300_799)]
Counts = dict[str, float | bool | dict[str, float] | None]


class About(TypedDict):
    fleet: bool


class Worker(TypedDict):
    host: str
    pid: int


class Stats(TypedDict):
    app: str
    worker: Worker
    at: At
    stats: Counts
    views: dict[str, Counts]
    fleet: bool


class Job(TypedDict):
    path: str
    interval: float
    ticks: int
    loads: int
    next_run: At | None
    error: str
    history: list[tuple[At, str]]


class Flight(TypedDict):
    url: str
    age: float
    waiters: int
    cause: str


class Described(TypedDict):
    worker: str
    at: At
    stats: Counts
    views: dict[str, Counts]
    jobs: NotRequired[list[Job]]
    flights: NotRequired[list[Flight]]


class Row(TypedDict):
    id: str
    view: str
    url: str
    variant: dict[str, str]
    state: str
    stored: At
    fresh_until: At
    stale_until: At
    error_until: At
    age: float
    left: float
    size: int
    cost: float
    by: NotRequired[str]
    cause: NotRequired[str]
    uses: int
    tags: list[str]
    status: int | None
    reads: list[str]
    reason: str


class Partial(TypedDict):
    partial: NotRequired[str]
    silent: NotRequired[bool]


class Entries(Partial):
    entries: list[Row]
    count: int


class Happening(TypedDict):
    kind: str
    at: At
    url_id: str
    cause: str
    by: str
    seconds: float | None
    reason: str


class Shown(Partial):
    entries: list[Row]
    life: list[Happening]
    more: NotRequired[bool]


class Step(TypedDict):
    step: str
    says: list[str]


class Why(TypedDict):
    url: str
    verdict: str
    steps: list[Step]
    cures: list[str]
    rendered: bool


class Line(TypedDict):
    name: str
    state: str
    found: str
    cure: str


class Outcome(TypedDict):
    url: str
    outcome: str
    reason: str
    seconds: float
    alone: bool
    worker: Worker


class Purged(TypedDict):
    purged: list[str]
    unknown: list[str]
    everybody: bool
    alone: bool
    worker: Worker
    partial: NotRequired[str]
    reason: NotRequired[str]


def misfit(found: Any, shape: Any) -> str:
    """Where an answer is not of that shape, and how; empty where it is."""
    try:
        convert(found, shape)
    except ValidationError as error:
        return str(error)
    return ""
