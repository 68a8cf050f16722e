"""Tells clients' servers that a job has ended: signed, repeated, and by one of several gateways."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from contextlib import suppress
from itertools import chain, repeat
from typing import Final

from visema_kit.errors import JobNotFound, Unauthenticated, VisemaError
from visema_kit.logs import get_logger

from visema_gateway.core.callers import Caller
from visema_gateway.core.deliveries import Deliveries, Key, PendingWebhook
from visema_gateway.core.outbound import Outbound
from visema_gateway.core.seal import Seal
from visema_gateway.core.views import job_view
from visema_gateway.core.watches import Watches

SIGNATURE_HEADER: Final = "Visema-Signature"
DELIVERY_HEADER: Final = "Visema-Delivery"
PAUSES_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
ASKING_PAUSES_S: Final = (1.0, 5.0, 30.0)  # the last again and again: the receiver hears soon after an outage of ours
FIRST_REFUSAL: Final = 300
CLAIM_S: Final = 2.0  # what another gateway hands on waits no longer
FORGET_S: Final = 5.0

log = get_logger(__name__)


def signature(secret: str, body: bytes, time_s: int) -> str:
    """`t=…,v1=…`: HMAC-SHA256 over `t`, a dot and the body. Receivers compare it, and refuse an old `t`."""
    digest = hmac.new(secret.encode(), f"{time_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={time_s},v1={digest}"


class Webhooks:
    """Delivers webhooks, at least once each.

    A gateway that ends hands its webhooks on, and what a dead one had is taken over when its lease has run out.
    Args: secret: signs the webhooks, and seals the tokens that ask for their jobs. pauses_s: between attempts to
    deliver. asking_pauses_s: between questions to an orchestrator that is away.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        watches: Watches,
        outbound: Outbound,
        secret: str,
        *,
        pauses_s: tuple[float, ...] = PAUSES_S,
        asking_pauses_s: tuple[float, ...] = ASKING_PAUSES_S,
    ) -> None:
        self._deliveries = deliveries
        self._watches = watches
        self._outbound = outbound
        self._secret = secret
        self._seal = Seal(secret)
        self._pauses_s = pauses_s
        self._asking_pauses_s = asking_pauses_s
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._claiming: asyncio.Task[None] | None = None
        self._claim_turn = asyncio.Lock()

    def start(self) -> None:
        """Go on with what is pending, here and at gateways that end."""
        self._claiming = asyncio.create_task(self._claim_always(), name="webhooks")

    async def check(self, url: str) -> None:
        """Raises: InvalidInput, Unavailable: not this one."""
        await self._outbound.target(url)

    async def add(self, caller: Caller, job_id: str, url: str) -> None:
        """Deliver when the job has ended. A job has one webhook: the first. Raises: StoreUnavailable."""
        sealed = None if caller.token is None else self._seal.close(caller.token, job_id)
        webhook = PendingWebhook(caller.scope, job_id, url, sealed)
        if await self._deliveries.add(webhook):
            self._start(webhook)

    async def close(self) -> None:
        """Stop; what is pending is for others, or for the next process."""
        async with self._claim_turn:  # a claim that is under way ends first: what it takes is handed on too
            tasks = [*self._tasks.values(), *([self._claiming] if self._claiming else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(VisemaError):  # then the lease runs out
            await self._deliveries.release()

    async def _claim_always(self) -> None:
        while True:
            try:
                async with self._claim_turn:
                    await self._claim()
            except VisemaError as error:
                log.warning("webhooks_not_claimed", reason=error.reason)
            except Exception:  # a defect must not end the claims of all others
                log.exception("webhooks_not_claimed")
            await asyncio.sleep(CLAIM_S)

    async def _claim(self) -> None:
        running = dict(self._tasks)
        owned, taken = await self._deliveries.claim()
        for key, task in running.items():
            if key not in owned:
                task.cancel()  # it has just ended, or we were silent for too long and somebody else does it
        for webhook in taken:
            if webhook.key not in self._tasks:  # else it comes back before we noticed that somebody else had it
                self._start(webhook)

    def _start(self, webhook: PendingWebhook) -> None:
        task = asyncio.create_task(self._deliver(webhook), name=f"webhook-{webhook.job_id}")
        self._tasks[webhook.key] = task
        task.add_done_callback(lambda ended: self._ended(webhook.key, ended))

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]

    async def _deliver(self, webhook: PendingWebhook) -> None:
        try:
            accepted = await self._send(webhook, await self._told(webhook))
            log.info("webhook_delivered" if accepted else "webhook_given_up", job_id=webhook.job_id)
        except (JobNotFound, Unauthenticated) as error:
            log.warning("webhook_given_up", job_id=webhook.job_id, reason=error.reason)
        except Exception:  # a defect, which would come again with each attempt
            log.exception("webhook_given_up", job_id=webhook.job_id)
        await self._forget(webhook)

    async def _told(self, webhook: PendingWebhook) -> bytes:
        """The job once it has ended, however often following it fails. Raises: JobNotFound, Unauthenticated."""
        caller = self._caller(webhook)
        for pause_s in chain(self._asking_pauses_s, repeat(self._asking_pauses_s[-1])):
            try:
                watch = await self._watches.of(caller, webhook.job_id)
                await watch.end()
                break
            except (JobNotFound, Unauthenticated):
                raise
            except VisemaError as error:
                log.warning("webhook_waits", job_id=webhook.job_id, reason=error.reason, message=error.message)
            await asyncio.sleep(pause_s)
        return job_view(watch.job).model_dump_json().encode()

    async def _send(self, webhook: PendingWebhook, body: bytes) -> bool:
        """Whether one of the attempts that are left was accepted."""
        for pause_s in (*self._pauses_s[webhook.attempts :], None):
            try:
                status = await self._outbound.post(webhook.url, body, self._headers(webhook, body))
                log.info("webhook_answered", job_id=webhook.job_id, status=status)
                if status < FIRST_REFUSAL:
                    return True
            except VisemaError as error:
                log.warning("webhook_failed", job_id=webhook.job_id, reason=error.reason, message=error.message)
            if pause_s is not None:
                with suppress(VisemaError):  # then it is tried once more than it should be
                    await self._deliveries.failed(webhook)
                await asyncio.sleep(pause_s)
        return False

    def _headers(self, webhook: PendingWebhook, body: bytes) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "VISEMA-webhook",
            DELIVERY_HEADER: webhook.job_id,
            SIGNATURE_HEADER: signature(self._secret, body, int(time.time())),
        }

    def _caller(self, webhook: PendingWebhook) -> Caller:
        if webhook.sealed_token is None:
            return Caller(webhook.scope, None)
        return Caller(webhook.scope, self._seal.open(webhook.sealed_token, webhook.job_id))

    async def _forget(self, webhook: PendingWebhook) -> None:
        while True:
            try:
                return await self._deliveries.remove(webhook)
            except VisemaError as error:
                log.warning("webhook_not_removed", job_id=webhook.job_id, reason=error.reason)
            await asyncio.sleep(FORGET_S)
