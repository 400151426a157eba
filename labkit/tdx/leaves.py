"""The leaf functions of the TDX module as one table: number, name, whom they act on, when they are allowed.

Numbers, names and operation-state rules are facts of ``include/tdx_api_defs.h`` and
``include/auto_gen/op_state_lookup.c`` in intel/tdx-module, branch ``tdx_1.5``, commit 72d8cffb (MIT,
Copyright (C) 2023 Intel Corporation); the table's form is labkit's.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit.tdx.states import OpState

# number, name, register that names the TD or vCPU, OP_STATEs that allow it, purpose.
# Handles: T = TDR page, V = TDVPR page, ! = locked exclusively (shared without), then the register;
# - = none or not checked by the dispatcher's rule.
# States: U uninitialized, I initialized, R runnable, L live export, P paused export, X post export,
# M memory import, S state import, Q post import, V live import, F failed import; - = not checked;
# * = the leaf itself checks, at a later point than the others.
_HOST = """
0  VP.ENTER                Vrcx RLV         enter or resume a vCPU on this processor; returns at TD exit
1  MNG.ADDCX               T!rdx U*          add a control page (TDCX) to a TD
2  MEM.PAGE.ADD            T!rdx I           while building: copy a page in, map it, measure its address
3  MEM.SEPT.ADD            Trdx IRLMSQV     add a page to the Secure EPT
4  VP.ADDCX                V!rdx IS          add a control page (TDCX) to a vCPU
5  MEM.PAGE.RELOCATE       Trdx IRLPXQV     move a private page to another physical page
6  MEM.PAGE.AUG            Trdx IRLV        while running: offer a private page, which the guest must accept
7  MEM.RANGE.BLOCK         Trdx IRLPXQV     stop new translations through a Secure EPT entry
8  MNG.KEY.CONFIG          T!rcx -           program the TD's key on this package
9  MNG.CREATE              -    -           make a TD: its root page (TDR) and its KeyID
10 VP.CREATE               Trdx IS          make a vCPU: its root page (TDVPR)
11 MNG.RD                  Trcx IRLPXMSQVF  read a metadata field of the TD
12 MEM.RD                  Trdx IRLPXMSQVF  debug TD only: read 8 bytes of private memory
13 MNG.WR                  Trcx IRLMSQVF    write a metadata field of the TD
14 MEM.WR                  Trdx IRLMSQVF    debug TD only: write 8 bytes of private memory
15 MEM.PAGE.DEMOTE         Trdx IRLPXQV     split a large page into 512 small ones
16 MR.EXTEND               T!rdx I           while building: measure 256 bytes
17 MR.FINALIZE             T!rcx I           fix the measurement; the TD may run
18 VP.FLUSH                V!rcx UIRLPXMSQVF* unbind a vCPU from this processor and flush its translations
19 MNG.VPFLUSHDONE         T!rcx -           check that all vCPUs are unbound; the TD is over
20 MNG.KEY.FREEID          T!rcx -           give the KeyID back after the cache write-back
21 MNG.INIT                T!rcx U           initialize the TD from TD_PARAMS
22 VP.INIT                 V!rcx I           initialize a vCPU
23 MEM.PAGE.PROMOTE        Trdx IRLPXQV     merge 512 small pages into a large one
24 PHYMEM.PAGE.RDMD        -    -           read the PAMT entry of a page
25 MEM.SEPT.RD             Trdx IRLPXMSQVF  read a Secure EPT entry
26 VP.RD                   Vrcx IRLPXMSQVF  read a metadata field of a vCPU
27 MNG.KEY.RECLAIMID       -    -           kept for compatibility; does nothing
28 PHYMEM.PAGE.RECLAIM     -    -           take a page back from a TD in teardown
29 MEM.PAGE.REMOVE         Trdx IRLPXQVF    take a private page away
30 MEM.SEPT.REMOVE         Trdx IRLPXMSQVF  take an empty Secure EPT page away
31 SYS.KEY.CONFIG          -    -           program the module's own key on this package
32 SYS.INFO                -    -           read TDSYSINFO_STRUCT and the CMRs
33 SYS.INIT                -    -           initialize the module, once
34 SYS.RD                  -    -           read a metadata field of the module
35 SYS.LP.INIT             -    -           initialize the module on this processor
36 SYS.TDMR.INIT           -    -           initialize a part of a TDMR's PAMT
37 SYS.RDALL               -    -           read all metadata fields of the module
38 MEM.TRACK               Trcx IRLPXMSQV   advance the TD's TLB epoch
39 MEM.RANGE.UNBLOCK       Trdx IRLPXQV     undo MEM.RANGE.BLOCK
40 PHYMEM.CACHE.WB         -    -           write caches back for the KeyIDs that wait to be freed
41 PHYMEM.PAGE.WBINVD      -    -           write back and invalidate one free page
42 MEM.SEPT.WR             -    -           number reserved, never dispatched
43 VP.WR                   Vrcx IRLMSQVF    write a metadata field of a vCPU
44 SYS.LP.SHUTDOWN         -    -           kept for compatibility; does nothing
45 SYS.CONFIG              -    -           give the module its TDMRs and its KeyID
48 SERVTD.BIND             Trcx UIRLQV      bind a service TD
49 SERVTD.PREBIND          Trcx UI          bind a service TD by its hash
52 SYS.SHUTDOWN            -    -           shut the module down; a new one may take over
53 SYS.UPDATE              -    -           take over from an old module
64 EXPORT.ABORT            Trcx LPX         migration
65 EXPORT.BLOCKW           Trdx L           migration
66 EXPORT.RESTORE          Trdx R           migration
68 EXPORT.MEM              Trdx LPX         migration
70 EXPORT.PAUSE            Trcx L           migration
71 EXPORT.TRACK            Trcx LP          migration
72 EXPORT.STATE.IMMUTABLE  Trcx RV          migration
73 EXPORT.STATE.TD         Trcx P           migration
74 EXPORT.STATE.VP         Vrcx P           migration
75 EXPORT.UNBLOCKW         Trdx RLPX        migration
80 IMPORT.ABORT            Trcx MSQF        migration
81 IMPORT.END              Trcx QV          migration
82 IMPORT.COMMIT           Trcx Q           migration
83 IMPORT.MEM              Trdx MSQV        migration
84 IMPORT.TRACK            Trcx MS          migration
85 IMPORT.STATE.IMMUTABLE  T!rcx U           migration
86 IMPORT.STATE.TD         Trcx M           migration
87 IMPORT.STATE.VP         Vrcx S           migration
96 MIG.STREAM.CREATE       Trdx UIR         migration
"""

_GUEST = """
0  VP.VMCALL           - -  call the host; RCX selects which registers it sees
1  VP.INFO             - -  address width, attributes, vCPU numbers
2  MR.RTMR.EXTEND      - -  extend a run-time measurement register
3  VP.VEINFO.GET       - -  why the last #VE was raised
4  MR.REPORT           - -  make a TDREPORT
5  VP.CPUIDVE.SET      - -  choose whether CPUID raises #VE
6  MEM.PAGE.ACCEPT     - -  accept an offered page; it is zeroed
7  VM.RD               - -  read a metadata field of the TD
8  VM.WR               - -  write a metadata field of the TD
9  VP.RD               - -  read a metadata field of the vCPU
10 VP.WR               - -  write a metadata field of the vCPU
11 SYS.RD              - -  read a metadata field of the module
12 SYS.RDALL           - -  read all metadata fields of the module
18 SERVTD.RD           - -  service TD
20 SERVTD.WR           - -  service TD
22 MR.VERIFYREPORT     - -  check a report made on this platform
23 MEM.PAGE.ATTR.RD    - -  read mapping attributes
24 MEM.PAGE.ATTR.WR    - -  write mapping attributes
25 VP.ENTER            - -  TD partitioning
26 VP.INVEPT           - -  TD partitioning
27 VP.INVVPID          - -  TD partitioning
"""

# Leaves that exist in versions above 0 (tdx-module dispatchers); all others refuse a version.
VERSIONED = frozenset({3, 11, 23, 26, 30})
GUEST_VERSIONED = frozenset({7})
MAX_VERSION = 1

# What stands in registers unless the leaf says otherwise, on failure too: host leaves by number.
_NONE = (1 << 64) - 1
DEFAULT_OUT = {34: {"rdx": _NONE, "r8": 0}, 37: {"r8": _NONE}}
DEFAULT_OUT_VERSION_1 = {
    11: {"rdx": _NONE},
    26: {"rdx": _NONE},
    23: {"r9": _NONE, "r10": _NONE, "r11": _NONE},
    30: {"r9": _NONE, "r10": _NONE, "r11": _NONE},
}

# Leaves that pass while the module is not READY.
BEFORE_READY = frozenset({31, 32, 33, 34, 35, 37, 44, 45, 53})


@dataclass(frozen=True)
class Leaf:
    """One leaf function.

    handle: ``T`` or ``V`` for a TDR or TDVPR page, empty where no TD is named; register: where its address
    is; exclusive: how that page is locked (the TDR of a vCPU is always shared). states: the OP_STATEs that
    allow the leaf; None where there is no such rule. late: the leaf itself applies the rule, not the check
    that is common to all.
    """

    name: str
    number: int
    guest: bool
    purpose: str
    handle: str = ""
    register: str = ""
    states: frozenset[OpState] | None = None
    late: bool = False
    exclusive: bool = False


def _parse(text: str, prefix: str) -> dict[int, Leaf]:
    leaves = {}
    for line in text.strip().splitlines():
        number, name, handle, states, purpose = line.split(None, 4)
        leaves[int(number)] = Leaf(
            name=f"{prefix}.{name}",
            number=int(number),
            guest=prefix == "TDG",
            purpose=purpose.strip(),
            handle=handle[0] if handle != "-" else "",
            register=handle[1:].lstrip("!"),
            states=None if states == "-" else frozenset(map(OpState.of, states.rstrip("*"))),
            late=states.endswith("*"),
            exclusive="!" in handle,
        )
    return leaves


SEAMCALLS = _parse(_HOST, "TDH")
TDCALLS = _parse(_GUEST, "TDG")
LEAVES = {leaf.name: leaf for leaf in (*SEAMCALLS.values(), *TDCALLS.values())}
