"""HTTP against a real server on the loopback address, and against addresses that must never be reached."""

import gzip
import http.client
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentfleet.agent import PermanentError, RetryableError, TaskContext
from agentfleet.domain.bounds import Bounds, EgressRefused
from functions.web import handler as web
from tests.fakes.blobs import FakeBlobs
from tests.unit.pools.conftest import MakeContext

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PAGE = """<!doctype html><html><head><title> The
 page </title><style>p { color: red }</style><meta name="Description" content="What it is about."></head>
<body><h1>Heading</h1><p>First <b>bold</b> line &amp; more</p><script>hidden()</script><ul><li>one<li>two</ul></body></html>"""


class Site(BaseHTTPRequestHandler):
    """A site that answers as its query says: /?status=…&body=…&type=…&header.X=…, and remembers what it was asked."""

    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []
    stop: ClassVar[threading.Event] = threading.Event()

    def answer(self) -> None:
        """Any method."""
        length = int(self.headers.get("Content-Length") or 0)
        self.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if self.path == "/circle":
            asked = {"status": "302", "header.Location": "/circle"}
        body = asked.get("body", "").encode()
        if "page" in asked:
            body = PAGE.encode()
        if "size" in asked:
            body = b"x" * int(asked["size"])
        if "gzip" in asked:
            body = gzip.compress(body)
            asked["header.Content-Encoding"] = asked["gzip"]
        self.send_response(int(asked.get("status", 200)))
        if asked.get("length") != "none":
            self.send_header("Content-Length", asked.get("length", str(len(body))))
        self.send_header("Content-Type", asked.get("type", "text/plain; charset=utf-8"))
        for name, value in asked.items():
            if name.startswith("header."):
                self.send_header(name.removeprefix("header."), value)
        self.end_headers()
        if "slow" in asked:
            # A drop now and then: every read succeeds in time, the whole never does.
            for _ in range(200):
                if self.stop.wait(0.02):
                    break
                self.wfile.write(b".")
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class QuietServer(ThreadingHTTPServer):
    """A client that hangs up on purpose is no error of the server's."""

    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A running site; its origin."""
    Site.stop.clear()
    server = QuietServer(("127.0.0.1", 0), Site)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        Site.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nobody has asked for anything yet."""
    Site.seen.clear()


@pytest.fixture
def site() -> Iterator[str]:
    """The origin of a running site."""
    with serving() as origin:
        yield origin


@pytest.fixture
def context(make_context: MakeContext) -> TaskContext:
    """A task of a pool that may reach private addresses."""
    return make_context(settings={"allow_private": True})


def fetch(context: TaskContext, url: str, **given: Any) -> web.FetchOutput:
    """The outcome of one http.fetch."""
    return web.fetch(web.FetchInput(url=url, **given), context)


def test_fetch_stores_the_body_and_gives_its_text(site: str, context: TaskContext, blobs: FakeBlobs) -> None:
    """The blob holds the bytes, the output what they say."""
    output = fetch(context, f"{site}/notes?body=three+plain+words")

    assert (output.status, output.content_type, output.bytes, output.words) == (200, "text/plain", 17, 3)
    assert output.text == output.summary == "three plain words"
    assert output.uri is not None
    assert blobs.blobs[output.uri] == (b"three plain words", "text/plain")


def test_fetch_reads_a_page_as_a_person_does(site: str, context: TaskContext) -> None:
    """Title, description and visible text of HTML, without scripts and styles."""
    output = fetch(context, f"{site}/?page=1&type=text/html")

    assert (output.title, output.summary) == ("The page", "What it is about.")
    assert output.text == "Heading\nFirst bold line & more\none\ntwo"


@pytest.mark.parametrize(
    ("path", "kind", "suffix"),
    [
        ("/table.csv", "application/octet-stream", ".csv"),
        ("/api", "application/json", ".json"),
        ("/?x=1", "text/html", ".html"),
        ("/data", "application/x-unheard-of", ".bin"),
    ],
)
def test_fetch_names_the_blob_for_what_it_is(path: str, kind: str, suffix: str, site: str, context: TaskContext) -> None:
    """A later data.load can tell the format from the URI."""
    sign = "&" if "?" in path else "?"

    output = fetch(context, f"{site}{path}{sign}body=1&type={kind}")

    assert str(output.uri).endswith(f"/body{suffix}")


def test_fetch_of_bytes_has_no_text(site: str, context: TaskContext) -> None:
    """What is not text is only stored."""
    output = fetch(context, f"{site}/?body=abc&type=image/png")

    assert (output.text, output.summary, output.truncated, output.bytes) == (None, None, False, 3)


def test_long_text_is_cut(site: str, context: TaskContext) -> None:
    """32 KB come inline, the rest is in the blob."""
    output = fetch(context, f"{site}/?size=100000")

    assert output.text is not None
    assert (len(output.text), output.truncated, output.bytes) == (32_768, True, 100_000)


def test_head_has_no_body(site: str, context: TaskContext) -> None:
    """HEAD asks for headers only."""
    output = fetch(context, f"{site}/?size=10", method="HEAD")

    assert (output.uri, output.bytes, output.text) == (None, 0, None)
    assert Site.seen[0][0] == "HEAD"


@pytest.mark.parametrize("packed", ["gzip", "x-gzip"])
def test_gzip_is_unpacked(packed: str, site: str, context: TaskContext) -> None:
    """A packed body is stored as what it is."""
    assert fetch(context, f"{site}/?body=hello&gzip={packed}").text == "hello"


@pytest.mark.parametrize("query", ["size=2000001", "size=2000001&length=none", "size=50000000&gzip=gzip"])
def test_large_bodies_are_refused(query: str, site: str, context: TaskContext, blobs: FakeBlobs) -> None:
    """Announced, unannounced or packed: over the limit nothing is stored."""
    with pytest.raises(PermanentError, match=r"2,000,000.* allowed"):
        fetch(context, f"{site}/?{query}")
    assert blobs.blobs == {}


def test_the_pool_and_the_task_set_the_limit(site: str, make_context: MakeContext) -> None:
    """The smaller of the two holds."""
    context = make_context(settings={"allow_private": True, "max_bytes": 100})

    assert fetch(context, f"{site}/?size=100", max_bytes=1_000).bytes == 100
    with pytest.raises(PermanentError, match="at most 100 "):
        fetch(context, f"{site}/?size=101", max_bytes=1_000)
    with pytest.raises(PermanentError, match="at most 50 "):
        fetch(context, f"{site}/?size=51", max_bytes=50)


@pytest.mark.parametrize("query", ["slow=1&length=none", "slow=1&length=1000"])
def test_a_server_that_drips_is_cut_off(query: str, site: str, context: TaskContext) -> None:
    """The timeout is for the whole answer, however steadily the bytes drip."""
    began = datetime.now(UTC)

    with pytest.raises(RetryableError, match="did not answer in time"):
        fetch(context, f"{site}/?{query}", timeout=0.2)
    assert datetime.now(UTC) - began < timedelta(seconds=2)


def test_a_server_that_says_nothing_is_cut_off(context: TaskContext) -> None:
    """Also when not even a header comes."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(RetryableError, match="did not answer in time"):
        fetch(context, f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.1)


def test_a_body_that_breaks_off_is_fetched_again(site: str, context: TaskContext) -> None:
    """Fewer bytes than announced are not taken for the whole."""
    with pytest.raises(RetryableError, match="no whole answer"):
        fetch(context, f"{site}/?body=half&length=100", timeout=1)


def test_a_closed_port_may_open(context: TaskContext) -> None:
    """Nobody listening is worth another try."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(RetryableError, match="can't be reached"):
        fetch(context, f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_client_errors_are_permanent(status: int, site: str, context: TaskContext) -> None:
    """Asking again won't help."""
    with pytest.raises(PermanentError, match=f"answered {status}"):
        fetch(context, f"{site}/?status={status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_server_errors_are_retried(status: int, site: str, context: TaskContext) -> None:
    """Asking later may help; without Retry-After the platform's policy decides when."""
    with pytest.raises(RetryableError, match=f"answered {status}") as raised:
        fetch(context, f"{site}/?status={status}")
    assert raised.value.delay is None


def test_retry_after_is_obeyed(site: str, context: TaskContext) -> None:
    """In seconds or as a date, up to a quarter of an hour."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True).replace(" ", "+")

    for asked, low, high in [("17", 17, 17), ("999999", 900, 900), (later, 90, 101), ("soon", None, None)]:
        with pytest.raises(RetryableError) as raised:
            fetch(context, f"{site}/?status=429&header.Retry-After={asked}")
        if low is None or high is None:
            assert raised.value.delay is None
        else:
            assert raised.value.delay is not None
            assert low <= raised.value.delay <= high


def test_redirects_are_followed(site: str, context: TaskContext) -> None:
    """Relative and absolute ones; the output says where it ended and what led there."""
    output = fetch(context, f"{site}/a?status=302&header.Location=/b%3Fstatus=301%26header.Location=/c%253Fbody=end")

    assert output.text == "end"
    assert output.url == f"{site}/c?body=end"
    assert [url.partition("?")[0] for url in output.redirects] == [f"{site}/a", f"{site}/b"]


def test_redirects_end(site: str, context: TaskContext) -> None:
    """A circle is left after five rounds."""
    with pytest.raises(PermanentError, match="more than 5 redirects"):
        fetch(context, f"{site}/circle")
    assert len(Site.seen) == 6


def test_credentials_stay_with_their_host(site: str, context: TaskContext) -> None:
    """A redirect to another origin takes no Authorization along."""
    with serving() as other:
        fetch(context, f"{site}/?status=302&header.Location={other}/", headers={"Authorization": "secret", "X-Plain": "1"})

    first, second = (headers for _, _, headers, _ in Site.seen[-2:])
    assert (first.get("Authorization"), second.get("Authorization")) == ("secret", None)
    assert second.get("X-Plain") == "1"


PRIVATE = [
    "127.0.0.1", "127.8.8.8", "2130706433", "0x7f.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "169.254.170.2", "198.18.0.1", "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]", "localhost",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_refused(host: str, make_context: MakeContext) -> None:
    """Loopback, private, link-local, metadata, multicast, in every spelling, and before any connection."""
    with pytest.raises(PermanentError, match=r"not a public address|there is no host"):
        fetch(make_context(), f"http://{host}/latest/meta-data/")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "0.0.0.0", "[ff02::1]"])
def test_metadata_is_refused_even_where_private_is_allowed(host: str, context: TaskContext) -> None:
    """No setting opens the addresses that hand out credentials."""
    with pytest.raises(PermanentError, match="not a public address"):
        fetch(context, f"http://{host}/")


def test_redirects_into_private_space_are_refused(site: str, context: TaskContext) -> None:
    """Each hop is checked as the first one is."""
    for target in ("http://169.254.169.254/latest/", "file:///etc/passwd", "http://user:pw@127.0.0.1/", "gopher://x/"):
        with pytest.raises(PermanentError):
            fetch(context, f"{site}/?status=302&header.Location={target}")
    assert len(Site.seen) == 4


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Make the resolver give these addresses, one list per lookup (the last for good); notes the names looked up."""
    asked: list[str] = []

    def resolver(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return asked


def test_names_of_private_addresses_are_refused(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """One private address among public ones is enough."""
    resolve_to(monkeypatch, ["93.184.215.14", "10.0.0.7"])

    with pytest.raises(PermanentError, match=r"evil\.example is at 10\.0\.0\.7"):
        fetch(make_context(), "http://evil.example/")


def test_the_address_that_was_checked_is_the_one_connected_to(
    site: str, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that changes its address between check and connection (DNS rebinding) gains nothing: it is looked up once."""
    asked: list[str] = []
    port = urlsplit(site).port
    connected: list[Any] = []
    real = socket.create_connection

    def resolver(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        monkeypatch.undo()
        return real(address, timeout)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    monkeypatch.setattr(socket, "create_connection", connect)

    assert fetch(context, f"http://rebinding.example:{port}/?body=ok").text == "ok"
    assert asked == ["rebinding.example"]
    assert connected == [("127.0.0.1", port)]
    assert Site.seen[0][2]["Host"] == f"rebinding.example:{port}"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(socket.EAI_NONAME, PermanentError), (socket.EAI_AGAIN, RetryableError)],
)
def test_names_that_do_not_resolve(
    error: int, expected: type[Exception], make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that does not exist is final, a resolver in trouble is not."""

    def resolver(*_: Any, **__: Any) -> None:
        raise socket.gaierror(error, "no")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(expected, match=r"nowhere\.example"):
        fetch(make_context(), "http://nowhere.example/")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://example.org/", "only http and https"),
        ("example.org", "only http and https"),
        ("http:///path", "must name a host"),
        ("http://user:pw@example.org/", "must name a host and no user"),
        ("http://example.org:99999/", "is not a URL"),
        ("http://[::1/", "is not a URL"),
    ],
)
def test_other_urls_are_refused(url: str, message: str, context: TaskContext) -> None:
    """Only plain http and https URLs."""
    with pytest.raises(PermanentError, match=message):
        fetch(context, url)


def test_only_allowed_hosts_are_reached(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The globs are matched against the whole name, before it is looked up."""
    asked = resolve_to(monkeypatch, ["10.0.0.1"])
    context = make_context(settings={"allow": ["*.example.org", "example.com"]})

    for url in ("http://example.org/", "http://example.com.evil.net/", "http://notexample.com/"):
        with pytest.raises(PermanentError, match=r"may reach: \*\.example\.org, example\.com"):
            fetch(context, url)
    assert asked == []
    with pytest.raises(PermanentError, match="not a public address"):
        fetch(context, "http://API.Example.ORG/")


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nEvil: 1"), ("X\r\nEvil", "1"), ("X Y", "1"), ("", "1"), ("X", "€"), ("Host", "evil"), ("Content-Length", "5")],
)
def test_headers_can_not_break_out(name: str, value: str, site: str, context: TaskContext) -> None:
    """No header injection, and none of the headers that frame the request."""
    with pytest.raises(PermanentError, match="headers: "):
        fetch(context, site, headers={name: value})
    assert Site.seen == []


def test_urls_are_made_safe(site: str, context: TaskContext) -> None:
    """Spaces and other letters are encoded, what is encoded stays so, the fragment stays here."""
    fetch(context, f"{site}/a b/é%20c?q=ü x&r=%26#part")

    assert Site.seen[0][1] == "/a%20b/%C3%A9%20c?q=%C3%BC%20x&r=%26"


@example(ipaddress.ip_address("2002:808:808::"))
@example(ipaddress.ip_address("64:ff9b::7f00:1"))
@example(ipaddress.ip_address("::ffff:8.8.8.8"))
@given(st.ip_addresses())
def test_reachable_means_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Whatever may be reached by default is a global unicast address, and what private pools may reach is no less."""
    if web._reachable(address, False):
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        assert (mapped or address).is_global
        assert not (address.is_multicast or address.is_loopback or address.is_link_local)
        assert web._reachable(address, True)


def send(context: TaskContext, url: str, **given: Any) -> web.FetchOutput:
    """The outcome of one http.send."""
    return web.send(web.SendInput.model_validate({"url": url, **given}), context)


def test_send_posts_json_with_the_idempotency_key(site: str, context: TaskContext) -> None:
    """A service that knows the header does it once, however often the task is delivered."""
    send(context, f"{site}/?body=ok", json={"n": 1})
    send(context, f"{site}/?body=ok", json={"n": 1})

    (method, _, headers, body), (_, _, again, _) = Site.seen
    assert (method, json.loads(body), headers["Content-Type"]) == ("POST", {"n": 1}, "application/json")
    assert headers["Idempotency-Key"] == again["Idempotency-Key"] == context.idempotency_key


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_send_knows_the_other_methods(method: str, site: str, context: TaskContext) -> None:
    """A text body goes as it is."""
    output = send(context, f"{site}/?body=done", method=method, body="é")

    assert (output.text, Site.seen[0][0], Site.seen[0][3]) == ("done", method, "é".encode())


def test_send_does_not_follow_redirects(site: str, context: TaskContext) -> None:
    """What is sent goes where it was addressed or nowhere."""
    with pytest.raises(PermanentError, match="moved to /elsewhere"):
        send(context, f"{site}/?status=307&header.Location=/elsewhere", body="x")
    assert len(Site.seen) == 1


def test_send_takes_one_body(site: str, context: TaskContext) -> None:
    """json and body together are a mistake."""
    with pytest.raises(PermanentError, match="json or body"):
        send(context, site, json=1, body="x")


def test_send_keeps_to_the_same_addresses(make_context: MakeContext) -> None:
    """Writing is checked as reading is."""
    with pytest.raises(PermanentError, match="not a public address"):
        send(make_context(), "http://127.0.0.1/", body="x")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def secure_site(certificate: Path) -> Iterator[str]:
    """The origin of a running site with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as origin:
        yield origin


def test_certificates_are_checked(secure_site: str, context: TaskContext) -> None:
    """A certificate that nobody vouches for is refused for good."""
    with pytest.raises(PermanentError, match=r"certificate of 127\.0\.0\.1 is not valid"):
        fetch(context, f"{secure_site}/?body=ok")


def test_https_works(secure_site: str, certificate: Path, context: TaskContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a certificate that is vouched for, HTTPS is as HTTP, watchdog included."""
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(web, "_tls", lambda: trusting)

    assert fetch(context, f"{secure_site}/?body=ok").text == "ok"
    with pytest.raises(RetryableError, match="did not answer in time"):
        fetch(context, f"{secure_site}/?slow=1&length=none", timeout=0.3)


@given(st.text())
def test_any_text_is_a_page(source: str) -> None:
    """However broken the HTML, reading it ends and keeps no tag's inside as text."""
    page = web._Page(f"<p>{source}</p>")

    assert "\n\n" not in page.text


@pytest.mark.parametrize(
    ("control", "seconds"),
    [
        ("max-age=60", 60.0),
        ("public, max-age=60, s-maxage=30", 30.0),
        ("max-age=60, private", 0.0),
        ("no-store", 0.0),
        ("max-age=soon", 0.0),
        ("", 0.0),
    ],
)
def test_a_response_says_how_long_it_may_be_kept(control: str, seconds: float) -> None:
    """Only what a shared cache may keep is kept, for as long as the server says less the response's age."""
    headers = http.client.HTTPMessage()
    headers["Cache-Control"] = control
    fresh = web._fresh_seconds(web._Answer(200, headers, b""))
    headers["Age"] = "10"

    assert fresh == seconds
    assert web._fresh_seconds(web._Answer(200, headers, b"")) == max(0.0, seconds - 10)
    headers["Set-Cookie"] = "id=1"
    assert web._fresh_seconds(web._Answer(200, headers, b"")) == 0.0


def test_what_an_agent_set_going_is_bounded_at_every_hop(site: str, make_context: MakeContext) -> None:
    """A host that the agent may not reach is asked neither first nor by a redirect."""
    port = site.rpartition(":")[2]
    settings = {"allow_private": True}
    elsewhere = make_context(settings=settings, bounds=Bounds(hosts=(("docs.example.com",),)))
    here = make_context(settings=settings, bounds=Bounds(hosts=(("127.0.0.1",),)))

    with pytest.raises(EgressRefused, match=r"may not reach 127\.0\.0\.1"):
        fetch(elsewhere, f"{site}/")
    with pytest.raises(EgressRefused, match="may not reach localhost"):
        fetch(here, f"{site}/?status=302&header.Location=http://localhost:{port}/")
    assert len(Site.seen) == 1
