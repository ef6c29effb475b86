"""JSON Schema of the config and of the mapping files, for editors; made from the models that validate them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from syncer.config import Adapters, Kinds
from syncer.config_file import ConfigFile
from syncer.mapping_files import NAME, MappingFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"

REFERENCE = {
    "type": "string",
    "pattern": "^(env|file):.",
    "description": "A reference: env:NAME stands for an environment variable, file:PATH for a file.",
}


def config_schema(adapters: Adapters, kinds: Kinds) -> dict[str, Any]:
    """The schema of `config.toml`, with every kind of destination that is installed here."""
    schema = _schema(ConfigFile, "")
    definitions = schema["$defs"]
    for kind in kinds():
        settings = _schema(adapters(kind).settings_type, f"{kind}.")
        definitions |= {f"{kind}.{name}": inner for name, inner in settings.pop("$defs", {}).items()}
        settings["properties"]["type"] = {**settings["properties"]["type"], "const": kind}
        del settings["properties"]["type"]["default"]
        definitions[kind] = settings
    with_type = {kind: {"$ref": f"#/$defs/{kind}", "required": ["type"]} for kind in kinds()}
    destinations = schema["properties"]["destinations"]
    destinations |= {"minProperties": 1, "propertyNames": {"pattern": f"^{NAME}$"}}
    destinations["additionalProperties"] = {"anyOf": list(with_type.values())}
    # A section that has the name of a kind may leave its type out.
    destinations["properties"] = {
        kind: {
            "anyOf": [
                {"$ref": f"#/$defs/{kind}"},
                *(other for name, other in with_type.items() if name != kind),
            ]
        }
        for kind in kinds()
    }
    definitions["reference"] = REFERENCE
    return {"$schema": DIALECT, **_with_references(schema), "title": "The config of Syncer"}


def mapping_schema() -> dict[str, Any]:
    """The schema of a mapping file."""
    return {"$schema": DIALECT, **_schema(MappingFile, ""), "title": "A mapping file of Syncer"}


def _schema(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    schema: dict[str, Any] = _plain(model.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}"))
    return schema


def _plain(node: Any) -> Any:
    """Without what is pydantic's and not an editor's: titles made of names, hidden settings, and null.

    TOML has no null, so a setting that may be None is one that may be left out.
    """
    if isinstance(node, list):
        return [_plain(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    plain: dict[str, Any] = {}
    for name, inner in node.items():
        if name == "properties":
            plain[name] = {key: _plain(one) for key, one in inner.items() if not one.get("hidden")}
        elif name == "anyOf":
            plain[name] = [_plain(one) for one in inner if one != {"type": "null"}]
        elif name == "default" and inner is None:
            continue
        elif name not in ("title", "discriminator"):
            plain[name] = _plain(inner)
    if len(plain.get("anyOf", [])) == 1:
        plain |= plain.pop("anyOf")[0]
    return plain


def _with_references(node: Any) -> Any:
    """With a reference allowed wherever a text is not free: `region = "env:REGION"`."""
    if isinstance(node, list):
        return [_with_references(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    allowed: dict[str, Any] = {}
    for name, inner in node.items():
        if name == "$defs":
            allowed[name] = {key: one if key == "reference" else _with_references(one) for key, one in inner.items()}
        elif name == "properties":
            # The type decides what the other settings are, so an editor has to see it.
            allowed[name] = {key: one if key == "type" else _with_references(one) for key, one in inner.items()}
        else:
            allowed[name] = _with_references(inner)
    if allowed.get("type") == "string" and allowed.keys() & {"enum", "const", "pattern"}:
        told = {name: allowed.pop(name) for name in ("description", "default") if name in allowed}
        return {**told, "anyOf": [allowed, {"$ref": "#/$defs/reference"}]}
    return allowed
