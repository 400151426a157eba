"""What a run of a profile would do, step by step, without an engine and without doing it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.asterinas import Profile
from labkit.container.container import Options, creation
from labkit.show import columns
from labkit.show.markup import table


@dataclass(frozen=True)
class Preview:
    """The steps of the documented flow for one profile, and labkit's own container beside them."""

    profile: str
    clone: str
    documented: str
    make: str
    own: str

    def to_dict(self) -> dict[str, Any]:
        """The steps as JSON types."""
        return dict(self._rows())

    def __repr__(self) -> str:
        return f"Preview({self.profile})"

    def __str__(self) -> str:
        return columns(self._rows())

    def _repr_html_(self) -> str:
        return table(self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("profile", self.profile),
            ("source", self.clone),
            ("container, as documented", self.documented),
            ("in it", self.make),
            ("container, labkit's way", self.own),
        ]


def preview(profile: Profile, url: str, variables: dict[str, str]) -> Preview:
    """The steps of the flow from the repository ``url`` with these variables of make."""
    make = profile.make(auto_test="boot", **variables)
    source = Path("/asterinas")
    documented = creation(profile, Options(profile.documented_image, source, as_documented=True), make)
    own = creation(profile, Options(profile.image, source, kvm=profile.tdx), make)
    return Preview(
        profile=profile.name,
        clone=shlex.join(("git", "clone", "--depth=1", f"--branch={profile.tag}", url, str(source))),
        documented=documented.command_line,
        make=shlex.join(make),
        own=own.command_line,
    )
