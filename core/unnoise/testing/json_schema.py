"""Whether a JSON schema is one: the part of JSON Schema 2020-12 that pydantic writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def schema_problems(schema: Any, root: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with `schema`, a part of `root` called `where`."""
    if not isinstance(schema, dict):
        return [] if isinstance(schema, bool) else [f"{where} is a {type(schema).__name__}"]
    found = []
    kinds = {"string", "number", "integer", "boolean", "array", "object", "null"}
    kind = schema.get("type", "null")
    if not set([kind] if isinstance(kind, str) else kind) <= kinds:
        found.append(f"{where} has the type {kind!r}")
    reference = schema.get("$ref")
    if reference is not None and not _found(reference, root):
        found.append(f"{where} refers to {reference!r}, which is not there")
    if not isinstance(schema.get("enum", [None]), list) or schema.get("enum") == []:
        found.append(f"{where} has an empty enum")
    names = schema.get("properties", {})
    if not set(schema.get("required", [])) <= set(names):
        found.append(f"{where} requires fields that it does not have")
    parts = [*names.items(), *schema.get("$defs", {}).items()]
    parts += [(key, schema[key]) for key in ("items", "additionalProperties") if key in schema]
    for key in ("anyOf", "allOf", "oneOf", "prefixItems"):
        parts += [(f"{key}[{i}]", part) for i, part in enumerate(schema.get(key, []))]
    for name, part in parts:
        found += schema_problems(part, root, f"{where}.{name}")
    return found


def _found(reference: str, root: Mapping[str, Any]) -> bool:
    here: Any = root
    for part in reference.removeprefix("#/").split("/"):
        if not isinstance(here, dict) or part not in here:
            return False
        here = here[part]
    return True
