"""Values of parameters as bash writes them: papermill's own translator knows no mapping."""

from __future__ import annotations

from typing import Any

from papermill.translators import BashTranslator, papermill_translators


class ShellTranslator(BashTranslator):  # type: ignore[misc, unused-ignore]
    """papermill's translator for bash, with mappings as associative arrays."""

    @classmethod
    def translate_dict(cls, val: dict[str, Any]) -> str:
        """A mapping as ``([name]=value …)``."""
        items = (f"[{cls.translate_escaped_str(key)}]={cls.translate(value)}" for key, value in val.items())
        return f"({' '.join(items)})"

    @classmethod
    def codify(cls, parameters: dict[str, Any], comment: str = "Parameters") -> str:
        """The cell that papermill injects; a mapping has to be declared as one."""
        lines = [cls.comment(comment)]
        for name, value in parameters.items():
            declared = "declare -A " if isinstance(value, dict) else ""
            lines.append(declared + cls.assign(name, cls.translate(value)))
        return "\n".join(lines) + "\n"


def register(kernel: str) -> None:
    """Have papermill write the parameters of this kernel's notebooks so."""
    papermill_translators.register(kernel, ShellTranslator)
