"""Cures: for each reason one that can be acted on, with the options as they are."""

import pytest

from aswr.cures import cure, failing, slow
from aswr.options import Plan
from aswr.policy import Times

from .reasons import REASONS

PLAN = Plan(Times(60.0), max_body=12)
# Their cures are those of what is named: `Notes.cause`.
NAMING = {"reads ", "writes session"}


@pytest.mark.parametrize("reason", [reason for reason in REASONS if reason not in NAMING])
def test_every_reason_has_a_cure(reason: str) -> None:
    """Whatever reason the code can give, something helps."""
    assert cure(f"{reason}404" if reason == "status " else reason, PLAN)


def test_the_walk_finds_reasons() -> None:
    """Reasons of each place that makes some are among those that are looked at."""
    assert len(REASONS) > 20
    assert {
        "unless", "method", "bypass", "sends credentials", "sets a cookie", "says no freshness",
        "status ", "body over max_body", "store_if", "streams events", "streams for too long",
        "reads over ", "reads ", "writes session", "answers one request alone", "closed",
    } <= set(REASONS)  # fmt: skip


@pytest.mark.parametrize("reason", ["", "reads cookie a; writes session", "in words of tomorrow"])
def test_no_cure(reason: str) -> None:
    """Of what names inputs, and of what nobody knows, nothing is said here."""
    assert cure(reason, PLAN) == ""


@pytest.mark.parametrize(
    ("status", "text"),
    [(404, "statuses={404: 30}"), (201, "statuses={201: 30}"), (206, "never stored"),
     (503, "stale_if_error=")],
)  # fmt: skip
def test_statuses(status: int, text: str) -> None:
    """What can be stored can be by `statuses=`; what cannot is never said to be."""
    assert text in cure(f"status {status}", PLAN)


@pytest.mark.parametrize("reason", ["body over max_body", "streams more than max_body"])
def test_bounds(reason: str) -> None:
    """A bound is named as it is."""
    assert "(12 bytes here)" in cure(reason, PLAN)


@pytest.mark.parametrize("option", ["load_timeout", "wait_timeout"])
def test_loads_that_take_too_long(option: str) -> None:
    """The limit that was too low is named, and what it would have to be above."""
    assert f"raise {option}= above 6.0 s" in slow(option, "6.0 s")


def test_failures() -> None:
    """Where an older answer stands in already, there is nothing to be advised."""
    assert "stale_if_error=" in failing(PLAN)
    assert failing(Plan(Times(60.0, stale_if_error=10.0))) == ""
