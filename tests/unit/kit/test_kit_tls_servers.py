"""What a client refuses: servers whose certificate is out of date, or of another host."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import grpc
import pytest
import trustme
from support.servicers import Script, inspect_request, settings, spec_of
from visema.portrait.v1 import portrait_pb2_grpc
from visema_kit.channel import TlsFiles, open_channel
from visema_kit.server import serve

DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("host", "lifetime", "is_trusted"),
    [("127.0.0.1", DAY, True), ("127.0.0.1", -DAY, False), ("store.example", DAY, False)],
)
async def test_a_server_is_trusted_only_with_a_certificate_of_its_own_that_has_not_expired(
    tmp_path: Path, host: str, lifetime: dt.timedelta, is_trusted: bool
) -> None:
    authority = trustme.CA()
    made = authority.issue_cert(host, not_after=dt.datetime.now(dt.UTC) + lifetime)
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "server.pem", "server.key"))
    authority.cert_pem.write_to_path(ca)
    made.cert_chain_pems[0].write_to_path(cert)
    made.private_key_pem.write_to_path(key)
    script = Script()
    async with (
        serve(spec_of(script, settings=settings(tls_cert=cert, tls_key=key))) as running,
        open_channel(running.address, TlsFiles(ca=ca)) as channel,
    ):
        call = portrait_pb2_grpc.PortraitAnimationServiceStub(channel).Inspect(inspect_request(), timeout=60)
        if is_trusted:
            assert (await call).width_px == 1
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert bool(script.seen) is is_trusted
