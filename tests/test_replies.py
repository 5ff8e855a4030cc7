"""Stored answers as replies: values in, values out; what clients see of it is in test_answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aswr.codec import Answer, Coded, Entry
from aswr.coding import CODINGS, encoded
from aswr.replies import Given, Reply, asks_if_changed, dated, negotiated, reply_to, validators

BODY = b"0123456789"
FIELDS = (
    ("Content-Type", "text/plain"),
    ("Content-Length", "10"),
    ("Cache-Control", "public, max-age=30"),
    ("ETag", '"v1"'),
)
DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


def answer(status: int = 200, fields=FIELDS, body: bytes = BODY) -> Answer:
    return Answer(status, tuple(fields), body)


def entry(value: Answer, stored: float = 1000.0) -> Entry:
    return Entry(
        value=value, stored=stored, fresh_until=stored + 30, stale_until=stored + 60,
        error_until=stored + 60, born=1, size=100,
    )  # fmt: skip


def reply(value: Answer, *, now: float = 1000.0, stored: bool = True, whole=True, **sent) -> Reply:
    """What a GET gets of an answer; ``sent`` are its headers' environ keys."""
    environ = {"REQUEST_METHOD": "GET", **sent}
    kept = entry(value) if stored else None
    return reply_to(environ, Given(value, kept, "aswr; hit"), now, whole=whole)


def lines(found: Reply, name: str) -> list[str]:
    return [value for field, value in found.fields if field.lower() == name.lower()]


def test_the_stored_body_itself_is_given():
    """A whole answer is no copy of the stored one, but for the list of its fields."""
    value = answer()
    found = reply(value)
    assert found.body is value.body
    assert found.fields[: len(FIELDS)] == list(FIELDS)
    found.fields.clear()
    assert value.headers == FIELDS


def test_ours_come_last():
    """Cache-Status and Age follow what is stored, once each."""
    assert reply(answer()).fields[len(FIELDS) :] == [("Cache-Status", "aswr; hit"), ("Age", "0")]


@pytest.mark.parametrize(("now", "age"), [(1000.0, "0"), (1000.9, "0"), (1061.5, "61"), (990, "0")])
def test_age(now, age):
    """Age is in whole seconds since the answer was made, never negative (RFC 9111 §5.1)."""
    assert lines(reply(answer(), now=now), "Age") == [age]


def test_what_is_not_stored_has_no_age():
    """An answer that goes to one caller only came from no cache."""
    found = reply(answer(), stored=False)
    assert lines(found, "Age") == []
    assert lines(found, "Cache-Status") == ["aswr; hit"]


def test_every_status_has_them():
    """Cache-Status and Age are on 304, 206 and 416, too."""
    found = [
        reply(answer(), HTTP_IF_NONE_MATCH='"v1"'),
        reply(answer(), HTTP_RANGE="bytes=0-1"),
        reply(answer(), HTTP_RANGE="bytes=10-"),
        reply(answer(404)),
    ]
    assert [each.status for each in found] == [304, 206, 416, 404]
    assert all(lines(each, "Age") == ["0"] for each in found)
    assert all(lines(each, "Cache-Status") == ["aswr; hit"] for each in found)


def test_304_has_no_body_and_nothing_about_it():
    """A 304 keeps what guides a cache and drops what describes content (RFC 9110 §15.4.5)."""
    found = reply(answer(), HTTP_IF_NONE_MATCH='W/"v1"')
    assert found.body == b""
    assert [name for name, _ in found.fields] == ["Cache-Control", "ETag", "Cache-Status", "Age"]


def test_206_has_its_own_length():
    """A part says which it is, and how long; the rest is the whole's (RFC 9110 §15.3.7)."""
    found = reply(answer(), HTTP_RANGE="bytes=2-4")
    assert (found.status, found.body) == (206, b"234")
    assert lines(found, "Content-Range") == ["bytes 2-4/10"]
    assert lines(found, "Content-Length") == ["3"]
    assert lines(found, "ETag") == ['"v1"']


def test_416_is_for_nobody_to_keep():
    """A 416 has no lifetime and no validator of the answer that it refuses to cut."""
    found = reply(answer(), HTTP_RANGE="bytes=10-")
    assert (found.status, found.body) == (416, b"")
    assert lines(found, "Content-Range") == ["bytes */10"]
    assert lines(found, "Content-Length") == ["0"]
    assert lines(found, "ETag") == lines(found, "Cache-Control") == []


@pytest.mark.parametrize(
    "sent",
    [{"HTTP_IF_NONE_MATCH": '"v1"'}, {"HTTP_RANGE": "bytes=0-0"}, {"HTTP_RANGE": "bytes=99-"}],
)
def test_what_is_asked_of_the_whole_only(sent):
    """A part of a page, and what is no 200, is given as it is, whatever the request asks."""
    assert reply(answer(), whole=False, **sent).body == BODY
    assert reply(answer(404), **sent).status == 404
    assert reply(answer(203), **sent).body == BODY


def test_head_has_no_ranges():
    """Range is defined for GET alone (RFC 9110 §14.2); conditions are for both."""
    assert reply(answer(), REQUEST_METHOD="HEAD", HTTP_RANGE="bytes=0-0").status == 200
    assert reply(answer(), REQUEST_METHOD="HEAD", HTTP_IF_NONE_MATCH="*").status == 304


def test_a_condition_goes_before_a_range():
    """Who holds the whole gets no part of it (RFC 9110 §13.2.2)."""
    found = reply(answer(), HTTP_IF_NONE_MATCH='"v1"', HTTP_RANGE="bytes=0-0")
    assert found.status == 304


def test_if_range_goes_by_the_tag():
    """If-Range of another tag, or of any date that is not ours to judge, gets the whole."""
    for condition, status in (('"v1"', 206), ('"v2"', 200), ('W/"v1"', 200), (DATE, 200)):
        sent = {"HTTP_RANGE": "bytes=0-0", "HTTP_IF_RANGE": condition}
        assert reply(answer(fields=[*FIELDS, ("Last-Modified", DATE)]), **sent).status == status


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], "Thu, 01 Jan 1970 00:16:40 GMT"),
        ([("Date", DATE)], DATE),
    ],
)
def test_what_stands_in_for_last_modified(fields, expected):
    """The answer's Date, else when it was received (RFC 9111 §4.3.2)."""
    assert dated(fields, 1000.0) == expected
    found = reply(answer(fields=fields), HTTP_IF_MODIFIED_SINCE=expected)
    assert found.status == 304


def test_of_a_stored_answer_it_is_when_it_was_stored():
    """An old answer has not changed since it was made, however late it is asked for."""
    value = answer(fields=[])
    since = "Thu, 01 Jan 1970 00:16:40 GMT"
    assert reply(value, now=1050.0, HTTP_IF_MODIFIED_SINCE=since).status == 304


def test_of_an_answer_that_is_not_stored_now_is_its_date():
    """What was made for one caller was received now."""
    now = "Thu, 01 Jan 1970 00:16:40 GMT"
    earlier = "Thu, 01 Jan 1970 00:16:39 GMT"
    value = answer(fields=[])
    assert reply(value, stored=False, HTTP_IF_MODIFIED_SINCE=now).status == 304
    assert reply(value, stored=False, HTTP_IF_MODIFIED_SINCE=earlier).status == 200


def test_validators():
    """The first line of each counts, in any letter case; "" where there is none."""
    assert validators([]) == ("", "")
    assert validators([("etag", '"a"'), ("ETag", '"b"'), ("LAST-modified", DATE)]) == ('"a"', DATE)


def test_asks_if_changed():
    """Two headers say what the sender holds; If-Range and If-Match do not."""
    assert asks_if_changed({"HTTP_IF_NONE_MATCH": ""})
    assert asks_if_changed({"HTTP_IF_MODIFIED_SINCE": DATE})
    assert not asks_if_changed({"HTTP_IF_RANGE": DATE, "HTTP_IF_MATCH": "*", "HTTP_RANGE": ""})


def test_negotiated():
    """The coding is chosen by Accept-Encoding; what has none is given as it is, untouched."""
    plain = Given(answer(), None, "aswr; hit")
    assert negotiated({"HTTP_ACCEPT_ENCODING": "gzip"}, plain) is plain
    coded = encoded(answer(body=b"x" * 1000), CODINGS)
    given = Given(coded, entry(coded), "aswr; hit")
    for coding in CODINGS:
        found = negotiated({"HTTP_ACCEPT_ENCODING": coding}, given)
        assert [each.answer for each in coded.codings if each.coding == coding] == [found.answer]
        assert (found.entry, found.status) == (given.entry, given.status)
    assert negotiated({}, given).answer is coded


def test_conditions_and_ranges_are_of_the_chosen_coding():
    """A tag, and a byte range, is of the form that this request is given (RFC 9110 §8.8.3.3)."""
    form = Answer(200, (("ETag", '"v1-gzip"'),), b"coded")
    value = Answer(200, FIELDS, BODY, codings=(Coded("gzip", form),))
    environ = {"REQUEST_METHOD": "GET", "HTTP_ACCEPT_ENCODING": "gzip"}
    given = negotiated(environ, Given(value, None, ""))
    assert reply_to(environ | {"HTTP_IF_NONE_MATCH": '"v1"'}, given, 0.0).body == b"coded"
    assert reply_to(environ | {"HTTP_IF_NONE_MATCH": '"v1-gzip"'}, given, 0.0).status == 304
    assert reply_to(environ | {"HTTP_RANGE": "bytes=0-1"}, given, 0.0).body == b"co"


header = st.one_of(st.none(), st.text(max_size=20), st.sampled_from(['"v1"', "*", "bytes=0-4"]))


@given(header, header, header, header, st.sampled_from(["GET", "HEAD"]), st.booleans())
def test_no_request_is_too_odd(none_match, since, asked, if_range, method, whole):
    """Whatever the headers say, the reply is one of four, and its length is its body's."""
    sent = {
        "REQUEST_METHOD": method,
        "HTTP_IF_NONE_MATCH": none_match,
        "HTTP_IF_MODIFIED_SINCE": since,
        "HTTP_RANGE": asked,
        "HTTP_IF_RANGE": if_range,
    }
    environ = {key: value for key, value in sent.items() if value is not None}
    value = answer()
    found = reply_to(environ, Given(value, entry(value), ""), 1000.0, whole=whole)
    assert found.status in ({200, 206, 304, 416} if whole else {200})
    assert lines(found, "Content-Length") == ([] if found.status == 304 else [str(len(found.body))])
