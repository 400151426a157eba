"""The model agrees with labkit's own measuring and with its TDREPORT codec."""

from __future__ import annotations

import pytest

from labkit.attest import parse_tdreport
from labkit.measure import PageOrder, mrtd, read_tdvf
from labkit.measure.tdvf import join_firmware
from labkit.settings import Settings
from labkit.tdx import Program, Section, Vmm
from labkit.tdx.ghci import extend, report
from labkit.tdx.vmm import Order
from tests import bring
from tests.tdx.worlds import vmm

FOLDER = bring.folder(Settings.load(), bring.BOOKWORM) / "usr/share/OVMF"
# Every firmware of the ovmf package that becomes a TDVF with its variable store in front.
PAIRS = [
    ("OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("OVMF_CODE.secboot.fd", "OVMF_VARS.fd"),
    ("OVMF_CODE.secboot.fd", "OVMF_VARS.ms.fd"),
]


@pytest.mark.parametrize(("code", "variables"), PAIRS)
@pytest.mark.parametrize("order", list(Order))
def test_mrtd_by_calls_is_mrtd_from_the_file(code: str, variables: str, order: Order) -> None:
    paths = [FOLDER / code, FOLDER / variables]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"{code} and {variables} of Debian 12 are not here: `./lab test` fetches them")
    tdvf = read_tdvf(join_firmware(*(path.read_bytes() for path in paths)))
    sections = [
        Section(
            s.gpa,
            s.memory_size,
            tdvf.image[s.data_offset : s.data_offset + s.raw_size],
            int(s.attributes),
        )
        for s in tdvf.sections
    ]
    host = vmm()
    assert host.mrtd(host.launch(sections, order)) == mrtd(tdvf, PageOrder(order.value))


def _guest(out: list[bytes]) -> Program:
    yield from extend(0x2000, 1, b"\7" * 48)
    out.append((yield from report(0x2000, b"report data")))


def test_report_parses_strictly() -> None:
    host = Vmm().start()
    td = host.launch([Section(0x1000, 0x1000, b"code", 1), Section(0x2000, 0x1000)])
    out: list[bytes] = []
    host.run(td, _guest(out))
    parsed = parse_tdreport(out[0])
    assert parsed.encode() == out[0]
    assert parsed.mrtd == host.mrtd(td)
    assert parsed.report_data == b"report data".ljust(64, b"\0")
    assert [any(value) for value in parsed.rtmr] == [False, True, False, False]
    assert not parsed.debug
