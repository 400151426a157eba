"""Known failures of a run, one row each: how it shows, what it means, what to do, where it is written down.

From the issues named in the rows and from our own boots of v0.18.0 under TCG. A row whose remedy nobody has
confirmed says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class FailureKind(StrEnum):
    """Where a failure arose."""

    PANIC = "panic"
    FIRMWARE = "firmware"
    HOST = "host"
    BUILD = "build"
    GUEST = "guest"


@dataclass(frozen=True)
class Failure:
    """One known failure.

    pattern: of one line, without colours. detail: it counts only in the lines behind a panic's first one.
    before: the stage that must not have begun yet; empty for any.
    weight: of two failures in one log the heavier is the cause; a cause outweighs its consequences.
    fatal: the boot cannot succeed once this line is there, although QEMU may stay.
    silent: a panic's line that no message follows.
    """

    id: str
    kind: FailureKind
    pattern: str
    sentence: str
    remedy: str
    reference: str
    weight: int = 2
    fatal: bool = False
    detail: bool = False
    before: str = ""
    silent: bool = False

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The compiled pattern."""
        return re.compile(self.pattern)


@dataclass(frozen=True)
class Hang:
    """A boot that stands still without a word: after which stage, behind which last line."""

    id: str
    stage: str
    last: str
    sentence: str
    remedy: str
    reference: str

    def fits(self, stage: str, line: str) -> bool:
        """The boot stands in this row's stage behind this row's line."""
        return self.stage in ("", stage) and re.search(self.last, line) is not None


_OBSERVED = "observed with v0.18.0 under TCG"
_GENERATIONS = (
    "Take QEMU and KVM of one generation: `labkit asterinas profiles` says which image fits which host."
)

FAILURES: tuple[Failure, ...] = (
    # The host, QEMU and the container.
    Failure(
        "vm-type-upstream",
        FailureKind.HOST,
        r"vm-type TDX not supported by KVM",
        "KVM has no TDX of the upstream generation, which this QEMU (10.1 or newer) needs",
        "Boot the host with Linux 6.16 or newer and kvm_intel.tdx=1, or take an older profile (unconfirmed).",
        "asterinas#2599",
    ),
    Failure(
        "vm-type-canonical",
        FailureKind.HOST,
        r"vm-type tdx not supported by KVM",
        "KVM has no TDX of the generation of this patched QEMU 8 or 9",
        _GENERATIONS,
        "canonical/tdx#385",
    ),
    Failure(
        "vm-type-mvp",
        FailureKind.HOST,
        r"vm-type X86_TDX_VM not supported by KVM",
        "KVM has no TDX of the MVP generation, which this QEMU (Intel's of 2023) needs",
        _GENERATIONS,
        "asterinas PR #1651",
    ),
    Failure(
        "memfd",
        FailureKind.HOST,
        r"failed to create memfd with flags 0x0: Bad address",
        "the kernel does not know the private memory of the MVP generation",
        _GENERATIONS,
        "asterinas PR #1651",
    ),
    Failure(
        "qemu-without-tdx",
        FailureKind.HOST,
        r"does not accept value 'tdx-guest'|tdx-guest'? is not a valid object type"
        r"|invalid object type: tdx-guest|(?:invalid|valid) object type.{0,20}memory-backend-memfd-private",
        "this QEMU was built without TDX, or stands before the right one in the path",
        "Use the QEMU of the image: `qemu-system-x86_64 -object help` must list tdx-guest.",
        "canonical/tdx#46 #135 #30",
    ),
    Failure(
        "no-kvm",
        FailureKind.HOST,
        r"Could not access KVM kernel module: No such file or directory",
        "there is no /dev/kvm in the container",
        "Hand the device to the container; an ordinary guest also runs with ENABLE_KVM=0.",
        "asterinas#1905",
    ),
    Failure(
        "kvm-permission",
        FailureKind.HOST,
        r"Could not access KVM kernel module: Permission denied",
        "/dev/kvm may not be opened",
        "Join the group kvm and log in again.",
        "asterinas#1905",
    ),
    Failure(
        "kvm",
        FailureKind.HOST,
        r"failed to initialize kvm|failed to initialize KVM",
        "KVM cannot be used",
        "`labkit verify` says why; an ordinary guest also runs with ENABLE_KVM=0.",
        "asterinas#1905",
        weight=1,
    ),
    Failure(
        "cpu-host",
        FailureKind.HOST,
        r"CPU model 'host' requires KVM",
        "the CPU model `host` was asked for without KVM",
        "A TD needs KVM; take the profile of the ordinary guest.",
        "asterinas PR #1651",
    ),
    Failure(
        "td-init",
        FailureKind.HOST,
        r"KVM_TDX_INIT_VM failed",
        "KVM refused the TD's parameters: an old TDX module, or a CPU model that does not fit",
        "Update the TDX module and take QEMU and KVM from one source.",
        "canonical/tdx#286",
    ),
    Failure(
        "td-memory",
        FailureKind.HOST,
        r"KVM_TDX_INIT_MEM_REGION failed",
        "the firmware is not a TDVF",
        "Use the firmware of the image.",
        "canonical/tdx#21 #319",
    ),
    Failure(
        "not-resettable",
        FailureKind.HOST,
        r"cpus are not resettable, terminating",
        "the TD wanted to reset, which a TD cannot: it died of an exception",
        "Keep sept-ve-disable=on; with RELEASE=1 try RELEASE=0; the lines above say where it died.",
        "asterinas#2902 #1645",
        weight=1,
        fatal=True,
    ),
    Failure(
        "register-dump",
        FailureKind.HOST,
        r"^[ER]AX=[0-9a-f]{8,16} [ER]BX=[0-9a-f]{8,16}",
        "QEMU printed its registers: the guest died without a word",
        "On v0.17.1 and older use SMP=1 with RELEASE_LTO=1.",
        "asterinas#3100",
        weight=1,
    ),
    Failure(
        "port-taken",
        FailureKind.HOST,
        r"Could not set up host forwarding rule '[^']{0,80}'",
        "a host port is taken: another guest runs, or two random ports are the same",
        "End the other guest, or pin free ports (SSH_PORT=… from v0.18; v0.9.0-tdx always takes 10027).",
        "v0.9.0 tools, v0.18.1 tools/qemu_args.sh",
    ),
    Failure(
        "disk-locked",
        FailureKind.HOST,
        r"Failed to get (?:\"write\"|shared \"write\"|\"consistent read\") lock",
        "another QEMU has a disk image of this source tree open",
        "End the other run, or give this one a source tree of its own with --source.",
        "QEMU block/file-posix.c",
    ),
    Failure(
        "screen-port-taken",
        FailureKind.HOST,
        r"-(?:vnc|display).{0,80}(?:Failed to (?:find an available port|listen|bind)|Address already in use)",
        "the port of the guest's screen (VNC) is taken: another guest runs",
        "End the other guest, or choose another screen with --make VNC_PORT=43.",
        "v0.18.1 tools/qemu_args.sh",
    ),
    Failure(
        "debug-port-taken",
        FailureKind.HOST,
        r"Failed to find an available port|Address already in use",
        "a port that QEMU opens for itself (monitor, debugger) is taken: another guest runs",
        "End the other guest.",
        "QEMU util/qemu-sockets.c",
        weight=1,
    ),
    Failure(
        "kvm-emulation",
        FailureKind.HOST,
        r"KVM internal error\. Suberror: \d|^emulation failure$",
        "KVM could not emulate an instruction of the guest, and QEMU stands still",
        "Boot without KVM (--no-kvm), or with another firmware or kernel build.",
        "QEMU accel/kvm/kvm-all.c",
        fatal=True,
    ),
    Failure(
        "firmware-missing",
        FailureKind.HOST,
        r"could not load PC BIOS '|Could not open '[^']{0,200}OVMF[^']{0,40}'",
        "the firmware that the command line names is not there",
        "Use the source of the tag that belongs to the image.",
        "v0.18.1 tools/qemu_args.sh",
    ),
    Failure(
        "machine-type",
        FailureKind.HOST,
        r"unsupported machine type",
        "QEMU does not know the machine type that the command line names",
        "Use the QEMU of the image, and the source of the tag that belongs to it.",
        "QEMU system/vl.c",
    ),
    Failure(
        "kernel-missing",
        FailureKind.HOST,
        r"could not (?:open|load) (?:kernel|initrd)|error reading initrd ",
        "the kernel or the initramfs that the command line names is not there",
        "Build again: `make clean` first where a build was interrupted.",
        "QEMU hw/i386/x86.c",
    ),
    Failure(
        "host-memory",
        FailureKind.HOST,
        r"cannot set up guest memory '",
        "the host cannot give the guest as much memory as it asks for",
        "Ask for less, with --memory or MEM=.",
        "QEMU system/physmem.c",
    ),
    Failure(
        "disk-full",
        FailureKind.HOST,
        r"No space left on device|Disk quota exceeded",
        "the disk is full",
        "Free some space; the build and its disk images take several GB.",
        "POSIX ENOSPC",
    ),
    Failure(
        "image-tag",
        FailureKind.HOST,
        r"(?:manifest for|manifest unknown|reading manifest|initializing source).{0,200}_tdx|_tdx: not found",
        "the image tag is of the wrong style",
        "Tags read X.Y.Z-tdx; where docker is podman, give the fully qualified name.",
        "intel/tdx-guest#1",
    ),
    Failure(
        "multiboot-64",
        FailureKind.HOST,
        r"Cannot load x86-64 image, give a 32bit one",
        "QEMU refuses a multiboot kernel that says it is a 64-bit ELF",
        "Use the file that OSDK names *.qemu_elf.",
        "QEMU hw/i386/multiboot.c",
    ),
    Failure(
        "wrong-processor",
        FailureKind.HOST,
        r"(?i)\bexec format error\b",
        "the image or a program in it is for another kind of processor",
        "Take an image for linux/amd64 on an x86-64 machine.",
        "Linux ENOEXEC",
    ),
    Failure(
        "old-library",
        FailureKind.HOST,
        r"version [`']GLIBC(?:XX)?_[\d.]{1,12}' not found|error while loading shared libraries",
        "a program needs libraries that the image does not have: it is of another system",
        "Use the programs of the image, and build again: `make clean` first.",
        "ld.so(8)",
    ),
    Failure(
        "qemu-missing",
        FailureKind.HOST,
        r"qemu-system-x86_64: (?:command )?not found|qemu-system-x86_64: No such file or directory",
        "there is no QEMU in the image, or not in its path",
        "Use the image of the version: `labkit asterinas profiles` names it.",
        "POSIX sh",
    ),
    Failure(
        "qemu-option",
        FailureKind.HOST,
        r"^(?:\S{0,80}/)?qemu(?:-system-x86_64"
        r"|-kvm)?: (?:(?:--?[a-z]\S*)(?: .{0,200})?: (?:invalid option"
        r"|Property '[^']{1,80}' not found|Invalid parameter '|invalid accelerator"
        r"|'[^']{1,80}' is not a valid (?:device model|object type)"
        r"|Parameter '[^']{1,40}' does not accept value|drive with bus=)|unable to find CPU model '"
        r"|.{0,120}is not compiled into this binary)",
        "this QEMU does not know an option of the command line: it is of another version, or built "
        "without that part",
        "Use the QEMU of the image, and the source of the tag that belongs to it.",
        "QEMU system/vl.c",
        weight=1,
    ),
    Failure(
        "qemu-screen",
        FailureKind.HOST,
        r"gtk initialization failed|Display '(?:gtk|sdl)' is not available|Could not initialize SDL",
        "QEMU was to open a window, and there is no screen here",
        "Give it none: --make VNC_PORT=42, or take the display out of QEMU's arguments.",
        "QEMU ui/gtk.c",
    ),
    Failure(
        "hugepages",
        FailureKind.HOST,
        r"can't open backing store /dev/hugepages|[Ii]nsufficient free host memory pages",
        "QEMU was to take huge pages, and the host has none free",
        "Reserve some (vm.nr_hugepages), or take them out of QEMU's arguments.",
        "QEMU util/oslib-posix.c",
    ),
    Failure(
        "vhost",
        FailureKind.HOST,
        r"(?:/dev/vhost-\w{1,12}|vhost-(?:net|vsock)).{0,80}(?:Permission denied|No such file"
        r"|No such device|Operation not permitted|could not be initialized)",
        "a device of the host for virtio (vhost-net, vhost-vsock) is not there or may not be opened",
        "Run `sudo modprobe vhost_vsock vhost_net`, and hand the device to the container; "
        "--as-documented does.",
        "QEMU hw/virtio",
    ),
    Failure(
        "tap",
        FailureKind.HOST,
        r"could not (?:configure|open) /dev/net/tun",
        "QEMU was to make a network device of the host, which the container may not",
        "Use QEMU's own network (user), as the documented flow does.",
        "QEMU net/tap-linux.c",
    ),
    Failure(
        "vsock-taken",
        FailureKind.HOST,
        r"unable to set guest cid: Address already in use",
        "another guest has this one's number on the host's vsock",
        "End the other guest, or give this one another guest-cid.",
        "QEMU hw/virtio/vhost-vsock.c",
    ),
    Failure(
        "processes",
        FailureKind.HOST,
        r"(?:[Rr]esource temporarily unavailable|os error 11\b).{0,40}$|Cannot fork|fork: retry",
        "no more processes or threads may be started here",
        "Raise the limit (`ulimit -u`, or the container's pids limit), or build with fewer at once: "
        "CARGO_BUILD_JOBS=1.",
        "Linux fork(2)",
        weight=1,
    ),
    Failure(
        "open-files",
        FailureKind.HOST,
        r"Too many open files",
        "the limit of open files is reached",
        "Raise it: `ulimit -n 4096` in the shell that starts the engine, or --ulimit nofile in its settings.",
        "POSIX EMFILE",
    ),
    Failure(
        "read-only",
        FailureKind.HOST,
        r"Read-only file system",
        "a folder that the build writes to is mounted read-only",
        "Give a source tree that can be written with --source.",
        "POSIX EROFS",
        weight=1,
    ),
    # The build; what keeps a download from coming is told before what could not be downloaded.
    Failure(
        "certificate-clock",
        FailureKind.BUILD,
        r"certificate (?:is not yet valid|has expired)|certificate is not yet (?:valid|activated)"
        r"|not yet valid \(\d{4}",
        "a certificate is not valid at the time that this machine's clock shows",
        "Set the clock (`timedatectl`); if it is right, the server's certificate is old.",
        "RFC 5280",
    ),
    Failure(
        "certificate",
        FailureKind.BUILD,
        r"SSL certificate problem|server certificate verification failed"
        r"|unable to get local issuer certificate|invalid peer certificate"
        r"|self[- ]signed certificate in certificate chain",
        "a server's certificate is not accepted in the container: a proxy opens TLS, or certificates "
        "are missing",
        "Put the proxy's certificate into the image (update-ca-certificates), or build where there is "
        "no such proxy.",
        "curl, git, cargo",
        weight=1,
    ),
    Failure(
        "proxy",
        FailureKind.BUILD,
        r"(?:CONNECT tunnel failed, response|Received HTTP code|from proxy after CONNECT"
        r"|Proxy CONNECT aborted|proxyconnect tcp|Could not resolve proxy"
        r"|[Ff]ailed to connect to proxy).{0,120}",
        "the proxy of this machine does not let the build through",
        "Look at http_proxy, https_proxy and no_proxy, in the container too.",
        "curl, git, cargo",
    ),
    Failure(
        "rate-limit",
        FailureKind.BUILD,
        r"(?:returned error: |HTTP error |status code |HTTP/\S{1,3} )429\b|[Rr]ate limit exceeded"
        r"|toomanyrequests",
        "a server was asked too often from this network",
        "Wait an hour and run it again; the build goes on where it was.",
        "HTTP 429",
    ),
    Failure(
        "nix-sandbox",
        FailureKind.BUILD,
        r"cloning builder process: Operation not permitted"
        r"|does not support the kernel namespaces that are required for sandboxing"
        r"|unable to start build process.{0,60}Operation not permitted",
        "Nix cannot make its sandbox in this container: user namespaces are not allowed",
        "Set `sandbox = false` in /etc/nix/nix.conf of the container, or run --as-documented.",
        "Nix, sandbox",
    ),
    Failure(
        "nix-hash",
        FailureKind.BUILD,
        r"hash mismatch in fixed-output derivation",
        "a file that Nix downloaded is another one than the source expects",
        "Take a newer tag of the source: the file changed on its server.",
        "Nix",
    ),
    Failure(
        "toolchain",
        FailureKind.BUILD,
        r"error: toolchain '[^']{1,80}' is not installed|error: rustup could not choose a version"
        r"|error: component '[^']{1,60}' (?:for target '[^']{1,60}' )?is unavailable"
        r"|can't find crate for `core`",
        "the Rust toolchain that the source names is not in the image",
        "Check out the tag that belongs to the image: it names its own toolchain.",
        "rustup",
    ),
    Failure(
        "osdk-missing",
        FailureKind.BUILD,
        r"no such command: `osdk`",
        "OSDK is not in the image: it is no development image of Asterinas, or of another version",
        "Check out the tag that belongs to the image; `make install_osdk` builds OSDK from the source.",
        "cargo",
    ),
    Failure(
        "lock-file",
        FailureKind.BUILD,
        r"the lock file .{1,200} needs to be updated but --locked was passed",
        "Cargo.lock does not fit the source: a file of another version lies in the tree",
        "Check the tree out anew, at the tag that belongs to the image.",
        "cargo",
    ),
    Failure(
        "build-memory",
        FailureKind.BUILD,
        r"terminated with signal 9|LLVM ERROR: out of memory"
        r"|^memory allocation of \d{1,20} bytes failed|virtual memory exhausted"
        r"|Cannot allocate memory(?: \(os error 12\))?$",
        "the build ran out of memory",
        "Give the container more memory, or build with fewer at once: CARGO_BUILD_JOBS=1.",
        "Linux mm/oom_kill.c",
        weight=1,
        before="ostd",
    ),
    Failure(
        "no-target",
        FailureKind.BUILD,
        r"No rule to make target [`'](?:run|run_kernel|build|kernel)'",
        "the source is not of the image's version: `run` became `run_kernel` at v0.17.0",
        "Check out the tag that belongs to the image.",
        "asterinas 12c364da3",
    ),
    Failure(
        "tool-missing",
        FailureKind.BUILD,
        r"nix-build: (?:command )?not found|VDSO_LIBRARY_DIR.{0,80}(?:not|must|unset)",
        "the source is newer than the image, which lacks its tools",
        "Check out the tag that belongs to the image.",
        "asterinas HEAD against 0.9.0-tdx",
    ),
    Failure(
        "offline",
        FailureKind.BUILD,
        r"^(?!\s*warning\b).*(?:Could not resolve host|failure in name resolution)"
        r"|^error: (?:failed to (?:download|fetch|get) |could not download file|unable to download )",
        "the first build needs the network for crates and git dependencies",
        "Connect, or build once where there is a network: the cache serves the next builds.",
        "v0.9.0 Cargo.lock",
    ),
    Failure(
        "build-killed",
        FailureKind.BUILD,
        r"\bsignal: 9\b|\(SIGKILL\)|fatal error: Killed signal"
        r"|^make(?:\[\d+\])?: \*\*\* .* (?:Killed|Error 137)$",
        "a program of the build was killed, as the host does when memory is short",
        "Give the container more memory, or build with fewer at once: CARGO_BUILD_JOBS=1.",
        "Linux mm/oom_kill.c",
        before="ostd",
    ),
    Failure(
        "build-failed",
        FailureKind.BUILD,
        r"^error(?:\[E\d{4}\])?: (?:could not compile|linking with)",
        "the kernel does not build",
        "The lines above say what the compiler found; an unchanged tag builds in its own image.",
        "cargo",
        weight=1,
    ),
    # Firmware and boot loader.
    Failure(
        "firmware-db",
        FailureKind.FIRMWARE,
        r"!!!! X64 Exception Type - 01\(#DB",
        "the firmware crashed before the kernel, which older GRUBs cause at random",
        "Try again (their CI took up to three attempts); fixed from v0.10.2.",
        "asterinas#1711, PR #1710",
        fatal=True,
    ),
    Failure(
        "firmware-pf",
        FailureKind.FIRMWARE,
        r"!!!! X64 Exception Type - 0E\(#PF",
        "the firmware crashed with a page fault, as the distribution's OVMF does",
        "Use the OVMF of the image.",
        "asterinas#2394",
        fatal=True,
    ),
    Failure(
        "firmware-exception",
        FailureKind.FIRMWARE,
        r"!!!! X64 Exception Type",
        "the firmware crashed",
        "Use the OVMF of the image, and enough memory.",
        "edk2",
        weight=1,
        fatal=True,
    ),
    Failure(
        "seabios-cdrom",
        FailureKind.FIRMWARE,
        r"Boot failed: Could not read from CDROM \(code 0009\)",
        "SeaBIOS was started instead of OVMF",
        "Give OVMF by -bios; SCHEME=iommu is not for TDX.",
        "asterinas#1517",
        fatal=True,
    ),
    Failure(
        "firmware-no-medium",
        FailureKind.FIRMWARE,
        r"BdsDxe: failed to (?:load|start) Boot\d{4}.{0,200}Not Found",
        "the firmware found nothing to start on the medium",
        "Use an amd64 image and container; check that the ISO boots by UEFI.",
        "asterinas#3138",
    ),
    Failure(
        "firmware-menu",
        FailureKind.FIRMWARE,
        r"Press any key to enter the Boot Manager Menu|^UEFI Interactive Shell",
        "the firmware found nothing to boot",
        "Check that the ISO or kernel boots by UEFI.",
        "edk2 BdsDxe",
        fatal=True,
    ),
    Failure(
        "grub-memory",
        FailureKind.FIRMWARE,
        r"^error: (?:\S{1,120}:)?\s?(?:out of memory|not enough memory|cannot allocate|can't allocate)",
        "GRUB has too little memory to load the kernel and its initramfs",
        "Give the guest more memory, with --memory or MEM=.",
        "GRUB grub-core/kern/mm.c",
        fatal=True,
        before="ostd",
    ),
    Failure(
        "grub-kernel",
        FailureKind.FIRMWARE,
        r"^error: (?:\S{1,120}:)?\s?(?:you need to load the kernel first|invalid magic number|file "
        r"`[^']{0,200}' "
        r"not found|unknown filesystem|no such device)",
        "GRUB cannot load what its menu names",
        "Build the boot medium again: `make clean` first where a build was interrupted.",
        "GRUB grub-core/loader",
        weight=1,
        fatal=True,
        before="ostd",
    ),
    # The kernel.
    Failure(
        "low-memory",
        FailureKind.PANIC,
        r"Cannot handle kernel page fault",
        "the kernel read ACPI tables that a direct boot with less than 4 GiB of memory does not map",
        "Boot with at least 4096 MiB, or through firmware.",
        _OBSERVED,
        detail=True,
        before="ostd",
    ),
    Failure(
        "framebuffer",
        FailureKind.PANIC,
        r"comps/framebuffer/src/framebuffer\.rs",
        "the kernel cannot use the framebuffer that GRUB under SeaBIOS sets up",
        "Boot the ISO through OVMF.",
        _OBSERVED,
        detail=True,
    ),
    Failure(
        "init-ended",
        FailureKind.PANIC,
        r"The init process terminates with code",
        "the first process ended, and the kernel cannot go on without it",
        "Check init= and the arguments behind `--`, and that the initramfs holds /init and a shell.",
        f"kernel/src/init.rs@v0.18.0, {_OBSERVED}",
        detail=True,
    ),
    Failure(
        "td-info",
        FailureKind.PANIC,
        r"Intel TDX not initialized, Failed to get TD info",
        "the kernel runs in a TD that does not answer TDCALLs",
        "Check the TDX module and QEMU's generation.",
        "v0.9.0 sources",
        fatal=True,
    ),
    Failure(
        "dma-conversion",
        FailureKind.PANIC,
        r"\b(?:gpa|GPA)\b.{0,80}(?:shared|private|convert|DMA)|(?:shared|private|convert|DMA).{0,80}\b(?:gpa|GPA)\b",
        "the kernel could not turn memory of the TD into shared memory for a device",
        "Take v0.18.1 or newer.",
        "asterinas PR #3339",
        detail=True,
    ),
    Failure(
        "stub-panic",
        FailureKind.PANIC,
        r"^\[PANIC\]: ",
        "the EFI stub of the kernel gave up",
        "The line itself says why; check memory and boot loader.",
        "ostd linux-bzimage setup",
        weight=1,
        fatal=True,
    ),
    Failure(
        "panic",
        FailureKind.PANIC,
        r"Uncaught panic:|Non-resettable panic!|\[OSDK\] The kernel seems panicked"
        r"|(?<!' )(?<!\d\) )panicked at [/\w]",
        "the kernel panicked",
        "The lines behind it say where; is the kernel of the version that the profile names?",
        "ostd panic handler",
        weight=0,
        fatal=True,
    ),
    Failure(
        "panic-without-words",
        FailureKind.PANIC,
        r"^Printing stack trace:|^\s{0,8}\d{1,3}: fn 0x[0-9a-f]{8,16} - pc 0x[0-9a-f]{8,16}\b",
        "the kernel printed a stack trace: it panicked, and the message of the panic was lost",
        "The functions in the stack trace say where; the other log of the run may have the message.",
        "ostd panic handler",
        weight=-1,
        fatal=True,
        silent=True,
    ),
    Failure(
        "linux-panic",
        FailureKind.PANIC,
        r"Kernel panic - not syncing: ",
        "the Linux kernel panicked",
        "The lines above say why; does the initrd fit the kernel?",
        "Linux kernel/panic.c",
        weight=1,
        fatal=True,
    ),
    # The guest's own programs.
    Failure(
        "initrd-argument",
        FailureKind.GUEST,
        r"can't open '?initrd=initrd'?",
        "the firmware appended ` initrd=initrd`, which became an argument of the guest's shell",
        "Boot the ELF directly or the ISO, or end the arguments so that the word is harmless.",
        _OBSERVED,
        fatal=True,
    ),
    Failure(
        "illegal-instruction",
        FailureKind.GUEST,
        r"\bIllegal instruction\b",
        "a program in the guest uses an instruction that the TD does not have",
        "Rebuild the program for a plain x86-64 CPU.",
        "asterinas#2080",
    ),
    Failure(
        "tsm-permission",
        FailureKind.GUEST,
        r"can't create \S{0,120}/inblob: Operation not permitted",
        "this version cannot open configfs files for truncation",
        "Take a version with the change of asterinas#2160.",
        "asterinas PR #2505",
    ),
)

HANGS: tuple[Hang, ...] = (
    Hang(
        "smp-without-x2apic",
        "ostd",
        r"OSTD initialized",
        "the kernel waits for a second CPU that this QEMU, without x2APIC under TCG, cannot start",
        "Boot with one CPU, or with a QEMU whose TCG has x2APIC (11.1 has it).",
        _OBSERVED,
    ),
    Hang(
        "grub-2.06",
        "grub",
        r"Booting in blind mode",
        "GRUB 2.06 cannot start this kernel with `linux`",
        "Use GRUB 2.12 or newer, or the multiboot2 entry.",
        _OBSERVED,
    ),
    Hang(
        "halted",
        "",
        r"Halting the machine\.\.\.",
        "the kernel halted after a panic and QEMU stays",
        "End QEMU.",
        _OBSERVED,
    ),
)
