"""Addresses: the service's own, and those in its answers, of which few are ever asked.

A service under audit may name any address as the place of an image: one that only this machine can
reach would make us its messenger. So an address in an answer is fetched if it is the service's own
origin, a host that the user named, or public; a name is resolved once, every address that it has
must be public, and that very address is connected to.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx

from ganaudit.errors import ConfigError, SourceGone

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_MOST_CHARACTERS = 4096
_PORTS = {"http": 80, "https": 443}
_SECRETS = frozenset("key apikey token auth password passwd secret sig signature".split())
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_GLOBAL = ipaddress.ip_network("2000::/3")  # what of IPv6 is given out
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64


@dataclass(frozen=True)
class Base:
    """The address of a service.

    Attributes:
      url: without a fragment or a user.
      host: in lower case.
      port: also where the address does not say it.
    """

    url: httpx.URL
    host: str
    port: int

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host, port."""
        return self.url.scheme, self.host, self.port

    @property
    def loopback(self) -> bool:
        """Whether what is sent stays on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True)
class Way:
    """How an address in an answer is fetched.

    Attributes:
      url: what is connected to.
      named: the address as it was meant.
      headers: name the host that was meant.
      extensions: likewise, for TLS.
      own: it is the service's own origin, which knows the token anyway.
    """

    url: httpx.URL
    named: httpx.URL
    headers: dict[str, str]
    extensions: dict[str, str]
    own: bool


class Forbidden(Exception):
    """An address is not fetched; says why, in one sentence."""


def read_base(target: str) -> Base:
    """The address that the user named.

    Raises:
      ConfigError: it is none, or has a secret in it.
    """
    shown = re.sub(r"//[^/]*@", "//***@", re.split(r"[?#]", target)[0])[:80]
    try:
        url = _url(target)
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigError(f"{shown!r} is no address: {error}") from None
    if url.userinfo:
        raise ConfigError(
            "the address has a user or a password in it, which would stand in the command line "
            "and in reports; say --set token_env=NAME or token_file=PATH"
        )
    if url.fragment:
        raise ConfigError("the address has a part after #, which is never sent; leave it out")
    if url.scheme not in _PORTS or not url.host:
        raise ConfigError(f"an address begins with http:// or https://, got {shown!r}")
    secret = sorted(name for name in url.params if looks_secret(name))
    if secret:
        raise ConfigError(
            f"the address has a parameter {secret[0][:40]!r}, which looks like a secret and would "
            "stand in the command line and in reports; say --set token_env=NAME or "
            "token_file=PATH, with token_header for the name of a header"
        )
    _, host, port = _origin(url)
    return Base(url.copy_with(fragment=None), host, port)


def looks_secret(name: str) -> bool:
    """Whether a parameter or header of that name would carry a secret: its last word says so."""
    return re.split(r"[^a-z]+", name.lower())[-1] in _SECRETS


def own_address(text: str, base: Base) -> httpx.URL:
    """An address that is asked with the token.

    Raises:
      SourceGone: it is not of the service's own origin: an answer named it.
    """
    try:
        url = _url(text)
        if _origin(url) == base.origin and not url.userinfo:
            return url
    except (httpx.InvalidURL, ValueError):
        pass
    raise SourceGone(
        f"the service names {shown_host(text)} to be asked, which is not its own origin; nothing "
        "was sent there"
    )


async def way_to(
    text: str, base: Base, named: Sequence[str] = (), resolve: Resolve | None = None
) -> Way:
    """How an address in an answer is fetched.

    Args:
      text: the address; one without a host is the service's own.
      base: the service.
      named: HOST or HOST:PORT that the user allows.
      resolve: name and port to addresses; None: as the system does.

    Raises:
      Forbidden: it is not fetched.
    """
    try:
        url = base.url.join(_url(text)).copy_with(fragment=None)
        origin = _origin(url)
    except (httpx.InvalidURL, ValueError):
        raise Forbidden("the answer names an address that is none") from None
    scheme, host, port = origin
    if scheme not in _PORTS or not host:
        raise Forbidden(f"the answer names an address of {scheme[:20]!r}, not of http or https")
    if url.userinfo:
        raise Forbidden("the answer names an address with a user in it")
    if origin == base.origin:
        return Way(url, url, {}, {}, own=True)
    shown = f"[{host}]" if ":" in host else host
    if {shown, f"{shown}:{port}"} & {name.lower() for name in named}:
        return Way(url, url, {}, {}, own=False)
    found = await _addresses(host, port, resolve or _resolve)
    if not found or not all(map(is_public, found)):
        raise Forbidden(
            f"the answer names {shown[:80]}, which is no public address and not the service's own; "
            "if it is meant, say --set image_hosts=HOST"
        )
    return Way(
        url.copy_with(host=found[0]),
        url,
        {"host": url.netloc.decode("ascii")},
        {"sni_hostname": host},
        own=False,
    )


async def _addresses(host: str, port: int, resolve: Resolve) -> Sequence[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            return []  # 127.1, 0x7f000001: whatever a resolver makes of it
    try:
        return await resolve(host, port)
    except (OSError, UnicodeError):
        raise Forbidden(f"the answer names {host[:80]}, which has no address") from None


async def _resolve(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet, also the one hidden in an IPv6 one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if found not in _GLOBAL:
            return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def shown_host(text: str) -> str:
    """Scheme, host and port of an address for a message; whatever else it has may be a secret."""
    try:
        scheme, host, port = _origin(_url(text))
    except (httpx.InvalidURL, ValueError):
        return "what is no address"
    return f"{scheme}://{host[:80]}:{port}" if host else "what is no address"


def _url(text: str) -> httpx.URL:
    if len(text) > _MOST_CHARACTERS or not text.isascii() or not text.isprintable():
        raise ValueError("it is too long, or not printable ASCII")
    url = httpx.URL(text)
    if url.port is not None and not 0 < url.port < 2**16:
        raise ValueError(f"there is no port {url.port}")
    return url


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    port = _PORTS.get(url.scheme, 0) if url.port is None else url.port
    return url.scheme, url.host.lower(), port
