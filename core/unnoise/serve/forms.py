"""What can be asked of a domain over a network: the schema of its requests, and which of its fields
take files."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, final, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from unnoise.domain import Domain
from unnoise.engine.options import SPOKEN, Options
from unnoise.specs import Files

OPERATOR: Final = ("batch_size", "device", "threads")
"""Options that whoever runs the server chooses."""
SERVED: Final = tuple(name for name in SPOKEN if name not in OPERATOR)
MODEL: Final = "model"
_UPLOAD: Final = {
    "title": "File",
    "description": "a file, inline; or the name of a part of a multipart body; or of an example",
    "oneOf": [
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "base64": {"type": "string"}},
            "required": ["name", "base64"],
            "additionalProperties": False,
        },
        *(
            {
                "type": "object",
                "properties": {name: {"type": "string"}},
                "required": [name],
                "additionalProperties": False,
            }
            for name in ("upload", "example")
        ),
    ],
}


@final
@dataclass(frozen=True, eq=False)
class Form:
    """A domain as clients see it; `models` are the names of those that it runs on here."""

    domain: Domain
    summary: str
    models: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the domain."""
        return self.domain.name

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """All that a request may say."""
        own = [name for name in self.domain.Request.model_fields if name not in SERVED]
        return (*own, *SERVED, MODEL)

    @cached_property
    def files(self) -> dict[str, Files]:
        """The fields that take files."""
        found = {n: files_of(f) for n, f in self.domain.Request.model_fields.items()}
        return {name: files for name, files in found.items() if files is not None}

    @cached_property
    def examples(self) -> dict[str, Path]:
        """Files of the domain's demo, by name."""
        found = (Path(word) for word in _texts(list(self.domain.demo.values())))
        return {path.name: path for path in found if path.is_absolute() and path.is_file()}

    @cached_property
    def demo(self) -> dict[str, Any]:
        """The request that shows the domain, files by name."""
        return {name: self._shown(value) for name, value in self.domain.demo.items()}

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of a request, options included; "x-files" marks the fields that take files,
        "x-options" those that all domains share."""
        schema = _schema_of(self.domain.Request)
        properties = schema.setdefault("properties", {})
        for name, files in self.files.items():
            properties[name] = _with_files(properties[name], files)
        shared = _schema_of(Options)["properties"]
        for name in SERVED:
            properties[name] = {**shared[name], "x-options": True}
        properties["num_samples"] = _whole(properties["num_samples"])
        properties[MODEL] = {
            "title": "Model",
            "description": "of those that this server has; default: the domain's shipped model",
            "anyOf": [{"enum": list(self.models), "type": "string"}, {"type": "null"}],
            "default": None,
            "x-options": True,
        }
        return {**schema, "title": f"Request of {self.name}", "additionalProperties": False}

    def described(self) -> dict[str, Any]:
        """All that a page needs to make a form."""
        return {
            "domain": self.name,
            "summary": self.summary,
            "models": list(self.models),
            "strip": self.domain.display.strip,
            "schema": self.schema,
            "demo": self.demo,
        }

    def _shown(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._shown(one) for one in value]
        if isinstance(value, str | Path) and Path(value).name in self.examples:
            known = self.examples[Path(value).name]
            return {"example": known.name} if Path(value) == known else value
        return value


def files_of(field: FieldInfo) -> Files | None:
    """Which files a field takes; None for none."""
    for mark in field.metadata:
        if isinstance(mark, Files):
            return mark
    return Files() if {Path, Any, object} & set(_kinds(field.annotation)) else None


def _kinds(annotation: Any) -> Iterator[Hashable]:
    """The types that an annotation is made of; what is inside a mapping is no file."""
    origin = get_origin(annotation)
    if isinstance(annotation, Hashable):
        yield annotation
    if origin is None or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return
    for inner in get_args(annotation):
        yield from _kinds(inner)


def _texts(value: Any) -> Iterator[str | Path]:
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, list | tuple):
            yield from _texts(one)
        elif isinstance(one, str | Path):
            yield one


def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Its JSON schema with all that it refers to in place, as far as that ends."""
    schema = model.model_json_schema()
    known = schema.pop("$defs", {})

    def placed(part: Any, inside: tuple[str, ...] = ()) -> Any:
        if isinstance(part, list):
            return [placed(one, inside) for one in part]
        if not isinstance(part, dict):
            return part
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        if name in known:
            return {} if name in inside else placed(known[name], (*inside, name))
        return {key: placed(one, inside) for key, one in part.items()}

    found: dict[str, Any] = placed(json.loads(json.dumps(schema, default=str)))
    return found


def _with_files(schema: dict[str, Any], files: Files) -> dict[str, Any]:
    """A property that takes uploads, in a list, too, and words, but no path."""
    one: list[dict[str, Any]] = [_UPLOAD] if files.sent else []
    if files.words:
        one.append({"type": "string", "enum": list(files.words)})
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "type", "format")}
    options = [*one, {"type": "null"}]
    if _takes_lists(schema):
        options.insert(len(one), {"type": "array", "items": {"anyOf": one}})
    marks = {"accept": list(files.accept), "words": list(files.words), "sent": files.sent}
    return {**kept, "anyOf": options, "x-files": {**marks, "many": _takes_lists(schema)}}


def _takes_lists(schema: Mapping[str, Any]) -> bool:
    return any(one.get("type") == "array" for one in [schema, *schema.get("anyOf", ())])


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """pydantic leaves the bound of a number that may also be a word as it is called in Python."""
    options = [
        {**{k: v for k, v in one.items() if k != "ge"}, "minimum": one["ge"]}
        if "ge" in one
        else one
        for one in schema["anyOf"]
    ]
    return {**schema, "anyOf": options}
