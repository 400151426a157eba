"""A real TD on TDX hardware, started by labkit's own QEMU command line. Never run: no machine here has TDX.

What is checked without hardware: the command line, against Asterinas' own and by a QEMU that knows TDX, and
every refusal. Chosen only where it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labkit.errors import MissingComponent, UsageError, VmError
from labkit.host import HostReport, HostVerdict
from labkit.host.kvm_generation import Generation, host_generation
from labkit.measure import Prediction
from labkit.platforms._platform import TdvmPlatform
from labkit.platforms._tdvm import Tdvm
from labkit.platforms.request import BootRequest
from labkit.settings import Settings, Trust
from labkit.toolchain.toolchain import Firmware
from labkit.vm import BootSpec, Hypervisor, boot
from labkit.vm.launch import Snapshot
from labkit.vm.spec import Accel, Accelerator, TrustDomain

_UNMEASURED = (
    "labkit does not read a TD's registers from outside; in the guest, configfs-tsm has a quote for you."
)


class HardwarePlatform(TdvmPlatform):
    """Boots TDs on a host that is READY and whose KVM is of the upstream generation."""

    name = "hardware"
    trust = Trust.HARDWARE

    def __init__(self, settings: Settings, why: str, report: HostReport) -> None:
        """Take the host's report.

        Raises:
            MissingComponent: the host cannot start a TD with labkit's command line.
        """
        super().__init__(settings, why)
        remedy = "`labkit verify` says more; use --platform emulated, or auto."
        if report.verdict is not HostVerdict.READY:
            raise MissingComponent(
                f"labkit cannot launch a TD here: this host is {report.verdict.value} ({report.reason}).",
                remedy,
            )
        generation = host_generation(report)
        if generation is not Generation.UPSTREAM:
            known = generation.where if generation else "a kernel whose generation cannot be told"
            raise MissingComponent(
                f"labkit's command line is for {Generation.UPSTREAM.where}, and this host has {known}.",
                "Use `labkit asterinas run`, whose image contains the QEMU for it.",
            )
        images = report.facts.get("tdvf").value
        self._images = tuple(Path(image) for image in images) if isinstance(images, tuple) else ()

    def boot(
        self,
        request: BootRequest,
        on_progress: Callable[[str], None] = lambda text: None,
        keep_in: Path | None = None,
    ) -> Tdvm:
        """Boot from power-on until the guest's shell answers; a TD has no snapshot.

        Raises:
            UsageError, NotAKernel, NotATdvf: the request cannot boot.
            MissingComponent: there is no TDVF, or `labkit setup` has not been run.
            BootFailed, CommandTimeout: the guest does not come up.
        """
        toolchain = self.toolchain()
        planned = self.plan(request, toolchain)
        spec = td_spec(planned.spec, self._tdvf(request))
        if planned.recognized:
            on_progress(planned.recognized)
        hypervisor = Hypervisor(toolchain, self.settings, Accelerator(Accel.KVM, "a TD needs it"))
        machine, timeline = boot(spec, hypervisor, cold=True, on_progress=on_progress)
        return Tdvm(
            machine,
            timeline,
            self.name,
            self.trust,
            self.why,
            None,
            keep_in,
            recognized=planned.recognized,
            unmeasured=_UNMEASURED,
        )

    def predict(self, request: BootRequest) -> Prediction:
        """Not there for TDs yet.

        Raises:
            UsageError: always.
        """
        raise UsageError("labkit does not predict the registers of a TD yet.", "Use --platform emulated.")

    def resume(self, tdvm: Tdvm, snapshot: Snapshot) -> Tdvm:
        """No TD can be saved: its memory is private.

        Raises:
            VmError: always.
        """
        raise VmError("A TD cannot be saved and resumed: its memory is private to it.", "Boot another.")

    def _tdvf(self, request: BootRequest) -> Firmware:
        """The one-file firmware of the TD: the user's own, or the host's; one made for Intel TDX first."""
        if request.firmware:
            return self._firmware(request.firmware)
        if not self._images:
            raise MissingComponent("This host has no TDVF.", "Install its package, such as ovmf-inteltdx.")
        image = min(self._images, key=lambda path: ("inteltdx" not in path.name.lower(), path.name))
        return Firmware(image, image, image)


def td_spec(spec: BootSpec, firmware: Firmware) -> BootSpec:
    """The same guest as a TD: started by its firmware, without a vTPM.

    Raises:
        UsageError: it starts without firmware, as no TD can.
    """
    if spec.devices:
        raise UsageError(
            "The devices that labkit serves read all memory of their guest, which a TD keeps to itself.",
            "Boot on the emulated platform.",
        )
    if spec.firmware is None:
        raise UsageError(
            f"{spec.image.name} starts without firmware, and a TD begins in its firmware.",
            "Give a bzImage, or an ISO by --iso.",
        )
    return replace(spec, firmware=firmware, tpm=False, td=TrustDomain())
