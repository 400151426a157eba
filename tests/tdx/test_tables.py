"""labkit's own tables against the ones taken from Intel's source."""

from __future__ import annotations

from labkit.tdx.leaves import LEAVES
from labkit.tdx.states import SEPT_ALLOWED, TRAITS, OpState, Septe
from labkit.tdx.status import Operand, Status
from tests.tdx.worlds import rows


def test_status_codes() -> None:
    expected = {row["name"].removeprefix("TDX_"): int(row["value"], 16) for row in rows("status.csv")}
    del expected["UNINITIALIZE_ERROR"]
    assert {status.name: status.value for status in Status} == expected


def test_operand_ids() -> None:
    expected = {row["name"]: int(row["id"]) for row in rows("operand_ids.csv")}
    assert {operand.name: operand.value for operand in Operand} == expected


def test_leaves() -> None:
    expected = {row["name"]: (int(row["number"]), row["interface"] == "guest") for row in rows("leaves.csv")}
    assert {leaf.name: (leaf.number, leaf.guest) for leaf in LEAVES.values()} == expected


def test_operation_states() -> None:
    expected = {
        row["name"]: {OpState[state] for state in list(row)[2:] if row[state] == "1"}
        for row in rows("op_states.csv")
    }
    assert {leaf.name: leaf.states for leaf in LEAVES.values() if leaf.states is not None} == expected


def test_sept_rules() -> None:
    expected = {
        row["name"]: {Septe[state] for state in list(row)[3:] if row[state] == "1"}
        for row in rows("sept_allowed.csv")
    }
    assert expected == SEPT_ALLOWED


def test_sept_states() -> None:
    table = rows("sept_states.csv")
    assert {row["state"]: int(row["encoding"], 16) for row in table} == {s.name: s.value for s in Septe}
    for row in table:
        traits = TRAITS[Septe[row["state"]]]
        assert traits.public == int(row["public_state"])
        flags = {
            "mapped_or_pending": traits.mapped_or_pending,
            "any_pending": traits.pending,
            "any_pending_and_guest_acceptable": traits.acceptable,
            "any_blocked": traits.blocked,
            "tlb_tracking_required": traits.tracked,
            "guest_accessible_leaf": traits.readable,
            "guest_fully_accessible_leaf": traits.writable,
        }
        assert {name: int(flag) for name, flag in flags.items()} == {name: int(row[name]) for name in flags}
