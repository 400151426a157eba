"""Runs the cells of a chapter inside Pyodide, with outputs as a Jupyter kernel would send them.

This file is not imported by labkit itself: the page's worker loads it into the browser's Python. ``emit``
takes an output as nbformat writes it, as JSON.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

Emit = Callable[[str], None]
_REPRS = {
    "text/html": "_repr_html_",
    "image/svg+xml": "_repr_svg_",
    "text/markdown": "_repr_markdown_",
    "image/png": "_repr_png_",
}
_STREAM_LIMIT = 2 << 20


class _Stream(io.TextIOBase):
    """Standard output or error of a cell; what goes beyond the limit is counted, not sent."""

    def __init__(self, name: str, emit: Callable[[dict[str, Any]], None]) -> None:
        self._name, self._emit, self._sent = name, emit, 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        room = _STREAM_LIMIT - self._sent
        if room > 0 and text:
            self._emit({"output_type": "stream", "name": self._name, "text": text[:room]})
        self._sent += len(text)
        if room > 0 and self._sent >= _STREAM_LIMIT:
            self._emit({"output_type": "stream", "name": "stderr", "text": "\n[the rest is left out]\n"})
        return len(text)


class Cells:
    """The namespace of one chapter."""

    def __init__(self, emit: Emit) -> None:
        """Outputs go to ``emit``."""
        self._send = emit
        self._count = 0
        self.names: dict[str, Any] = {"__name__": "__main__", "display": self._display}
        _install_ipython(self)

    def emit(self, output: dict[str, Any]) -> None:
        """Send one output to the page."""
        self._send(json.dumps(output))

    def run(self, source: str) -> bool:
        """Run a cell; whether it ended well. A ``;`` at the end keeps the last value to itself."""
        self._count += 1
        with self._streams():
            try:
                self._run(source)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._explain(error)
                return False
        return True

    def _run(self, source: str) -> None:
        tree = ast.parse(source, f"<cell {self._count}>")
        last: ast.Expression | None = None
        if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
            statement = tree.body.pop()
            assert isinstance(statement, ast.Expr)
            last = ast.Expression(statement.value)
        name = f"<cell {self._count}>"
        # inspect.getsource of what a cell defines reads its lines from here.
        import linecache

        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(tree, name, "exec"), self.names)
        if last is not None:
            value = eval(compile(last, name, "eval"), self.names)
            if value is not None:
                self.names["_"] = value
                output = {"output_type": "execute_result", "execution_count": self._count}
                self.emit({**output, "data": bundle(value), "metadata": {}})

    def _display(self, *values: Any) -> None:
        for value in values:
            self.publish(bundle(value))

    def publish(self, data: dict[str, Any]) -> None:
        """Show a MIME bundle."""
        self.emit({"output_type": "display_data", "data": data, "metadata": {}})

    def _explain(self, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        kept = [frame for frame in frames if not frame.filename.endswith("runner.py")]
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(kept)]
        lines += traceback.format_exception_only(error)
        text = "".join(lines).splitlines()
        fields = {"ename": type(error).__name__, "evalue": str(error), "traceback": text}
        self.emit({"output_type": "error", **fields})

    @contextlib.contextmanager
    def _streams(self) -> Iterator[None]:
        out, err = _Stream("stdout", self.emit), _Stream("stderr", self.emit)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield


def bundle(value: Any) -> dict[str, Any]:
    """The MIME bundle of a value: its text, and what it says of itself."""
    data: dict[str, Any] = {"text/plain": pretty(value)}
    whole = getattr(value, "_repr_mimebundle_", None)
    if whole is not None and not isinstance(value, type):
        made = whole()
        data.update((made[0] if isinstance(made, tuple) else made) or {})
    for mime, name in _REPRS.items():
        method = getattr(value, name, None)
        if method is not None and not isinstance(value, type) and (shown := method()) is not None:
            data.setdefault(mime, shown)
    return data


def pretty(value: Any, width: int = 79) -> str:
    """Text as IPython prints it: containers that do not fit in a line get a line an element."""
    flat = repr(value)
    if len(flat) <= width or "\n" in flat or not isinstance(value, dict | list | tuple | set):
        return flat
    if isinstance(value, dict):
        parts, ends = [f"{key!r}: {pretty(inner, width)}" for key, inner in value.items()], "{}"
    else:
        ends = {list: "[]", tuple: "()", set: "{}"}.get(type(value), "")
        if not ends:
            return flat
        parts = [pretty(inner, width) for inner in value]
    return ends[0] + ",\n ".join(parts) + ends[1]


def _install_ipython(cells: Cells) -> None:
    """The few names of IPython that chapters and views use."""

    class _Shown:
        def __init__(self, data: str) -> None:
            self.data = data

    class HTML(_Shown):
        def _repr_html_(self) -> str:
            return self.data

    class Markdown(_Shown):
        def _repr_markdown_(self) -> str:
            return self.data

    def publish_display_data(data: dict[str, Any], **_: Any) -> None:
        cells.publish(data)

    names = {"display": cells._display, "HTML": HTML, "Markdown": Markdown}
    display = types.ModuleType("IPython.display")
    display.__dict__.update(names, publish_display_data=publish_display_data)
    package = types.ModuleType("IPython")
    package.__dict__.update(display=display, get_ipython=lambda: cells)
    sys.modules.update({"IPython": package, "IPython.display": display})
