"""The two calls that delete: authorise, read, enqueue, wait, answer."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from tasks.submissions import RequestName, Submission, Submissions, Submitted
from web.context import Context
from web.credentials import Caller
from web.dropin import answers
from web.dropin.answers import Answer, Refusal
from web.dropin.gathering import Gatherer
from web.dropin.reading import Call, checked_ids, ids_in, submission_of
from web.dropin.returning import Returning
from web.dropin.watching import Watcher, is_final
from web.exchange import CutOff, Exchange, TooLarge
from worker.errors import KitsweepError
from worker.logs import add_log_fields
from worker.reports.report import Report

logger = logging.getLogger(__name__)

SUBMISSIONS_AT_ONCE = 100


class DropIn:
    """Answers the calls that delete."""

    def __init__(self, context: Context, submissions: Submissions | None = None) -> None:
        self._context = context
        settings = context.settings
        submissions = submissions or Submissions(settings)
        self._submit: Gatherer[tuple[str, Submission], Submitted] = Gatherer(
            submissions.submit, SUBMISSIONS_AT_ONCE, "submit", settings.redis_address
        )
        self.watcher = Watcher(submissions, settings.redis_address)
        self._returning = Returning(settings.batch_window_seconds)

    def close(self) -> None:
        """Let go of all threads."""
        self._submit.close()
        self.watcher.close()

    async def answer(self, exchange: Exchange, call: Call) -> None:
        """Answer one call, unless the caller has disconnected."""
        try:
            answer = await self._answer(exchange, call)
        except CutOff:
            return
        await exchange.respond(answer.status, answer.body, answer.headers)

    async def _answer(self, exchange: Exchange, call: Call) -> Answer:
        try:
            return await self._deleted(exchange, call)
        except Refusal as refusal:
            return refusal.answer
        except TooLarge:
            return answers.TOO_LARGE
        except TimeoutError:
            return answers.TOO_SLOW
        except KitsweepError as error:
            return answers.of_error(error)
        except CutOff:
            raise
        except Exception:
            logger.exception("%s %s: unexpected error", exchange.method, exchange.raw_path)
            return answers.FAILED

    async def _deleted(self, exchange: Exchange, call: Call) -> Answer:
        until = time.monotonic() + self._context.settings.web_wait_seconds
        caller = await self._context.credentials.caller(exchange.header(b"authorization"))
        file_ids = ids_in(await exchange.body()) if call.file_id is None else checked_ids([call.file_id])
        account = self._account_of(exchange, caller)
        other = None if account == self._context.settings.account else account
        submission = submission_of(exchange, caller, other, file_ids)
        is_last = self._returning.is_last(exchange.client)
        made = await self._submit.ask((account, replace(submission, is_last=is_last)))
        add_log_fields(request_id=made.request_id)
        if submission.content not in {None, made.content}:
            return answers.OTHER_CONTENT
        answer = await self._outcome(call, file_ids, account, made, until)
        self._returning.answered(exchange.client)
        return replace(answer, headers={**answer.headers, answers.REQUEST_ID: made.request_id})

    def _account_of(self, exchange: Exchange, caller: Caller) -> str:
        """Return the account of a call. Raises `WrongAccount`, and `InvalidRequest` if it is unknown."""
        wanted = caller.account_of(exchange.header(b"x-kitsweep-account") or None)
        return self._context.accounts.of(wanted).settings.account

    def _link_to(self, name: RequestName) -> str:
        query = "" if name.account == self._context.settings.account else f"?account={name.account}"
        return self._context.link_to(f"/api/v1/requests/{name.request_id}{query}")

    async def _outcome(self, call: Call, file_ids: list[str], account: str, made: Submitted, until: float) -> Answer:
        watcher, name = self.watcher, RequestName(account, made.request_id)
        at_once = made.on_hold or made.state.is_final
        report = await (watcher.report(name) if at_once else watcher.wait(name, until - time.monotonic()))
        if report is None:
            return answers.GONE
        if is_final(report):
            return (answers.of_bulk if call.file_id is None else answers.of_single)(report, file_ids)
        return answers.pending(report, file_ids, self._link_to(name), _why(made, report))


def _why(made: Submitted, report: Report) -> str:
    if made.held:
        return f"The request waits for approval: {made.held}."
    if made.on_hold:
        return "The request waits for the end of its hold."
    left = report["waiting"] + report["in_flight"]
    return f"{left} of {report['total']} files are still to be deleted."
