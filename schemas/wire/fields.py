"""The fields of a wire format: every one is named as used or dropped, and anything else is refused.

A path is dotted (`data.new.userId`); `[]` after a name says that the field holds a list. `@key` and
`@headers.<name>` stand for the record's key and headers. Dropping a field drops all that is below it.
"""

from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from schemas.rejects import DecodeError, Reason

CLASSES = ("D", "Q", "S", "L", "T", "ok")
USES = ("used", "dropped")


@dataclass(frozen=True)
class Field:
    """One known field of a wire format.

    Attributes:
      path: where it is, from the root of the message.
      use: "used" or "dropped".
      cls: D direct, Q quasi-identifier, S sensitive, L linkage, T exact time, "ok" harmless once mapped.
      note: what becomes of it, for the generated page.
    """

    path: str
    use: str
    cls: str
    note: str = ""


class _Node:
    """A name of the dictionary: dropped whole, a used value, or an object with named children."""

    __slots__ = ("children", "dropped", "many", "path")

    def __init__(self, path: str, *, many: bool) -> None:
        self.path = path
        self.many = many
        self.dropped = False
        self.children: Dict[str, _Node] = {}


class _Findings:
    """What one check found: names of our own dictionary, and how many fields are not in it."""

    __slots__ = ("parents", "unknown")

    def __init__(self) -> None:
        self.parents: Set[str] = set()
        self.unknown = 0


class FieldTable:
    """All known fields of one message type; checks a message and keeps only what is used of it.

    Args:
      fields: every field once. A field below a dropped one needs no entry.

    Raises:
      ValueError: an entry has an unknown class or use, or names a path a second time.
    """

    def __init__(self, fields: Iterable[Field]) -> None:
        self.fields: Tuple[Field, ...] = tuple(fields)
        seen: Set[str] = set()
        for field in self.fields:
            if field.cls not in CLASSES or field.use not in USES or field.path in seen:
                msg = f"field table: bad or repeated entry {field.path}"
                raise ValueError(msg)
            seen.add(field.path)
        self._trees: Dict[Tuple[Tuple[Tuple[str, str], ...], Tuple[str, ...]], _Node] = {}

    def __reduce__(self) -> Tuple[type["FieldTable"], Tuple[Tuple[Field, ...]]]:
        return FieldTable, (self.fields,)

    def check(
        self,
        record: Any,
        also_drop: Tuple[Tuple[str, str], ...] = (),
        strip: Tuple[str, ...] = (),
    ) -> Dict[str, Any]:
        """Refuse a message with any field that the table does not name; return its used fields.

        Args:
          record: the decoded message, an object.
          also_drop: further (path, class) pairs of this system that are dropped; a drop beats a use.
          strip: paths of unknown fields that are left out instead of refused.

        Returns:
          A new object with the used fields only; objects on the way to them are kept as objects.

        Raises:
          DecodeError: DISALLOWED_FIELD with the known parents of the unknown fields and their number, or
            WRONG_TYPE where an object or list stands in place of a value or the other way round.
        """
        tree = self._trees.get((also_drop, strip))
        if tree is None:
            tree = self._trees[also_drop, strip] = self._compile(also_drop, strip)
        if not isinstance(record, dict):
            raise DecodeError(Reason.WRONG_TYPE)
        findings = _Findings()
        kept = _keep(tree, record, findings)
        if findings.unknown:
            raise DecodeError(Reason.DISALLOWED_FIELD, tuple(sorted(findings.parents)), findings.unknown)
        return kept

    def _compile(self, also_drop: Tuple[Tuple[str, str], ...], strip: Tuple[str, ...]) -> _Node:
        root = _Node("", many=False)
        for field in self.fields:
            node = _place(root, field.path)
            node.dropped = field.use == "dropped"
        for path in strip:
            if (node := _place(root, path, known=True)) is not root and not node.path:
                node.path, node.dropped = path, True
        for path, _ in also_drop:
            _place(root, path).dropped = True
        return root


def split(path: str) -> List[str]:
    """The names of a path; what follows `@headers.` is one name, since header names hold dots."""
    if path.startswith("@headers."):
        return ["@headers", path[len("@headers.") :].lower()]
    return path.split(".")


def _place(root: _Node, path: str, *, known: bool = False) -> _Node:
    """The node of a path, made where it is missing; with `known`, a new end node has no path yet."""
    node, trail = root, ""
    names = split(path)
    for depth, name in enumerate(names):
        bare = name.removesuffix("[]")
        trail = f"{trail}.{bare}" if trail else bare
        child = node.children.get(bare)
        if child is None:
            end = depth == len(names) - 1
            child = _Node("" if known and end else trail, many=bare != name)
            node.children[bare] = child
        node = child
    return node


def _keep(node: _Node, record: Mapping[str, Any], findings: _Findings) -> Dict[str, Any]:
    kept: Dict[str, Any] = {}
    children = node.children
    for name, value in record.items():
        child = children.get(name)
        if child is None:
            # All headers stand under one name, and each of them is a field.
            findings.unknown += len(value) if name == "@headers" and isinstance(value, dict) and value else 1
            if node.path:
                findings.parents.add(node.path)
        elif not child.dropped:
            kept[name] = _value(child, value, findings)
    return kept


def _value(node: _Node, value: Any, findings: _Findings) -> Any:
    if value is None:
        return None
    if node.many:
        if not isinstance(value, list):
            raise DecodeError(Reason.WRONG_TYPE, (node.path,))
        return [_single(node, item, findings) for item in value]
    return _single(node, value, findings)


def _single(node: _Node, value: Any, findings: _Findings) -> Any:
    if node.children:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise DecodeError(Reason.WRONG_TYPE, (node.path,))
        return _keep(node, value, findings)
    if isinstance(value, (dict, list)):
        raise DecodeError(Reason.WRONG_TYPE, (node.path,))
    return value


def pick(record: Any, path: str, *, shown: str = "") -> Any:
    """The value at a dotted path of a record, None where any part of it is absent.

    Raises:
      DecodeError: WRONG_TYPE, naming `shown` or the path, when something on the way is no object.
    """
    for name in path.split("."):
        if record is None:
            return None
        if not isinstance(record, dict):
            raise DecodeError(Reason.WRONG_TYPE, (shown or path,))
        record = record.get(name)
    return record


def text(record: Any, path: str, *, limit: int = 64, shown: str = "") -> Optional[str]:
    """A string of a record; absent, null and empty are all None.

    Raises:
      DecodeError: WRONG_TYPE when it is no string, BAD_VALUE when it is longer than `limit` characters; both
        name `shown`, else the path.
    """
    value = pick(record, path, shown=shown)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DecodeError(Reason.WRONG_TYPE, (shown or path,))
    if len(value) > limit:
        raise DecodeError(Reason.BAD_VALUE, (shown or path,))
    return value or None


def required_text(record: Any, path: str, *, limit: int = 64) -> str:
    """The same as `text`, with MISSING_FIELD in place of None."""
    value = text(record, path, limit=limit)
    if value is None:
        raise DecodeError(Reason.MISSING_FIELD, (path,))
    return value


def flag(record: Any, path: str) -> Optional[bool]:
    """A boolean of a checked record, or None; WRONG_TYPE for anything else."""
    value = pick(record, path)
    if value is None or isinstance(value, bool):
        return value
    raise DecodeError(Reason.WRONG_TYPE, (path,))


def whole(record: Any, path: str) -> Optional[int]:
    """A whole number of a checked record, or None; a boolean or a fraction is WRONG_TYPE."""
    value = pick(record, path)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise DecodeError(Reason.WRONG_TYPE, (path,))
