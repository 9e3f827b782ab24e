"""HTTP for agents that read and write the web, without letting them into the network that they run in.

Settings of the pool: `allow` (globs of host names, default all), `allow_private` (default false; loopback and private
addresses too, for tests and for hosts of your own), `max_bytes` (default 2,000,000), `user_agent`, `per_host` (fetches from
one host at once in one environment, default any number), `breaker` (when a host that fails is left alone).
"""

from agentfleet.agent import Agent, PermanentError, RemoteCall, RetryableError, TaskContext
from agentfleet.domain.bounds import EgressRefused
from agentfleet.domain.catalog import RemoteAgent
from agentfleet.domain.errors import CircuitOpen

import fnmatch
import gzip
import http.client
import ipaddress
import json
import mimetypes
import re
import socket
import ssl
import threading
import time
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any, Final, Literal
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

agent = Agent("web")

MAX_BYTES: Final = 2_000_000
MAX_TEXT: Final = 32_768
MAX_REDIRECTS: Final = 5
CONNECT_SECONDS: Final = 10.0
"""The longest that one address is waited for: who doesn't answer by then is not there."""
MAX_DELAY: Final = 900.0
"""Seconds; the longest that a server's Retry-After is believed."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 425, 429})
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade"})
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_TABLES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet"})
_TEXTUAL = re.compile(r"text/.*|.*[/+](json|xml|javascript|x-ndjson|yaml|csv)")
_METADATA = ipaddress.ip_address("fd00:ec2::254")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Unreachable(RetryableError):
    """No connection came about: nothing was asked for, so nothing can have been done."""


class FetchInput(BaseModel):
    """What to read. `timeout` covers everything from the first connection to the last byte, redirects included."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=4_000)
    method: Literal["GET", "HEAD"] = "GET"
    headers: dict[str, str] = Field(default_factory=dict, max_length=32)
    timeout: float = Field(default=20, gt=0, le=50)
    max_bytes: int | None = Field(default=None, gt=0)
    """Less than the pool's limit, if less will do."""


class SendInput(BaseModel):
    """What to send: `json` (any JSON value) or `body` (text), or neither."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    url: str = Field(min_length=1, max_length=4_000)
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict, max_length=32)
    value: Any = Field(default=None, alias="json")
    body: str | None = Field(default=None, max_length=1_000_000)
    timeout: float = Field(default=20, gt=0, le=50)


class FetchOutput(BaseModel):
    """The answer: all of its body in the blob `uri`, and what it says in `text`."""

    url: str
    """Where it came from in the end."""
    status: int
    content_type: str
    bytes: int
    uri: str | None
    """null when there is no body."""
    title: str | None
    """Of an HTML page."""
    summary: str | None
    """An HTML page's own description, else the first 400 characters of the text."""
    text: str | None
    """At most 32 KB: an HTML page as a reader sees it, other text as it is; null for what is not text."""
    truncated: bool
    """Is `text` only the beginning?"""
    words: int
    redirects: list[str]


class _Request(Struct, frozen=True):
    method: str
    headers: dict[str, str]
    body: bytes | None
    deadline: float
    limit: int
    settings: dict[str, Any]


class _Answer(Struct, frozen=True):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@agent.capability("http.fetch", idempotent=True, timeout=55, cacheable=True)
def fetch(input: FetchInput, context: TaskContext) -> FetchOutput:
    """Get a web page or file from a public address: its body as a blob and up to 32 KB of its text.

    Follows at most 5 redirects and checks each. Raises PermanentError for an address that is not allowed, a body over the
    limit, or a 4xx; RetryableError for 408, 425, 429 and 5xx (after Retry-After, if the server says so), a timeout or a
    lost connection; CircuitOpen for a host that did so too often of late. What the host lets be cached answers later fetches.
    """
    request = _request(input.method, input.headers, None, input.timeout, input.max_bytes, context)
    url, headers = _checked(input.url, context), request.headers
    redirects: list[str] = []
    for _ in range(MAX_REDIRECTS + 1):
        with context.breaker(f"http {url.netloc.lower()}", concurrency=context.settings.get("per_host")):
            answer = _exchange(url, request, headers)
            _check_available(url, answer)
        location = answer.headers.get("Location")
        if answer.status not in _REDIRECTS or not location:
            has_secret = any(name.lower() in _SECRET for name in input.headers)
            context.keep_for(0.0 if redirects or has_secret else _fresh_seconds(answer))
            return _output(url, answer, redirects, context)
        redirects.append(urlunsplit(url))
        target = _checked(urljoin(urlunsplit(url), location), context)
        if (target.scheme, target.netloc) != (url.scheme, url.netloc):
            headers = {name: value for name, value in headers.items() if name.lower() not in _SECRET}
        url = target
    raise PermanentError(f"url: more than {MAX_REDIRECTS} redirects, the last to {urlunsplit(url)}")


@agent.capability("http.send", timeout=55)
def send(input: SendInput, context: TaskContext) -> FetchOutput:
    """Send a POST, PUT, PATCH or DELETE once, with the task's Idempotency-Key; redirects are not followed."""
    if input.value is not None and input.body is not None:
        raise PermanentError("input: give json or body, not both")
    headers = {"Idempotency-Key": context.idempotency_key} | input.headers
    body = None if input.body is None else input.body.encode()
    if input.value is not None:
        body, headers = json.dumps(input.value).encode(), {"Content-Type": "application/json"} | headers
    request = _request(input.method, headers, body, input.timeout, None, context)
    url = _checked(input.url, context)
    answer = _exchange(url, request, request.headers)
    if answer.status in _REDIRECTS:
        raise PermanentError(f"url: {urlunsplit(url)} moved to {answer.headers.get('Location')}; send there")
    return _output(url, answer, [], context)


@agent.remote
def call_agent(call: RemoteCall, context: TaskContext) -> Any:
    """Post a task to one of the remote agents that offer its capability, and give the `output` of its answer.

    In the call's order: one that its breaker leaves alone, or that takes no connection, is passed over. Raises PermanentError
    for a 4xx, an answer that is not `{"output": …}` or an address that this pool may not reach; RetryableError for what
    may pass.
    """
    refusal: CircuitOpen | Unreachable | None = None
    for remote in call.agents:
        try:
            with context.breaker(f"agent {remote.name}"):
                return _ask(remote, call, context)
        except (CircuitOpen, Unreachable) as error:
            refusal = error
    raise refusal or PermanentError(f"no remote agent offers {call.capability}")


def _ask(remote: RemoteAgent, call: RemoteCall, context: TaskContext) -> Any:
    task = {
        "capability": call.capability,
        "input": call.input,
        "goal": context.goal_id,
        "task": context.task_id,
        "tenant": context.tenant,
        "attempt": context.attempt,
        "idempotency_key": context.idempotency_key,
    }
    headers = {"Content-Type": "application/json", "Idempotency-Key": context.idempotency_key}
    request = _request("POST", headers, json.dumps(task).encode(), context.remaining_seconds(), None, context)
    url = _checked(remote.url, context, bounded=False)
    answer = _exchange(url, request, request.headers)
    _check_available(url, answer)
    if answer.status != 200:
        raise PermanentError(f"remote agent {remote.name} answered {answer.status} to {call.capability}, not 200")
    try:
        return json.loads(answer.body)["output"]
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(f'remote agent {remote.name}: its answer is not {{"output": …}} as JSON: {error!r}') from error


def _request(
    method: str, headers: dict[str, str], body: bytes | None, timeout: float, max_bytes: int | None, context: TaskContext
) -> _Request:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]", value):
            raise PermanentError(f"headers: {name!r} is no header name, or its value has characters that no header may have")
        if name.lower() in _OURS:
            raise PermanentError(f"headers: {name} is set by the platform")
    limit = int(context.settings.get("max_bytes", MAX_BYTES))
    ours = {"User-Agent": str(context.settings.get("user_agent", "agent-fleet/1")), "Accept": "*/*"}
    given = {name.lower() for name in headers}
    return _Request(
        method=method,
        headers={name: value for name, value in ours.items() if name.lower() not in given} | headers,
        body=body,
        deadline=time.monotonic() + max(min(timeout, context.remaining_seconds() - 2), 0.1),
        limit=min(limit, max_bytes or limit),
        settings=context.settings,
    )


def _checked(url: str, context: TaskContext, *, bounded: bool = True) -> SplitResult:
    """The parts of a URL that may be asked for. Raises PermanentError.

    What an agent set going is `bounded` by that agent's hosts as well, wherever it is redirected to.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except (ValueError, UnicodeError) as error:
        raise PermanentError(f"url: {url!r} is not a URL: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise PermanentError(f"url: only http and https are allowed, not {parts.scheme or 'a URL without a scheme'!r}")
    if not host or parts.username is not None or parts.password is not None:
        raise PermanentError("url: must name a host and no user or password; give credentials as a header")
    allow = [str(glob).lower() for glob in context.settings.get("allow", ["*"])]
    if not any(fnmatch.fnmatchcase(host, glob) for glob in allow):
        raise PermanentError(f"url: the host {host} is not among those that this pool may reach: {', '.join(allow) or 'none'}")
    if bounded and context.bounds and not context.bounds.reaches(host):
        raise EgressRefused(f"url: the agent that set this going may not reach {host}")
    netloc = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    return SplitResult(parts.scheme, netloc if port is None else f"{netloc}:{port}", path, query, "")


def _addresses(host: str, port: int, private: bool) -> list[str]:
    """The host's addresses, all of them fit to connect to. Raises PermanentError if any is not."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            raise PermanentError(f"url: there is no host {host}") from error
        raise Unreachable(f"url: the name {host} can't be looked up now: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if not _reachable(ipaddress.ip_address(address.partition("%")[0]), private):
            raise PermanentError(f"url: {host} is at {address}, which is not a public address")
    return addresses


def _reachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address, private: bool) -> bool:
    """May an agent connect to it? A mapped or translated IPv4 address is judged as what it leads to; tunnels are refused.

    Python versions differ in whether 6to4 (2002::/16) counts as global, and nothing public is served there any more (RFC 7526).
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour or address.teredo:
            return False
        inside = address.ipv4_mapped
        if address in ipaddress.ip_network("64:ff9b::/96"):
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return _reachable(inside, private)
    if address.is_link_local or address.is_multicast or address.is_unspecified or address == _METADATA:
        return False
    return private or address.is_global


def _exchange(url: SplitResult, request: _Request, headers: dict[str, str]) -> _Answer:
    """One request to one of the addresses that were checked, so that no second lookup can lead elsewhere."""
    host, secure = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if secure else 80)
    addresses = _addresses(host, port, bool(request.settings.get("allow_private", False)))
    where, expired = urlunsplit(url), threading.Event()
    try:
        raw = _connect(addresses, port, request)
    except OSError as error:
        raise Unreachable(f"url: {host} can't be reached: {error}") from error

    def expire() -> None:
        expired.set()
        # Of the plain socket, also under TLS: it only has to wake the thread that reads, if there still is one.
        with suppress(OSError):
            socket.socket.shutdown(stream, socket.SHUT_RDWR)

    stream: socket.socket = raw
    watchdog = threading.Timer(max(request.deadline - time.monotonic(), 0.05), expire)
    watchdog.daemon = True
    with raw:
        watchdog.start()
        try:
            if secure:
                stream = _tls().wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
            with stream:
                if isinstance(stream, ssl.SSLSocket):
                    stream.do_handshake()
                answer = _talk(stream, url, request, headers)
        except ssl.SSLCertVerificationError as error:
            raise PermanentError(f"url: the certificate of {host} is not valid: {error.verify_message}") from error
        except TimeoutError:
            expired.set()  # the socket's own limit is the same moment as the watchdog's: either may be first
        except (OSError, http.client.HTTPException, EOFError, zlib.error) as error:
            if not expired.is_set():
                raise RetryableError(f"url: no whole answer from {where}: {error or type(error).__name__}") from error
        finally:
            watchdog.cancel()
    # Without a length, a cut-off body looks like a whole one: the watchdog has the last word.
    if expired.is_set():
        raise RetryableError(f"url: {where} did not answer in time")
    return answer


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _connect(addresses: list[str], port: int, request: _Request) -> socket.socket:
    def connect(address: str, share: float) -> socket.socket:
        left = max(request.deadline - time.monotonic(), 0.05) * share
        return socket.create_connection((address, port), min(left, CONNECT_SECONDS))

    for address in addresses[:-1]:
        try:
            return connect(address, 0.5)
        except OSError:
            continue
    return connect(addresses[-1], 1.0)


def _talk(stream: socket.socket, url: SplitResult, request: _Request, headers: dict[str, str]) -> _Answer:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port)
    connection.sock = stream
    target = url.path + (f"?{url.query}" if url.query else "")
    connection.request(request.method, target, request.body, {**headers, "Accept-Encoding": "gzip", "Connection": "close"})
    response = connection.getresponse()
    body = b"" if response.status in _REDIRECTS or response.status >= 400 else _body(response, request.limit)
    return _Answer(response.status, response.headers, body)


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The whole body, unpacked. Raises PermanentError as soon as it is over the limit, packed or not."""
    if response.length is not None and response.length > limit:
        raise PermanentError(f"url: the body has {response.length:,} bytes, at most {limit:,} are allowed")
    encoding = (response.headers.get("Content-Encoding") or "identity").lower()
    if encoding not in {"identity", "gzip", "x-gzip"}:
        raise PermanentError(f"url: the body is encoded as {encoding}, which was not asked for")
    source = gzip.GzipFile(fileobj=response) if encoding != "identity" else response
    with source:
        body = b"" if response.length == 0 else source.read(limit + 1)
    if len(body) > limit:
        raise PermanentError(f"url: the body has more than {limit:,} bytes, no more are allowed")
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    return body


def _output(url: SplitResult, answer: _Answer, redirects: list[str], context: TaskContext) -> FetchOutput:
    where, status = urlunsplit(url), answer.status
    _check_available(url, answer)
    if status >= 400:
        raise PermanentError(f"url: {where} answered {status} {http.client.responses.get(status, '')}".rstrip())
    kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else "application/octet-stream"
    uri = title = summary = text = None
    if answer.body:
        suffix = PurePosixPath(url.path).suffix.lower()
        suffix = suffix if suffix in _TABLES else mimetypes.guess_extension(kind) or ".bin"
        uri = context.blobs.put(f"body{suffix}", answer.body, kind)
        if _TEXTUAL.fullmatch(kind):
            text = _decoded(answer.body, answer.headers.get_content_charset("utf-8"))
    if text is not None and kind in {"text/html", "application/xhtml+xml"}:
        page = _Page(text)
        title, summary, text = page.title, page.description, page.text
    kept = None if text is None else text.encode()[:MAX_TEXT].decode(errors="ignore")
    return FetchOutput(
        url=where, status=status, content_type=kind, bytes=len(answer.body), uri=uri, title=title and title[:300],
        summary=(summary or " ".join((kept or "")[:2_000].split()))[:400] or None, text=kept, truncated=kept != text,
        words=len((text or "").split()), redirects=redirects,
    )  # fmt: skip


def _check_available(url: SplitResult, answer: _Answer) -> None:
    """Raises RetryableError for an answer that says no more than that it should be tried again."""
    if answer.status in _TRANSIENT or answer.status >= 500:
        retry_after = _retry_after(answer.headers.get("Retry-After"))
        raise RetryableError(f"url: {urlunsplit(url)} answered {answer.status}", retry_after)


def _fresh_seconds(answer: _Answer) -> float:
    """How long a shared cache may give out a 200 without asking again (RFC 9111, 4.2); only what the server says counts."""
    control = ",".join(answer.headers.get_all("Cache-Control", ()))
    asked = {
        name.strip().lower(): value.strip().strip('"') for name, _, value in (one.partition("=") for one in control.split(","))
    }
    varies = "*" in ",".join(answer.headers.get_all("Vary", ()))
    if answer.status != 200 or varies or "Set-Cookie" in answer.headers or asked.keys() & {"no-store", "no-cache", "private"}:
        return 0.0
    age, lifetime = answer.headers.get("Age", "0").strip(), asked.get("s-maxage", asked.get("max-age", ""))
    return max(0.0, float(lifetime) - float(age)) if lifetime.isdecimal() and age.isdecimal() else 0.0


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date (RFC 9110, 10.2.3); null if it says neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), MAX_DELAY)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), MAX_DELAY)


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset, errors="replace").removeprefix("\ufeff")
    except LookupError:
        return body.decode("utf-8", errors="replace")


class _Page(HTMLParser):
    """What a reader sees of an HTML page."""

    _HIDDEN = frozenset({"script", "style", "noscript", "template", "svg", "head"})
    _INLINE = frozenset({"a", "abbr", "b", "cite", "code", "em", "i", "kbd", "mark", "q", "s", "small", "span", "strong", "sub", "sup", "time", "u", "var"})  # fmt: skip  # noqa: E501

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self._hidden = 0
        self._titled = False
        self._pieces: list[str] = []
        self._title: list[str] = []
        self.description: str | None = None
        self.feed(source)
        self.close()
        self.title = " ".join("".join(self._title).split()) or None
        lines = (" ".join(line.split()) for line in "".join(self._pieces).split("\n"))
        self.text = "\n".join(line for line in lines if line)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "meta" and (found.get("name") or "").lower() == "description" and self.description is None:
            self.description = " ".join((found.get("content") or "").split()) or None
        self._titled = tag == "title" and not self._title
        self._hidden += tag in self._HIDDEN
        if tag == "body":
            self._hidden = 0
        if tag not in self._INLINE:
            self._pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._titled = False
        if tag in self._HIDDEN:
            self._hidden = max(self._hidden - 1, 0)
        if tag not in self._INLINE:
            self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._titled:
            self._title.append(data)
        elif not self._hidden:
            self._pieces.append(data)
