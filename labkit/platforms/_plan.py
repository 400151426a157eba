"""From what the user asks for to the machine that boots: labkit's own guest, or any image that is given."""

from __future__ import annotations

from dataclasses import replace

from labkit.errors import UsageError
from labkit.files import check_named
from labkit.platforms._plan_linux import plan_linux
from labkit.platforms.request import BootPlan, PlanInputs
from labkit.virtio.attached import check_devices

MOST_CPUS = 64
"""Virtual CPUs of one guest; more only slow an emulated machine down."""


def plan(given: PlanInputs) -> BootPlan:
    """What boots, from the request and the content of the files that it names.

    Raises:
        UsageError, NotAKernel: the request cannot boot.
    """
    request = given.request
    if not request.append.isprintable():
        raise UsageError("The kernel command line holds control characters.", "Write it in one line.")
    if not 1 <= request.smp <= MOST_CPUS:
        raise UsageError(
            f"{request.smp} is not a number of virtual CPUs that labkit starts.",
            f"Ask for 1 to {MOST_CPUS}.",
        )
    check_devices(request.devices)
    if request.initrd and not request.initrd.exists():
        raise UsageError(f"There is no initrd {request.initrd}.", "Name a file, or leave it out.")
    for path in (request.kernel, request.initrd, request.iso):
        if path and path.exists():
            check_named(path)
    if request.guest not in (None, "linux") or request.iso or request.kernel or request.profile:
        # Most boots name no image, and need not wait for what is known of Asterinas.
        from labkit.platforms._image import plan_image

        made = plan_image(given)
    else:
        made = plan_linux(given)
    if request.loader:
        from labkit.platforms._loader import through_loader

        made = through_loader(made, given.settings)
    return replace(made, spec=replace(made.spec, devices=request.devices)) if request.devices else made
