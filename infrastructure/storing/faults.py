"""Letting no error of a driver leave a store."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from eventsourcing.persistence import PersistenceError

from ...domain.errors import LastwordError, StoreUnavailable

S = TypeVar("S", bound="HasUrl")
P = ParamSpec("P")
R = TypeVar("R")


class HasUrl(Protocol):
    """Anything that says where its store is."""

    @property
    def url(self) -> str: ...


class Translated:
    """A decorator for methods of a store: errors of these kinds become what `translate` makes of them; the driver's own is kept as the cause."""

    def __init__(
        self,
        errors: tuple[type[Exception], ...],
        translate: Callable[[BaseException, str], LastwordError],
    ) -> None:
        self._errors = (*errors, PersistenceError, OSError, OverflowError, UnicodeEncodeError)
        self._translate = translate

    def __call__(self, method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        """The method, guarded."""
        errors, translate = self._errors, self._translate

        @functools.wraps(method)
        def guarded(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return method(self, *args, **kwargs)
            except errors as error:
                raise translate(error, self.url) from driver_error(error)

        return guarded


def driver_error(error: BaseException) -> BaseException:
    """The driver's own error inside one of the eventsourcing library.

    >>> driver_error(ValueError("of the driver"))
    ValueError('of the driver')
    """
    cause = error.__cause__
    return cause if isinstance(error, PersistenceError) and cause is not None else error


def closed(url: str) -> StoreUnavailable:
    """For a store that was used after it was closed."""
    return StoreUnavailable(
        f"{url}: expected an open store, found it closed; open it again", transient=False
    )
