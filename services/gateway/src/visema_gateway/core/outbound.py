"""HTTP to addresses that clients chose, without reaching what only this machine can reach."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import httpx
from visema_kit.errors import InvalidInput, Unavailable

TIMEOUT_S: Final = 10.0
LONGEST_URL: Final = 2048
LAST_PORT: Final = 65535
PORTS: Final = {"https": 443, "http": 80}
HOST: Final = re.compile(r"[a-z0-9._:-]{1,253}")
RESOLVERS: Final = 4  # threads of their own: names that nobody answers for hold up nothing else


@dataclass(frozen=True, slots=True)
class Target:
    """A URL and the one address that it is called at: a name that resolves to another one later changes nothing."""

    url: httpx.URL
    address: str

    @property
    def pinned_url(self) -> httpx.URL:
        """The URL with the address in place of the host."""
        return self.url.copy_with(host=self.address, fragment=None)

    @property
    def host_header(self) -> str:
        """The host as the client wrote it."""
        return self.url.netloc.decode("ascii")


class Outbound:
    """Sends POST requests to public addresses only.

    Args:
        private_hosts: Hosts that may have private addresses and plain HTTP, because the operator says so.
        timeout_s: Longest time for a name to be resolved, and for an answer.
    """

    def __init__(self, private_hosts: frozenset[str], timeout_s: float = TIMEOUT_S) -> None:
        self._private_hosts = private_hosts
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False)
        self._resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")

    async def target(self, url: str) -> Target:
        """Resolve and check. Raises: InvalidInput: not allowed. Unavailable: the name cannot be resolved (now)."""
        checked = check_url(url, self._private_hosts)
        addresses = await self._addresses(checked.host)
        if checked.host not in self._private_hosts and not all(is_public(address) for address in addresses):
            raise InvalidInput(f"{checked.host} has an address that is not public", field="webhook_url")
        return Target(checked, addresses[0])

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """POST. Returns: the status; the answer's body is not read. Raises: InvalidInput, Unavailable."""
        target = await self.target(url)
        request = self._http.build_request(
            "POST",
            target.pinned_url,
            content=body,
            headers={**headers, "Host": target.host_header},
            extensions={"sni_hostname": target.url.host},
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.send(request, stream=True)
                await response.aclose()
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unavailable(f"{target.host_header} does not answer") from error
        return response.status_code

    async def _addresses(self, host: str) -> list[str]:
        resolve = asyncio.get_running_loop().run_in_executor(self._resolvers, _resolve, host)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await resolve
        except UnicodeError:
            raise InvalidInput(f"{host} is no name of a host", field="webhook_url") from None
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"{host} cannot be resolved") from error

    async def close(self) -> None:
        """Close connections."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)
        await self._http.aclose()


def check_url(text: str, private_hosts: frozenset[str]) -> httpx.URL:
    """A URL, as far as it can be judged without asking the DNS; what is called is what was checked.

    Raises: InvalidInput.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise InvalidInput("this is no URL", field="webhook_url") from None
    port = url.port or PORTS.get(url.scheme, 0)
    right = HOST.fullmatch(url.host) and 0 < port <= LAST_PORT
    if len(text) > LONGEST_URL or not right or url.userinfo or not text.isascii():
        raise InvalidInput("a webhook needs a URL like https://host/path, without credentials", field="webhook_url")
    if url.scheme != "https" and url.host not in private_hosts:
        raise InvalidInput("a webhook needs https", field="webhook_url")
    return url


def _resolve(host: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


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
