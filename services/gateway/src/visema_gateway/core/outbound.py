"""HTTP to addresses that clients chose, without reaching what only this machine can reach."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx
from visema_kit.errors import InvalidInput, Unavailable

TIMEOUT_S: Final = 10.0
LONGEST_URL: Final = 2048
PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Target:
    """A URL and the one address that it is called at: a name that resolves to another one later changes nothing."""

    url: SplitResult
    port: int
    address: str

    @property
    def pinned_url(self) -> str:
        """The URL with the address in place of the host."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return self.url._replace(netloc=f"{host}:{self.port}", fragment="").geturl()

    @property
    def host_header(self) -> str:
        """The host as the client wrote it."""
        return self.url.netloc


class Outbound:
    """Sends POST requests to public addresses only.

    Args: private_hosts: hosts that may have private addresses and plain HTTP, because the operator says so.
    """

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    async def target(self, url: str) -> Target:
        """Resolve and check. Raises: InvalidInput: not allowed. Unavailable: the name cannot be resolved."""
        parts, port = check_url(url, self._private_hosts)
        host = parts.hostname or ""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"{host} cannot be resolved") from error
        addresses = [str(entry[4][0]) for entry in found]
        if host not in self._private_hosts and not all(is_public(address) for address in addresses):
            raise InvalidInput(f"{host} has an address that is not public", field="webhook_url")
        return Target(parts, port, addresses[0])

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """POST. Returns: the status; the answer's body is not read. Raises: InvalidInput, Unavailable."""
        target = await self.target(url)
        request = self._http.build_request(
            "POST",
            target.pinned_url,
            content=body,
            headers={**headers, "Host": target.host_header},
            extensions={"sni_hostname": target.url.hostname},
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await self._http.send(request, stream=True)
                await response.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"{target.host_header} does not answer") from error
        return response.status_code

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()


def check_url(url: str, private_hosts: frozenset[str]) -> tuple[SplitResult, int]:
    """A URL and its port, as far as they can be judged without asking the DNS. Raises: InvalidInput."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        raise InvalidInput("this is no URL", field="webhook_url") from None
    host = parts.hostname or ""
    if len(url) > LONGEST_URL or not host or not port or parts.username is not None or not url.isascii():
        raise InvalidInput("a webhook needs a URL like https://host/path, without credentials", field="webhook_url")
    if parts.scheme != "https" and host not in private_hosts:
        raise InvalidInput("a webhook needs https", field="webhook_url")
    return parts, port


def is_public(address: str) -> bool:
    """Whether an address belongs to the public Internet; IPv4 inside IPv6 counts as the IPv4 address."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast
