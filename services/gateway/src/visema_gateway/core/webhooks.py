"""Tells clients' servers that a job has ended: signed, repeated, remembered over restarts."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import Final

from visema_kit.errors import JobNotFound, PreconditionFailed, VisemaError
from visema_kit.logs import get_logger

from visema_gateway.core.callers import Caller
from visema_gateway.core.library import Library, PendingWebhook
from visema_gateway.core.outbound import Outbound
from visema_gateway.core.views import job_view
from visema_gateway.core.watches import Watches

SIGNATURE_HEADER: Final = "Visema-Signature"
PAUSES_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
FIRST_REFUSAL: Final = 300

log = get_logger(__name__)


def signature(secret: str, body: bytes, time_s: int) -> str:
    """`t=…,v1=…`: HMAC-SHA256 over `t`, a dot and the body. Receivers compare it, and refuse an old `t`."""
    digest = hmac.new(secret.encode(), f"{time_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={time_s},v1={digest}"


class Webhooks:
    """Delivers webhooks. After a restart a scope's webhooks go on with its first request, which brings the token."""

    def __init__(
        self,
        library: Library,
        watches: Watches,
        outbound: Outbound,
        secret: str | None,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._library = library
        self._watches = watches
        self._outbound = outbound
        self._secret = secret
        self._pauses_s = pauses_s
        self._awake: set[str] = set()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def check(self, url: str) -> None:
        """Raises: PreconditionFailed: there are no webhooks here. InvalidInput, Unavailable: not this one."""
        if self._secret is None:
            raise PreconditionFailed("webhooks are not configured here", field="webhook_url")
        await self._outbound.target(url)

    async def add(self, caller: Caller, job_id: str, url: str) -> None:
        """Deliver when the job has ended."""
        webhook = PendingWebhook(caller.scope, job_id, url)
        await self._library.add_webhook(webhook)
        self._start(caller, webhook)

    async def wake(self, caller: Caller) -> None:
        """Go on with what an earlier process left for this caller."""
        if self._secret is None or caller.scope in self._awake:
            return
        self._awake.add(caller.scope)
        for webhook in await self._library.webhooks(caller.scope):
            self._start(caller, webhook)

    async def close(self) -> None:
        """Stop; what is pending stays remembered."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, caller: Caller, webhook: PendingWebhook) -> None:
        key = (webhook.scope, webhook.job_id)
        if key not in self._tasks:
            task = asyncio.create_task(self._deliver(caller, webhook), name=f"webhook-{webhook.job_id}")
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _deliver(self, caller: Caller, webhook: PendingWebhook) -> None:
        for pause_s in (*self._pauses_s, None):
            try:
                status = await self._attempt(caller, webhook)
            except JobNotFound:
                break
            except VisemaError as error:
                status = 0
                log.warning("webhook_failed", job_id=webhook.job_id, reason=error.reason, message=error.message)
            if 0 < status < FIRST_REFUSAL:
                log.info("webhook_delivered", job_id=webhook.job_id, status=status)
                break
            if pause_s is None:
                log.warning("webhook_given_up", job_id=webhook.job_id, status=status)
                break
            await asyncio.sleep(pause_s)
        try:
            await self._library.remove_webhook(webhook)
        except VisemaError as error:  # it is delivered once more after a restart
            log.warning("webhook_not_removed", job_id=webhook.job_id, reason=error.reason)

    async def _attempt(self, caller: Caller, webhook: PendingWebhook) -> int:
        watch = await self._watches.of(caller, webhook.job_id)
        await watch.end()
        body = job_view(watch.job).model_dump_json().encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "VISEMA-webhook",
            SIGNATURE_HEADER: signature(self._secret or "", body, int(time.time())),
        }
        return await self._outbound.post(webhook.url, body, headers)
