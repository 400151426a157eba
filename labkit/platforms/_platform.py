"""The seam where trust differs: what every platform can be asked."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from labkit.errors import NotATdvf, UsageError
from labkit.files import read_named, write_whole
from labkit.platforms._meanwhile import Meanwhile
from labkit.platforms._plan import plan
from labkit.platforms._tdvm import Tdvm
from labkit.platforms.request import BootPlan, BootRequest, PlanInputs
from labkit.settings import Settings, Trust
from labkit.show import stamp
from labkit.toolchain import find_toolchain
from labkit.toolchain.toolchain import Firmware, Toolchain
from labkit.vm.launch import Snapshot

if TYPE_CHECKING:
    from labkit.attest import Policy
    from labkit.measure import Prediction
    from labkit.platforms.attestation import Attestation

_LARGEST_FIRMWARE = 64 << 20


class TdvmPlatform(ABC):
    """Where TDVMs run, and what they may be trusted for."""

    name: ClassVar[str]
    trust: ClassVar[Trust]

    def __init__(self, settings: Settings, why: str | Meanwhile[str]) -> None:
        """``why`` this platform was chosen, in one clause; it may be found out while a machine starts."""
        self.settings = settings
        self._why = why

    @property
    def why(self) -> str:
        """Why this platform was chosen, in one clause."""
        return self._why if isinstance(self._why, str) else self._why()

    def toolchain(self) -> Toolchain:
        """The programs and files that it boots with.

        Raises:
            MissingComponent: `labkit setup` has not been run.
        """
        return find_toolchain(self.settings)

    @property
    def headline(self) -> str:
        """One line: the platform, what it may be trusted for, and why it was chosen."""
        return f"{stamp(self.trust)}platform {self.name}, trust {self.trust.value}: {self.why}"

    @abstractmethod
    def boot(
        self,
        request: BootRequest,
        on_progress: Callable[[str], None] = lambda text: None,
        keep_in: Path | None = None,
    ) -> Tdvm:
        """Boot until the guest's shell answers; the record is copied below ``keep_in`` at the end."""

    @abstractmethod
    def predict(self, request: BootRequest) -> Prediction:
        """What a boot of this request must measure, from its inputs alone; nothing is started."""

    def attest(
        self, tdvm: Tdvm, nonce: bytes, policy: Policy | None = None, *, debug: bool = False
    ) -> Attestation:
        """Take evidence about ``nonce`` from a TDVM of this platform, verify it as of now, and appraise it.

        policy: by default, that the boot which was asked for was measured. debug: as if the TD had been
        built for debugging.

        Raises:
            UsageError: the nonce has more than 64 bytes, or the boot cannot be predicted.
            VmError: the guest does not do its part.
            NotMeasured: the vTPM's registers are not those of the boot's log.
        """
        # Loaded here: their libraries take longer to import than a warm boot.
        from labkit.attest import LabAuthority
        from labkit.platforms.attestation import attest_tdvm, emulated_policy
        from labkit.platforms.evidence import Quoting

        now = int(time.time())
        asked = self.predict(tdvm.request or BootRequest())
        return attest_tdvm(
            tdvm,
            policy or emulated_policy(asked, nonce),
            nonce,
            Quoting(LabAuthority.open(self.settings.state_dir, now), now, debug),
            {"the boot that was asked for; the policy expects another one": asked.inputs},
        )

    @abstractmethod
    def resume(self, tdvm: Tdvm, snapshot: Snapshot) -> Tdvm:
        """Another TDVM, from what ``tdvm.machine.save`` wrote; ``tdvm`` itself goes on."""

    def plan(self, request: BootRequest, toolchain: Toolchain) -> BootPlan:
        """The machine that a request comes to.

        Raises:
            UsageError, NotAKernel, NotATdvf: the request cannot boot.
        """
        firmware = self._firmware(request.firmware) if request.firmware else toolchain.firmware
        return plan(PlanInputs(request, toolchain, firmware, self.settings))

    def _firmware(self, path: Path) -> Firmware:
        """Split one firmware file into its two flash drives, which QEMU wants apart."""
        from labkit.measure import read_tdvf
        from labkit.measure.tdvf import SectionType

        remedy = "Name a TDVF, such as OVMF.fd."
        try:
            data = read_named(path, _LARGEST_FIRMWARE)
        except UsageError as error:
            raise NotATdvf(error.message, remedy) from error
        variables = read_tdvf(data).of_type(SectionType.CFV)
        if len(variables) != 1 or variables[0].data_offset != 0:
            raise NotATdvf(f"{path} does not begin with its variable store.", remedy)
        size = variables[0].raw_size
        folder = self.settings.cache_dir / "firmware" / hashlib.sha256(data).hexdigest()[:16]
        for name, part in (("VARS.fd", data[:size]), ("CODE.fd", data[size:]), ("OVMF.fd", data)):
            write_whole(folder / name, part)
        return Firmware(folder / "CODE.fd", folder / "VARS.fd", folder / "OVMF.fd")
