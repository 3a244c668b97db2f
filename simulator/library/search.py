"""ImageKit's search language: parses a `searchQuery` into a test of one record.

    query      = term {("AND" | "OR") term}          AND binds tighter
    term       = "(" query ")" | field comparison
    comparison = ("=" | ":" | "<" | "<=" | ">" | ">=" | "NOT =" | "HAS") value
               | ("IN" | "NOT IN") "[" value {"," value} "]" | "EXISTS" | "NOT EXISTS"

Keywords are case-sensitive. Unknown fields, operators that a field does not have, and values of the wrong type are
syntax errors too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from simulator.library.fields import Comparison, Test, compare

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<operator><=|>=|[=:<>])|(?P<mark>[()\[\],])|(?P<word>[^\s()\[\],"=:<>]+))"""
)
_KEYWORDS = {"AND", "OR", "NOT", "IN", "HAS", "EXISTS"}
_MAX_DEPTH = 50


class SearchSyntaxError(ValueError):
    """The query cannot be parsed. The API answers it with 400."""


@dataclass(frozen=True, slots=True)
class Search:
    """A parsed query: `matches` tests a record; `fields` are the fields that it names."""

    matches: Test
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def parse_search(query: str, now_ms: int) -> Search:
    """Parse a query. Ages count back from `now_ms`. Raises SearchSyntaxError."""
    parser = _Parser(_tokens(query), now_ms)
    try:
        test = parser.query()
    except ValueError as error:
        raise SearchSyntaxError(str(error)) from error
    parser.expect_end()
    return Search(test, frozenset(parser.fields))


def _tokens(query: str) -> list[_Token]:
    tokens: list[_Token] = []
    position, end = 0, len(query.rstrip())
    while position < end:
        match = _TOKEN.match(query, position)
        if match is None or match.lastgroup is None:
            raise SearchSyntaxError(f"cannot parse the query at character {position}")
        tokens.append(_token(match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def _token(kind: str, text: str) -> _Token:
    if kind == "string":
        return _Token("string", re.sub(r"\\(.)", r"\1", text[1:-1]))
    if kind == "word" and text in _KEYWORDS:
        return _Token("keyword", text)
    return _Token(kind, text)


class _Parser:
    """A recursive descent parser."""

    def __init__(self, tokens: list[_Token], now_ms: int) -> None:
        self.fields: set[str] = set()
        self._tokens = tokens
        self._next = 0
        self._now_ms = now_ms
        self._depth = 0

    def query(self) -> Test:
        return _any_of(self._joined("OR", lambda: _all_of(self._joined("AND", self._term))))

    def expect_end(self) -> None:
        if self._next < len(self._tokens):
            raise SearchSyntaxError(f"unexpected {self._tokens[self._next].text!r}")

    def _joined(self, word: str, part: Callable[[], Test]) -> list[Test]:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts

    def _term(self) -> Test:
        if not self._take("("):
            return self._comparison()
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise SearchSyntaxError("too many parentheses")
        inner = self.query()
        self._require(")")
        self._depth -= 1
        return inner

    def _comparison(self) -> Test:
        field = self._value()
        self.fields.add(field)
        negated = self._take("NOT")
        operator = self._pop().text
        if negated and operator not in {"=", "IN", "EXISTS"}:
            raise SearchSyntaxError(f"NOT {operator} is not an operator")
        return compare(Comparison(field, operator, negated, self._operands(operator)), self._now_ms)

    def _operands(self, operator: str) -> list[str]:
        if operator == "EXISTS":
            return []
        if operator != "IN":
            return [self._value()]
        self._require("[")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._require("]")
        return values

    def _value(self) -> str:
        token = self._pop()
        if token.kind not in {"string", "word"}:
            raise SearchSyntaxError(f"unexpected {token.text!r}")
        return token.text

    def _pop(self) -> _Token:
        if self._next >= len(self._tokens):
            raise SearchSyntaxError("the query ends too early")
        self._next += 1
        return self._tokens[self._next - 1]

    def _take(self, text: str) -> bool:
        token = self._tokens[self._next] if self._next < len(self._tokens) else None
        found = token is not None and token.text == text and token.kind not in {"string", "word"}
        self._next += found
        return found

    def _require(self, text: str) -> None:
        if not self._take(text):
            raise SearchSyntaxError(f"{text!r} expected")


def _all_of(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda record: all(test(record) for test in tests)


def _any_of(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else lambda record: any(test(record) for test in tests)
