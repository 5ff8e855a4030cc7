"""The Lua scripts by themselves, as redis-py runs them: each is one step of the protocol."""

import struct
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import redis

from aswr.envelope import MAGIC, Checksum, Envelopes
from aswr.scripts import (
    CLAIM,
    CLOCK,
    DESCRIBE,
    DROP,
    LENGTH,
    LOOK,
    NUMBER,
    PURGE,
    READ,
    RELEASE,
    RENEW,
    STATUSES,
    STORE,
    SYNC,
    Script,
)
from aswr.scripts import WORKERS as LISTED
from aswr.stamps import MICRO, NEVER

from .redises import Redis

ENTRY, LEASE, AWAITED, READS = KEYS = [
    f"shop:{{1}}{end}" for end in ("", ":lease", ":awaited", ":read")
]
NUMBERS, LOG, WORKERS = "{shop}:numbers", "{shop}:log", "{shop}:workers"
MOST = 100
TAKEN = 1000  # bytes that a caller takes
ENVELOPES = Envelopes(Checksum(), 2**20, None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(server: Redis) -> redis.Redis:
    client = server.client()
    client.flushall()
    return client


def run(client: redis.Redis, script: Script, keys: list[str], *args: Any) -> Any:
    return client.eval(script.text, len(keys), *keys, *args)


def micros() -> int:
    return time.time_ns() // 1000


def sealed(number: int, fresh: bool = True) -> bytes:
    """An entry with this number that is fresh for a minute, or was until a minute ago."""
    fresh_until = micros() + (60 if fresh else -60) * MICRO
    return ENVELOPES.seal(ENTRY.encode(), number, fresh_until, b"payload")


class TestClaim:
    def claim(
        self, client: redis.Redis, floor: int = 0, seen: int = 0, token: str = "me", ms: int = 4000
    ) -> tuple[str, int, bytes | None]:
        said, number, data, *_ = run(client, CLAIM, KEYS, floor, seen, token, ms, TAKEN)
        return said.decode(), int(number), data

    def reads(self, client: redis.Redis) -> bytes | None:
        """What somebody who does not lead is told that the leader has read."""
        said, _, _, *more = run(client, CLAIM, KEYS, 10, 0, "another", 4000, TAKEN)
        assert said == b"busy"
        reads: bytes | None = more[0] if more else None
        return reads

    def test_what_is_absent_is_to_be_loaded(self, client: redis.Redis) -> None:
        """Who finds nothing has the lease, for as long as he asked."""
        assert self.claim(client) == ("lead", 0, None)
        assert client.get(LEASE) == b"me"
        assert 3000 < client.pttl(LEASE) <= 4000

    def test_what_is_fresh_is_handed_over(self, client: redis.Redis) -> None:
        """Who finds a fresh entry has it, with its number, and no lease."""
        data = sealed(7)
        client.set(ENTRY, data)
        assert self.claim(client) == ("fresh", 7, data)
        assert not client.exists(LEASE)

    def test_what_is_stale_comes_with_the_lease(self, client: redis.Redis) -> None:
        """Who finds a stale entry has it to serve, and is to load the next."""
        data = sealed(7, fresh=False)
        client.set(ENTRY, data)
        assert self.claim(client) == ("lead", 7, data)

    @pytest.mark.parametrize(("floor", "said"), [(6, "fresh"), (7, "lead"), (8, "lead")])
    def test_a_floor(self, client: redis.Redis, floor: int, said: str) -> None:
        """Only what is newer than the floor makes a load needless."""
        client.set(ENTRY, sealed(7))
        assert self.claim(client, floor=floor)[:2] == (said, 7)

    @pytest.mark.parametrize(("seen", "sent"), [(6, True), (7, False), (8, False)])
    def test_what_is_seen_is_not_sent(self, client: redis.Redis, seen: int, sent: bool) -> None:
        """What is not newer than what the caller has is not sent to him."""
        client.set(ENTRY, sealed(7))
        said, number, data = self.claim(client, seen=seen)
        assert (said, number, data is not None) == ("fresh", 7, sent)

    def test_one_leads(self, client: redis.Redis) -> None:
        """Of several, one has the lease, and the others are told that somebody has it."""
        said = [self.claim(client, token=token)[0] for token in ("one", "two", "three")]
        assert said == ["lead", "busy", "busy"]
        assert client.get(LEASE) == b"one"

    def test_a_lease_is_taken_again_by_who_has_it(self, client: redis.Redis) -> None:
        """Who asks again with his own token, as after a lost reply, still leads."""
        assert [self.claim(client)[0] for _ in range(2)] == ["lead", "lead"]

    def test_busy_has_what_is_stale(self, client: redis.Redis) -> None:
        """Who does not lead has the stale entry all the same."""
        data = sealed(7, fresh=False)
        client.set(ENTRY, data)
        client.set(LEASE, "another", px=4000)
        assert self.claim(client) == ("busy", 7, data)

    def test_a_lease_ends(self, client: redis.Redis) -> None:
        """After its time a lease is anybody's."""
        assert self.claim(client, token="one", ms=1)[0] == "lead"
        time.sleep(0.01)
        assert self.claim(client, token="two")[0] == "lead"

    @pytest.mark.parametrize(
        "garbage",
        [b"", b"x", b"aswr", MAGIC, MAGIC + b"\0" * 18, b"ASWR" + sealed(7)[4:], b"\x80\x04K\x01."],
    )
    def test_garbage_is_handed_over(self, client: redis.Redis, garbage: bytes) -> None:
        """What has no head of ours has no number, is not fresh, and is shown to who loads."""
        client.set(ENTRY, garbage)
        assert self.claim(client, floor=3, seen=5) == ("lead", 0, garbage)

    def test_another_type(self, client: redis.Redis) -> None:
        """A list where an entry should be is no entry, and whoever comes first loads."""
        client.rpush(ENTRY, "x")
        assert self.claim(client)[:2] == ("lead", 0)

    def test_a_lease_without_an_end(self, client: redis.Redis) -> None:
        """What lies for ever where a lease should be keeps nobody waiting for ever."""
        client.set(LEASE, "garbage")
        assert self.claim(client)[0] == "busy"
        assert 3000 < client.pttl(LEASE) <= 4000
        client.pexpire(LEASE, 100)
        assert self.claim(client)[0] == "busy"
        assert client.pttl(LEASE) <= 100, "who waits keeps it up"

    def test_a_lease_of_another_type(self, client: redis.Redis) -> None:
        """A list where a lease should be is nobody's, and ends."""
        client.rpush(LEASE, "me")
        assert self.claim(client)[0] == "busy"
        assert 3000 < client.pttl(LEASE) <= 4000

    @pytest.mark.parametrize(("size", "sent"), [(TAKEN, True), (TAKEN + 1, False)])
    def test_what_is_too_large(self, client: redis.Redis, size: int, sent: bool) -> None:
        """What has more bytes than the caller takes stays there, and nobody has it for fresh."""
        data = sealed(7)
        data += b"x" * (size - len(data))
        client.set(ENTRY, data)
        assert self.claim(client) == (("fresh", 7, data) if sent else ("lead", 0, b""))

    def test_a_number_that_lua_cannot_carry(self, client: redis.Redis) -> None:
        """A head whose number is greater than any that is given out is none."""
        for number, said in (2**53, "fresh"), (2**53 + 2, "lead"):
            data = sealed(7)[:8] + struct.pack(">Q", number) + sealed(7)[16:]
            client.set(ENTRY, data)
            assert self.claim(client)[0] == said

    def test_who_leads_waits_for_nobody(self, client: redis.Redis) -> None:
        """That somebody waits is noted where somebody else leads, for as long as a lease holds."""
        self.claim(client)
        assert not client.exists(AWAITED)
        self.claim(client, token="another", ms=2000)
        assert 1000 < client.pttl(AWAITED) <= 2000

    def test_what_the_leader_has_read(self, client: redis.Redis) -> None:
        """Who does not lead is told what the load elsewhere has read; who leads is not."""
        self.claim(client)
        assert self.reads(client) is None
        client.set(READS, "reads")
        assert self.reads(client) == b"reads"
        assert len(run(client, CLAIM, KEYS, 10, 0, "me", 4000, TAKEN)) == 3
        client.set(READS, b"x" * (TAKEN + 1))
        assert self.reads(client) == b""
        client.delete(READS)
        client.rpush(READS, "x")
        assert self.reads(client) == b""


class TestStore:
    def store(
        self,
        client: redis.Redis,
        number: int,
        token: str = "me",
        message: bytes = b"news",
        told: str = "all",
    ) -> Any:
        args = (token, number, sealed(number), 4000, "channel", message, told)
        return run(client, STORE, KEYS, *args)

    def number(self, client: redis.Redis) -> int:
        number: int = struct.unpack_from(">Q", client.get(ENTRY), 8)[0]
        return number

    def test_it_is_stored_for_its_time(self, client: redis.Redis) -> None:
        """An entry is stored, and ends by itself."""
        assert self.store(client, 7) == 1
        assert self.number(client) == 7
        assert 3000 < client.pttl(ENTRY) <= 4000

    @pytest.mark.parametrize(("there", "stays"), [(6, False), (7, False), (8, True)])
    def test_the_newest_stays(self, client: redis.Redis, there: int, stays: bool) -> None:
        """What has a greater number is not overwritten."""
        client.set(ENTRY, sealed(there))
        assert self.store(client, 7) == (0 if stays else 1)
        assert self.number(client) == (there if stays else 7)

    @pytest.mark.parametrize("garbage", [b"x", MAGIC, b"\x80\x04K\x01."])
    def test_garbage_makes_way(self, client: redis.Redis, garbage: bytes) -> None:
        """What is no entry is overwritten."""
        client.set(ENTRY, garbage)
        assert self.store(client, 7) == 1

    def test_another_type_makes_way(self, client: redis.Redis) -> None:
        """A list where an entry should be is overwritten."""
        client.rpush(ENTRY, "x")
        assert self.store(client, 7) == 1
        assert self.number(client) == 7

    @pytest.mark.parametrize("there", [6, 8])
    def test_the_lease_goes_back(self, client: redis.Redis, there: int) -> None:
        """Stored or not, the lease of who stores is given back."""
        client.set(ENTRY, sealed(there))
        client.set(LEASE, "me", px=4000)
        self.store(client, 7)
        assert not client.exists(LEASE)

    @pytest.mark.parametrize("token", ["me", ""])
    def test_another_lease_stays(self, client: redis.Redis, token: str) -> None:
        """A lease that is another's by now is not given back."""
        client.set(LEASE, "another", px=4000)
        assert self.store(client, 7, token) == 1
        assert client.get(LEASE) == b"another"

    @pytest.mark.parametrize("there", [6, 8])
    def test_what_was_read_is_over(self, client: redis.Redis, there: int) -> None:
        """With the load what it has read is over, stored or not."""
        client.set(ENTRY, sealed(there))
        client.set(LEASE, "me", px=4000)
        client.set(READS, "reads")
        self.store(client, 7)
        assert not client.exists(READS)

    def test_all_are_told(self, client: redis.Redis) -> None:
        """What is stored is told on the channel; what is not, or to none, is not."""
        with client.pubsub(ignore_subscribe_messages=True) as news:
            news.subscribe("channel")
            news.get_message(timeout=1)
            self.store(client, 7, message=b"seven")
            self.store(client, 5, message=b"five")
            self.store(client, 8, message=b"eight", told="none")
            self.store(client, 9, message=b"nine")
            heard = [news.get_message(timeout=1) for _ in range(2)]
            assert [one and one["data"] for one in heard] == [b"seven", b"nine"]
            assert news.get_message(timeout=0.05) is None

    @pytest.mark.parametrize(
        ("there", "awaited", "told"),
        [
            (None, False, False),
            (None, True, True),
            (False, False, False),
            (False, True, True),
            (True, False, True),
            (True, True, True),
        ],
    )
    def test_some_are_told(
        self, client: redis.Redis, there: bool | None, awaited: bool, told: bool
    ) -> None:
        """With few words it is told where somebody waits, or has what lay there for fresh."""
        if there is not None:
            client.set(ENTRY, sealed(5, fresh=there))
        if awaited:
            client.set(LEASE, "other", px=4000)
            claim = (10, 0, "another", 4000, TAKEN)
            assert run(client, CLAIM, KEYS, *claim)[0] == b"busy"
        with client.pubsub(ignore_subscribe_messages=True) as news:
            news.subscribe("channel")
            news.get_message(timeout=1)
            self.store(client, 7, told="some")
            assert (news.get_message(timeout=1 if told else 0.05) is not None) is told
        assert not client.exists(AWAITED)


def test_release_is_by_token(client: redis.Redis) -> None:
    """A lease is given back by who has it, and in any case the others are told."""
    with client.pubsub(ignore_subscribe_messages=True) as news:
        news.subscribe("channel")
        news.get_message(timeout=1)
        client.set(LEASE, "me", px=4000)
        client.set(READS, "reads")
        run(client, RELEASE, KEYS, "another", "channel", b"one")
        assert (client.get(LEASE), client.get(READS)) == (b"me", b"reads")
        run(client, RELEASE, KEYS, "me", "channel", b"two")
        assert not client.exists(LEASE, READS)
        run(client, RELEASE, KEYS, "me", "channel", b"three")
        heard = [news.get_message(timeout=1) for _ in range(3)]
        assert [one and one["data"] for one in heard] == [b"one", b"two", b"three"]
        assert news.get_message(timeout=0.05) is None


def test_renew_is_by_token(client: redis.Redis) -> None:
    """A lease is kept by who has it; who has lost it is told so, and makes no other."""
    assert run(client, RENEW, KEYS, "me", 4000) == 0
    assert not client.exists(LEASE)
    client.set(LEASE, "me", px=500)
    client.set(READS, "reads", px=500)
    assert run(client, RENEW, KEYS, "another", 4000) == 0
    assert max(client.pttl(LEASE), client.pttl(READS)) <= 500
    assert run(client, RENEW, KEYS, "me", 4000) == 1
    assert min(client.pttl(LEASE), client.pttl(READS)) > 3000


def test_read_is_by_token(client: redis.Redis) -> None:
    """What a load has read is kept, and told, as long as it has the lease."""
    with client.pubsub(ignore_subscribe_messages=True) as news:
        news.subscribe("channel")
        news.get_message(timeout=1)
        assert run(client, READ, KEYS, "me", "reads", 4000, "channel", b"none") == 0
        client.set(LEASE, "me", px=4000)
        assert run(client, READ, KEYS, "another", "reads", 4000, "channel", b"one") == 0
        assert not client.exists(READS)
        assert run(client, READ, KEYS, "me", "reads", 4000, "channel", b"two") == 1
        assert client.get(READS) == b"reads"
        assert 3000 < client.pttl(READS) <= 4000
        heard = news.get_message(timeout=1)
        assert heard is not None
        assert heard["data"] == b"two"
        assert news.get_message(timeout=0.05) is None


def test_a_look(client: redis.Redis) -> None:
    """What lies at a key is handed over, unless it is too large, or of another type."""
    assert run(client, LOOK, [ENTRY], 5) is None
    client.set(ENTRY, "12345")
    assert [run(client, LOOK, [ENTRY], most) for most in (5, 4)] == [b"12345", b""]
    client.delete(ENTRY)
    client.rpush(ENTRY, "x")
    assert run(client, LOOK, [ENTRY], 5) == b""


@pytest.mark.parametrize(("there", "goes"), [(6, True), (7, True), (8, False)])
def test_drop_spares_the_newer(client: redis.Redis, there: int, goes: bool) -> None:
    """What has a greater number than the drop stays."""
    client.set(ENTRY, sealed(there))
    assert run(client, DROP, [ENTRY], 7) == int(goes)
    assert bool(client.exists(ENTRY)) is not goes


def test_drop_takes_another_type(client: redis.Redis) -> None:
    """What is no entry is dropped, whatever it is."""
    client.rpush(ENTRY, "x")
    assert run(client, DROP, [ENTRY], 7) == 1
    assert not client.exists(ENTRY)


@pytest.mark.parametrize("number", [0, 2**53, 2**62, 2**63, 2**64 - 1])
def test_never_drops_whatever_lies_there(client: redis.Redis, number: int) -> None:
    """No number that a head can claim is above the one that drops all."""
    data = bytearray(sealed(7))
    data[8:16] = struct.pack(">Q", number)
    client.set(ENTRY, bytes(data))
    run(client, DROP, [ENTRY], NEVER)
    assert not client.exists(ENTRY)


class Page(NamedTuple):
    """A part of the log, as a reply tells it."""

    run: str  # of the server, if it was asked for
    more: bool
    since: int
    reached: int
    names: dict[bytes, int]


class Counter:
    """What counts, with what its caller knows of numbers and was told."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.known = self.told = self.horizon = 0

    def run(self, script: Script, *args: Any) -> list[Any]:
        keys = [NUMBERS, LOG, *([WORKERS] if script is SYNC else [])]
        knows = [self.known, self.told, *([] if script is NUMBER else [self.horizon])]
        reply: list[Any] = run(self.client, script, keys, *knows, *args)
        self.told = max(self.told, int(reply[0]))
        return reply

    def number(self) -> int:
        return int(self.run(NUMBER)[0])

    def epoch(self) -> int:
        return int(self.run(NUMBER)[2])

    def purge(self, *names: bytes, number: int = 0, most: int = MOST) -> int:
        return int(self.run(PURGE, number, "channel", b"purged", most, *names)[3])

    def sync(self, place: int = 0, worker: str = "me") -> tuple[int, dict[bytes, int]]:
        page = self.page(place, worker=worker)
        assert not page.more
        return page.reached, page.names

    def page(self, place: int = 0, size: int = MOST, run: str = "", worker: str = "me") -> Page:
        args = (place, worker, 10 * MICRO, run, size)
        _, _, _, _, at, more, since, reached, *names = self.run(SYNC, *args)
        found = dict(zip(names[::2], map(int, names[1::2]), strict=True))
        return Page(at.decode(), bool(int(more)), int(since), int(float(reached)), found)


@pytest.fixture
def counter(client: redis.Redis) -> Counter:
    return Counter(client)


class TestNumbers:
    def test_they_are_the_time_and_increase(self, counter: Counter) -> None:
        """Numbers are microseconds of the server's clock, each greater than the last."""
        before = micros()
        numbers = [counter.number() for _ in range(100)]
        assert numbers == sorted(set(numbers))
        assert before <= numbers[0]
        assert numbers[-1] <= micros() + 100

    def test_what_a_caller_knows_comes_before(self, counter: Counter) -> None:
        """A number is greater than any that the caller knows of."""
        first = counter.number()
        counter.known = first + MICRO
        second = counter.number()
        counter.known = 0
        assert first + MICRO < second < counter.number()

    def test_callers_share_them(self, client: redis.Redis) -> None:
        """The numbers of all who share a store are one row."""
        counters = [Counter(client), Counter(client)]
        numbers = [counters[index % 2].number() for index in range(10)]
        assert numbers == sorted(set(numbers))

    def test_they_carry_as_they_are(self, counter: Counter) -> None:
        """No digit of a number is lost on its way through Lua."""
        counter.number()
        counter.client.hset(NUMBERS, "#", 2**53 - 1001)
        assert counter.number() == 2**53 - 1000
        assert counter.number() == 2**53 - 999

    def test_a_clock_ahead_moves_nobody_else_ahead(self, counter: Counter) -> None:
        """A number that a caller knows counts for a second ahead of the server's clock, no more."""
        for _ in range(2):  # in a new epoch, and within one
            counter.known = micros() + 3600 * MICRO
            assert counter.number() <= micros() + MICRO + 1
            counter.known = 0
            assert counter.number() <= micros() + MICRO + 2

    def test_the_clock_is_told(self, counter: Counter) -> None:
        """Every reply says what time it is there, not what the number is."""
        counter.known = micros() + 10 * MICRO
        number, now, _ = counter.run(NUMBER)
        assert int(number) > int(now) + MICRO // 2
        assert abs(int(now) - micros()) < MICRO // 2


class TestEpoch:
    def test_it_lasts(self, counter: Counter) -> None:
        """As long as nothing is lost the epoch is the same, whoever asks for whatever."""
        epochs = [counter.epoch() for _ in range(3)]
        counter.purge(b"h*")
        counter.sync()
        epochs.append(Counter(counter.client).epoch())
        assert len(set(epochs)) == 1

    @pytest.mark.parametrize("lost", [(NUMBERS, LOG), (NUMBERS,), (LOG,)])
    @pytest.mark.parametrize("knows", [True, False])
    def test_what_is_lost_begins_anew(
        self, counter: Counter, lost: tuple[str, ...], knows: bool
    ) -> None:
        """Where numbers or log are lost, one or both, an epoch begins, with none of the old."""
        before = counter.epoch()
        counter.purge(b"hta")
        counter.client.delete(*lost)
        after = counter if knows else Counter(counter.client)
        assert after.epoch() > before
        assert after.sync()[1] == {}
        assert counter.client.hkeys(NUMBERS) == [b"!", b"#"]

    @pytest.mark.parametrize("lost", [(NUMBERS, LOG), (NUMBERS,), (LOG,)])
    def test_numbers_go_on(self, counter: Counter, lost: tuple[str, ...]) -> None:
        """In a new epoch, too, numbers are greater than those that the caller was told."""
        counter.known = micros() + 60 * MICRO
        before = counter.number()
        counter.known = 0
        counter.client.delete(*lost)
        assert counter.number() > before

    def test_lost_writes_begin_anew(self, counter: Counter) -> None:
        """A store that tells a lower number than it told before has lost its last writes."""
        epoch = counter.epoch()
        backup = [(key, counter.client.dump(key)) for key in (NUMBERS, LOG)]
        told = counter.purge(b"hta")
        for key, data in backup:
            counter.client.restore(key, 0, data, replace=True)
        assert counter.epoch() > epoch
        assert counter.number() > told

    def test_the_pair_must_belong_together(self, counter: Counter) -> None:
        """A log that came back from before does not do for the numbers of now."""
        counter.number()
        old = counter.client.dump(LOG)
        counter.client.delete(NUMBERS, LOG)
        before = counter.epoch()
        counter.client.restore(LOG, 0, old, replace=True)
        assert counter.epoch() > before


class TestPurges:
    def test_a_purge_is_a_number_of_its_own(self, counter: Counter) -> None:
        """A purge is greater than every number before it, and lower than every one after it."""
        before, purged, after = counter.number(), counter.purge(b"hta"), counter.number()
        assert before < purged < after

    def test_a_purge_is_found_once(self, counter: Counter) -> None:
        """Who asks from his place on gets what was purged since, the newest of each name."""
        a, b = counter.purge(b"hta"), counter.purge(b"htb")
        place, names = counter.sync()
        assert names == {b"hta": a, b"htb": b}
        assert counter.sync(place) == (place, {})
        again = counter.purge(b"hta")
        assert counter.sync(place)[1] == {b"hta": again}
        assert counter.sync()[1] == {b"hta": again, b"htb": b}

    def test_several_names_are_one_purge(self, counter: Counter) -> None:
        """All names of a purge have its number."""
        number = counter.purge(b"hta", b"stb", b"hk\xff\0")
        assert counter.sync()[1] == dict.fromkeys((b"hta", b"stb", b"hk\xff\0"), number)

    def test_it_is_told_with_its_number(self, counter: Counter) -> None:
        """The message ends in the purge's number, in twenty digits."""
        with counter.client.pubsub(ignore_subscribe_messages=True) as news:
            news.subscribe("channel")
            news.get_message(timeout=1)
            number = counter.purge(b"hta")
            heard = news.get_message(timeout=1)
        assert heard is not None
        assert heard["data"] == b"purged%020d" % number

    def test_what_is_told_late_has_its_own_number_and_place(self, counter: Counter) -> None:
        """A purge told late keeps its number, and who is up to date finds it all the same."""
        late = counter.number()
        entry = counter.number()
        counter.purge(b"htb")
        place, _ = counter.sync()
        assert counter.purge(b"hta", number=late) == late < entry
        reached, names = counter.sync(place)
        assert names == {b"hta": late}
        assert counter.sync(reached) == (reached, {})

    def test_what_is_told_late_replaces_nothing_newer(self, counter: Counter) -> None:
        """A purge told late changes nothing where the name was purged since."""
        late = counter.number()
        newer = counter.purge(b"hta")
        place, _ = counter.sync()
        counter.purge(b"hta", number=late)
        assert counter.sync()[1] == {b"hta": newer}
        assert counter.sync(place)[1] == {}

    def test_no_purge_is_of_the_future(self, counter: Counter) -> None:
        """A number that was given by a clock ahead becomes the purge's place: loads go on."""
        purged = counter.purge(b"hta", number=micros() + 3600 * MICRO)
        assert purged < counter.number() < micros() + MICRO

    @pytest.mark.parametrize("kind", [b"h", b"s"])
    def test_names_are_bounded(self, counter: Counter, kind: bytes) -> None:
        """Past the bound the oldest names become one purge of all, with the newest's number."""
        names = [kind + b"t%d" % index for index in range(20)]
        numbers = [counter.purge(name, most=10) for name in names]
        _, found = counter.sync()
        assert counter.client.zcard(LOG) <= 10
        kept = {name: number for name, number in zip(names, numbers, strict=True) if name in found}
        forgotten = [n for name, n in zip(names, numbers, strict=True) if name not in found]
        assert list(kept) == names[-len(kept) :]
        assert found == {**kept, kind + b"*": max(forgotten)}
        assert set(counter.client.hkeys(NUMBERS)) == {b"!", b"#", *found}

    def test_what_was_forgotten_is_still_found(self, counter: Counter) -> None:
        """Who is behind finds what became of names that were forgotten, at a later place."""
        counter.purge(b"ht0", most=4)
        place, _ = counter.sync()
        numbers = [counter.purge(b"ht%d" % index, most=4) for index in range(1, 6)]
        _, found = counter.sync(place)
        for index, number in enumerate(numbers, 1):
            assert found.get(b"ht%d" % index, found[b"h*"]) >= number

    def test_kinds_are_apart(self, counter: Counter) -> None:
        """Soft purges that make room do not become hard ones."""
        soft = counter.purge(b"sta", most=4)
        hard = [counter.purge(b"ht%d" % index, most=4) for index in range(3)]
        found = counter.sync()[1]
        assert found[b"s*"] == soft
        assert found.get(b"h*", 0) <= hard[1]
        assert b"h*" not in found or found[b"h*"] >= hard[0]


class TestPages:
    def test_it_is_told_in_pages(self, counter: Counter) -> None:
        """Page after page tells each name once, says whether there is more, and comes to an end."""
        names = {b"ht%d" % index: counter.purge(b"ht%d" % index) for index in range(10)}
        names |= dict.fromkeys([b"hta", b"htb"], counter.purge(b"hta", b"htb"))
        for size, count in (1, 13), (5, 3), (6, 3), (11, 2), (12, 2), (13, 1):
            place, pages, found = 0, 0, {}
            more = True
            while more:
                page = counter.page(place, size)
                assert page.since == place
                assert len(page.names) <= size
                assert not found.keys() & page.names.keys()
                found |= page.names
                place, more, pages = page.reached, page.more, pages + 1
            assert (found, pages) == (names, count)

    def test_a_name_that_is_purged_between_pages(self, counter: Counter) -> None:
        """What is purged again before its page came is told once, and what was told, once more."""
        for name in (b"hta", b"htb", b"htc", b"htd"):
            counter.purge(name)
        first = counter.page(0, 2)
        assert set(first.names) == {b"hta", b"htb"}
        again = {name: counter.purge(name) for name in (b"hta", b"htc")}
        second = counter.page(first.reached, 2)
        assert set(second.names) == {b"htd", b"hta"}
        third = counter.page(second.reached, 2)
        assert (third.names, third.more) == ({b"htc": again[b"htc"]}, False)
        assert second.names[b"hta"] == again[b"hta"]

    def test_another_server_tells_all(self, counter: Counter) -> None:
        """Who names the run of this server goes on from his place, who names another's begins."""
        number = counter.purge(b"hta")
        place, _ = counter.sync()
        run = counter.client.info("server")["run_id"]
        assert counter.page(place, run="?") == (run, False, 0, place, {b"hta": number})
        assert counter.page(place, run=run) == (run, False, place, place, {})
        assert counter.page(place) == ("", False, place, place, {})


class TestHorizon:
    """Purges are known for as long as anything lives that they may concern."""

    MINUTE = 60 * MICRO

    def aged(self, counter: Counter, name: bytes, age: int) -> None:
        """Have a purge be of so many microseconds ago."""
        counter.purge(name)
        when = micros() - age
        counter.client.hset(NUMBERS, name, when)
        counter.client.zadd(LOG, {name: when})

    @pytest.mark.parametrize("life", [0, 10 * MINUTE])
    def test_what_concerns_nothing_is_forgotten(self, counter: Counter, life: int) -> None:
        """A purge that is older than all entries by a minute goes, any other stays."""
        counter.horizon = life
        self.aged(counter, b"htold", life + self.MINUTE + 10 * MICRO)
        self.aged(counter, b"htyoung", life + self.MINUTE - 10 * MICRO)
        counter.purge(b"hta")
        assert set(counter.sync()[1]) == {b"htyoung", b"hta"}
        assert set(counter.client.hkeys(NUMBERS)) - {b"~"} == {b"!", b"#", b"htyoung", b"hta"}

    def test_no_purge_forgets_many(self, counter: Counter) -> None:
        """A purge forgets a hundred others at the most, and the next ones go on."""
        ages = {b"ht%d" % index: micros() - 3600 * MICRO + index for index in range(250)}
        counter.number()
        counter.client.hset(NUMBERS, mapping=ages)
        counter.client.zadd(LOG, ages)
        left = []
        for _ in range(3):
            counter.purge(b"hta", most=1000)
            left.append(counter.client.zcard(LOG) - 2)  # less the epoch and the purge
        assert left == [150, 50, 0]

    def test_the_longest_life_counts(self, client: redis.Redis) -> None:
        """How long entries live is what any process has told, and never less again."""
        long, short = Counter(client), Counter(client)
        long.horizon = 3600 * MICRO
        long.sync()
        short.horizon = MICRO
        self.aged(short, b"htold", 1800 * MICRO)
        short.purge(b"hta")
        assert set(short.sync()[1]) == {b"htold", b"hta"}
        assert client.hget(NUMBERS, "~") == b"%d" % (3600 * MICRO)

    @pytest.mark.parametrize("said", ["sync", "purge"])
    def test_numbers_and_log_end(self, counter: Counter, said: str) -> None:
        """What counts lives for a day longer than entries do, from the last sign of life on."""
        day, life = 86_400_000, 7_200_000
        counter.horizon = 1000 * life
        counter.number()
        if said == "sync":
            counter.sync()
        else:
            counter.purge(b"hta")
        for key in (NUMBERS, LOG):
            assert day + life - 10_000 < counter.client.pttl(key) <= day + life
            counter.client.pexpire(key, 5)
        counter.run(SYNC, 0, "", 10 * MICRO, "", MOST)
        assert counter.client.pttl(LOG) <= 5, "who says nothing of himself keeps nothing"

    @pytest.mark.parametrize("script", [NUMBER, SYNC], ids=["number", "sync"])
    def test_nothing_is_left_for_good(self, counter: Counter, script: Script) -> None:
        """Numbers and log end a day after they were made, if no worker was there since."""
        counter.run(script, *([] if script is NUMBER else [0, "", 10 * MICRO, "", MOST]))
        for key in (NUMBERS, LOG):
            assert 86_400_000 - 10_000 < counter.client.pttl(key) <= 86_400_000

    def test_who_stores_for_longer_keeps_them_for_longer(self, counter: Counter) -> None:
        """Who only looks on, and stored what lives longer, has numbers and log kept for as long."""
        counter.number()
        counter.horizon = 7 * 86_400 * MICRO
        counter.run(SYNC, 0, "", 10 * MICRO, "", MOST)
        for key in (NUMBERS, LOG):
            assert counter.client.pttl(key) > 7 * 86_400_000


def test_who_may_not_publish(client: redis.Redis, counter: Counter) -> None:
    """Where no channel is allowed every step is done all the same, and nobody is told."""
    client.execute_command("ACL", "SETUSER", "mute", "on", ">mute", "~*", "+@all", "resetchannels")
    options = client.connection_pool.connection_kwargs
    mute = redis.Redis(host=options["host"], port=options["port"], username="mute", password="mute")
    try:
        with pytest.raises(redis.exceptions.NoPermissionError):
            mute.publish("channel", "x")
        assert run(mute, STORE, KEYS, "me", 7, sealed(7), 4000, "channel", b"news", "all") == 1
        assert client.exists(ENTRY)
        client.set(LEASE, "me", px=4000)
        assert run(mute, READ, KEYS, "me", "reads", 4000, "channel", b"news") == 1
        assert client.get(READS) == b"reads"
        run(mute, RELEASE, KEYS, "me", "channel", b"news")
        assert not client.exists(LEASE)
        number = Counter(mute).purge(b"hta")
        assert counter.sync()[1] == {b"hta": number}
    finally:
        mute.close()
        client.execute_command("ACL", "DELUSER", "mute")


class TestWorkers:
    def test_who_syncs_is_listed(self, counter: Counter) -> None:
        """Who gave a sign of life is listed, with when that was."""
        counter.sync(worker="one")
        counter.sync(worker="two")
        listed = dict(counter.client.zrange(WORKERS, 0, -1, withscores=True))
        assert set(listed) == {b"one", b"two"}
        assert all(abs(when - micros()) < MICRO for when in listed.values())
        assert 0 < counter.client.pttl(WORKERS) <= 10_000

    def test_they_are_counted(self, counter: Counter) -> None:
        """Every reply says how many are listed, also to who says nothing of himself."""
        counter.sync(worker="one")
        counter.sync(worker="two")
        assert counter.run(SYNC, 0, "", 10 * MICRO, "", MOST)[3] == b"2"
        assert counter.client.zcard(WORKERS) == 2

    def test_who_is_gone_is_not(self, counter: Counter) -> None:
        """Who gave none for as long as is told is listed no more."""
        counter.sync(worker="one")
        time.sleep(0.02)
        counter.run(SYNC, 0, "two", 10_000, "", MOST)
        assert counter.client.zrange(WORKERS, 0, -1) == [b"two"]


def test_the_time(client: redis.Redis) -> None:
    """The server's clock is told, in seconds, and nothing is changed."""
    assert abs(int(run(client, CLOCK, [ENTRY])) - time.time()) < 5
    assert client.dbsize() == 0


def test_lengths(client: redis.Redis) -> None:
    """Bytes are counted; what is absent or of another type has none."""
    assert run(client, LENGTH, ["key"]) == 0
    client.set("key", b"\x00" * 300)
    assert run(client, LENGTH, ["key"]) == 300
    client.lpush("list", "a")
    assert run(client, LENGTH, ["list"]) == 0


class TestDescriptions:
    STATUS = "{shop}:status:"

    def described(self, client: redis.Redis) -> dict[bytes, bytes]:
        names = run(client, LISTED, [WORKERS])
        if not names:
            return {}
        said = run(client, STATUSES, [self.STATUS + name.decode() for name in names])
        told = dict(zip(names, said, strict=True))
        return {name: text for name, text in told.items() if text is not None}

    def test_who_is_there_and_has_said_how_he_is(self, counter: Counter) -> None:
        """Of the workers that are listed each that described itself is told, with its text."""
        client = counter.client
        for worker in ("one", "two", "mute"):
            counter.sync(worker=worker)
        assert self.described(client) == {}
        for worker in ("one", "two", "gone"):
            assert run(client, DESCRIBE, [self.STATUS + worker], f"I am {worker}", 60_000) == 1
        assert self.described(client) == {b"one": b"I am one", b"two": b"I am two"}

    def test_what_is_no_description(self, counter: Counter) -> None:
        """What is of another type is as good as absent, and spoils nobody else's."""
        client = counter.client
        names = [self.STATUS + name for name in ("one", "two", "three")]
        client.lpush(names[0], "a list")
        run(client, DESCRIBE, [names[2]], "well", 60_000)
        assert run(client, STATUSES, names) == [None, None, b"well"]

    def test_a_large_fleet(self, counter: Counter) -> None:
        """Hundreds are told of at a time."""
        names = [f"{self.STATUS}{index}" for index in range(500)]
        for name in names:
            counter.client.set(name, name)
        assert run(counter.client, STATUSES, names) == [name.encode() for name in names]

    def test_it_expires(self, counter: Counter) -> None:
        """A description is kept for as long as is told, and then anew with each."""
        client = counter.client
        counter.sync(worker="one")
        run(client, DESCRIBE, [self.STATUS + "one"], "old", 60_000)
        run(client, DESCRIBE, [self.STATUS + "one"], b"\x00\xff", 30_000)
        assert self.described(client) == {b"one": b"\x00\xff"}
        assert 0 < client.pttl(self.STATUS + "one") <= 30_000
        client.pexpire(self.STATUS + "one", 1)
        time.sleep(0.01)
        assert self.described(client) == {}
