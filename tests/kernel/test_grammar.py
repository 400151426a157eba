"""Random cells: each gets exactly one reply, and the kernel goes on answering."""

from __future__ import annotations

import os
from random import Random
from threading import Timer

import pytest

from .client import Frontend
from .grammar import cell

pytestmark = pytest.mark.vm

COUNT = int(os.environ.get("LABKIT_RANDOM_CELLS", "150"))
SEED = int(os.environ.get("LABKIT_RANDOM_SEED", "20261122"))


def test_every_random_cell_gets_one_reply_and_the_kernel_still_answers(frontend: Frontend) -> None:
    random = Random(SEED)
    statuses: dict[str, int] = {}
    for number in range(COUNT):
        code = cell(random)
        # A cell may be one without an end: then the stop button must end it.
        presses = [Timer(seconds, frontend.interrupt) for seconds in (20, 24, 28)]
        for press in presses:
            press.start()
        try:
            done = frontend.run(code, timeout=60)
        except TimeoutError:
            pytest.fail(f"no reply to cell {number}: {code!r}")
        finally:
            for press in presses:
                press.cancel()
        assert done.status in ("ok", "error")
        kinds = done.kinds()
        assert kinds.count("error") == (done.status == "error")
        name = done.error[0] or "ok"
        statuses[name] = statuses.get(name, 0) + 1
        assert name in ("ok", "ExitStatus", "GuestGone"), (number, code, done.error)
        if number % 50 == 49:
            frontend.run("unset -f printf command echo; unalias -a; exit")
            assert frontend.run("echo ok").text().endswith("ok\n"), (number, code)
    assert statuses.get("GuestGone", 0) <= COUNT // 50, statuses
