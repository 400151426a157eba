from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.measure import (
    BootInputs,
    EventLog,
    PageOrder,
    Prediction,
    explain,
    mrtd,
    parse_log,
    predict,
    rtmrs,
)
from labkit.measure.event_log import LogEvent, LogFormat, LogHeader
from labkit.measure.event_types import EventType
from labkit.measure.explanation import Agreement, page_order_of
from labkit.measure.prediction import Part
from labkit.measure.rules import InitrdWord, KernelHeader, Rules, SecureBoot, Separators
from tests.measure.kernels import kernel
from tests.measure.logs import GLOBAL
from tests.measure.test_predict import INPUTS, MIB, OVMF_LIKE

BLOBS = (b"a" * 48, b"b" * 48, b"c" * 48)
KNOWN = replace(INPUTS, acpi=BLOBS, rtmr3=(("app", b"1"),))


def log_of(prediction: Prediction) -> EventLog:
    """The CCEL that a guest would write if everything went as predicted."""
    events = []
    for index, event in enumerate(prediction.events, 1):
        assert event.digest is not None
        kind, name = event.slot
        data = b""
        if kind == EventType.EV_EFI_ACTION:
            data = name.encode()
        elif kind == EventType.EV_EVENT_TAG:
            data = struct.pack("<II", int(name, 16), 0)
        elif kind == EventType.DSTACK_EVENT:
            data = name.encode() + b":1"
        elif kind == EventType.EV_SEPARATOR:
            data = bytes(4)
        elif name:
            data = GLOBAL + struct.pack("<QQ", len(name), 0) + name.encode("utf-16-le")
        events.append(LogEvent(index, event.register + 1, kind, ((0xC, event.digest),), data))
    return EventLog(LogFormat.CCEL, LogHeader(register=1), tuple(events))


def reason(
    logged: BootInputs, logged_rules: Rules | None = None, others: dict[str, BootInputs] | None = None
) -> tuple[str, str]:
    """The first difference when KNOWN was expected and something else was booted."""
    found = explain(predict(KNOWN), log_of(predict(logged, logged_rules)), others).first_difference()
    assert found is not None
    return found.label, found.why


def test_a_boot_as_predicted_has_no_difference() -> None:
    prediction = predict(KNOWN)
    explanation = explain(prediction, log_of(prediction))
    assert explanation.matches
    assert explanation.expected == explanation.logged == rtmrs(log_of(prediction))
    assert {row.status for row in explanation.rows} == {Agreement.SAME}


@given(st.data())
def test_each_event_stands_in_one_row_and_in_its_order(data: st.DataObject) -> None:
    """Whatever is missing, more, or moved: nothing of either side is lost, or said twice."""
    prediction = predict(KNOWN)
    events = list(log_of(prediction).events)
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(events) - 1))
        change = data.draw(st.sampled_from(["lost", "twice", "other", "moved"]))
        event = events.pop(place)
        if change == "other":
            events.insert(place, replace(event, digests=((0xC, bytes(48)),)))
        elif change == "twice":
            events[place:place] = [event, event]
        elif change == "moved":
            events.insert(data.draw(st.integers(0, len(events))), event)
    events = [replace(event, index=number) for number, event in enumerate(events, 1)]
    explanation = explain(prediction, replace(log_of(prediction), events=tuple(events)))
    for register in range(4):
        rows = [row for row in explanation.rows if row.register == register]
        assert [row.expected for row in rows if row.expected] == [
            event for event in prediction.events if event.register == register
        ]
        assert [row.logged for row in rows if row.logged] == [e for e in events if e.register == register + 1]
        for row in rows:
            same = row.expected and row.logged and row.expected.digest == row.logged.digest()
            assert (row.status is Agreement.SAME) is bool(same)
            assert (row.status is Agreement.MISSING, row.status is Agreement.EXTRA) == (
                row.logged is None,
                row.expected is None,
            )


@pytest.mark.parametrize("lost", range(3))
def test_events_of_one_kind_are_told_apart_by_their_digests(lost: int) -> None:
    """Where one of several alike is missing, it is that one, and not the last of them."""
    prediction = predict(KNOWN)
    events = log_of(prediction).events
    first = next(number for number, event in enumerate(prediction.events) if event.part is Part.ACPI)
    left = (*events[: first + lost], *events[first + lost + 1 :])
    found = explain(prediction, replace(log_of(prediction), events=left))
    wrong = [(row.label, row.status) for row in found.rows if row.status is not Agreement.SAME]
    assert wrong == [(f"ACPI blob {lost}", Agreement.MISSING)]


def test_what_was_not_predicted_is_no_difference_but_is_said() -> None:
    explanation = explain(predict(replace(KNOWN, acpi=())), log_of(predict(KNOWN)))
    assert explanation.matches
    assert [row.label for row in explanation.rows if row.status is Agreement.NOT_PREDICTED] == [
        "ACPI blob 0",
        "ACPI blob 1",
        "ACPI blob 2",
    ]


@pytest.mark.parametrize(
    ("changes", "label", "words"),
    [
        ({"memory": 4096 * MIB}, "memory layout (TD HOB)", "Memory is 4 GiB, not 512 MiB."),
        ({"memory": 768 * MIB}, "memory layout (TD HOB)", "Memory is 768 MiB, not 512 MiB."),
        ({"memory": 777 * MIB}, "memory layout (TD HOB)", "no usual memory size"),
        ({"variables": b"x"}, "variable store", "this is another one"),
        ({"command_line": "quiet "}, "kernel command line", "A stray space ends the command line."),
        ({"command_line": " quiet"}, "kernel command line", "A stray space begins the command line."),
        ({"command_line": "quiet\n"}, "kernel command line", "A line feed ends the command line."),
        ({"command_line": ""}, "kernel command line", "The command line is empty."),
        ({"command_line": "loud"}, "kernel command line", "It is another command line."),
        ({"initrd": b"other file "}, "initrd", "another initrd file"),
        ({"initrd": b"longer initrd file"}, "kernel", "initrd size"),
        ({"kernel": kernel(9)}, "kernel", "one of them differs"),
        ({"acpi": (BLOBS[1], BLOBS[0], BLOBS[2])}, "ACPI blob 0", "changed places"),
        ({"acpi": (BLOBS[0], BLOBS[1], bytes(48))}, "ACPI blob 2", "QEMU makes it"),
        ({"rtmr3": (("app", b"2"),)}, "application event", "another value"),
        ({"boot_options": (b"disk",)}, "variable Boot0000", "another boot option"),
    ],
)
def test_a_changed_input_is_found_and_named(changes: dict[str, object], label: str, words: str) -> None:
    found, why = reason(replace(KNOWN, **changes))  # type: ignore[arg-type]
    assert found == label
    assert words in why


@pytest.mark.parametrize(
    ("rules", "label", "words"),
    [
        (
            Rules(separators=Separators.TWO_IN_RTMR0),
            "separator",
            "edk2 before 202411 puts this separator in RTMR0",
        ),
        (Rules(initrd_word=InitrdWord.AT_BEGIN), "kernel command line", "before the command line"),
        (Rules(kernel_header=KernelHeader.RAW), "kernel", "QEMU leaves the file alone"),
        (Rules(secure_boot=SecureBoot.ON), "variable SecureBoot", "one byte: on"),
    ],
)
def test_a_changed_rule_is_found_and_named(rules: Rules, label: str, words: str) -> None:
    found, why = reason(KNOWN, rules)
    assert (found, words in why) == (label, True)


def test_words_of_a_command_line_are_compared() -> None:
    def changed(expected: str, logged: str) -> str:
        prediction = predict(replace(KNOWN, command_line=expected))
        found = explain(prediction, log_of(predict(replace(KNOWN, command_line=logged)))).first_difference()
        assert found is not None
        return found.why

    assert changed("a quiet b", "a b") == "The word 'quiet' is missing."
    assert changed("a b c", "a c b") == "The words 'b' and 'c' changed places."
    assert changed("a b c", "a b  c") == "A stray space stands after 'b'."
    assert changed("a  b", "a b") in (
        "Repeated spaces of the command line were joined.",
        "The word '' is missing.",
    )
    assert changed(" a b ", "a b") == "Spaces at the ends of the command line were removed."
    assert changed('a="b"', "a=b") == "The quotation marks of the command line were removed."


def test_other_inputs_are_recognised_by_name() -> None:
    other = replace(KNOWN, command_line="loud debug")
    assert reason(other, others={"the second boot": other}) == (
        "kernel command line",
        "It is the kernel command line of the second boot.",
    )


def test_an_initrd_that_is_not_there_is_missing() -> None:
    explanation = explain(predict(KNOWN), log_of(predict(replace(KNOWN, initrd=b""))))
    statuses = {row.label: row.status for row in explanation.rows}
    assert statuses["initrd"] is Agreement.MISSING
    first = explanation.first_difference(2)
    assert first is not None
    assert "there is no initrd" in first.why
    kernel_row = explanation.first_difference(1)
    assert kernel_row is not None
    assert kernel_row.why == "The kernel was started without an initrd."


def test_an_event_that_nobody_expects_is_extra() -> None:
    log = log_of(predict(KNOWN))
    stranger = LogEvent(99, 4, EventType.EV_IPL, ((0xC, bytes(48)),), b"surprise")
    explanation = explain(predict(KNOWN), replace(log, events=(*log.events, stranger)))
    first = explanation.first_difference()
    assert first is not None
    assert (first.register, first.status, first.label) == (3, Agreement.EXTRA, "surprise")
    assert explanation.first_difference(0) is None


def test_an_edited_description_does_not_hide_an_equal_digest() -> None:
    log = log_of(predict(KNOWN))
    at = next(i for i, event in enumerate(log.events) if event.type == EventType.EV_EFI_ACTION)
    edited = replace(log.events[at], data=b"something else")
    events = (*log.events[:at], edited, *log.events[at + 1 :])
    assert explain(predict(KNOWN), replace(log, events=events)).matches


def test_the_page_order_of_an_mrtd_is_found() -> None:
    for order in PageOrder:
        assert page_order_of(OVMF_LIKE, mrtd(OVMF_LIKE, order)) is order
    assert page_order_of(OVMF_LIKE, bytes(48)) is None


def test_it_shows_itself_as_a_diff() -> None:
    explanation = explain(predict(KNOWN), log_of(predict(replace(KNOWN, command_line="quiet "))))
    text = str(explanation)
    assert text.startswith("First difference, RTMR2: kernel command line (differs). A stray space")
    assert "≠" in text
    assert "hsl(" in explanation._repr_html_()
    document = explanation.to_dict()
    assert document["matches"] is False
    assert document["expected"][1] == document["logged"][1]
    assert [row["status"] for row in document["events"]].count("differs") == 1
    assert repr(explanation) == "Explanation(RTMR2: kernel command line)"
    html = explain(predict(KNOWN), log_of(predict(KNOWN)))._repr_html_()
    assert "as predicted" in html


@pytest.mark.data
def test_a_real_log_of_an_older_firmware_is_explained(shared_data: Path) -> None:
    log = parse_log((shared_data / "vectors/negatives/ccel-edk2-before-202411.bin").read_bytes())
    prediction = predict(BootInputs(firmware=OVMF_LIKE, memory=4096 * MIB))
    explanation = explain(prediction, log)
    reasons = {row.label: row.why for row in explanation.rows if row.why}
    assert reasons["memory layout (TD HOB)"] == "Memory is 2 GiB, not 4 GiB."
    assert "4 MiB image" in reasons["variable store"]
    assert "edk2 before 202411" in reasons["separator"]
    right = predict(
        BootInputs(firmware=OVMF_LIKE, memory=2048 * MIB), Rules(separators=Separators.TWO_IN_RTMR0)
    )
    assert [row.label for row in explain(right, log).rows if row.status is not Agreement.SAME] == [
        Part.CFV.value,
        "ACPI blob 0",
        "ACPI blob 1",
        "ACPI blob 2",
        Part.KERNEL.value,
        Part.COMMAND_LINE.value,
        Part.INITRD.value,
    ]


@pytest.mark.data
@pytest.mark.parametrize("name", ["ccel-events-swapped.bin", "ccel-mrindex-changed.bin"])
def test_changed_real_logs_are_explained(name: str, shared_data: Path) -> None:
    good = parse_log((shared_data / "vectors/baremetal-live/ccel-of-quote.bin").read_bytes())
    acpi = tuple(e.digest() or b"" for e in good.events if e.type == EventType.EV_PLATFORM_CONFIG_FLAGS)
    prediction = predict(BootInputs(firmware=OVMF_LIKE, memory=2048 * MIB, acpi=acpi))
    log = parse_log((shared_data / "vectors/negatives" / name).read_bytes())
    reasons = [row.why for row in explain(prediction, log).rows if row.why]
    words = "changed places" if "swapped" in name else "puts this separator in RTMR0"
    assert any(words in why for why in reasons)


def test_an_explanation_is_printed_event_by_event_with_both_digests_and_the_reason() -> None:
    prediction = predict(KNOWN)
    text = str(explain(prediction, log_of(predict(replace(KNOWN, command_line="other")))))
    wanted = next(event for event in prediction.events if event.part is Part.COMMAND_LINE)
    assert wanted.digest is not None
    line = next(line for line in text.splitlines() if wanted.digest.hex()[:12] in line)
    logged = next(
        event.digest
        for event in predict(replace(KNOWN, command_line="other")).events
        if event.part is Part.COMMAND_LINE
    )
    assert logged is not None
    assert logged.hex()[:12] in line
    assert line.startswith("RTMR2")
    same = next(event for event in prediction.events if event.part is Part.KERNEL)
    assert same.digest is not None
    unchanged = next(line for line in text.splitlines() if same.digest.hex()[:12] in line)
    assert unchanged.count(same.digest.hex()[:12]) == 2


def test_a_missing_event_is_printed_without_a_logged_digest() -> None:
    prediction = predict(KNOWN)
    log = log_of(prediction)
    short = replace(log, events=log.events[:-1])
    text = str(explain(prediction, short))
    gone = log.events[-1].digest()
    assert gone is not None
    lines = [line for line in text.splitlines() if gone.hex()[:12] in line]
    assert lines
    assert "−" in lines[-1]


def test_an_explanation_is_shown_row_by_row() -> None:
    """Register, event, digest expected and logged, how they agree, and why."""
    prediction = predict(replace(KNOWN, acpi=()))
    events = list(log_of(predict(KNOWN)).events)
    lost = events.pop(0)
    changed = replace(events[0], digests=((0xC, bytes(48)),))
    more = LogEvent(99, 4, EventType.EV_SEPARATOR, ((0xC, b"\xab" * 48),), bytes(4))
    log = replace(log_of(predict(KNOWN)), events=(changed, *events[1:], more))
    found = explain(prediction, log)
    rows = {row.label: row for row in found.rows}
    lines = str(found).splitlines()
    digest = lost.digest() or b""
    expected = prediction.events[1].digest or b""
    assert re.search(rf"^RTMR0 +{re.escape(prediction.events[0].label)} +{digest.hex()[:12]}… +− ", lines[3])
    assert re.search(rf"^RTMR0 +variable store +{expected.hex()[:12]}… +0{{12}}… +≠ +\S", lines[4])
    assert any(
        re.search(r"^RTMR3 +separator +abababababab… +\+ +Nothing in the inputs", line) for line in lines
    )
    assert any(re.search(r"^RTMR0 +ACPI blob 0 +616161616161… +\?$", line.rstrip()) for line in lines)
    assert any(re.search(r"^RTMR1 +kernel +([0-9a-f]{12}…) +\1 +=$", line.rstrip()) for line in lines)
    assert lines[0] == (
        "First difference, RTMR0: memory layout (TD HOB) (missing). The log ends or goes on without it."
    )
    html = found._repr_html_()
    assert f"{expected.hex()[:24]}…" in html
    assert "≠" in html
    assert repr(found) == "Explanation(RTMR0: memory layout (TD HOB))"
    document = rows["variable store"].to_dict()
    assert document["expected"] == expected.hex()
    assert document["logged"] == "00" * 48
    assert document["index"] == changed.index
    assert not found.to_dict()["matches"]
    assert found.to_dict()["logged"] == [value.hex() for value in rtmrs(log)]
