"""JSON Schemas of a capability's input and output, read from the pydantic models in its handler's source.

The source is read, never run (docs/decisions/0005). What it can't tell becomes `{}`, which allows anything: the agent itself
checks every input against the model.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

Schema = dict[str, Any]

_PLAIN: Final[Mapping[str, Schema]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "dict": {"type": "object"},
    "list": {"type": "array"},
}
_BOUNDS: Final = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum", "pattern": "pattern"}
_SIZES: Final = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_MODEL: Final = "BaseModel"
_UNKNOWN: Final = object()


class ModuleSchemas:
    """The models and type aliases of one module, and of those that it imports from `folders`, as JSON Schemas."""

    def __init__(self, tree: ast.Module, folders: Sequence[Path] = ()) -> None:
        self._folders = folders
        self._classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self._values = dict(_assignments(tree))
        self._imports = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module and not node.level
            for alias in node.names
        }
        self._modules: dict[str, ModuleSchemas | None] = {}

    def of(self, annotation: ast.expr | None, *, inside: frozenset[str] = frozenset()) -> Schema:
        """The schema of an annotation; `inside` names the models around it, which are not written out again."""
        match annotation:
            case ast.Constant(value=None):
                return dict(_PLAIN["None"])
            case ast.Constant(value=str() as text):
                return self.of(ast.parse(text, mode="eval").body, inside=inside)
            case ast.Name(id=name):
                return self._named(name, inside)
            case ast.BinOp(op=ast.BitOr()):
                return _any_of([self.of(part, inside=inside) for part in _alternatives(annotation)])
            case ast.Subscript(value=ast.Name(id=name), slice=arguments):
                return self._generic(name, arguments.elts if isinstance(arguments, ast.Tuple) else [arguments], inside)
        return {}

    def _named(self, name: str, inside: frozenset[str]) -> Schema:
        if name in _PLAIN:
            return dict(_PLAIN[name])
        if name in self._classes and name not in inside and self._is_model(name):
            return self._model(name, inside | {name})
        if name in self._values and name not in inside:
            # An alias may name itself as little as a model may hold itself without end.
            return self.of(self._values[name], inside=inside | {name})
        if name in self._imports:
            module, original = self._imports[name]
            elsewhere = self._module(module)
            return elsewhere.of(ast.Name(original), inside=inside) if elsewhere else {}
        return {}

    def _module(self, name: str) -> "ModuleSchemas | None":
        """An imported module if its source is in one of the folders."""
        if name not in self._modules:
            paths = (folder / f"{name.replace('.', '/')}.py" for folder in self._folders)
            path = next((path for path in paths if path.is_file()), None)
            tree = ast.parse(path.read_text(encoding="utf-8")) if path else None
            self._modules[name] = ModuleSchemas(tree, self._folders) if tree else None
        return self._modules[name]

    def _generic(self, name: str, arguments: list[ast.expr], inside: frozenset[str]) -> Schema:
        match name, arguments:
            case "Literal", values:
                allowed = [value.value for value in values if isinstance(value, ast.Constant)]
                words = {"type": "string"} if all(isinstance(value, str) for value in allowed) else {}
                return {"enum": allowed, **words}
            case "Optional", [inner]:
                return _any_of([self.of(inner, inside=inside), dict(_PLAIN["None"])])
            case "Union", parts:
                return _any_of([self.of(part, inside=inside) for part in parts])
            case (("list" | "tuple" | "Sequence" | "frozenset" | "set"), [inner, *_]):
                return {"type": "array", "items": self.of(inner, inside=inside)}
            case (("dict" | "Mapping"), [_, inner]):
                return {"type": "object", "additionalProperties": self.of(inner, inside=inside)}
            case "Annotated", [inner, *extras]:
                schema = self.of(inner, inside=inside)
                for extra in extras:
                    self._constrain(schema, extra)
                return schema
        return {}

    def _is_model(self, name: str) -> bool:
        if name in self._classes:
            return any(self._is_model(base) for base in _bases(self._classes[name]))
        module, original = self._imports.get(name, ("", name))
        elsewhere = self._module(module)
        return elsewhere._is_model(original) if elsewhere else name == _MODEL

    def _model(self, name: str, inside: frozenset[str]) -> Schema:
        schema: Schema = {"type": "object", "properties": {}}
        required: list[str] = []
        for node in self._lineage(name):
            for position, field in enumerate(node.body):
                match field:
                    case ast.AnnAssign(target=ast.Name(id=key), annotation=annotation, value=value) if not key.startswith("_"):
                        self._field(schema, required, key, annotation, value, _text_after(node, position), inside)
                    case ast.Assign(targets=[ast.Name(id="model_config")], value=ast.Call(keywords=options)):
                        if any(option.arg == "extra" and _literal(option.value) == "forbid" for option in options):
                            schema["additionalProperties"] = False
        if description := ast.get_docstring(self._classes[name]):
            schema["description"] = description.splitlines()[0]
        if required:
            schema["required"] = required
        return schema

    def _lineage(self, name: str) -> Iterator[ast.ClassDef]:
        """The model and its bases as far as their sources are known, outermost first."""
        node = self._classes.get(name)
        if node is None:
            module, original = self._imports.get(name, ("", name))
            if elsewhere := self._module(module):
                yield from elsewhere._lineage(original)
            return
        for base in _bases(node):
            yield from self._lineage(base)
        yield node

    def _field(
        self,
        schema: Schema,
        required: list[str],
        key: str,
        annotation: ast.expr,
        value: ast.expr | None,
        text: str | None,
        inside: frozenset[str],
    ) -> None:
        field = self.of(annotation, inside=inside)
        if text:
            field["description"] = text
        options = self._constrain(field, value)
        alias = _literal(options["alias"]) if "alias" in options else key
        default = self._default(value, options)
        if default is not _UNKNOWN:
            field["default"] = default
        elif value is None or (_is_field(value) and not {"default", "default_factory"} & options.keys()):
            required.append(alias)
        schema["properties"][alias] = field

    def _constrain(self, schema: Schema, call: ast.expr | None) -> dict[str, ast.expr]:
        """Add what `Field(…)` or `StringConstraints(…)` says to a schema; gives the call's named arguments."""
        if not isinstance(call, ast.Call):
            return {}
        options = {option.arg: option.value for option in call.keywords if option.arg}
        if call.args and _literal(call.args[0]) is not ...:
            options["default"] = call.args[0]
        # What may also be null is bounded where it isn't.
        whole = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
        least, most = _SIZES.get(whole.get("type", ""), ("minLength", "maxLength"))
        for option, keyword in {**_BOUNDS, "min_length": least, "max_length": most}.items():
            if option in options and (bound := self._value(options[option])) is not _UNKNOWN:
                whole[keyword] = bound
        for option in ("description", "examples"):
            if option in options and (said := self._value(options[option])) is not _UNKNOWN:
                schema[option] = said
        return options

    def _default(self, value: ast.expr | None, options: dict[str, ast.expr]) -> Any:
        if value is None:
            return _UNKNOWN
        if not _is_field(value):
            return self._value(value)
        return self._value(options["default"]) if "default" in options else _UNKNOWN

    def _value(self, node: ast.expr) -> Any:
        """A literal, or what a constant of the module is; `_UNKNOWN` for anything that would have to be run."""
        if isinstance(node, ast.Name) and node.id in self._values:
            node = self._values[node.id]
        return _literal(node)


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _alternatives(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from _alternatives(node.left)
        yield from _alternatives(node.right)
    else:
        yield node


def _any_of(schemas: list[Schema]) -> Schema:
    return {} if {} in schemas else {"anyOf": schemas}


def _bases(node: ast.ClassDef) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def _is_field(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Field"


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return _UNKNOWN


def _text_after(node: ast.ClassDef, position: int) -> str | None:
    """The string that stands under a field and describes it."""
    if position + 1 == len(node.body):
        return None
    match node.body[position + 1]:
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return " ".join(text.split())
    return None
