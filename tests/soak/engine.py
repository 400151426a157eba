"""A container engine of the soak's own, with the image of the documented flow's tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.container.engine import connect
from labkit.container.image import ImageStore
from labkit.container.toolbox import build_toolbox
from tests.container.conftest import BASE, CONTRACT, IMAGE
from tests.container.engines import environ, own_engine, pulled_or_made


@contextmanager
def own_engine_with_image(folder: Path) -> Iterator[None]:
    """Lead this process and what it starts to an engine below ``folder`` that has the image; takes minutes.

    Raises:
        NoEngine: it cannot be started, or there is nothing to make the image of.
        LabkitError: the image cannot be built.
    """
    with own_engine(folder) as own:
        before = os.environ.get("DOCKER_HOST")
        os.environ.update(environ(own.engine))
        client = connect(own.engine, timeout=600)
        try:
            pulled_or_made(folder, own.engine, BASE)
            base = build_toolbox(lambda text: None, BASE, target="qemu").tag
            context = {"Dockerfile": (CONTRACT / "Dockerfile").read_bytes()}
            ImageStore(client, own.engine).build(context, IMAGE, arguments={"BASE": base})
            yield
        finally:
            client.close()
            os.environ.pop("DOCKER_HOST")
            if before is not None:
                os.environ["DOCKER_HOST"] = before
