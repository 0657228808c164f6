"""`record`: what ``@dataclass(frozen=True, slots=True)`` makes, at a tenth of its time at import.

The standard decorator writes and compiles six methods for every class, which takes half a millisecond, and every program that imports us
waits for it. Here five of them are shared by all classes, and `__init__` is compiled when the first value is made. `fields`, `replace`, `asdict`
and `match` work as with any dataclass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, cast, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Decorate a class of values that never change. They are compared, hashed and shown by their fields.

    >>> @record()
    ... class Span:
    ...     begin: int
    ...     end: int = 10
    >>> Span(1), Span(1) == Span(1, 10), Span(1) == Span(2)
    (Span(begin=1, end=10), True, False)
    """

    def decorate(cls: type[T]) -> type[T]:
        made: Any = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
        names = [item.name for item in fields(made)]
        made.fields_of = attrgetter(*names) if len(names) > 1 else staticmethod(_fields_of)
        made.__init__ = _first_init
        for name, method in _SHARED.items():
            if name not in cls.__dict__:
                setattr(made, name, method)
        return made

    return decorate


def _fields_of(value: Any) -> tuple[Any, ...]:
    return tuple(getattr(value, item.name) for item in fields(value))


def _equal(self: Any, other: Any) -> bool:
    return (
        self.fields_of(self) == other.fields_of(other)
        if type(self) is type(other)
        else NotImplemented
    )


def _hashed(self: Any) -> int:
    return hash(self.fields_of(self))


def _shown(self: Any) -> str:
    told = ", ".join(f"{item.name}={getattr(self, item.name)!r}" for item in fields(self))
    return f"{type(self).__qualname__}({told})"


def _reduced(self: Any) -> Any:
    return _restored, (type(self), self.fields_of(self))


def _restored(cls: Any, values: tuple[Any, ...]) -> Any:
    """A copy, or what was pickled."""
    self = cls.__new__(cls)
    for item, value in zip(fields(cls), values, strict=True):
        object.__setattr__(self, item.name, value)
    return self


def _refuse_set(self: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED = {
    "__eq__": _equal,
    "__hash__": _hashed,
    "__repr__": _shown,
    "__reduce__": _reduced,
    "__setattr__": _refuse_set,
    "__delattr__": _refuse_delete,
}


def _first_init(self: Any, *args: Any, **given: Any) -> None:
    cls = cast("Any", type(self))
    cls.__init__ = _init_of(cls)
    cls.__init__(self, *args, **given)


def _init_of(cls: Any) -> Any:
    """Its `__init__`, written as the standard library would, but with each slot set directly."""
    known: dict[str, Any] = {"MISSING": MISSING}
    takes: list[str] = []
    does: list[str] = []
    for item in fields(cls):
        name, value = item.name, item.name
        known[f"set_{name}"] = getattr(cls, name).__set__
        if item.default_factory is not MISSING:
            known[f"make_{name}"] = item.default_factory
            value = f"make_{name}() if {name} is MISSING else {name}"
            takes.append(f"{name}=MISSING")
        elif item.default is not MISSING:
            known[f"default_{name}"] = item.default
            takes.append(f"{name}=default_{name}")
        else:
            takes.append(name)
        if item.kw_only and "*" not in takes:
            takes.insert(-1, "*")
        does.append(f"    set_{name}(self, {value})\n")
    if hasattr(cls, "__post_init__"):
        does.append("    self.__post_init__()\n")
    exec(f"def __init__(self, {', '.join(takes)}):\n{''.join(does)}", known)  # noqa: S102  # as dataclasses do; all names are fields' own
    init = known["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init
