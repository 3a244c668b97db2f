"""The map of all keys in Redis. No other module spells a key.

Every key starts with the account's prefix `{kitsweep:<account>}:`. The braces are a Redis Cluster hash tag: all keys of
an account are on one shard, so that a script can use them together, and several accounts can share a server.

Scripts get the prefix as KEYS[1] and build the other keys, since only a script knows which requests a claim touches.

=====================  ======  ===================================================================================
request:about:<id>     hash    source, reason, state, total, in_flight, one count per outcome, revoked, sequence,
                               enqueued_at, finished_at, hold_until (ms), canvas (what Celery runs afterwards),
                               origin (who enqueued it), approval (why it needs one), run (of a cleanup rule),
                               content (digest of what was asked, if the caller chose the request id),
                               retry_of (request whose failed ids it repeats), result_ttl_ms (if it is not that of the
                               settings), callback (URL for the webhook, until the request is final), traceparent (if
                               its producer sent one), purge (true, folder or wait), priority (of its purges), lookup
                               (position of the next id whose URL is looked up), purge_at (ms: its first purge),
                               purge_pending, purged, purge_failed, purge_skipped (numbers of files), ids (see
                               `request:waiting`); deleted with the lists of outcomes once the result in Celery's
                               backend contains all that they do
request:waiting:<id>   list    file ids that no claim has taken yet, in the order of the request; if they are few, they
                               are the field `ids` instead, separated by spaces
request:incoming:<id>:<stream>
                       list    file ids of a stream so far, only until the request is sealed
request:seen:<id>:<stream>
                       set     the same, so that duplicates count once; of a cleanup run without a stream
request:retries:<id>   zset    file id → due (ms): items that wait for a retry
request:tried:<id>     hash    file id → "attempts doubt" of the items in `retries`
request:<outcome>:<id> list    JSON [ended_at ms, attempts, error, file id, …]: items that ended, in groups
request:retried:<id>   hash    file id → id of the request that retries it; only of failed files
request:repeated:<id>  string  id of the last request that repeats it, once it cannot be joined any more
request:withdrawn:<id> list    file ids that waited when the request was cancelled (`waiting`, renamed)
request:purge:<id>     hash    file id → its URL or, once its purge has ended, JSON [state, ended_at ms, URL, error]; of
                               requests that ask for purge; `request:purge:<id>:<stream>` until they are sealed
intake                 zset    token → ms: when the lease of taken messages expires
intake:<token>         list    taken messages of the broker, unchanged, oldest first, until they are accepted
unreadable             list    entries of the broker's lists that are not messages, newest first, the last 1000
sources                zset    source → turn: sources that have work, the next one first
source:<name>:fresh    list    sequences of new requests that have work, the oldest first; `unfinished` has their ids
source:<name>:line     zset    request id → sequence: requests that have work again, in the order of enqueueing
retries                zset    request id → when its first retry is due (ms)
holds                  zset    request id → when its hold ends (ms)
approvals              zset    request id → since when it waits for approval (ms)
unfinished             stream  `<sequence>-0`, request: requests that are not final
unsuccessful           stream  request: requests that ended as FAILURE or REVOKED, in the order of their end
webhook:<id>           hash    one webhook: url, report (JSON), attempts, since (ms: queued, or sent again),
                               token (of its sender), last_at (ms), status, error
webhooks:waiting       zset    id of an undelivered webhook → when it is due, or its lease expires (ms)
webhooks:delivered     zset    id of a delivered webhook → when it was delivered (ms)
webhooks:failed        zset    id of a webhook that was given up → when (ms)
webhooks:resting       hash    failing receiver, host:port → "until (ms) fails": it gets one webhook at a time
audit, ended           stream  the audit trail (see `worker.reports.audit`)
cleanup                hash    off, off_by, off_at: the switch that stops all cleanup rules
cleanup:runs           zset    unfinished run → when it needs a worker (ms)
cleanup:lock:count     string  a worker counts the library (expires)
library                hash    files, counted_at (ms): number of files in the library, if a guard needs it
cleanup:run:<id>       hash    one run of a cleanup rule (see `worker.cleanup.runs.store`)
cleanup:rule:<name>    hash    schedule, last_due (ms), run, request, approved: state of a rule
cleanup:history:<name> list    the rule's last runs, newest first
source:<name>:sizes    list    sizes of the last accepted requests of a source that has a guard
lookups                zset    request id → when the URLs of its files are looked up (ms), before it enters the line
purges:waiting         zset    "<file id> <request id>" → rank: deleted files whose URLs are not in a purge yet
purges:since           string  ms: since when files wait to be planned
purges:lock            string  token of the worker that plans (expires)
purges:open            zset    purge id → when its next call is due (ms)
purges:ended           zset    purge id → when it ended (ms)
purges:changed         zset    request id → number: its purge counts changed since its report was published
purges:endpoints       set     URL endpoints of the account, seen in listings
purges:refused         set     wildcards that the API has refused (expires)
purges:quota           hash    month, such as 2026-11 → number of purge calls
purge:<id>             hash    one purge: url, state (ready, sent, or its end), files (number), sent_as (the API's id),
                               paid (a call is counted and not made yet), attempts, polls, error, planned_at, sent_at,
                               ended_at (ms), token
purge:files:<id>       list    "<file id> <request id>": the files that a purge covers, until it has ended
leases                 zset    token → ms: when the lease of a claim expires, or when a parked group is due
lease:<token>          hash    fails, failed_at, suspect, groups (number of groups it parked),
                               items: JSON [[request id, attempts, doubt, [file id…]]…]
leased                 hash    file id → token of the one claim or parked group that has it
gone:0 gone:1          set     file ids that we have deleted, alternating every `remember_seconds`
doubtful               zset    file id → time of the last unanswered call (ms)
outbox                 zset    finished request id → from when any worker may publish it (ms)
enqueued               channel nothing, when requests of callers that wait are enqueued; `all` if no more are expected
finished               channel ids of requests, as they become final
changed                set     unfinished requests whose report changed since it was last published
waiting, in_flight     hash    source → number of ids
retrying               hash    source → number of ids in `retries`, included in `waiting`
on_hold                hash    source → number of ids of requests in `holds` or `approvals`, included in `waiting`
parked                 set     tokens of parked groups
totals                 hash    outcome → number of items that have ended with it
metrics                hash    counters and histograms of calls and finished requests (see `worker.metrics.reading`)
account                hash    pause of the operator, outage and key pauses, last success, average of successes
limits:<endpoint>      hash    throttle pause, learned windows, margin of one endpoint
calls:<endpoint>       zset    call id → ms: the sliding log
tokens                 hash    SHA-256 of a token → JSON {name, scopes, source, account, created_at (ms), by}
session:<digest>       string  SHA-256 of the token of a person who is logged in; the digest is that of the cookie
refusals               string  number of HTTP requests with wrong credentials
workers                zset    worker name → last heartbeat (ms); of all accounts, as are `intake`, `tokens` and
                               `refusals`, under the keys of the account of the environment
accounts               set     names of the accounts that workers have served
sequence               string  counter: order of requests, and turns of sources
format                 string  version of this map; `store/lua/upgrade.lua` upgrades older ones
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
    "webhooks:waiting",
    "webhooks:delivered",
    "webhooks:failed",
    "webhooks:resting",
    "audit",
    "ended",
    "cleanup",
    "cleanup:runs",
    "library",
    "lookups",
    "purges:waiting",
    "purges:since",
    "purges:lock",
    "purges:open",
    "purges:ended",
    "purges:changed",
    "purges:endpoints",
    "purges:refused",
    "purges:quota",
    "leases",
    "leased",
    "gone:0",
    "gone:1",
    "doubtful",
    "outbox",
    "enqueued",
    "finished",
    "changed",
    "waiting",
    "in_flight",
    "retrying",
    "on_hold",
    "parked",
    "totals",
    "metrics",
    "account",
    "accounts",
    "tokens",
    "refusals",
    "workers",
    "sequence",
    "format",
)
"""Keys that exist once per account."""

FORMAT = "3"
"""The current format; see `store/lua/upgrade.lua`."""

DEFAULT_ACCOUNT = "default"

RESULT = "celery-task-meta-"
"""Start of the keys under which Celery's callers find results, followed by the task id. It belongs to no account."""

ALL_WAIT = "all"
"""Message on the channel `enqueued`: no more requests are expected, so a partial batch need not wait."""

BASES = ("request:", "intake:", "webhook:", "source:", "lease:", "limits:", "calls:", "cleanup:", "session:", "purge:")
"""Prefixes of keys that exist many times."""


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

    @staticmethod
    def result(request_id: str) -> str:
        """Return the key under which Celery's callers find the result of a request."""
        return RESULT + request_id

    def taken(self, token: str) -> str:
        """Return the key of the messages that the intake took under a token."""
        return f"{self.prefix}intake:{token}"

    def lease(self, token: str) -> str:
        """Return the key of one claim."""
        return f"{self.prefix}lease:{token}"

    def line(self, source: str) -> str:
        """Return the key of a source's requests that came back into line."""
        return f"{self.prefix}source:{source}:line"

    def fresh(self, source: str) -> str:
        """Return the key of a source's new requests."""
        return f"{self.prefix}source:{source}:fresh"

    def session(self, digest: str) -> str:
        """Return the key of one session of the dashboard."""
        return f"{self.prefix}session:{digest}"

    def cleanup(self, kind: str, name: str) -> str:
        """Return a key of the cleanup: kind is run, rule or history."""
        return f"{self.prefix}cleanup:{kind}:{name}"

    def webhook(self, webhook_id: str) -> str:
        """Return the key of one webhook."""
        return f"{self.prefix}webhook:{webhook_id}"

    def purge(self, purge_id: str) -> str:
        """Return the key of one purge."""
        return f"{self.prefix}purge:{purge_id}"

    def sizes(self, source: str) -> str:
        """Return the key of the sizes of a source's last accepted requests."""
        return f"{self.prefix}source:{source}:sizes"

    def limits(self, endpoint: str) -> str:
        """Return the key of one endpoint's limits."""
        return f"{self.prefix}limits:{endpoint}"

    def calls(self, endpoint: str) -> str:
        """Return the key of one endpoint's sliding log."""
        return f"{self.prefix}calls:{endpoint}"
