"""How people are told: durations, sizes, sums, header fields, and what happened to an entry."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aswr import words
from aswr.events import Because, Purger
from aswr.life import LIVES

NARROW = "\u202f"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, words.NONE), (0, "0 s"), (0.0004, "0 ms"), (0.25, "250 ms"), (0.9996, "1.0 s"),
        (1, "1.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"),
        (61, "1 min 1 s"), (3599.7, "1 h"), (3661, "1 h 1 min"), (86400, "1 d"),
        (90061, "1 d 1 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    """A duration has the two units that say most, and never sixty of one."""
    assert words.duration(seconds) == text
    assert words.duration(seconds, NARROW).replace(NARROW, " ") == text


def test_sizes_counts_and_shares() -> None:
    """Bytes in binary units, thousands apart, and a hundred per cent only of all."""
    assert [words.size(n) for n in (0, 1023, 1536, 250 * 1024, 3 << 40)] == [
        "0 B", "1023 B", "1.5 KiB", "250 KiB", "3.0 TiB",
    ]  # fmt: skip
    assert words.count(1234567) == "1,234,567"
    assert words.count(1234567, NARROW) == f"1{NARROW}234{NARROW}567"
    shares = (None, 0, 0.12345, 0.99999, 1)
    assert [words.percent(one) for one in shares] == [
        words.NONE, "0 %", "12.3 %", "99.9 %", "100 %",
    ]  # fmt: skip
    assert words.size(1536, NARROW) == f"1.5{NARROW}KiB"
    assert words.percent(1, NARROW) == f"100{NARROW}%"


def test_sums() -> None:
    """Counters add up by name, those by reason by reason; what is no number is left out."""
    one = {"hits": 2, "by_reason": {"a": 1}, "name": "x"}
    two = {"hits": 3, "by_reason": {"a": 2, "b": 1}, "seconds": 0.5}
    assert words.added([one, two]) == {"hits": 5, "by_reason": {"a": 3, "b": 1}, "seconds": 0.5}
    assert one == {"hits": 2, "by_reason": {"a": 1}, "name": "x"}


def test_ratios() -> None:
    """A ratio is of all answers, and there is none where there were no answers."""
    assert words.ratio({"hits": 3, "misses": 1, "passes": 2}) == 0.5
    assert words.ratio({"hits": 0, "misses": 0, "passes": 0}) is None
    assert (words.mean(3.0, 2), words.mean(0.0, 0)) == (1.5, None)


def test_header_fields() -> None:
    """A header field is a name, a colon and a value; blanks around them do not count."""
    assert words.header("Cookie: a=b:c") == ("Cookie", "a=b:c")
    assert words.header(" X-Theme :") == ("X-Theme", "")
    for line in ("no colon", ": value", "a b: c", "A: b\r\nC: d", "A: \0", "Ä: b"):
        with pytest.raises(ValueError, match="'Name: value'"):
            words.header(line)


def test_fields_of_one_name() -> None:
    """Several of one name are joined as a server joins them, however it is spelt."""
    lines = ["Cookie: a=1", "X-One: 1", "cookie: b=2", "x-one: 2", "X-One: 3", "X-Two: x"]
    assert words.headers(lines) == {"Cookie": "a=1; b=2", "X-One": "1,2,3", "X-Two": "x"}


def happened(kind: str, at: float = 0, **more: Any) -> dict[str, Any]:
    plain = {
        "seconds": None, "reason": "", "cause": "", "by": "", "id": "e", "url_id": "u", "view": "",
    }  # fmt: skip
    return {"kind": kind, "at": at, **plain, **more}


def test_everything_has_words() -> None:
    """Whatever is remembered, whatever may cause a load, and whoever purges, has words."""
    assert set(words.KINDS) == set(LIVES)
    assert set(words.CAUSES) == set(get_args(Because))
    assert set(words.PURGERS) == set(get_args(Purger))


def test_a_load_is_one_line() -> None:
    """Begin, end and storing of a load are told as one; what is under way, or failed, is told."""
    life = [
        happened("load_started", 0, cause="miss"),
        happened("job", 1, reason="/a: began 1 load"),
        happened("load_started", 1, cause="job"),
        happened("load_finished", 2, seconds=1.0, reason="store", cause="job"),
        happened("published", 2, seconds=1.0),
        happened("load_started", 3, cause="miss"),
        happened("load_failed", 4, seconds=1.0, reason="KeyError: 'a'", cause="miss"),
        happened("published", 5, reason="loaded by another process"),
        happened("job", 6, reason="/a: cannot run: no route"),
        happened("load_started", 7, cause="refresh"),
    ]
    assert [(one["at"], one["kind"]) for one in words.told(life)] == [
        (7, "load_started"), (6, "job"), (5, "published"), (4, "load_failed"), (2, "load_finished"),
        (0, "load_started"),
    ]  # fmt: skip
    assert words.says(life[3]) == "a periodic refresh; took 1.0 s"
    assert words.says(life[6], NARROW) == (
        f"a visitor waited for it; took 1.0{NARROW}s; KeyError: 'a'"
    )


def test_a_late_answer_has_a_line() -> None:
    """A load whose time was up has failed; that it was stored at last is told, too."""
    life = [
        happened("load_started", 0, cause="miss"),
        happened("load_failed", 5, seconds=5.0, reason="LoadTimeout: x", cause="miss"),
        happened("published", 9, seconds=9.0, reason="after its time was up"),
    ]
    assert [one["kind"] for one in words.told(life)] == ["published", "load_failed"]
    assert words.says(life[2]) == "took 9.0 s; after its time was up"


def test_jobs_that_go_without_saying() -> None:
    """A job that did what it was to, or left it to another process, has no line of its own."""
    for what in ("began 1 load", "no need", "left 2 loads to other processes"):
        assert not words.told([happened("job", reason=f"/a: {what}")])
    assert words.told([happened("job", reason="/a: cannot run: no route")])


@pytest.mark.parametrize(
    ("cause", "by", "text"),
    [
        ("code", "", "/a; by the app's own code"),
        ("unsafe", "web1:7", "/a; by an unsafe request at web1:7"),
        ("desk", "web1:8", "/a; by an operator at web1:8"),
        ("elsewhere", "", "/a; by another process"),
        ("later", "", "/a; later"),
        ("", "", "/a"),
    ],
)
def test_who_purged(cause: str, by: str, text: str) -> None:
    """Beside what was purged stands who did that, and where, if it was another process."""
    assert words.says(happened("purged", reason="/a", cause=cause, by=by)) == text


def test_who_loaded_an_entry() -> None:
    """The process and why, as far as they are known."""
    loaded_by = words.loaded_by
    assert loaded_by({"by": "web1:7", "cause": "job"}) == "web1:7; a periodic refresh"
    assert loaded_by({"by": "web1:7", "cause": "later"}) == "web1:7; later"
    assert loaded_by({"by": "", "cause": ""}) == ""
    assert loaded_by({}) == "", "of what a server of a version before tells"


@given(st.lists(st.tuples(st.sampled_from(sorted(words.KINDS)), st.sampled_from("ab"))))
def test_what_is_told_happened(life: list[tuple[str, str]]) -> None:
    """What is told is of what happened, the latest first; no load's end, nor a purge, is lost."""
    things = [happened(kind, at, url_id=url) for at, (kind, url) in enumerate(life)]
    told = words.told(things)
    assert [one["at"] for one in told] == sorted({one["at"] for one in told}, reverse=True)
    assert all(one in things for one in told)
    kept = ("load_finished", "load_failed", "purged", "evicted", "breaker", "learned")
    assert [one for one in things if one["kind"] in kept] == [
        one for one in reversed(told) if one["kind"] in kept
    ]
