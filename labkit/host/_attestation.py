"""Facts of the attestation track: SGX, quote service, collateral, registration. No secret is ever kept."""

from __future__ import annotations

from labkit.host._model import Fact
from labkit.host._tree import Tree


def attestation_facts(tree: Tree) -> dict[str, Fact]:
    """Everything quoting needs besides the TDX module."""
    return {
        f"sgx.{name}": tree.presence(f"/dev/sgx_{name}", "/dev/null")
        for name in ("enclave", "provision", "vepc")
    }
