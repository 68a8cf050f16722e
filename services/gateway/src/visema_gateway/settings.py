"""Settings of the gateway."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationInfo, field_validator
from visema_kit.channel import TlsFiles
from visema_kit.settings import HttpEndpoint, ListenAddress, ProcessSettings, needed, paired

MEBIBYTE = 1 << 20


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _checked_networks(text: str) -> str:
    for network in _listed(text):
        try:
            ip_network(network)
        except ValueError:
            raise ValueError("must hold addresses or networks such as 10.0.0.0/8, with commas") from None
    return text


Networks = Annotated[str, AfterValidator(_checked_networks)]


class GatewaySettings(ProcessSettings):
    """What the gateway reads from its environment. It needs no object store: media go through the orchestrator.

    services/gateway/README.md holds the table; a test compares it with this class.
    """

    listen: ListenAddress = Field(
        default="127.0.0.1:8080", min_length=4, description="Address of the HTTP server; port 0 takes a free port."
    )
    orchestrator_address: str = Field(min_length=1, description="`host:port` of the orchestrator.")
    database_url: str = Field(
        default="sqlite:///gateway.db",
        pattern=r"^(sqlite:///.+|postgresql(\+psycopg)?://.+)$",
        repr=False,
        description="Integer ids and pending webhooks: `sqlite:///file`, or `postgresql://…` for several gateways.",
    )
    tokens_file: FilePath | None = Field(
        default=None, description="The orchestrator's tokens file; without it tokens are passed on unchecked."
    )
    public_url: HttpEndpoint = Field(
        default="", description="How clients reach the gateway, for absolute URLs; empty: the request's own host."
    )
    trusted_proxies: Networks = Field(
        default="127.0.0.1,::1",
        description="Addresses or networks of the proxies whose `X-Forwarded-For` and `-Proto` count, with commas.",
    )
    cors_origins: str = Field(
        default="", description="Origins that may call from a browser, separated by commas; `*` for all."
    )
    tls_cert: FilePath | None = Field(
        default=None, description="PEM file with the certificate chain: switches HTTPS on."
    )
    tls_ca: FilePath | None = Field(
        default=None, description="PEM file with the CA of the orchestrator's certificate: switches TLS to it on."
    )
    client_cert: FilePath | None = Field(
        default=None, description="PEM file with the certificate that an orchestrator with mTLS asks for."
    )
    client_key: FilePath | None = Field(
        default=None, validate_default=True, description="PEM file with the private key of `CLIENT_CERT`."
    )
    grace_s: float = Field(default=5.0, ge=0, le=3600, description="Seconds that running requests get after SIGTERM.")
    port_file: Path | None = Field(
        default=None, description="File that gets the real addresses as JSON once the gateway serves."
    )
    image_max_bytes: int = Field(default=5 * MEBIBYTE, ge=1, description="Largest picture file.")
    audio_max_bytes: int = Field(default=25 * MEBIBYTE, ge=1, description="Largest audio file.")
    audio_max_s: float = Field(default=60.0, gt=0, description="Longest audio, for `/config` and the page.")
    upload_slots: int = Field(default=16, ge=1, le=1024, description="Uploads that are received at once; beyond: 429.")
    upload_timeout_s: float = Field(default=120.0, gt=0, description="Longest time that a body may take to arrive.")
    idle_timeout_s: float = Field(
        default=15.0, gt=0, description="Longest pause in a body, and longest time for a request's headers."
    )
    send_timeout_s: float = Field(
        default=60.0, gt=0, description="Longest time that a client may leave what was sent to it unread."
    )
    stream_limit: int = Field(default=2000, ge=1, description="Event streams at once; beyond: 429.")
    read_rate_per_s: float = Field(default=500.0, gt=0, description="Requests a second that a caller may make.")
    write_rate_per_s: float = Field(default=5.0, gt=0, description="Requests a second that make or delete something.")
    rate_burst_s: float = Field(default=10.0, ge=1, description="Seconds of both rates that may come at once.")
    webhook_secret: SecretStr | None = Field(
        default=None, min_length=16, description="Key of the webhooks' signatures; without it there are no webhooks."
    )
    webhook_private_hosts: str = Field(
        default="",
        description="Hosts that webhooks may reach although their address is private or plain HTTP, with commas.",
    )

    @field_validator("client_cert")
    @classmethod
    def _needs_ca(cls, path: Path | None, fields: ValidationInfo) -> Path | None:
        return needed(path, fields, "tls_ca")

    @field_validator("client_key")
    @classmethod
    def _belongs_to_client_cert(cls, path: Path | None, fields: ValidationInfo) -> Path | None:
        return paired(path, fields, "client_cert")

    @property
    def client_tls(self) -> TlsFiles | None:
        """What the orchestrator is called with; None for plain text.

        The certificate for browsers is no part of it: it often comes from a public authority, which no service knows.
        """
        return TlsFiles(self.tls_ca, self.client_cert, self.client_key) if self.tls_ca is not None else None

    @property
    def origins(self) -> list[str]:
        """`cors_origins` as a list."""
        return _listed(self.cors_origins)

    @property
    def private_hosts(self) -> frozenset[str]:
        """`webhook_private_hosts` as a set."""
        return frozenset(_listed(self.webhook_private_hosts))
