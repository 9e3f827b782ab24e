"""AWS clients: made when first called, one of each per process, set up for short calls from many threads.

They come from botocore directly: they are what boto3 gives, without the 100 ms of CPU that importing boto3 costs a cold start.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config
from botocore.session import Session

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_stepfunctions import SFNClient

THREADS: Final = 16
MODEL_CONNECTIONS: Final = 64
CONFIG: Final = Config(
    connect_timeout=2,
    read_timeout=25,  # an SQS long poll may take 20 s
    max_pool_connections=2 * THREADS,
    tcp_keepalive=True,
    retries={"mode": "standard", "total_max_attempts": 4},
    parameter_validation=False,  # our own code makes the requests; checking each costs a third of a call's CPU
    user_agent="agentfleet",  # botocore's own is put together anew for every call: 5 % of its CPU
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


WAITS: Final = (10, 30, 60, 120, 300, 900)
"""Seconds that the clients for models wait for an answer: botocore knows no timeout per call, so there is one for each."""


class _Later:
    """A client that is made at its first call: making S3's costs a cold start 60 ms of a core, and few invocations use it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._make(), name)
        self.__dict__[name] = found  # from now on it is found without a detour
        return found


class Clients:
    """`Clients()`; credentials, region and AWS_ENDPOINT_URL are found as boto3 finds them."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._made: dict[str, Any] = {}
        self._lock = RLock()
        self._models: dict[int, BedrockRuntimeClient] = {}

    def _make(self, service: str) -> Any:
        with self._lock:
            if service not in self._made:
                self._made[service] = self._create(service, CONFIG)
            return self._made[service]

    def _create(self, service: str, config: Config) -> Any:
        with self._lock:  # making clients from one session isn't thread-safe (boto3 guide, 'Session')
            if self._session is None:
                self._session = Session()
            return self._session.create_client(service, config=config)

    def _later(self, service: str) -> Any:
        return _Later(lambda: self._make(service))

    def bedrock(self, seconds: float) -> "BedrockRuntimeClient":
        """Models, waited for at least `seconds` (at most 900). It makes every call once: each is paid for."""
        wait = next((one for one in WAITS if one >= seconds), WAITS[-1])
        with self._lock:
            if wait not in self._models:
                own = Config(
                    read_timeout=wait,
                    retries={"mode": "standard", "total_max_attempts": 1},
                    max_pool_connections=MODEL_CONNECTIONS,
                )
                self._models[wait] = self._create("bedrock-runtime", CONFIG.merge(own))
            return self._models[wait]

    @cached_property
    def bedrock_jobs(self) -> "BedrockClient":
        """Bedrock's control plane: bulk jobs."""
        client: BedrockClient = self._make("bedrock")
        return client

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """The one DynamoDB client; pynamodb's models share it."""
        client: DynamoDBClient = self._make("dynamodb")
        return client

    @cached_property
    def s3(self) -> "S3Client":
        """S3."""
        client: S3Client = self._later("s3")
        return client

    @cached_property
    def sqs(self) -> "SQSClient":
        """SQS."""
        client: SQSClient = self._later("sqs")
        return client

    @cached_property
    def events(self) -> "EventBridgeClient":
        """EventBridge."""
        client: EventBridgeClient = self._later("events")
        return client

    @cached_property
    def functions(self) -> "LambdaClient":
        """Lambda."""
        client: LambdaClient = self._later("lambda")
        return client

    @cached_property
    def logs(self) -> "CloudWatchLogsClient":
        """CloudWatch Logs."""
        client: CloudWatchLogsClient = self._later("logs")
        return client

    @cached_property
    def cloudwatch(self) -> "CloudWatchClient":
        """CloudWatch."""
        client: CloudWatchClient = self._later("cloudwatch")
        return client

    @cached_property
    def machines(self) -> "SFNClient":
        """Step Functions."""
        client: SFNClient = self._make("stepfunctions")
        return client

    @cached_property
    def secrets(self) -> "SecretsManagerClient":
        """Secrets Manager."""
        client: SecretsManagerClient = self._later("secretsmanager")
        return client

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """Where adapters make several requests at once. Nothing that runs in it may wait for something else in it."""
        return ThreadPoolExecutor(THREADS, thread_name_prefix="aws")
