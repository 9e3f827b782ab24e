"""Read what a pool's agent can do from the syntax tree of its handler, so that a synth needs none of its packages."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agentfleet.domain.catalog import CapabilitySpec
from cdk.errors import FleetError
from cdk.schemas import ModuleSchemas

CAPABILITY_NAME: Final = re.compile(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")
OPTIONS: Final[dict[str, tuple[type, ...]]] = {
    "idempotent": (bool,),
    "timeout": (int, float),
    "chunk": (int,),
    "cacheable": (bool,),
    "keep": (int, float),
    "version": (str,),
    "approval": (str,),
    "undone_by": (str,),
}
MAX_CHUNK: Final = 100
IMPORTED: Final = (Path(__file__).parents[1] / "layers" / "domain" / "python",)
"""Where handlers import the models from that they share."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class _Source:
    """A parsed handler and the path by which errors name it."""

    tree: ast.Module
    shown_as: str

    def error(self, node: ast.expr | ast.stmt, message: str) -> FleetError:
        return FleetError(f"{self.shown_as}:{node.lineno}: {message}")


def read_capabilities(handler: Path, *, shown_as: str, pool: str, pool_timeout: int) -> tuple[CapabilitySpec, ...]:
    """Return the capabilities that `handler` declares, in source order.

    A capability is a function decorated with `@agent.capability("dotted.name", idempotent=…, timeout=…, chunk=…)` where
    `agent = Agent("<pool>")` stands at module level; all arguments are literals and the docstring's first line describes it.
    `pool_timeout` is in seconds. Raises FleetError naming file and line.
    """
    try:
        tree = ast.parse(handler.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise FleetError(f"{shown_as}:{error.lineno}: not valid Python: {error.msg}") from error
    source = _Source(tree, shown_as)
    _check_agent(source, pool)
    schemas = ModuleSchemas(tree, (handler.parent, *IMPORTED))
    found: dict[str, CapabilitySpec] = {}
    for function, decorator in _declarations(source):
        capability = _capability(source, function, decorator, pool, schemas)
        if capability.name in found:
            raise source.error(decorator, f"capability {capability.name!r} is declared twice in this pool")
        if capability.timeout > pool_timeout:
            message = (
                f"capability {capability.name!r} may take {capability.timeout:g} s but the pool's timeout is {pool_timeout} s"
            )
            raise source.error(decorator, message)
        found[capability.name] = capability
    if not found:
        raise FleetError(f'{shown_as}: declares no capability; decorate a function with @agent.capability("{pool}.something")')
    return tuple(found.values())


def _check_agent(source: _Source, pool: str) -> None:
    for statement in source.tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="agent")], value=ast.Call() as call)
                | ast.AnnAssign(target=ast.Name(id="agent"), value=ast.Call() as call)
            ):
                match call:
                    case ast.Call(
                        func=ast.Name(id="Agent") | ast.Attribute(attr="Agent"), args=[ast.Constant(value=str() as name)]
                    ):
                        if name != pool:
                            raise source.error(call, f"Agent({name!r}) must be named like its pool: Agent({pool!r})")
                        return
                    case _:
                        raise source.error(call, f"agent must be made as Agent({pool!r}), with the name as a literal")
    raise FleetError(f'{source.shown_as}: no `agent = Agent("{pool}")` at module level; Lambda calls it as handler.agent')


def _declarations(source: _Source) -> Iterator[tuple[FunctionNode, ast.Call]]:
    """Every decorated function with its decorator, in source order."""
    functions = [node for node in ast.walk(source.tree) if isinstance(node, FunctionNode)]
    for function in sorted(functions, key=lambda node: node.lineno):
        for decorator in function.decorator_list:
            match decorator:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="agent"), attr="capability")) as call:
                    yield function, call
                case ast.Attribute(value=ast.Name(id="agent"), attr="capability"):
                    raise source.error(decorator, 'capability needs a name: @agent.capability("dotted.name")')


def _capability(source: _Source, function: FunctionNode, call: ast.Call, pool: str, schemas: ModuleSchemas) -> CapabilitySpec:
    name = _name(source, call)
    options = _options(source, call)
    if options.get("approval", "required") != "required":
        raise source.error(call, f"approval of {name!r} is {options['approval']!r}; it must be 'required', or left out")
    docstring = ast.get_docstring(function)
    if not docstring:
        raise source.error(function, f"capability {name!r} needs a docstring; planners choose by its first line")
    capability = CapabilitySpec(
        name=name,
        pool=pool,
        description=docstring.splitlines()[0].strip(),
        input=schemas.of(function.args.args[0].annotation if function.args.args else None),
        output=schemas.of(function.returns),
        **options,
    )
    if capability.timeout <= 0:
        raise source.error(call, f"timeout of {name!r} is {capability.timeout:g}; it must be more than 0 seconds")
    if not 1 <= capability.chunk <= MAX_CHUNK:
        raise source.error(call, f"chunk of {name!r} is {capability.chunk}; allowed are 1 to {MAX_CHUNK}")
    if capability.chunk > 1 and not capability.idempotent:
        raise source.error(call, f"chunk of {name!r} is {capability.chunk}, which needs idempotent=True")
    if capability.chunk > 1 and capability.approval:
        raise source.error(call, f"chunk of {name!r} is {capability.chunk}, but each task is approved alone: leave it out")
    if capability.cacheable and not capability.idempotent:
        raise source.error(call, f"{name!r} is cacheable, which needs idempotent=True")
    if capability.undone_by is not None and not CAPABILITY_NAME.match(capability.undone_by):
        raise source.error(call, f"undone_by of {name!r} is {capability.undone_by!r}; it must be a capability's name")
    if capability.keep <= 0:
        raise source.error(call, f"keep of {name!r} is {capability.keep:g}; it must be more than 0 seconds")
    return capability


def _name(source: _Source, call: ast.Call) -> str:
    match call.args:
        case [ast.Constant(value=str() as name)]:
            if not CAPABILITY_NAME.match(name):
                raise source.error(call, f"capability name {name!r} must be dotted lower case, such as 'data.query'")
            return name
        case _:
            raise source.error(call, "capability takes exactly one positional argument, its name as a string literal")


def _options(source: _Source, call: ast.Call) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg not in OPTIONS:
            shown = "**" if keyword.arg is None else keyword.arg
            raise source.error(keyword.value, f"unknown capability option {shown!r}; allowed are {', '.join(OPTIONS)}")
        types = OPTIONS[keyword.arg]
        match keyword.value:
            # bool is an int to isinstance, but chunk=True is a slip of the pen.
            case ast.Constant(value=value) if isinstance(value, types) and (bool in types or not isinstance(value, bool)):
                options[keyword.arg] = value
            case _:
                wanted = " or ".join(kind.__name__ for kind in types)
                raise source.error(keyword.value, f"option {keyword.arg} must be a literal {wanted}; the code is read, not run")
    return options
