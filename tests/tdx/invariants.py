"""What must hold of a platform between any two calls."""

from __future__ import annotations

from labkit.tdx import PageType, Platform
from labkit.tdx.objects import Tdr
from labkit.tdx.sept import entry_page
from labkit.tdx.states import KeyState, LifeCycle

# A page by its first 4 KiB number and its level, and what it is: type, owner.
Uses = dict[tuple[int, int], tuple[PageType, int]]

_KEY_STATES = {
    LifeCycle.HKID_ASSIGNED: KeyState.ASSIGNED,
    LifeCycle.KEYS_CONFIGURED: KeyState.ASSIGNED,
    LifeCycle.BLOCKED: KeyState.FLUSHED,
}


def check(platform: Platform) -> None:
    """All invariants; an AssertionError says which one is broken."""
    keys_belong_to_one_td(platform)
    pages_have_one_use(platform)
    translations_are_of_pages_the_td_has(platform)
    locks_belong_to_running_vcpus(platform)


def keys_belong_to_one_td(platform: Platform) -> None:
    """No two living TDs under one KeyID, and the KeyID's state follows the TD's life cycle."""
    alive = [t.hkid for t in platform.tdrs.values() if t.lifecycle is not LifeCycle.TEARDOWN]
    assert len(alive) == len(set(alive)), "two TDs under one KeyID"
    for tdr in platform.tdrs.values():
        state = platform.kot[tdr.hkid].state
        assert state is _KEY_STATES.get(tdr.lifecycle, state)


def pages_have_one_use(platform: Platform) -> None:
    """Every page of a TD is used once, as the PAMT says, and the PAMT knows no page that nothing uses."""
    pamt = platform.pamt
    uses: Uses = {}
    for tdr in platform.tdrs.values():
        used = _pages(platform, tdr)
        if tdr.lifecycle is LifeCycle.TEARDOWN:
            # Pages come back one by one now, and the dead tree is not kept up.
            used = [use for use in used if pamt.type_of(use[0][0]) is not PageType.NDA]
            used = [u for u in used if pamt.find(u[0][0])[0].owner == u[2]]  # type: ignore[union-attr]
        else:
            children = sum(1 << 9 * key[1] for key, kind, _ in used if kind is not PageType.TDR)
            assert tdr.children == children, "the TD's count of its pages is wrong"
        for key, kind, owner in used:
            assert key not in uses, "a page is used twice"
            uses[key] = kind, owner
    table = {
        (pfn << 9 * level, level): (entry.type, entry.owner)
        for level, size in enumerate(pamt.sizes)
        for pfn, entry in size.items()
        if entry.type is not PageType.NDA
    }
    for key, use in uses.items():
        assert table.get(key) == use, "the PAMT says something else"
    dead = {t.pfn for t in platform.tdrs.values() if t.lifecycle is LifeCycle.TEARDOWN}
    for key, (kind, owner) in table.items():
        assert key in uses or owner in dead, f"the PAMT has a {kind.name} page that nothing uses"
    assert pamt.large == sum(level > 0 for _, level in table)


def _pages(platform: Platform, tdr: Tdr) -> list[tuple[tuple[int, int], PageType, int]]:
    """The pages that make up a TD, as its own structures tell."""
    used = [((tdr.pfn, 0), PageType.TDR, 0)]
    used += [((page, 0), PageType.TDCX, tdr.pfn) for page in tdr.tdcx]
    for vp in platform.vps.values():
        if vp.tdr is tdr:
            used.append(((vp.pfn, 0), PageType.TDVPR, tdr.pfn))
            used += [((page, 0), PageType.TDCX, tdr.pfn) for page in vp.pages[1:]]
    used += [((page.pfn, 0), PageType.EPT, tdr.pfn) for page in tdr.tdcs.sept.pages.values()]
    leaves = tdr.tdcs.sept.leaves()
    used += [((entry_page(entry), level), PageType.REG, tdr.pfn) for _, level, entry in leaves]
    return used


def translations_are_of_pages_the_td_has(platform: Platform) -> None:
    """No processor uses a page that its TD lost."""
    for lp in platform.lps:
        for pfn, _ in lp.active.tlb.values() if lp.active is not None else ():
            entry, _ = platform.pamt.find(pfn)
            assert lp.active is not None
            assert entry is not None, "a translation outlived its page"
            assert (entry.type, entry.owner) == (PageType.REG, lp.active.tdr.pfn)


def locks_belong_to_running_vcpus(platform: Platform) -> None:
    """As many holders of locks and of epochs as vCPUs run, and none where nobody does."""
    running = [lp.active for lp in platform.lps if lp.active is not None]
    assert platform.locks.holders == len(running), "a lock outlived its holder"
    for vp in running:
        assert all(not platform.locks.free(lock, exclusive=True) for lock in vp.locks)
    for tdr in platform.tdrs.values():
        assert sum(tdr.tdcs.refcount) == sum(vp.tdr is tdr for vp in running)
