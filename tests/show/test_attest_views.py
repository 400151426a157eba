from __future__ import annotations

import re

from labkit.settings import Trust
from labkit.show.attest import register_fold, trust_chain
from tests.show.pictures import drawn

LINKS = [("<root>", "you know it", "signs"), ("leaf", "a processor", "says of")]
CLAIMS = [("MRTD", "firmware"), ("REPORTDATA", "64 bytes")]


def texts(markup: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawn(markup))


def test_a_chain_of_trust_names_everybody_in_picture_and_text() -> None:
    view = trust_chain(LINKS, CLAIMS, Trust.HARDWARE)
    assert [
        word for word in texts(str(view.html)) if word in ("&lt;root&gt;", "leaf", "MRTD", "REPORTDATA")
    ] == [
        "&lt;root&gt;",
        "leaf",
        "MRTD",
        "REPORTDATA",
    ]
    assert "EMULATED" not in view.text + str(view.html)
    assert [line.split()[0] for line in view.text.splitlines()[1:]] == [
        "<root>",
        "leaf",
        "MRTD",
        "REPORTDATA",
    ]


def test_a_chain_without_hardware_is_stamped_and_drawn_otherwise() -> None:
    view = trust_chain(LINKS, CLAIMS, Trust.NONE)
    assert view.text.startswith("[EMULATED] ")
    assert "EMULATED" in view.html
    assert "stroke-dasharray" in drawn(str(view.html))
    assert "stroke-dasharray" not in drawn(str(trust_chain(LINKS, CLAIMS, Trust.HARDWARE).html))


def test_a_fold_shows_every_event_and_the_value_after_it() -> None:
    steps = [("kernel <x>", "aa" * 48, "bb" * 48), ("initrd", "cc" * 48, "dd" * 48)]
    view = register_fold("RTMR2", steps)
    for _, digest, value in steps:
        assert f"{digest[:16]}…" in texts(str(view.html))
        assert f"{value[:16]}…" in texts(str(view.html))
        assert f"{value[:16]}…" in view.text
    assert "kernel &lt;x&gt;" in texts(str(view.html))
    assert texts(str(view.html))[-1] == "RTMR2"


def test_a_long_fold_is_cut_in_the_picture_and_says_so() -> None:
    view = register_fold("RTMR0", [(f"event {number}", "aa" * 48, "bb" * 48) for number in range(50)])
    assert "… 10 more" in texts(str(view.html))
    assert len(view.text.splitlines()) == 52
