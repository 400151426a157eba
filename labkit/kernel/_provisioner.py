"""How a front end starts the kernel: with sockets that no other user of the machine can read.

Jupyter's ports are open to every user of the machine, and what a kernel publishes is not even signed for.
Jupyter's client can have them encrypted (CurveZMQ), with keys in the connection file, but does not by itself.
The kernelspec names this class, so every front end that starts the kernel does.
"""

from __future__ import annotations

from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

_ENCRYPTION = "transport_encryption"


class PrivateProvisioner(LocalProvisioner):  # type: ignore[misc, unused-ignore]
    """Starts a kernel here, and has its sockets encrypted unless their folder is private already."""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """What Jupyter asks before each start; the encryption that it does without is switched on."""
        manager: Any = self.parent
        if manager is not None and manager.transport == "tcp":
            kwargs[_ENCRYPTION] = "required"
        return await super().pre_launch(**kwargs)
