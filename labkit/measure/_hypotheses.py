"""Hypotheses: what else the inputs or rules of a boot could have been, each with its sentence.

A logged digest that equals the one under a hypothesis explains a difference; nothing is guessed beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from labkit.errors import DataError, UsageError
from labkit.measure.hob import SPLIT_FROM
from labkit.measure.prediction import BootInputs, ExpectedEvent, Part, Prediction, digest_of
from labkit.measure.rules import InitrdWord, KernelHeader, Rules, SecureBoot

_MIB = 1 << 20
_MEMORY_SIZES = tuple(
    size * _MIB
    for size in (128, 256, 384, 512, 768, 1024, 1536, 2048, 2560, 3072, 4096, 6144, 8192, 12288, 16384)
) + tuple(size * 1024 * _MIB for size in (24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024))
# SHA-384 of the variable stores that Debian's ovmf 2022.11 ships.
_SHIPPED_STORES = {
    "2 MiB": "f87302177b059d54a2cf0c5f13340dbabf5c9dd60dc3f996"
    "c68b776fbe4de959769443a3d8ef6538b97d7e151c8298e8",
    "4 MiB": "344bc51c980ba621aaa00da3ed7436f7d6e549197dfe6995"
    "15dfa2c6583d95e6412af21c097d473155875ffd561d6790",
}
_MAX_WORDS = 64

Variant = tuple[str, BootInputs, Rules]
_Switch = TypeVar("_Switch", KernelHeader, InitrdWord)

# Where nothing explains a difference: what such a digest is made of.
_MADE_OF = {
    Part.TD_HOB: "It is made of memory size and firmware sections; no usual memory size gives this digest.",
    Part.CFV: "It is the variable store as shipped with the firmware; this is another one.",
    Part.KERNEL: "It is made of kernel file, memory size, initrd size and vga= word; one of them differs.",
    Part.COMMAND_LINE: "It is another command line.",
    Part.INITRD: "It is another initrd file; its size also stands in the kernel's header and changes RTMR1.",
    Part.ACPI: "QEMU makes it: another version, device, CPU count or memory size changes it.",
    Part.SMBIOS: "QEMU and the firmware make them: another version, CPU or memory size changes them.",
    Part.BOOT_ORDER: "The firmware found other boot options: another disk or network device is there.",
    Part.BOOT_OPTION: "The firmware found another boot option: another device or firmware build.",
    Part.APPLICATION: "The application reported another value.",
    Part.LOADER: "It is another boot loader.",
    Part.LOADER_CONFIG: "It is another grub.cfg; the kernel's command line stands in it.",
    Part.LOADER_COMMAND: "The boot loader ran this command with other words.",
    Part.LOADED_KERNEL: "It is another kernel file.",
    Part.LOADED_LINE: "It is another command line.",
    Part.LOADED_INITRD: "It is another initrd file.",
    Part.SEPARATOR: "The firmware met an error: a separator is not zero.",
    Part.PK: "Secure Boot keys are enrolled in the variable store.",
    Part.KEK: "Secure Boot keys are enrolled in the variable store.",
    Part.DB: "Secure Boot keys are enrolled in the variable store.",
    Part.DBX: "Secure Boot revocations are in the variable store.",
}


def why(
    prediction: Prediction, event: ExpectedEvent, logged: bytes, alternatives: Mapping[str, BootInputs]
) -> str:
    """The sentence that explains a logged digest in the place of an expected event."""
    for sentence, inputs, rules in _variants(prediction, event.part, alternatives):
        try:
            if digest_of(event.part, event.number, inputs, rules) == logged:
                return sentence
        except (DataError, UsageError):
            # A variant can be impossible, such as an initrd in too little memory.
            continue
    for size, digest in _SHIPPED_STORES.items():
        if event.part is Part.CFV and logged.hex() == digest:
            return f"It is the empty variable store of a {size} image of Debian 12."
    return _MADE_OF.get(
        event.part, "The text that the firmware measures here is fixed; another firmware ran."
    )


def _variants(
    prediction: Prediction, part: Part, alternatives: Mapping[str, BootInputs]
) -> Iterator[Variant]:
    inputs, rules = prediction.inputs, prediction.rules
    for name, other in alternatives.items():
        yield f"It is the {part.value} of {name}.", other, rules
    if part is Part.TD_HOB or (part is Part.KERNEL and inputs.loader is None):
        yield from _memories(part, inputs, rules)
    if part is Part.KERNEL and inputs.loader is None:
        header = _other(KernelHeader, rules.kernel_header)
        yield f"{header.value} before it is measured.", inputs, replace(rules, kernel_header=header)
        yield "The kernel was started without an initrd.", replace(inputs, initrd=b""), rules
    if part in (Part.COMMAND_LINE, Part.LOADED_LINE):
        yield from _command_lines(inputs, rules)
    if part is Part.SECURE_BOOT:
        for state in SecureBoot:
            yield f"The SecureBoot variable has {state.value}.", inputs, replace(rules, secure_boot=state)


def _memories(part: Part, inputs: BootInputs, rules: Rules) -> Iterator[Variant]:
    if inputs.memory is None:
        return
    for memory in _MEMORY_SIZES:
        if memory != inputs.memory:
            more = " or any other from 2.75 GiB on" if part is Part.KERNEL and memory >= SPLIT_FROM else ""
            sentence = f"Memory is {_size(memory)}{more}, not {_size(inputs.memory)}."
            yield sentence, replace(inputs, memory=memory), rules


def _command_lines(inputs: BootInputs, rules: Rules) -> Iterator[Variant]:
    line = inputs.command_line
    if line is None:
        return
    word = _other(InitrdWord, rules.initrd_word)
    place = "before" if word is InitrdWord.AT_BEGIN else "after"
    sentence = f"The firmware puts initrd=initrd {place} the command line ({word.value})."
    yield sentence, inputs, replace(rules, initrd_word=word)
    yield "The firmware adds no initrd=initrd: there is no initrd.", replace(inputs, initrd=b""), rules
    for sentence, changed in islice(_changed_lines(line), 4 * _MAX_WORDS):
        yield sentence, replace(inputs, command_line=changed), rules


def _changed_lines(line: str) -> Iterator[tuple[str, str]]:
    yield "A stray space ends the command line.", f"{line} "
    yield "A stray space begins the command line.", f" {line}"
    yield "A line feed ends the command line.", f"{line}\n"
    yield "Spaces at the ends of the command line were removed.", line.strip()
    yield "Repeated spaces of the command line were joined.", " ".join(line.split())
    yield "The quotation marks of the command line were removed.", line.replace('"', "")
    yield "The command line is empty.", ""
    words = line.split(" ")[:_MAX_WORDS]
    rest = line.split(" ")[_MAX_WORDS:]
    for at, word in enumerate(words):
        yield f"The word {word!r} is missing.", " ".join([*words[:at], *words[at + 1 :], *rest])
        yield (
            f"A stray space stands after {word!r}.",
            " ".join([*words[:at], f"{word} ", *words[at + 1 :], *rest]),
        )
        if at:
            swapped = [*words[: at - 1], word, words[at - 1], *words[at + 1 :], *rest]
            yield f"The words {words[at - 1]!r} and {word!r} changed places.", " ".join(swapped)


def _other(kind: type[_Switch], current: _Switch) -> _Switch:
    return next(member for member in kind if member is not current)


def _size(memory: int) -> str:
    return f"{memory >> 30} GiB" if memory % (1 << 30) == 0 else f"{memory / _MIB:g} MiB"
