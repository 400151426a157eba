"""What is found out while its owner waits for something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """A future that begins when its owner has time for it; calling this waits for the result."""

    def __init__(self, find: Callable[[], T]) -> None:
        """Nothing runs yet."""
        self._find = find
        self._future: Future[T] | None = None

    def start(self) -> None:
        """Begin in a thread of its own; may be called twice."""
        self._begun()

    def __call__(self) -> T:
        """The result; raises what the function raised."""
        return self._begun().result()

    def _begun(self) -> Future[T]:
        if self._future is None:
            # Loaded here: while QEMU starts there is time for it, before there is none.
            from concurrent.futures import ThreadPoolExecutor

            pool = ThreadPoolExecutor(1)
            self._future = pool.submit(self._find)
            pool.shutdown(wait=False)
        return self._future
