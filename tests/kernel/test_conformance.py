"""Jupyter's own conformance suite, with every attribute filled in, and what it skips asserted."""

from __future__ import annotations

import unittest

import jupyter_kernel_test
import pytest

pytestmark = pytest.mark.vm

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Conformance(jupyter_kernel_test.KernelTests):  # type: ignore[misc, unused-ignore]
    __test__ = False
    kernel_name = "tdvm"
    language_name = "bash"
    file_extension = ".sh"
    code_hello_world = "echo hello, world"
    # The guest's two streams share one terminal and cannot be told apart; the host's can.
    code_stderr = "%%host\necho oops >&2"
    completion_samples = [  # noqa: RUF012
        {"text": "unam", "matches": {"uname"}},
        {"text": "echo $HOSTN", "matches": {"HOSTNAME"}},
        {"text": "ls /et", "matches": {"/etc/"}},
    ]
    complete_code_samples = ["echo hello", "for i in 1 2; do echo $i; done", "cat <<E\nfoo\nE", "%timeline"]  # noqa: RUF012
    incomplete_code_samples = [  # noqa: RUF012
        "if true; then",
        "echo 'open",
        'echo "open',
        "cat <<E\nfoo",
        "f() {",
        "true &&",
        "true |",
        "echo \\",
        "echo $(",
    ]
    invalid_code_samples = ["fi", "echo )", "done", "a ;; b"]  # noqa: RUF012
    code_page_something = "%tdvm"
    code_generate_error = "false"
    code_execute_result = [  # noqa: RUF012
        {"code": "%snapshot one", "result": "snapshot one saved"},
        {"code": "%restore one", "result": "restored from snapshot one"},
        {"code": "%snapshot two", "result": "snapshot two saved"},
    ]
    code_display_data = [  # noqa: RUF012
        {"code": f"printf {PNG} | base64 -d | display image/png", "mime": "image/png"},
        {"code": "echo '[1, 2]' | display application/json", "mime": "application/json"},
    ]
    supported_history_operations = ("tail", "range", "search")
    code_history_pattern = "%snapshot o?e"
    code_inspect_sample = "cat"
    code_clear_output = "clear"


class Welcome(jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc, unused-ignore]
    __test__ = False
    kernel_name = "tdvm"
    support_iopub_welcome = True


def test_everything_in_the_suite_passes_and_nothing_is_skipped(kernelspec: str) -> None:
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite([load(Conformance), load(Welcome)])
    result = unittest.TestResult()
    suite.run(result)
    assert [f"{test}: {text}" for test, text in [*result.errors, *result.failures]] == []
    assert [(str(test), reason) for test, reason in result.skipped] == []
    assert result.testsRun == 13
