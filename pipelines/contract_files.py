"""Writes the generated forms of the contracts of events and policy: `python -m pipelines.contract_files`."""

import json
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from schemas.events import MODELS, Event
from schemas.policy_file import policy_json_schema

DIRECTORY = Path(__file__).parent.parent / "schemas" / "contracts"
_INSTANTS = ("occurred_at", "arrived_at")


def _avro_type(name: str, annotation: Any) -> Any:
    if name in _INSTANTS:
        plain: Any = {"type": "long", "logicalType": "timestamp-millis"}
        return ["null", plain] if get_origin(annotation) is Union else plain
    if get_origin(annotation) is Union:
        return ["null", "string"]
    if get_origin(annotation) is Literal and all(isinstance(value, int) for value in get_args(annotation)):
        return "int"
    return "string"


def avro_schema(kind: str, model: type[Event]) -> dict[str, Any]:
    """The Avro schema of one event kind; every optional field has its default."""
    fields = []
    for name, field in model.model_fields.items():
        entry = {"name": name, "type": _avro_type(name, field.annotation), "doc": field.description or ""}
        if not field.is_required():
            entry["default"] = field.default
        fields.append(entry)
    return {"type": "record", "name": kind.capitalize(), "namespace": "carrel.events.v1", "fields": fields}


def contract_files() -> dict[str, str]:
    """File name -> content of every generated contract."""
    files = {}
    for kind, model in MODELS.items():
        files[f"{kind}.json"] = json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
        files[f"{kind}.avsc"] = json.dumps(avro_schema(kind, model), indent=2) + "\n"
    files["policy.json"] = json.dumps(policy_json_schema(), indent=2, sort_keys=True) + "\n"
    return files


def main() -> None:
    """Write them all."""
    for name, content in contract_files().items():
        (DIRECTORY / name).write_text(content)


if __name__ == "__main__":
    main()
