"""A certificate: JSON lines that say what became of each file of a request, of which the last signs the others.

The first line is about the request, the last about the certificate: totals, the SHA-256 of all lines before, the public
key, and the signature of the line without it. So any number of files is written and verified in constant memory.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from worker.proof.keys import SigningKey, is_signed
from worker.states import Outcome

VERSION = 1
_INCOMPLETE = "the certificate is incomplete: it does not end with a signature"
_PURGE_STATES = ("purged", "purge_pending", "purge_failed", "purge_skipped")


class CertificateInvalid(ValueError):
    """A certificate was changed, is incomplete, or is none. The text says what is wrong, and in which line."""


class Verified(NamedTuple):
    """A genuine certificate."""

    request: dict[str, Any]
    """Its first line."""
    seal: dict[str, Any]
    """Its last line."""


def written(request: Mapping[str, Any], files: Iterable[Mapping[str, Any]], key: SigningKey) -> Iterator[str]:
    """Yield the lines of a certificate, each with its line break.

    `files` have at least `file_id` and `outcome`. Raises `CertificateInvalid` if their number is not the `total` of the
    request: some outcomes have expired.
    """
    digest, totals = hashlib.sha256(), Counter[str]()
    for line in _lines(request, files, totals):
        digest.update(line.encode())
        yield line
    if (count := _files_in(totals)) != request["total"]:
        raise CertificateInvalid(f"{request['total'] - count} of {request['total']} files have no stored outcome")
    seal = {"totals": totals, "sha256": digest.hexdigest(), "does_not_prove": not_proven(totals), "key": key.public}
    yield _line({**seal, "signature": key.sign(_line(seal).encode())})


def verified(lines: Iterable[bytes], public: str | None = None) -> Verified:
    """Read a certificate to its end, and return it if it is genuine. `public` is the key that must have signed it.

    Raises `CertificateInvalid`.
    """
    digest, totals = hashlib.sha256(), Counter[str]()
    request: dict[str, Any] = {}
    for number, (line, is_last) in enumerate(_with_last(lines), 1):
        entry = _read(line, number)
        if is_last and number > 1:
            _check_signature(line, entry, public)
            _check_lines(entry, digest.hexdigest(), totals)
            _check_form(request, entry, totals)
            return Verified(request, entry)
        digest.update(line)
        if number == 1:
            request = entry
            if entry.get("kitsweep_certificate") != VERSION:
                raise CertificateInvalid(f"line 1: not a certificate of version {VERSION}")
        else:
            _count(entry, totals)
    raise CertificateInvalid(_INCOMPLETE)


def not_proven(totals: Mapping[str, int]) -> list[str]:
    """Return what a certificate with these totals does not prove, in sentences."""
    told = [
        "Deletion is as ImageKit's API reported it, at the times given; a copy outside of ImageKit is not covered.",
        "ImageKit deletes all versions of a file with it; this was not checked separately.",
        "Which call to ImageKit deleted a file is not in this certificate.",
    ]
    if presumed := totals.get(Outcome.PRESUMED_DELETED):
        told.append(f"Presumed deleted: {presumed}. These files do not exist, after a call without a response.")
    if kept := totals.get(Outcome.FAILED, 0) + totals.get(Outcome.CANCELLED, 0):
        told.append(f"Not deleted, because they failed or were cancelled: {kept}.")
    unpurged = _files_in(totals) - totals.get("purged", 0)
    if unpurged:
        told.append(f"Not purged from the CDN: {unpurged}. Cached copies may be served until they expire.")
    return told


def _lines(request: Mapping[str, Any], files: Iterable[Mapping[str, Any]], totals: Counter[str]) -> Iterator[str]:
    yield _line({"kitsweep_certificate": VERSION, **request})
    for file in files:
        _count(file, totals)
        yield _line(file)


def _count(file: Mapping[str, Any], totals: Counter[str]) -> None:
    totals[str(file.get("outcome"))] += 1
    if purge := file.get("purge"):
        totals[str(purge)] += 1


def _files_in(totals: Mapping[str, int]) -> int:
    return sum(count for name, count in totals.items() if name not in _PURGE_STATES)


def _check_signature(line: bytes, seal: Mapping[str, Any], public: str | None) -> None:
    if "signature" not in seal:
        raise CertificateInvalid(_INCOMPLETE)
    unsigned = {name: value for name, value in seal.items() if name != "signature"}
    key = str(seal.get("key"))
    # The signature is of what was read, so a name that is there twice, of which one is read, needs the first check.
    if line != _line(seal).encode() or not is_signed(_line(unsigned).encode(), str(seal["signature"]), key):
        raise CertificateInvalid("the last line is not what was signed: totals, digest, key or signature were changed")
    if public is not None and key != public:
        raise CertificateInvalid(f"it was signed with another key, {key}")


def _check_lines(seal: Mapping[str, Any], sha256: str, totals: Mapping[str, int]) -> None:
    if seal.get("totals") != totals:
        raise CertificateInvalid("totals and lines do not agree: outcomes were changed, or lines removed or added")
    if seal.get("sha256") != sha256:
        raise CertificateInvalid("lines before the last were changed, or put in another order")


def _check_form(request: Mapping[str, Any], seal: Mapping[str, Any], totals: Mapping[str, int]) -> None:
    """Refuse what is signed, but is no certificate: there are many keys."""
    is_ours = isinstance(request.get("request_id"), str) and isinstance(seal.get("does_not_prove"), list)
    if not is_ours or request.get("total") != _files_in(totals):
        raise CertificateInvalid("it is signed, but is no certificate: fields are missing, or do not agree")


def _read(line: bytes, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict) or not line.endswith(b"\n"):
        raise CertificateInvalid(f"line {number}: not a complete JSON object")
    return entry


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n"


def _with_last(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each line, and whether it is the last."""
    before: bytes | None = None
    for line in lines:
        if before is not None:
            yield before, False
        before = line
    if before is not None:
        yield before, True
