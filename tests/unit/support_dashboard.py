"""A browser without JavaScript, for the pages of the dashboard."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import httpx2

from tasks.tokens import Scope
from tests.unit.support_web import call
from web.context import Context
from web.dashboard.application import Dashboard
from web.dashboard.visits import COOKIE

ALL = (Scope.READ, Scope.OPERATE, Scope.APPROVE)
SAME = {"Sec-Fetch-Site": "same-origin"}


class Browser:
    """One person who is logged in with a token."""

    def __init__(self, context: Context, *scopes: Scope, name: str = "ann") -> None:
        self.app = Dashboard(context)
        self.context = context
        self.token = context.tokens.create(name, scopes or ALL)
        self.cookie = self.log_in(self.token).cookies[COOKIE]

    def log_in(self, token: str) -> httpx2.Response:
        """Submit the login form."""
        return call(self.app, "POST", "/dashboard/login", data={"token": token}, headers=SAME)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        """Open a page."""
        return self._call("GET", path, headers)

    def post(self, path: str, form: dict[str, str] | None = None, /, **headers: str) -> httpx2.Response:
        """Submit a form of a page."""
        return self._call("POST", path, headers or SAME, data=form or {})

    def text(self, path: str) -> str:
        """Return what a page says, without tags."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return text_of(answer)

    def _call(self, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx2.Response:
        sent = {"Cookie": f"{COOKIE}={self.cookie}", **headers}
        return call(self.app, method, f"/dashboard{path}", headers=sent, **more)


def text_of(answer: httpx2.Response) -> str:
    """Return the text of a page, with single spaces."""
    without = re.sub(r"<(style|script|dialog)\b.*?</\1>|<[^>]*>", " ", answer.text, flags=re.DOTALL)
    return " ".join(unescape(without).split())
