"""The cache's shared tier: Valkey, which also keeps the locks against stampedes.

The client library is imported when the first key is asked for: agents that use no cache don't pay for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from msgspec import Struct

from agentfleet.domain.errors import CacheUnavailable

if TYPE_CHECKING:
    from valkey import Valkey

T = TypeVar("T")

CONNECT_SECONDS: Final = 0.25
ANSWER_SECONDS: Final = 0.5
"""A cache that is slower than this is no help."""
CONNECTIONS: Final = 32

_RELEASE: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
"""Compare and delete at once: the lock may have passed to somebody else in between (Valkey, 'Distributed Locks')."""


class IamLogin(Struct, frozen=True):
    """Signing in to ElastiCache by IAM: a signed token of a quarter of an hour stands for the password of each connection."""

    replication_group: str
    user: str

    def get_credentials(self) -> tuple[str, str]:
        """User and password for a connection that is being opened now."""
        from developer_toolkit_elasticache import generate_iam_auth_token  # noqa: PLC0415 - see the module's docstring

        return self.user, generate_iam_auth_token(user_id=self.user, replication_group_id=self.replication_group)


class ValkeyCache:
    """A CacheTier and a CacheLock: `ValkeyCache("valkey://host:6379", prefix="fleet:")`; `valkeys://` speaks TLS."""

    def __init__(self, url: str, prefix: str = "", login: IamLogin | None = None) -> None:
        self._url = url
        self._prefix = prefix
        self._login = login

    def get(self, key: str) -> str | None:
        """The text, None if it was never put or is forgotten. Raises CacheUnavailable."""
        return self._ask(lambda client: cast("str | None", client.get(self._prefix + key)))

    def put(self, key: str, text: str, lifetime: timedelta) -> None:
        """Store or replace, for at most this long. Raises CacheUnavailable."""
        milliseconds = int(lifetime.total_seconds() * 1000)
        if milliseconds < 1:
            self.delete(key)
            return
        self._ask(lambda client: client.set(self._prefix + key, text, px=milliseconds))

    def delete(self, key: str) -> None:
        """Forget. Raises CacheUnavailable."""
        self._ask(lambda client: client.delete(self._prefix + key))

    def acquire(self, key: str, owner: str, lease: timedelta) -> bool:
        """Take the lock unless somebody has it. Raises CacheUnavailable."""
        milliseconds = max(1, int(lease.total_seconds() * 1000))
        return bool(self._ask(lambda client: client.set(self._lock_key(key), owner, px=milliseconds, nx=True)))

    def release(self, key: str, owner: str) -> None:
        """Give it back if `owner` still has it. Raises CacheUnavailable."""
        self._ask(lambda client: client.eval(_RELEASE, 1, self._lock_key(key), owner))

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if "_client" in self.__dict__:
            self._client.connection_pool.disconnect()

    def _lock_key(self, key: str) -> str:
        return f"{self._prefix}lock:{key}"

    def _ask(self, question: Callable[["Valkey"], T]) -> T:
        with self._as_unavailable():
            return question(self._client)

    @contextmanager
    def _as_unavailable(self) -> Iterator[None]:
        from valkey.exceptions import ValkeyError  # noqa: PLC0415 - see the module's docstring

        try:
            yield
        except (ValkeyError, OSError) as error:
            raise CacheUnavailable(f"Valkey: {error or type(error).__name__}") from error

    @cached_property
    def _client(self) -> "Valkey":
        from valkey import Valkey  # noqa: PLC0415 - see the module's docstring
        from valkey.backoff import NoBackoff  # noqa: PLC0415
        from valkey.retry import Retry  # noqa: PLC0415

        options: dict[str, Any] = {
            "decode_responses": True,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "socket_keepalive": True,
            "max_connections": CONNECTIONS,
            # One more try finds out whether only an idle connection had been closed.
            "retry": Retry(NoBackoff(), 1),
            "credential_provider": self._login,
        }
        client: Valkey = Valkey.from_url(self._url, **options)
        return client
