from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from labkit.attest import Policy, load_policy, parse_policy
from labkit.errors import NotAKernel, NotATdvf, UsageError
from labkit.measure import BootInputs, PageOrder, predict, read_tdvf
from labkit.measure.rules import InitrdWord, RegisterKind, Rules
from tests.measure.firmware import image
from tests.measure.kernels import kernel

FILES = {"OVMF.fd": image(), "bzImage": kernel(), "initrd.img": b"initrd"}
DOCUMENT = {
    "tcb_statuses": ["UpToDate", "SWHardeningNeeded"],
    "forbidden_advisories": ["INTEL-SA-1"],
    "allow_lab": True,
    "report_data": "42" * 64,
    "mrtd": ["11" * 48],
    "rtmr": [None, None, None, "00" * 48],
    "page_order": "single-pass",
    "inputs": {
        "firmware": "OVMF.fd",
        "memory_mib": 512,
        "kernel": "bzImage",
        "initrd": "initrd.img",
        "command_line": "quiet",
        "rules": {
            "platform": "vtpm",
            "initrd_word": "edk2 after 202502",
            "acpi_events": 0,
            "smbios_event": True,
        },
        "smbios": "22" * 48,
    },
}


def test_a_policy_is_read_from_its_document() -> None:
    policy = parse_policy(DOCUMENT, FILES.__getitem__)
    inputs = BootInputs(
        firmware=read_tdvf(image()),
        memory=512 << 20,
        kernel=kernel(),
        initrd=b"initrd",
        command_line="quiet",
        smbios=b"\x22" * 48,
    )
    rules = Rules(RegisterKind.VTPM, initrd_word=InitrdWord.AT_BEGIN, acpi_events=0, smbios_event=True)
    assert policy == Policy(
        tcb_statuses=("UpToDate", "SWHardeningNeeded"),
        forbidden_advisories=("INTEL-SA-1",),
        allow_lab=True,
        report_data=b"\x42" * 64,
        mrtd=(b"\x11" * 48,),
        rtmr=(None, None, None, bytes(48)),
        prediction=predict(inputs, rules),
        page_order=PageOrder.SINGLE_PASS,
    )
    assert parse_policy({}, FILES.__getitem__) == Policy()


def test_its_files_are_found_beside_it(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    assert load_policy(path) == parse_policy(DOCUMENT, FILES.__getitem__)
    (tmp_path / "bzImage").unlink()
    with pytest.raises(UsageError, match="bzImage cannot be read"):
        load_policy(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="is not a policy"):
        load_policy(path)
    with pytest.raises(UsageError, match="is not a policy"):
        load_policy(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rtmrs": []}, "no key 'rtmrs'"),
        ({"tcb_statuses": ["Fine"]}, "'Fine' is not a TCB status"),
        ({"tcb_statuses": "UpToDate"}, "not a list"),
        ({"allow_debug": "no"}, "neither true nor false"),
        ({"report_data": "42"}, "1 bytes stand where 64"),
        ({"mrtd": ["zz"]}, "wrong"),
        ({"mrtd": [None]}, "register is missing"),
        ({"rtmr": [None]}, "wrong"),
        ({"page_order": "three-pass"}, "three-pass"),
        ({"inputs": []}, "wrong"),
        ({"inputs": {"memory": 5}}, "no key 'memory'"),
        ({"inputs": {"memory_mib": "much"}}, "not a number"),
        ({"inputs": {"memory_mib": 5 * 10**21}}, "not a number"),
        ({"inputs": {"memory_mib": float("inf")}}, "not a number"),
        ({"inputs": {"rules": {"acpi_events": 10**9}}}, "not a number"),
        ({"inputs": {"rules": {"separators": "x"}}}, "wrong"),
        ({"inputs": {"rules": {"smbios_event": "yes"}}}, "wrong"),
        ({"inputs": {"smbios": "00"}}, "wrong"),
        ({"inputs": {"rules": {"unknown": "x"}}}, "wrong"),
        ({"inputs": {}}, "inputs are empty"),
        ({"inputs": {"memory_mib": 0}}, "not a number"),
        ({"inputs": {"command_line": "quiet\0init=/x"}}, "not a line of text"),
        ({"mrtd": []}, "empty list"),
        ({"tcb_statuses": []}, "no platform could meet"),
        ({"forbidden_advisories": ["INTEL-SA-\u0660\u0661"]}, "not the number of an advisory"),
        ({"report_data": "00\u00a0" + "00" * 63}, "not hexadecimal"),
        ({"forbidden_advisories": ["intel-sa-00837"]}, "not the number of an advisory"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_reason(change: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_policy(change, FILES.__getitem__)
    assert caught.value.remedy


def test_other_documents_are_refused() -> None:
    wrong: list[object] = [[], None, "x", 1]
    for document in wrong:
        with pytest.raises(UsageError, match="JSON object"):
            parse_policy(document, FILES.__getitem__)
    with pytest.raises(NotATdvf):
        parse_policy({"inputs": {"firmware": "bzImage"}}, FILES.__getitem__)
    inputs = {"kernel": "initrd.img", "initrd": "initrd.img", "memory_mib": 512, "command_line": ""}
    with pytest.raises(NotAKernel):
        parse_policy({"inputs": inputs}, FILES.__getitem__)


@pytest.mark.parametrize(
    "text",
    [
        '{"allow_lab": true, "allow_lab": false}',
        '{"mrtd": [], "mrtd": []}',
        '{"inputs": {"memory_mib": 256, "memory_mib": 512}}',
        '{"inputs": {"memory_mib": NaN}}',
    ],
)
def test_a_key_that_stands_in_it_twice_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"is not a policy: .*(twice|not a value)"):
        load_policy(path)


@pytest.mark.parametrize(
    "change",
    [
        {"forbidden_advisories": [1]},
        {"forbidden_advisories": [None]},
        {"forbidden_advisories": [["INTEL-SA-1"]]},
        {"tcb_statuses": [None]},
        {"tcb_statuses": [True]},
        {"mrtd": [5]},
        {"mrtd": [None]},
        {"rtmr": [None, None, None]},
        {"rtmr": [0, None, None, None]},
        {"rtmr": [None, None, None, False]},
        {"report_data": 0},
        {"report_data": False},
        {"page_order": 0},
        {"page_order": ""},
        {"allow_lab": None},
        {"inputs": []},
        {"inputs": {"command_line": 7}},
        {"inputs": {"kernel": 7}},
        {"inputs": {"firmware": None}},
        {"inputs": {"memory_mib": True}},
        {"inputs": {"rules": [["platform", 1]]}},
        {"inputs": {"rules": {"separators": None}}},
        {"inputs": {"rules": {"unknown": 1}}},
        {"inputs": {"acpi": "00"}},
    ],
)
def test_a_value_of_a_wrong_type_is_refused_wherever_it_stands(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="A value of the policy is wrong") as refusal:
        parse_policy(change, FILES.__getitem__)
    assert refusal.value.exit_code == 64


def test_a_policy_names_no_pipe_of_the_user(tmp_path: Path) -> None:
    """``/dev/stdin`` in a policy that somebody sent would wait for the user's keyboard."""
    reading, writing = os.pipe()
    try:
        (tmp_path / "policy.json").write_text(json.dumps({"inputs": {"initrd": f"/dev/fd/{reading}"}}))
        with pytest.raises(UsageError, match="no regular file"):
            load_policy(tmp_path / "policy.json")
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("document", "key"),
    [
        *(
            ({key: None}, key)
            for key in ("tcb_statuses", "forbidden_advisories", "mrtd", "rtmr", "allow_lab")
        ),
        ({"mrtd": ["0x" + "11" * 48]}, "mrtd"),
        ({"rtmr": ["", None, None, None]}, "rtmr"),
        ({"report_data": "hello"}, "report_data"),
        ({"page_order": {}}, "page_order"),
        *(({"inputs": {key: []}}, key) for key in ("firmware", "kernel", "memory_mib", "smbios")),
        ({"inputs": {"acpi": [5]}}, "acpi"),
        ({"inputs": {"rules": {"separators": "x"}}}, "separators"),
        ({"inputs": {"rules": {"acpi_events": "3"}}}, "acpi_events"),
    ],
)
def test_a_refusal_names_the_key_whose_value_is_wrong(document: dict[str, object], key: str) -> None:
    with pytest.raises(UsageError, match=f"^A value of the policy is wrong: {key}"):
        parse_policy(document, FILES.__getitem__)
