"""One bucket over the minio client: blocking calls with own timeouts, typed errors and metrics. See `objects`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar
from urllib.parse import quote, urlsplit

import certifi
import minio
import urllib3
from minio.commonconfig import ENABLED, REPLACE, CopySource, Filter
from minio.datatypes import Part
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, Expiration, LifecycleConfig, Rule
from visema.common.v1 import common_pb2

from visema_kit import keys
from visema_kit.digest import sha256_of
from visema_kit.errors import InternalError, ObjectNotFound, StoreUnavailable, VisemaError
from visema_kit.http_pool import PatientPool
from visema_kit.logs import get_logger
from visema_kit.tracing import exemplar, step

if TYPE_CHECKING:
    from pathlib import Path

    from visema_kit.metrics import Metrics
    from visema_kit.settings import ServiceSettings

P = ParamSpec("P")
T = TypeVar("T")

SHA256_KEY: Final = "x-amz-meta-sha256"
CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 30.0  # between two pieces of an answer, not for the whole of it
CONNECTIONS: Final = 16
RETRY_AFTER_S: Final = 1.0
CHUNK_BYTES: Final = 256 * 1024  # small against gRPC's 4 MiB
OCTET_STREAM: Final = "application/octet-stream"
TEMPORARY_DAYS: Final = 1

# POST is not repeated, which is urllib3's default: the client uses it to complete uploads and to delete in bulk.
RETRIES: Final = urllib3.Retry(
    total=3, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504), raise_on_status=False
)

_MISSING: Final = frozenset({"NoSuchKey", "NoSuchVersion", "ResourceNotFound"})
_REFUSED: Final = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "AuthorizationHeaderMalformed"}
)
_SERVER_FAULT: Final = 500

log = get_logger(__name__)


@dataclass(frozen=True)
class StoreConfig:
    """How to reach the object store. `public_endpoint` is its address as clients see it, for presigned URLs."""

    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    bucket: str
    region: str = "us-east-1"
    public_endpoint: str = ""
    ca_file: Path | None = None

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> Self:
        """What the environment says."""
        return cls(
            endpoint=settings.s3_endpoint,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            bucket=settings.s3_bucket,
            region=settings.s3_region,
            public_endpoint=settings.s3_public_endpoint,
            ca_file=settings.s3_ca,
        )


def _operation(
    name: str,
) -> Callable[[Callable[Concatenate[S3Bucket, P], T]], Callable[Concatenate[S3Bucket, P], T]]:
    """Time a method as `name` and turn what the client raises into our errors."""

    def decorate(method: Callable[Concatenate[S3Bucket, P], T]) -> Callable[Concatenate[S3Bucket, P], T]:
        @functools.wraps(method)
        def timed(self: S3Bucket, /, *args: P.args, **kwargs: P.kwargs) -> T:
            start = time.perf_counter()
            try:
                with step(f"object store {name}"):
                    return method(self, *args, **kwargs)
            except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
                typed = _typed(error)
                self.count_error(name, typed)
                raise typed from error
            finally:
                self.observe(name, time.perf_counter() - start)

        return timed

    return decorate


def _typed(error: Exception) -> VisemaError:
    """Our error for one of the client's."""
    match error:
        case S3Error() if error.code in _MISSING:
            return ObjectNotFound("the object does not exist", metadata={"key": str(error.object_name or "")})
        case S3Error() if error.code in _REFUSED:
            return StoreUnavailable(f"the object store refused the service: {error.code}", retry_after_s=RETRY_AFTER_S)
        case S3Error() | ServerError() | InvalidResponseError():
            status = getattr(getattr(error, "response", None), "status", None) or getattr(error, "status_code", None)
            if isinstance(error, S3Error) and status is not None and status < _SERVER_FAULT:
                return InternalError(f"the object store did not accept a request: {error.code}")
            return StoreUnavailable("the object store has a fault", retry_after_s=RETRY_AFTER_S)
        case _:
            return StoreUnavailable("the object store does not answer", retry_after_s=RETRY_AFTER_S)


class S3Bucket:
    """Blocking operations on one bucket. Thread-safe.

    Raises, all methods: StoreUnavailable: no answer, a fault, or credentials or bucket refused.
    """

    def __init__(self, config: StoreConfig, metrics: Metrics | None = None) -> None:
        self.name = config.bucket
        self._metrics = metrics
        self._http = PatientPool(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            maxsize=CONNECTIONS,
            retries=RETRIES,
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(config.ca_file or certifi.where()),
        )
        self._endpoint = config.endpoint
        self._client = _client(config, config.endpoint, self._http)
        # Signs for the address that clients see; with the region given it never connects.
        self._public_client = _client(config, config.public_endpoint or config.endpoint, self._http)

    def close(self) -> None:
        """Close the connections."""
        self._http.clear()

    def observe(self, operation: str, duration_s: float) -> None:
        """Count an operation."""
        if self._metrics is not None:
            self._metrics.object_store.labels(operation).observe(duration_s, exemplar())

    def count_error(self, operation: str, error: VisemaError) -> None:
        """Count an operation that failed; a missing object is an answer, not a failure."""
        if self._metrics is not None and not isinstance(error, ObjectNotFound):
            self._metrics.object_store_errors.labels(operation, error.reason).inc()

    def ref(self, key: str, sha256: str, size_bytes: int, media_type: str) -> common_pb2.ObjectRef:
        """A reference into this bucket."""
        return common_pb2.ObjectRef(
            bucket=self.name, key=key, sha256=sha256, size_bytes=size_bytes, media_type=media_type
        )

    @_operation("put")
    def put(self, key: str, content: bytes, media_type: str) -> common_pb2.ObjectRef:
        """Store `content` with its hash."""
        ref = self.ref(key, sha256_of(content), len(content), media_type)
        self._client.put_object(self.name, key, BytesIO(content), len(content), media_type, {SHA256_KEY: ref.sha256})
        return ref

    @_operation("get")
    def get(self, key: str, size_bytes: int) -> bytes:
        """Up to `size_bytes + 1` bytes: one more than expected shows a wrong size without reading everything."""
        with contextlib.closing(self._client.get_object(self.name, key)) as response:
            content: bytes = response.read(size_bytes + 1)
            return content

    @_operation("get")
    def open(self, key: str, offset: int, length: int) -> urllib3.BaseHTTPResponse:
        """An answer to read with `read_piece` and to close."""
        return self._client.get_object(self.name, key, offset, length)

    @_operation("get")
    def read_piece(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """The next bytes of an answer; empty at its end."""
        return response.read(CHUNK_BYTES)

    @_operation("get")
    def hash(self, key: str) -> tuple[str, int, bytes]:
        """SHA-256 and size of the content, read in pieces, and its first piece."""
        hasher, size_bytes, first = hashlib.sha256(), 0, b""
        with contextlib.closing(self._client.get_object(self.name, key)) as response:
            while piece := response.read(CHUNK_BYTES):
                hasher.update(piece)
                size_bytes += len(piece)
                first = first or piece
        return hasher.hexdigest(), size_bytes, first

    @_operation("stat")
    def stat(self, key: str) -> common_pb2.ObjectRef:
        """A reference from the object's headers; `sha256` is empty when we did not write it. Raises: ObjectNotFound."""
        stat = self._client.stat_object(self.name, key)
        sha256 = stat.metadata.get(SHA256_KEY, "") if stat.metadata else ""
        return self.ref(key, sha256, int(stat.size or 0), stat.content_type or OCTET_STREAM)

    @_operation("copy")
    def copy(self, source_key: str, target: common_pb2.ObjectRef) -> None:
        """Copy inside the store; the copy gets the media type and hash of `target`. Raises: ObjectNotFound."""
        headers = {SHA256_KEY: target.sha256, "Content-Type": target.media_type}
        self._client.copy_object(
            self.name,
            target.key,
            CopySource(self.name, source_key),
            metadata=headers,  # type: ignore[arg-type]  # declared with an invariant value type
            metadata_directive=REPLACE,
        )

    @_operation("delete")
    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist counts as deleted."""
        self._client.remove_object(self.name, key)

    @_operation("delete_prefix")
    def delete_prefix(self, prefix: str) -> int:
        """Delete everything below a prefix. Returns: how many objects there were."""
        found = [
            DeleteObject(entry.object_name)
            for entry in self._client.list_objects(self.name, prefix, recursive=True)
            if entry.object_name
        ]
        for failed in self._client.remove_objects(self.name, found):
            raise InternalError(f"an object could not be deleted: {failed.code}", metadata={"key": failed.name or ""})
        return len(found)

    @_operation("list")
    def folders(self, kind: str) -> set[tuple[str, str]]:
        """Tenants and names of what has objects at `<kind>/<tenant>/<name>/…`."""
        found = (entry.object_name or "" for entry in self._client.list_objects(self.name, f"{kind}/", recursive=True))
        parts = (key.split("/", 3) for key in found)
        return {(part[1], part[2]) for part in parts if len(part) > 3}  # noqa: PLR2004  # kind, tenant, name, rest

    def presign_put(self, key: str, expires_s: int) -> str:
        """An address for HTTP PUT. Only computes."""
        return self._public_client.presigned_put_object(self.name, key, timedelta(seconds=expires_s))

    def presign_get(self, key: str, expires_s: int, media_type: str, filename: str) -> str:
        """An address for HTTP GET that names the file. Only computes."""
        headers: dict[str, Any] = {"response-content-type": media_type or OCTET_STREAM}
        if filename:
            plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
            disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
            headers["response-content-disposition"] = disposition
        return self._public_client.presigned_get_object(self.name, key, timedelta(seconds=expires_s), headers)

    # Multipart uploads: minio has them as private methods and inside put_object only, which reads from a blocking file.

    @_operation("put_stream")
    def begin_parts(self, key: str, media_type: str) -> str:
        """Returns: upload id."""
        return self._client._create_multipart_upload(self.name, key, {"Content-Type": media_type})  # noqa: SLF001

    @_operation("put_stream")
    def add_part(self, key: str, upload_id: str, number: int, content: bytes) -> Part:
        """Args: number: from 1."""
        etag = self._client._upload_part(self.name, key, content, None, upload_id, number)  # noqa: SLF001
        return Part(number, etag)

    @_operation("put_stream")
    def complete_parts(self, key: str, upload_id: str, parts: list[Part]) -> None:
        """The parts become one object."""
        self._client._complete_multipart_upload(self.name, key, upload_id, parts)  # noqa: SLF001

    @_operation("put_stream")
    def abort_parts(self, key: str, upload_id: str) -> None:
        """The parts are dropped."""
        self._client._abort_multipart_upload(self.name, key, upload_id)  # noqa: SLF001

    def answers(self) -> bool:
        """Whether something that speaks HTTP listens there; one attempt, without retries."""
        try:
            self._http.request("GET", self._endpoint, retries=False, timeout=CONNECT_TIMEOUT_S)
        except urllib3.exceptions.HTTPError:
            return False
        return True

    @_operation("check")
    def check(self) -> None:
        """Raises: StoreUnavailable: also when there is no such bucket."""
        if not self._client.bucket_exists(self.name):
            raise StoreUnavailable(f"the object store has no bucket {self.name}", retry_after_s=RETRY_AFTER_S)

    @_operation("ensure_bucket")
    def ensure(self) -> None:
        """Make the bucket if it is missing, with the rule that deletes forgotten temporary objects."""
        if not self._client.bucket_exists(self.name):
            try:
                self._client.make_bucket(self.name)
            except S3Error as error:
                if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:  # another service was faster
                    raise
        self._ensure_lifecycle()

    @_operation("lifecycle")
    def expiry_days(self) -> dict[str, int]:
        """After how many days objects below a prefix expire, by the bucket's rules; empty where a store has none."""
        present = self._client.get_bucket_lifecycle(self.name)
        return {
            (rule.rule_filter.prefix or "") if rule.rule_filter else "": rule.expiration.days
            for rule in (present.rules if present is not None else ())
            if rule.expiration is not None and rule.expiration.days is not None
        }

    def _ensure_lifecycle(self) -> None:
        """Add our rules to those that exist. A store without lifecycles is fine: the rules are a backstop."""
        try:
            present = self._client.get_bucket_lifecycle(self.name)
            rules = list(present.rules) if present is not None else []
            missing = [rule for rule in _temporary_rules() if rule.rule_id not in {known.rule_id for known in rules}]
            if missing:
                self._client.set_bucket_lifecycle(self.name, LifecycleConfig([*rules, *missing]))
        except (MinioException, ValueError) as error:
            log.warning("bucket_lifecycle_unavailable", bucket=self.name, error=str(error))


def _temporary_rules() -> list[Rule]:
    return [
        Rule(
            ENABLED,
            rule_filter=Filter(prefix=f"{kind}/"),
            rule_id=f"visema-{kind}",
            expiration=Expiration(days=TEMPORARY_DAYS),
            abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(days_after_initiation=TEMPORARY_DAYS),
        )
        for kind in keys.TEMPORARY_KINDS
    ]


def _client(config: StoreConfig, endpoint: str, http: urllib3.PoolManager) -> minio.Minio:
    url = urlsplit(endpoint)
    return minio.Minio(
        url.netloc,
        access_key=config.access_key,
        secret_key=config.secret_key,
        secure=url.scheme == "https",
        region=config.region,  # without it every first call asks for the bucket's location
        http_client=http,
    )
