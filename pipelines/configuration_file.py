"""carrel.toml as a file: read, and held to what it may say. Every error is one line: what, where, what to do."""

import tomllib
from pathlib import Path
from typing import Any, Sequence, TypeVar, Union

from pydantic import BaseModel, ValidationError

_File = TypeVar("_File", bound=BaseModel)
_SAID = {"extra_forbidden": "unknown key; remove it or check its spelling", "missing": "is missing; add it"}
_SAID |= dict.fromkeys(("model_type", "dict_type"), "need a table of keys and values")


class ConfigurationError(ValueError):
    """The configuration or the command is wrong; exit code 2."""


def read_toml(path: Path, model: type[_File]) -> _File:
    """Read a file of TOML.

    Raises:
      ConfigurationError: missing, not TOML, unknown or wrong keys.
    """
    written: Any = {}
    try:
        written = tomllib.loads(text_of(path, "name it with -c or run `carrel init`"))
        return model.model_validate(written)
    except tomllib.TOMLDecodeError as error:
        message = f"{path.name}: is not TOML: {error}"
        raise ConfigurationError(message) from None
    except ValidationError as error:
        place, said = _first_fault(written, error)
        message = f"{path.name}: {place}: {said}"
        raise ConfigurationError(message) from None


def absolute(directory: Path, name: str) -> Path:
    """A path as it is meant in a file of this folder.

    Raises:
      ConfigurationError: it begins with the home of nobody.
    """
    try:
        return (directory / Path(name).expanduser()).absolute()
    except RuntimeError:
        message = "carrel.toml: a path begins with ~ but there is no such home; write the path out"
        raise ConfigurationError(message) from None


def _first_fault(written: Any, error: ValidationError) -> tuple[str, str]:
    """The key path of the first fault, as it was written, and what is wrong there.

    Of a value that may be one of several things pydantic tells a fault for each of them: the one that is furthest in
    is of what was meant.
    """
    faults = [
        (_as_written(written, one["loc"], is_missing=one["type"] == "missing"), _SAID.get(one["type"], one["msg"]))
        for one in error.errors()
    ]
    first, _ = faults[0]
    path, said = max((fault for fault in faults if fault[0][: len(first)] == first), key=lambda fault: len(fault[0]))
    return " ".join(".".join(path).split()), said


def _as_written(value: Any, place: Sequence[Union[int, str]], *, is_missing: bool) -> tuple[str, ...]:
    """A place as pydantic names it, without its own names for the choices of a value."""
    path = []
    for step in place:
        if step in value if isinstance(value, dict) else isinstance(value, list) and isinstance(step, int):
            value = value[step]
            path.append(str(step))
    return (*path, str(place[-1])) if is_missing else tuple(path)


def text_of(path: Path, advice: str) -> str:
    """The text of a file.

    Args:
      advice: what to do when it cannot be read.

    Raises:
      ConfigurationError: missing, not readable, not UTF-8.
    """
    try:
        return path.read_text()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); {advice}"
        raise ConfigurationError(message) from None
    except UnicodeDecodeError:
        message = f"{path}: is not UTF-8 text"
        raise ConfigurationError(message) from None
