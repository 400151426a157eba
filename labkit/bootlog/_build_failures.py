"""Known failures of the build; what keeps a download from coming is told before what was not downloaded."""

from __future__ import annotations

from labkit.bootlog._failure import Failure, FailureKind

BUILD_FAILURES: tuple[Failure, ...] = (
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
        r"|toomanyrequests|//api\.github\.com/\S{1,200}: HTTP error 403",
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
        r"error: (?:override )?toolchain '[^']{1,80}' is not installed"
        r"|error: rustup could not choose a version"
        r"|error: component '[^']{1,60}' (?:for target '[^']{1,60}' )?is unavailable"
        r"|can't find crate for `core`|does not exist, unable to build with the standard library",
        "the Rust toolchain that the source names is not in the image",
        "Check out the tag that belongs to the image: it names its own toolchain.",
        "rustup",
    ),
    Failure(
        "toolchain-age",
        FailureKind.BUILD,
        r"requires rustc \d|is not supported by the following packages?:|feature `edition\d{4}` is required"
        r"|lock file version `?\d`? was found, but|^error\[E0635\]: unknown feature",
        "a crate does not fit the Rust toolchain: one of them is older than the other",
        "Check out the tag that belongs to the image, with its Cargo.lock; build with `make`, not `cargo`.",
        "cargo, rust-version",
    ),
    Failure(
        "compiler-crash",
        FailureKind.BUILD,
        r"^error: (?:internal compiler error|rustc interrupted by SIG)"
        r"|^thread 'rustc'.{0,20} panicked at",
        "the Rust compiler itself crashed",
        "Run `make clean` and build again; if it stays, report it with the lines above.",
        "rustc",
    ),
    Failure(
        "osdk-panic",
        FailureKind.BUILD,
        r"^thread 'main'.{0,20} panicked at (?:\S{0,80}/)?(?:osdk|src/commands|src/util|src/bundle)\S{0,80}",
        "OSDK itself failed before a guest was started",
        "The lines behind it name the command or the file that it missed; build with the tag's own image.",
        "osdk/src",
    ),
    Failure(
        "source-missing",
        FailureKind.BUILD,
        r"could not find `Cargo\.toml` in `",
        "the source tree is not where the build runs",
        "Look at the folder that is mounted as /root/asterinas: it has to be a whole checkout.",
        "cargo, make",
    ),
    Failure(
        "source-owner",
        FailureKind.BUILD,
        r"detected dubious ownership in repository at",
        "the source tree belongs to another user, and git refuses to read it",
        "Run `git config --global --add safe.directory '*'` in the container, or give the tree its user.",
        "git, safe.directory",
    ),
    Failure(
        "cargo-permission",
        FailureKind.BUILD,
        r"^error: failed to (?:open|create directory|write|remove(?: file)?):? .{0,200}"
        r"(?:\.cargo|target)\b.{0,120}$",
        "cargo may not write into its folder or into target/: another user built there",
        "Give the tree and ~/.cargo to the user who builds, or remove target/.",
        "cargo",
    ),
    Failure(
        "server",
        FailureKind.BUILD,
        r"The requested URL returned error: 5\d\d|HTTP error 5\d\d|the remote end hung up unexpectedly"
        r"|RPC failed; (?:HTTP|curl) \d|HTTP/\S{1,3} 5\d\d\b",
        "a server that the build asks for a file does not work just now",
        "Run it again later; the build goes on where it was.",
        "git, curl",
    ),
    Failure(
        "nix-setup",
        FailureKind.BUILD,
        r"cannot connect to (?:socket|daemon) at '/nix/|experimental Nix feature '[\w-]{1,40}' is disabled"
        r"|specified in 'build-users-group' does not exist|'/nix/[^']{1,200}': Permission denied",
        "Nix is not set up in this container as the source expects",
        "Use the image of the tag: its nix.conf allows what the build needs.",
        "Nix",
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
        "osdk-age",
        FailureKind.BUILD,
        r"^error: unexpected argument '-{1,2}[a-z][\w-]{0,40}' found|Cannot find `OSDK\.toml`",
        "OSDK, or another tool of the build, is of another version than the source that calls it",
        "Check out the tag that belongs to the image; `make install_osdk` builds OSDK from the source.",
        "cargo, clap",
    ),
    Failure(
        "crate-changed",
        FailureKind.BUILD,
        r"^error: (?:failed to verify the checksum of|checksum for) `",
        "a crate that was downloaded is another one than the source expects",
        "Remove ~/.cargo/registry of the container and build again; a mirror may serve something else.",
        "cargo",
    ),
    Failure(
        "lock-file",
        FailureKind.BUILD,
        r"the lock file .{1,200} needs to be updated but --locked was passed"
        r"|^error: failed to select a version for ",
        "Cargo.lock does not fit the source: a file of another version lies in the tree",
        "Check the tree out anew, at the tag that belongs to the image.",
        "cargo",
    ),
    Failure(
        "build-memory",
        FailureKind.BUILD,
        r"terminated with signal 9|LLVM ERROR: out of memory"
        r"|^memory allocation of \d{1,20} bytes failed|virtual memory exhausted"
        r"|^(?!.*(?:KVM|kvm)).*Cannot allocate memory(?: \(os error 12\))?$",
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
        r"(?:nix-build|xorriso|grub-mkrescue|mkfs\.\w{2,8}|mke2fs|mcopy|mformat|cpio|yq|cmake|clang|gcc|cc|ld"
        r"|python3|git|curl|wget|unzip|bc|objcopy|protoc): (?:command )?not found"
        r"|^make(?:\[\d{1,3}\])?: [\w.+-]{1,30}: No such file or directory$"
        r"|xorriso not found|`mformat` invocation failed|VDSO_LIBRARY_DIR.{0,80}(?:not|must|unset)",
        "the source is newer than the image, which lacks its tools",
        "Check out the tag that belongs to the image.",
        "asterinas HEAD against 0.9.0-tdx",
    ),
    Failure(
        "offline",
        FailureKind.BUILD,
        r"^(?!\s*warning\b).*(?:Could not resolve host|failure in name resolution"
        r"|Temporary failure resolving)"
        r"|^(?:curl: \(\d{1,3}\)|fatal:|wget:|E:) .*(?:[Ff]ailed to connect to |unable to resolve "
        r"|[Uu]nable to connect |No route to host|Network is unreachable"
        r"|Connection (?:timed out|refused|reset))"
        r"|^\s{0,12}error: (?:failed to (?:download|fetch|get) |could not download file|unable to download "
        r"|component download failed)",
        "the first build needs the network for crates and git dependencies",
        "Connect, or build once where there is a network: the cache serves the next builds.",
        "v0.9.0 Cargo.lock",
    ),
    Failure(
        "build-killed",
        FailureKind.BUILD,
        r"\bsignal: 9\b|\bdue to signal 9\b|\(SIGKILL\)|fatal error: Killed signal"
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
)
