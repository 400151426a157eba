"""A lab authority of the tests' own, with one report and its quotes."""

from __future__ import annotations

import pytest

from labkit.attest import Collateral, LabAuthority, make_tdreport
from labkit.attest.tdreport import TdReport

NOW = 1_795_348_800
DEBUG, SEPT_VE_DISABLE = 1, 1 << 28


def report(attributes: int = SEPT_VE_DISABLE) -> TdReport:
    return make_tdreport(
        mrtd=b"\x11" * 48,
        rtmr=(b"\x20" * 48, b"\x21" * 48, b"\x22" * 48, b"\x23" * 48),
        report_data=b"\x5a" * 64,
        td_attributes=attributes,
        xfam=0x602E7,
    )


@pytest.fixture(scope="session")
def authority() -> LabAuthority:
    return LabAuthority.create(NOW)


@pytest.fixture(scope="session")
def collateral(authority: LabAuthority) -> Collateral:
    return authority.collateral(NOW)


@pytest.fixture(scope="session", params=[4, 5], ids=["v4", "v5"])
def quote(request: pytest.FixtureRequest, authority: LabAuthority) -> bytes:
    return authority.quote(report(), request.param)
