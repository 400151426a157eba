"""What is found out while its owner waits for something else."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """The result of a function that runs beside its owner from ``start`` on; calling this waits for it."""

    def __init__(self, find: Callable[[], T]) -> None:
        """Nothing runs yet."""
        self._find = find
        self._thread: Thread | None = None
        self._found: list[T] = []
        self._error: Exception | None = None

    def start(self) -> None:
        """Begin, for whoever is about to wait; may be called twice."""
        if self._thread is None:
            self._thread = Thread(target=self._run)
            self._thread.start()

    def _run(self) -> None:
        try:
            self._found.append(self._find())
        except Exception as error:
            self._error = error

    def __call__(self) -> T:
        """The result; raises what the function raised."""
        self.start()
        assert self._thread is not None
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found[0]
