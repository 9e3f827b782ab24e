"""The HTTP front door: every request is authorized by tenant key, then served by one function."""

import json
import string
from typing import Any, Final, cast

from aws_cdk import Acknowledgment, ArnFormat, CfnOutput, Duration, RemovalPolicy, Stack, Tags, Validations
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.aws_apigatewayv2_authorizers import HttpLambdaAuthorizer, HttpLambdaResponseType
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from agentfleet.domain import names
from cdk.constructs.fleet_layers import MORE, FleetLayers
from cdk.constructs.python_function import PythonFunction, PythonFunctionProps
from cdk.foundation import Foundation
from cdk.permissions import Permissions, allow

RATE_PER_SECOND: Final = 500
BURST: Final = 1000
KNOWLEDGE_MEMORY: Final = 3538
"""MB, with which Lambda gives two cores: embedding is arithmetic."""
AUTHORIZER_CACHE: Final = Duration.seconds(60)
ACCESS_LOG_FORMAT: Final = {
    "requestId": "$context.requestId",
    "ip": "$context.identity.sourceIp",
    "time": "$context.requestTime",
    "route": "$context.routeKey",
    "path": "$context.path",
    "status": "$context.status",
    "milliseconds": "$context.responseLatency",
    "tenant": "$context.authorizer.tenant",
    "error": "$context.error.message",
}


class ApiStack(Stack):
    """HTTP API, authorizer, serve_api, and the secret that maps tenants to keys."""

    def __init__(self, scope: Construct, construct_id: str, *, foundation: Foundation, **kwargs: Any) -> None:
        super().__init__(scope, construct_id, description="Agent Fleet: HTTP API", **kwargs)
        self._foundation = foundation
        self._access = foundation.access(self)
        self._layers = FleetLayers(self, "Layers", foundation)
        self._api_keys_name = f"{foundation.fleet.name}/api-keys"
        self.api_keys = self._api_keys()
        self.authorize_request = self._authorize_request()
        self.serve_api = self._serve_api()
        self.serve_knowledge = self._serve_knowledge() if foundation.fleet.knows else None
        self.serve_mcp = self._serve_mcp()
        self.api = self._api()
        CfnOutput(self, "ApiUrl", value=self.api.api_endpoint)
        CfnOutput(self, "ApiKeySecretArn", value=self.api_keys.secret_arn)

    def _api_keys(self) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            "ApiKeys",
            secret_name=self._api_keys_name,
            description="JSON object: tenant → API key; $operators → the tenants that may change what all share",
            encryption_key=self._access.key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template=json.dumps({"$operators": ["default"]}),
                generate_string_key="default",
                # Said twice: the emulator heeds only the list of characters.
                exclude_punctuation=True,
                exclude_characters=string.punctuation,
                password_length=40,
            ),
            removal_policy=RemovalPolicy.DESTROY,
        )
        Validations.of(secret).acknowledge(
            Acknowledgment(
                id="AwsSolutions-SMG4",
                reason="Keys are handed to tenants; replacing one on a schedule would lock them out.",
            )
        )
        return secret

    @property
    def _api_keys_arn(self) -> str:
        # A secret's ARN ends in six characters that AWS makes up. The emulator resolves a reference to the bare name.
        name = f"{self._api_keys_name}-??????"
        return self.format_arn(
            service="secretsmanager", resource="secret", resource_name=name, arn_format=ArnFormat.COLON_RESOURCE_NAME
        )

    def _authorize_request(self) -> PythonFunction:
        return self._function(
            "authorize_request",
            "Finds out which tenant a key belongs to",
            environment={"FLEET": self._foundation.fleet.name, "API_KEYS_SECRET": self.api_keys.secret_arn},
            permissions=allow("ReadKeys", "secretsmanager", ("GetSecretValue",), self._api_keys_arn)
            + allow("UseKey", "kms", ("Decrypt",), self._access.key.key_arn),
            memory=256,
            timeout=10,
        )

    def _serve_api(self) -> PythonFunction:
        access = self._access
        return self._function(
            "serve_api",
            "Serves the HTTP API",
            environment=access.environment("work", "registry", "history") | access.memory_environment,
            permissions=access.use_table("work", "goals")
            + access.use_table("registry")
            + access.use_table("memory")
            + access.keep_budgets()
            + access.read_history()
            + access.send_tasks()
            + access.put_events()
            + access.use_key()
            + access.read_objects("plans", "outputs", "blobs")
            + access.list_objects("blobs")
            + access.write_objects("plans", "outputs", "blobs")
            + access.find_living()
            + access.read_queue_ages()
            + access.tend_dead_letters(names.SUBMISSIONS)
            + access.start_sagas()
            + access.watch_sagas()
            + access.run_the_fleet(),
            memory=1024,
            timeout=29,
        )

    def _serve_knowledge(self) -> PythonFunction:
        """The same code beside the layer that embeds and searches: its weight is on no other route."""
        access = self._access
        return self._function(
            "serve_api",
            "Serves the HTTP API's knowledge",
            name="serve_knowledge",
            layers=("knowledge",),
            environment=access.environment("work", "registry") | access.knowledge_environment,
            permissions=access.use_knowledge() + access.use_key(),
            memory=KNOWLEDGE_MEMORY,
            timeout=29,
        )

    def _serve_mcp(self) -> PythonFunction:
        access, knows = self._access, self._foundation.fleet.knows
        return self._function(
            "serve_mcp",
            "The fleet as tools, by the Model Context Protocol",
            layers=(*MORE["serve_mcp"], *(("knowledge",) if knows else ())),
            environment=access.environment("work", "registry", "history") | (access.knowledge_environment if knows else {}),
            permissions=access.use_table("work", "goals")
            + access.find_living()
            + access.use_table("registry", actions=("Query",))
            + (access.search_knowledge() if knows else Permissions())
            + access.send_tasks()
            + access.put_events()
            + access.use_key()
            + access.read_objects("plans", "outputs", "blobs")
            + access.list_objects("blobs")
            + access.write_objects("plans", "outputs")
            + access.start_sagas(),
            memory=1024,
            timeout=29,
        )

    def _function(
        self,
        folder: str,
        description: str,
        *,
        environment: dict[str, str],
        permissions: Permissions,
        memory: int,
        timeout: int,
        name: str | None = None,
        layers: tuple[str, ...] | None = None,
    ) -> PythonFunction:
        return PythonFunction(
            self,
            "".join(part.title() for part in (name or folder).split("_")),
            PythonFunctionProps(
                stage=self._foundation.stage,
                key=self._access.key,
                function_name=names.function(self._foundation.fleet.name, name or folder),
                description=description,
                folder=self._foundation.fleet.root / "functions" / folder,
                layers=self._layers.of(*(MORE.get(folder, ()) if layers is None else layers)),
                permissions=permissions,
                environment=environment,
                memory=memory,
                timeout=timeout,
            ),
        )

    def _api(self) -> apigateway.HttpApi:
        origins = self._foundation.stage.allowed_origins
        serve = HttpLambdaIntegration("ServeApi", self.serve_api.function)
        api = apigateway.HttpApi(
            self,
            "Api",
            api_name=self._foundation.fleet.name,
            description=f"The fleet {self._foundation.fleet.name}",
            create_default_stage=False,
            cors_preflight=_cors(origins) if origins else None,
            default_authorizer=HttpLambdaAuthorizer(
                "TenantKey",
                self.authorize_request.function,
                authorizer_name="tenant-key",
                identity_source=["$request.header.Authorization"],
                response_types=[HttpLambdaResponseType.SIMPLE],
                results_cache_ttl=AUTHORIZER_CACHE,
            ),
        )
        routes = {"/": serve, "/{proxy+}": serve}
        if self.serve_knowledge is not None:
            know = HttpLambdaIntegration("ServeKnowledge", self.serve_knowledge.function)
            routes |= {"/knowledge": know, "/knowledge/{proxy+}": know}
        for path, serving in routes.items():
            api.add_routes(path=path, methods=[apigateway.HttpMethod.ANY], integration=serving)
            if origins:
                # A preflight carries no key, and ANY would send it to the authorizer (Configure CORS for HTTP APIs).
                options = [apigateway.HttpMethod.OPTIONS]
                api.add_routes(path=path, methods=options, integration=serving, authorizer=apigateway.HttpNoneAuthorizer())
        # Without sessions there is no stream to GET and nothing to DELETE; the server itself says so.
        mcp = HttpLambdaIntegration("ServeMcp", self.serve_mcp.function)
        api.add_routes(path="/mcp", methods=[apigateway.HttpMethod.ANY], integration=mcp)
        if self._foundation.stage.is_local:
            # The emulator would make up an id, and with it another URL, on every deploy.
            Tags.of(api).add("ms-custom-id", self._foundation.fleet.name)
        self._stage(api)
        return api

    def _stage(self, api: apigateway.HttpApi) -> None:
        access_log = logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=f"/aws/vendedlogs/apis/{self._foundation.fleet.name}",
            retention=self._foundation.stage.log_retention,
            encryption_key=self._access.key,
            removal_policy=RemovalPolicy.DESTROY,
        )
        stage = apigateway.HttpStage(
            self,
            "Stage",
            http_api=api,
            stage_name="$default",
            auto_deploy=True,
            detailed_metrics_enabled=True,
            throttle=apigateway.ThrottleSettings(rate_limit=RATE_PER_SECOND, burst_limit=BURST),
        )
        resource = cast("apigateway.CfnStage", stage.node.default_child)
        resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=access_log.log_group_arn, format=json.dumps(ACCESS_LOG_FORMAT)
        )


def _cors(origins: tuple[str, ...]) -> apigateway.CorsPreflightOptions:
    return apigateway.CorsPreflightOptions(
        allow_origins=list(origins),
        allow_methods=[apigateway.CorsHttpMethod.ANY],
        allow_headers=["authorization", "content-type", "idempotency-key"],
        max_age=Duration.hours(1),
    )
