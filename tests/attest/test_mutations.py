from __future__ import annotations

import pytest

from labkit.attest import Collateral, LabAuthority, verify_quote
from labkit.errors import MalformedEvidence
from tests.attest.conftest import NOW, report
from tests.attest.mutations import mutations

COUNT = 2000


@pytest.mark.parametrize("version", [4, 5])
def test_no_mutated_quote_verifies(version: int, authority: LabAuthority, collateral: Collateral) -> None:
    good = authority.quote(report(), version)
    refused = 0
    for data in mutations(good, COUNT, seed=version):
        try:
            verdict = verify_quote(data, collateral, NOW, authority.root_der)
        except MalformedEvidence:
            refused += 1
            continue
        # Zeros appended to a good quote are the one change that is not a change.
        padded = data.rstrip(b"\0") == good.rstrip(b"\0") and len(data) > len(good)
        assert not verdict.verified or padded
        refused += not verdict.verified
    assert refused > COUNT * 0.99
