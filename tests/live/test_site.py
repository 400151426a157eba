"""What a live site is made of, without a browser."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import labkit
from labkit import lab
from labkit.attest import LabAuthority, make_tdreport, parse_quote
from labkit.errors import DataError, MissingComponent
from labkit.live import make_live
from labkit.live.bundle import DISTRIBUTIONS, write_bundle
from labkit.live.cells import machines, needs_machine, verbs
from labkit.live.inputs import INPUTS, fetch_inputs
from labkit.runs import Run, publish
from labkit.settings import Settings

BROWSER = Path(labkit.__file__).parent / "live/browser"


def browser_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"labkit_browser_{name}", BROWSER / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHIMS = browser_module("shims")
RUNNER = browser_module("runner")
COMPILED = browser_module("compiled")


def aes(key: bytes, data: bytes, encrypt: bool) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.ECB())
    context = cipher.encryptor() if encrypt else cipher.decryptor()
    return context.update(data)


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.integers(1, 8).flatmap(lambda blocks: st.binary(min_size=16 * blocks, max_size=16 * blocks)),
)
def test_xts_is_that_of_cryptography(key: bytes, tweak: bytes, data: bytes) -> None:
    if key[:16] == key[16:]:
        return  # refused there
    SHIMS.set_aes(aes)
    peer = Cipher(algorithms.AES(key), modes.XTS(tweak))
    sealed = SHIMS.xts(key, tweak, data, True)
    assert sealed == peer.encryptor().update(data)
    assert SHIMS.xts(key, tweak, sealed, False) == data


@hypothesis_settings(max_examples=20)
@given(st.integers(1, 2**255), st.binary(max_size=200), st.integers(0, 511))
def test_a_signature_is_judged_as_cryptography_judges_it(secret: int, data: bytes, flipped: int) -> None:
    key = ec.derive_private_key(secret, ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    ours = SHIMS.EllipticCurvePublicKey.from_encoded_point(None, point)
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    assert SHIMS.encode_dss_signature(r, s) == encode_dss_signature(r, s)
    ours.verify(SHIMS.encode_dss_signature(r, s), data, None)
    wrong = (r ^ 1 << flipped, s) if flipped < 256 else (r, s ^ 1 << flipped - 256)
    for signature, signed in (
        (encode_dss_signature(r, s), data + b"x"),
        (encode_dss_signature(*wrong), data),
    ):
        with pytest.raises(SHIMS.InvalidSignature):
            ours.verify(signature, signed, None)


@pytest.mark.parametrize(
    "signature",
    [b"", b"\x30\x00", encode_dss_signature(0, 1), encode_dss_signature(1, 0), encode_dss_signature(1, 1)],
)
def test_what_is_not_a_signature_is_none(signature: bytes) -> None:
    key = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    with pytest.raises(SHIMS.InvalidSignature):
        SHIMS.EllipticCurvePublicKey.from_encoded_point(None, point).verify(signature, b"", None)
    with pytest.raises(ValueError, match="not a point"):
        SHIMS.EllipticCurvePublicKey.from_encoded_point(None, point[:-1] + bytes([point[-1] ^ 1]))


def test_who_issued_a_certificate_is_known_as_cryptography_knows_it() -> None:
    made = make_tdreport(mrtd=bytes(48), rtmr=(bytes(48),) * 4, report_data=bytes(64), td_attributes=1 << 28)
    chain = parse_quote(LabAuthority.create(1_795_348_800).quote(made)).chain
    ders = (chain.leaf, chain.intermediate, chain.root)
    for one in ders:
        for other in ders:
            for load, refused in (
                (x509.load_der_x509_certificate, InvalidSignature),
                (SHIMS.Certificate, SHIMS.InvalidSignature),
            ):
                try:
                    load(one).verify_directly_issued_by(load(other))
                    issued = True
                except (refused, ValueError):
                    issued = False
                assert issued == ((one, other) in [*pairwise(ders), (ders[2], ders[2])])


def test_byte_code_of_what_is_loaded_takes_the_library_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, own, site = tmp_path / "library.zip", tmp_path / "own.zip", tmp_path / "site"
    with zipfile.ZipFile(library, "w") as archive:
        for name in ("live_one", "live_two"):
            archive.writestr(f"{name}.py", "VALUE = 6 * 7\n")
    with zipfile.ZipFile(own, "w") as archive:
        archive.writestr("live_mine.py", "VALUE = 'as it was'\n")
        archive.extractall(site)
    (site / "live_mine.py").write_text("VALUE = 'changed by a cell'\n")
    for name, file in (("live_one", library / "live_one.py"), ("live_mine", site / "live_mine.py")):
        module = ModuleType(name)
        module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, name, module)
    compiler = COMPILED.Compiler(str(library), str(own), str(site))
    while not compiler.step():
        pass
    library.write_bytes(compiler.archive())
    COMPILED.unpack_own(str(library), str(site))
    with zipfile.ZipFile(library) as archive:
        names = archive.namelist()
    assert {"live_one.py", "live_one.pyc", "live_two.py"} <= set(names)
    assert "live_two.pyc" not in names
    code = (
        "import live_one, live_two, live_mine\n"
        "print(live_one.VALUE, live_one.__spec__.origin[-4:], live_two.VALUE, live_mine.VALUE)"
    )
    path = {"PYTHONPATH": f"{library}:{site}"}
    done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True)
    assert done.stdout.split(maxsplit=3) == ["42", ".pyc", "42", "as it was\n"], done.stderr


def outputs(source: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    kept = {name: sys.modules.get(name) for name in ("IPython", "IPython.display")}
    cells = RUNNER.Cells(lambda text: found.append(json.loads(text)))
    try:
        cells.run(source)
    finally:
        for name, module in kept.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
    return found


def test_the_last_value_is_shown_and_a_semicolon_keeps_it() -> None:
    assert [output["data"] for output in outputs("1 + 1")] == [{"text/plain": "2"}]
    assert outputs("1 + 1;") == []
    assert outputs("x = 1") == []


def test_an_error_is_told_with_its_line_and_without_the_runner() -> None:
    (error,) = outputs("print\n1 / 0")
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert "line 2" in "".join(error["traceback"])
    assert "runner.py" not in "".join(error["traceback"])


def test_a_syntax_error_is_an_error_of_the_cell() -> None:
    assert outputs("for")[0]["ename"] == "SyntaxError"


def test_a_flood_is_bounded() -> None:
    found = outputs("for _ in range(100):\n    print('x' * 100_000)")
    assert sum(len(output["text"]) for output in found) < 3 << 20
    assert "left out" in found[-1]["text"]


def test_exit_ends_a_cell_and_not_the_page() -> None:
    assert outputs("raise SystemExit(3)")[0]["ename"] == "SystemExit"


def test_the_bundle_is_the_same_every_time_and_pure(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.zip")
    write_bundle(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as bundle:
        names = bundle.namelist()
    assert {"labkit/tdx/__init__.py", "labkit_browser/runner.py", "click/__init__.py"} <= set(names)
    assert [name for name in names if name.endswith((".so", ".pyc"))] == []
    assert {name.split("/")[1] for name in names if name.startswith("licences/")} >= {"click", "pyasn1"}


def test_a_package_with_a_compiled_part_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labkit.live.bundle.DISTRIBUTIONS", (*DISTRIBUTIONS, "cryptography"))
    with pytest.raises(DataError, match="cryptography has a compiled part"):
        write_bundle(tmp_path / "a.zip")


def test_inputs_are_pinned_with_a_licence() -> None:
    for wanted in INPUTS:
        assert re.fullmatch(r"[\d.]+", wanted.version)
        assert len(wanted.sha512) == 88
        assert wanted.licence


def test_without_a_registry_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://127.0.0.1:1")
    with pytest.raises(MissingComponent, match="registry does not answer") as error:
        fetch_inputs(tmp_path)
    assert "--live" in error.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_archive_in_the_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://127.0.0.1:1")
    for wanted in INPUTS:
        (tmp_path / f"{wanted.folder}-{wanted.version}.tgz").write_bytes(b"damaged")
    with pytest.raises(MissingComponent):
        fetch_inputs(tmp_path)


@pytest.mark.parametrize(
    ("sources", "needs"),
    [
        (["from labkit import lab, tdx", "lab.predict('a.b', 'why?')"], [None, None]),
        (["tdvm = lab.boot()", "print(tdvm)", "tdvm = 1", "print(tdvm)"], ["", "", None, None]),
        (["import hashlib\nx = lab.boot()", "hashlib.sha384()", "x"], ["import hashlib", None, ""]),
        (["from labkit.vm import start\nimport re", "re", "start"], ["import re", None, ""]),
        (["from labkit import vm", "import labkit.vm", "import labkit.attest"], ["", "", None]),
        (["from labkit.lab import boot, predict"], [""]),
        (["a = lab.attest(b)", "def f(q):\n    return a", "f(1)"], ["", "", ""]),
        (
            ["a = lab.boot()", "def f():\n    a = 2\n    return 1", "for a in (1, 2): pass", "a"],
            ["", None, None, None],
        ),
        (["%magic", "lab.boot("], [None, None]),
    ],
)
def test_a_cell_that_needs_a_machine_is_known_by_its_code(
    sources: list[str], needs: list[str | None]
) -> None:
    assert needs_machine(sources) == needs


def test_what_stands_in_for_a_machine_is_a_package_of_labkit() -> None:
    assert {path.name for path in Path(labkit.__file__).parent.iterdir()} >= machines()
    assert {"predict", "outcome", "verify_host"} <= verbs() <= set(vars(lab)) | {"record"}


def _digests(site: Path) -> dict[str, str]:
    return {
        str(path.relative_to(site)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(site.rglob("*"))
        if path.is_file()
    }


def test_a_live_site_is_reproducible_small_and_asks_only_itself(live_run: Run) -> None:
    site = live_run.directory / "site"
    before = _digests(site)
    publish(live_run)
    # Only what is marked gets scripts, and only by this; the search has one of its own.
    for page in site.glob("*.html"):
        assert ("<script" in page.read_text()) == (page.name == "everything.html"), page.name
    make_live(live_run, Settings.load())
    assert "<script" not in (site / "index.html").read_text()
    assert _digests(site) == before
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 20 << 20
    marked = (site / "05-inside-tdx.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', marked)
    assert policy
    assert "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'" in policy[1]
    assert re.findall(r"<script(?![^>]* src=)", marked) == []
    notice = (site / "live/LICENCES.txt").read_text()
    assert [wanted.name for wanted in INPUTS if f"{wanted.name} {wanted.version}: " not in notice] == []
    for licence in ("noble/LICENSE", "dompurify/LICENSE", "python-licence.txt"):
        assert (site / "live" / licence).stat().st_size > 500


def test_what_the_pages_programs_import_is_there() -> None:
    """Names of labkit in JavaScript, which no checker of types reads."""
    sources = [path.read_text() for path in BROWSER.glob("*.js")]
    imports = re.compile(r"^ *from (labkit\S*) import (\w+)", re.MULTILINE)
    found = [match for text in sources for match in imports.findall(text)]
    assert found
    for module, name in found:
        assert hasattr(importlib.import_module(module), name), (module, name)
