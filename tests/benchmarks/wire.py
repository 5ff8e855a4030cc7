"""What the protocol of a fleet sends: bytes of each command, reply and message.

Made of the product's own scripts, keys, envelopes and messages, and packed as RESP packs them; no
socket is opened. `fleet` compares them with what a real Redis counts.
"""

import random
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import cast

from aswr import codec, scripts
from aswr.backplane import GONE_AFTER, PAGE, Backplane
from aswr.codec import Answer, Entry
from aswr.envelope import LARGEST, Checksum, Envelopes
from aswr.fleet import HELD
from aswr.keys import ViewKey, digest
from aswr.options import CONFIG, MIB
from aswr.packed import pack
from aswr.policy import Times
from aswr.shelf import MOST_TOLD, names_beside
from aswr.stamps import MICRO

HORIZON = 3600 * MICRO

START = 1_700_000_000.0  # the servers' time at the start: numbers have as many digits as in earnest
FIELDS = (
    ("Content-Type", "text/html; charset=utf-8"), ("Content-Length", "4096"),
    ("Cache-Control", "private, no-cache"), ("ETag", 'W/"0123456789abcdef0123456789abcdef"'),
)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What is simulated; durations in seconds, ``rate`` in requests per second to all workers."""

    workers: int = 1000
    keys: int = 100_000
    zipf: float = 0.9
    rate: float = 30_000.0
    seconds: float = 60.0  # that are counted, after ``timeout`` that are not
    body: int = 4096  # bytes
    timeout: float = 60.0
    margin: float | None = None  # as `cacher` chooses it
    load: float = 0.5
    rtt: float = 0.0005
    propagation: float = CONFIG["ASWR_PROPAGATION"]
    lease: float = CONFIG["ASWR_LEASE"]
    most_told: int = MOST_TOLD
    compress: int | None = CONFIG["ASWR_STORE_COMPRESS"]
    seed: int = 1

    @property
    def told(self) -> str:
        """Who is told of what is stored, as `aswr.shelf` has it."""
        return "all" if self.workers <= self.most_told else "some"


QUICK = Setup(workers=40, keys=300, rate=400, seconds=20, timeout=10, load=0.5)


def bulk(size: int) -> int:
    """Bytes of so many bytes in RESP."""
    return len(str(size)) + 5 + size


def sent(*words: object) -> int:
    """Bytes of a command, and of a reply that is an array."""
    sizes = [len(word if isinstance(word, bytes) else str(word).encode()) for word in words]
    return len(str(len(words))) + 3 + sum(map(bulk, sizes))


NIL = 5
COUNTED = 4  # ":1\r\n"


def sizes(setup: Setup) -> dict[str, tuple[int, int]]:
    """Bytes in and out of Redis, by command.

    With a plus sign: what an entry in a reply adds, and what a sign of life adds to a beat;
    "busy" is what that answer to a claim adds.
    """
    number = int(START * MICRO)
    key = ViewKey("shop.item", "", f"/item/{setup.keys // 2}", "", "", ())
    prefix, control = "aswr:shop:1:", "aswr:{shop:1}:"
    entry, worker = f"{prefix}{{{digest(key)}}}", "web-0123:12345:89abcdef"
    envelope = sealed(setup, key, entry, number)
    sender = cast(Backplane, SimpleNamespace(worker=worker))
    message = Backplane.message(sender, "stored", pack(key), number=number)
    news = f"{control}news"
    counted = (f"{control}numbers", f"{control}log")

    def run(script: scripts.Script, keys: tuple[str, ...], *words: object) -> int:
        return sent("EVALSHA", script.sha, len(keys), *keys, *words)

    keys = names_beside(entry)
    token, lease_ms = "0" * 32, int(setup.lease * HELD * 1000)
    claim = run(scripts.CLAIM, keys, number, number, token, lease_ms, LARGEST)
    said = sent(b"lead", number) + NIL
    living = int(setup.timeout * 1000)
    stored = (token, number, envelope, living, news, message, setup.told)
    beat = (*counted, f"{control}workers")
    sync, signed = (
        run(
            scripts.SYNC,
            beat,
            number,
            number,
            HORIZON,
            number,
            said_by,
            GONE_AFTER * MICRO,
            "",
            PAGE,
        )
        for said_by in ("", worker)
    )
    got = bulk(len(envelope))
    return {
        "CLAIM": (claim, said),
        "CLAIM+": (0, got - NIL),
        "busy": (0, NIL),
        "NUMBER": (run(scripts.NUMBER, counted, number, number), sent(number, number, number)),
        "STORE": (run(scripts.STORE, keys, *stored), COUNTED),
        "RENEW": (run(scripts.RENEW, keys, token, lease_ms), COUNTED),
        "SYNC": (sync, sent(number, number, number, setup.workers, b"", 0, number, number)),
        "SYNC+": (signed - sync, 0),
        "PING": (sent("PING"), sent("pong", "")),
        "LOOK": (run(scripts.LOOK, keys[:1], LARGEST), NIL),
        "LOOK+": (0, got - NIL),
        "GET": (sent("GET", entry), NIL),
        "GET+": (0, got - NIL),
        "SET": (sent("SET", entry, envelope, "PX", living), len("+OK\r\n")),
        "message": (0, sent("message", news, message)),
    }


def sealed(setup: Setup, key: ViewKey, name: str, number: int) -> bytes:
    """An entry as it lies in Redis; its body is text as like itself as that of pages is."""
    words = random.Random(0).choices([f"<td>{number * 7919}</td>" for number in range(500)], k=9999)
    text = " ".join(words * (1 + setup.body // 99_990))
    answer = Answer(200, FIELDS, text.encode()[: setup.body])
    ends = Times(setup.timeout, setup.margin).deadlines(START, setup.load, 0.0)
    entry = Entry(value=answer, stored=START, born=number, cost=setup.load, **asdict(ends))
    payload = codec.encode(entry, None, number, 0.25, pack(key))
    envelopes = Envelopes(Checksum(), 64 * MIB, setup.compress)
    return envelopes.seal(name.encode(), number, int(ends.fresh_until * MICRO), payload)
