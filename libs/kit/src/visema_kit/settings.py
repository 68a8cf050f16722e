"""Environment variables `VISEMA_…` to one frozen class, once, with every mistake reported at once."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX: Final = "VISEMA_"
EXIT_BAD_SETTINGS: Final = 2

_PORT_MAX: Final = 65535


def split_host_port(address: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` as a pair. Raises: ValueError: it has another form."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > _PORT_MAX:
        raise ValueError("must look like 127.0.0.1:50051 (port 0 takes a free one)")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _checked_listen(address: str) -> str:
    if address == "off":  # an empty variable counts as not given, so it could not switch a listener off
        return ""
    if address:
        split_host_port(address)
    return address


def _checked_endpoint(endpoint: str) -> str:
    if not endpoint:
        return endpoint
    url = urlsplit(endpoint)
    if url.scheme not in {"http", "https"} or not url.netloc or url.path.rstrip("/") or url.query or url.username:
        raise ValueError("must look like http://host:port, without a path or credentials")
    return endpoint.rstrip("/")


ListenAddress = Annotated[str, AfterValidator(_checked_listen)]
HttpEndpoint = Annotated[str, AfterValidator(_checked_endpoint)]


# Files that belong together are checked field by field and not on the whole model, so that these mistakes are reported
# along with all others. What is wrong itself is absent from `fields.data`, and reported as such.
def needed(path: Path | None, fields: ValidationInfo, other: str) -> Path | None:
    """For a validator: the path. Raises: ValueError: it is given without the field `other`."""
    if path is not None and fields.data.get(other, path) is None:
        raise ValueError(f"needs {PREFIX}{other.upper()}")
    return path


def paired(path: Path | None, fields: ValidationInfo, other: str) -> Path | None:
    """For a validator of a field with `validate_default`: the path. Raises: ValueError: given without `other`, or not
    given although `other` is.
    """
    if path is None and fields.data.get(other) is not None:
        raise ValueError(f"is not set, but {PREFIX}{other.upper()} is")
    return needed(path, fields, other)


class ProcessSettings(BaseSettings):
    """What every process reads from its environment, whatever it serves. A subclass adds fields, or says more of these.

    An empty variable counts as not set.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    listen: ListenAddress = Field(
        default="127.0.0.1:0", min_length=4, description="Address of the gRPC server; port 0 takes a free port."
    )
    metrics_listen: ListenAddress = Field(
        default="127.0.0.1:0", description="Address of the Prometheus endpoint `/metrics`; `off` for none."
    )
    tls_cert: FilePath | None = Field(
        default=None, description="PEM file with the server's certificate chain; also shown to other services."
    )
    tls_key: FilePath | None = Field(
        default=None, validate_default=True, description="PEM file with the private key of `TLS_CERT`."
    )
    tls_ca: FilePath | None = Field(
        default=None, description="PEM file with the CA that signed the other services' certificates."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe log lines that are written."
    )
    grace_s: float = Field(
        default=30.0, ge=0, le=3600, description="Seconds that running calls get to finish after SIGTERM."
    )
    port_file: Path | None = Field(
        default=None, description="File that gets the real addresses as JSON once the service is SERVING."
    )
    otlp_endpoint: HttpEndpoint = Field(
        default="", description="URL of an OpenTelemetry collector (OTLP over gRPC); empty: no tracing."
    )

    @field_validator("tls_key")
    @classmethod
    def _belongs_to_certificate(cls, path: Path | None, fields: ValidationInfo) -> Path | None:
        return paired(path, fields, "tls_cert")


class ServiceSettings(ProcessSettings):
    """What every gRPC service reads from its environment. A service adds fields in a subclass.

    docs/settings.md holds the table; a test compares it with this class.
    """

    health_listen: ListenAddress = Field(
        default="", description="Address of an additional plaintext gRPC health server, for probes under mTLS."
    )
    s3_endpoint: HttpEndpoint = Field(
        min_length=1, description="URL of the object store, e.g. `http://127.0.0.1:8333`."
    )
    s3_access_key: SecretStr = Field(description="Access key of the object store.")
    s3_secret_key: SecretStr = Field(description="Secret key of the object store.")
    s3_bucket: str = Field(
        default="visema", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="The one bucket for everything."
    )
    s3_region: str = Field(default="us-east-1", min_length=1, description="Region that requests are signed for.")
    s3_public_endpoint: HttpEndpoint = Field(
        default="", description="URL of the object store as clients see it, for presigned URLs; empty: `S3_ENDPOINT`."
    )
    s3_ca: FilePath | None = Field(default=None, description="PEM file with the CA of the object store's certificate.")
    tls_client_ca: FilePath | None = Field(
        default=None, description="PEM file with the CA that clients' certificates must come from: switches mTLS on."
    )
    engine: Literal["auto", "neural", "embedded"] = Field(
        default="auto", description="Kind of engine; `auto` takes neural when every checkpoint is there and right."
    )
    max_streams: int = Field(
        default=4, ge=1, le=1024, description="Streams that a stage serves at the same time; beyond: DEVICE_BUSY."
    )
    max_connection_age_s: int = Field(
        default=1800,
        ge=10,
        description="Age in seconds at which clients are asked to reconnect, so that they see new pods.",
    )
    max_connection_age_grace_s: int = Field(
        default=3600,
        ge=10,
        description="Seconds that calls on an aged connection may still take; longer than any stream.",
    )

    @field_validator("tls_client_ca")
    @classmethod
    def _needs_certificate(cls, path: Path | None, fields: ValidationInfo) -> Path | None:
        return needed(path, fields, "tls_cert")


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(settings_class: type[SettingsT]) -> SettingsT:
    """Read the environment. Every missing or wrong variable is named on stderr; then the process exits with 2."""
    try:
        return settings_class()
    except ValidationError as error:
        for line in _problems(error):
            sys.stderr.write(line + "\n")
        raise SystemExit(EXIT_BAD_SETTINGS) from None


def _problems(error: ValidationError) -> Iterable[str]:
    """One line a problem; never the value, which may be a secret."""
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            text = "is not set"
        name = "".join(str(part) for part in problem["loc"][:1]).upper()
        yield f"{PREFIX}{name}: {text}" if name else text
