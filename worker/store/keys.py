"""The map of all keys in Redis. No other place spells a key.

Every key starts with the account's prefix `{kitsweep:<account>}:`. The braces are a Redis Cluster hash tag: all keys of
one account lie on one shard, so that a script may use them together, and several accounts can share a server.

Keys of a request or a claim are built from a base below and an id; scripts get the prefix as KEYS[1] and build the same
names (`worker.store.scripts` hands them this map), since which requests a claim touches is known only inside it.

=====================  ======  ===================================================================================
request:about:<id>     hash    source, reason, state, total, in_flight, one count per outcome, revoked, sequence,
                               enqueued_at, finished_at, hold_until (ms), canvas (what Celery runs afterwards),
                               origin (who asked), approval (why it is held), run (of a cleanup rule),
                               digest (of its content), retry_of (the request whose failed ids it repeats)
request:waiting:<id>   list    file ids that no claim has taken yet, in the order in which they came
request:incoming:<id>:<stream>
                       list    file ids of a stream so far, only until the request is sealed
request:seen:<id>:<stream>
                       set     the same, so that duplicates count once; a cleanup run has one without a stream
request:retries:<id>   zset    file id → due (ms): items that came back one by one
request:tried:<id>     hash    file id → "attempts doubt" of the items in `retries`
request:<outcome>:<id> list    JSON [ended_at ms, attempts, error, file id, …]: how items ended, in groups
request:withdrawn:<id> list    file ids that waited when the request was cancelled (the whole list, renamed)
intake                 zset    token → ms: by when what was taken under it must be accepted, or anybody takes it over
intake:<token>         list    messages of the broker as they came, oldest first, until they are accepted
unreadable             list    what lay in the broker and is no message, newest first, the last 1000
sources                zset    source → turn: sources that have work, the one that waited longest first
source:<name>:line     zset    request id → sequence: requests with ids to claim, in the order of their coming
retries                zset    request id → when its first retry is due (ms)
holds                  zset    request id → when its hold ends (ms)
approvals              zset    request id → since when it waits for somebody's approval (ms)
unfinished             stream  `<sequence>-0`, request: requests that are not final
unsuccessful           stream  request: those that ended as FAILURE or REVOKED, in the order in which they ended
audit                  stream  who asked for what, what was decided, what came of it (see `worker.reports.audit`)
cleanup                hash    off, off_by, off_at: the switch that stops all cleanup rules
cleanup:runs           zset    unfinished run → when somebody should look after it (ms)
cleanup:lock:count     string  somebody counts the library, for a while
library                hash    files, counted_at (ms): how many files the library has, where a guard needs to know
cleanup:run:<id>       hash    one run of a cleanup rule (see `worker.cleanup.runs.store`)
cleanup:rule:<name>    hash    schedule, last_due (ms), run, request, approved: what is known of a rule
cleanup:history:<name> list    the rule's last runs, newest first
source:<name>:sizes    list    sizes of the source's last requests that went through, where it has a guard
leases                 zset    token → ms: until when the lease of a claim lasts, or when a parked group is due
lease:<token>          hash    fails, failed_at, suspect, groups (how many of it were parked),
                               items: JSON [[request id, attempts, doubt, [file id…]]…]
leased                 hash    file id → token: where a file id is claimed or parked; one place at a time
gone:0 gone:1          set     file ids that the API said we deleted, by turns of `remember_seconds`
doubtful               zset    file id → ms of the last call whose answer was lost
outbox                 zset    finished request id → from when anybody may publish it (ms)
changed                set     unfinished requests whose report changed since it was last published
waiting, in_flight     hash    source → number of ids
retrying               hash    source → number of ids in `retries`; they count as waiting too
on_hold                hash    source → number of ids of requests in `holds` or `approvals`; they count as waiting too
parked                 set     tokens of parked groups
totals                 hash    outcome → number of items that ended so, ever
account                hash    pause of the operator, outage and key pauses, last success, share of calls that go well
limits:<endpoint>      hash    throttle pause, learned windows, margin of one endpoint
calls:<endpoint>       zset    one member per call → ms: the sliding log
tokens                 hash    SHA-256 of a token → JSON {name, scopes, source, created_at (ms), by}
refusals               string  how many HTTP requests came with wrong credentials
workers                zset    worker name → last heartbeat (ms)
sequence               string  counter: order of requests, and turns of sources
format                 string  the format in which all this is stored; `store/lua/upgrade.lua` brings it up to date
=====================  ======  ===================================================================================
"""

from __future__ import annotations

NAMES = (
    "intake",
    "unreadable",
    "sources",
    "retries",
    "holds",
    "approvals",
    "unfinished",
    "unsuccessful",
    "audit",
    "cleanup",
    "cleanup:runs",
    "library",
    "leases",
    "leased",
    "gone:0",
    "gone:1",
    "doubtful",
    "outbox",
    "changed",
    "waiting",
    "in_flight",
    "retrying",
    "on_hold",
    "parked",
    "totals",
    "account",
    "tokens",
    "refusals",
    "workers",
    "sequence",
    "format",
)
"""Keys of which an account has one."""

FORMAT = "3"
"""The format in which this version stores an account; see `store/lua/upgrade.lua`."""

BASES = ("request:", "intake:", "source:", "lease:", "limits:", "calls:", "cleanup:")
"""Starts of keys of which there are many."""


class Keys:
    """The key names of one account."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.prefix = f"{{kitsweep:{account}}}:"

    def __call__(self, name: str) -> str:
        """Return the full key of `name`, one of `NAMES`."""
        if name not in NAMES:
            raise KeyError(name)
        return self.prefix + name

    def request(self, request_id: str, part: str = "about") -> str:
        """Return a key of one request: its hash `about`, or another part of it."""
        return f"{self.prefix}request:{part}:{request_id}"

    def taken(self, token: str) -> str:
        """Return the key of the messages that the intake took under a token."""
        return f"{self.prefix}intake:{token}"

    def lease(self, token: str) -> str:
        """Return the key of one claim."""
        return f"{self.prefix}lease:{token}"

    def line(self, source: str) -> str:
        """Return the key of the line in which a source's requests stand."""
        return f"{self.prefix}source:{source}:line"

    def cleanup(self, kind: str, name: str) -> str:
        """Return a key of the cleanup: kind is run, rule or history."""
        return f"{self.prefix}cleanup:{kind}:{name}"

    def sizes(self, source: str) -> str:
        """Return the key of the sizes of a source's last requests that went through."""
        return f"{self.prefix}source:{source}:sizes"

    def limits(self, endpoint: str) -> str:
        """Return the key of what is known of one endpoint's limits."""
        return f"{self.prefix}limits:{endpoint}"

    def calls(self, endpoint: str) -> str:
        """Return the key of one endpoint's sliding log."""
        return f"{self.prefix}calls:{endpoint}"
