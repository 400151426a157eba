"""A boot through the boot loader that measures command line, kernel and initrd, whatever the kernel does."""

from __future__ import annotations

from dataclasses import replace

from labkit.errors import UsageError
from labkit.measure.grub import CONFIG_PATH, INITRD_PATH, KERNEL_PATH, grub_config
from labkit.platforms.request import BootPlan
from labkit.settings import Settings
from labkit.toolchain.loader import find_loader
from labkit.vm.boot_disc import build_boot_disc


def through_loader(planned: BootPlan, settings: Settings) -> BootPlan:
    """The same kernel, initrd and command line, on a disc whose loader measures them.

    Raises:
        UsageError: the loader cannot boot this.
        MissingComponent: the loader is not there.
        StorageError: the cache cannot be written.
    """
    contents = planned.contents
    if contents is None:
        raise UsageError(
            "The boot loader starts a bzImage with an EFI stub, and nothing else.",
            "Give one with --kernel, or leave out --loader.",
        )
    disc = build_boot_disc(
        find_loader(settings),
        {KERNEL_PATH: contents.kernel, INITRD_PATH: contents.initrd},
        {CONFIG_PATH: grub_config(contents.command_line)},
        settings,
    )
    spec = replace(planned.spec, kernel=None, initrd=None, iso=disc.path, tpm=True)
    contents = replace(contents, loader=disc.loader)
    return replace(planned, spec=spec, left_out=None, contents=contents)
