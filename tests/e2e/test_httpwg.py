"""The cases of `httpwg-cli`, a public suite for RFC 9113, against the sidecar's port."""

import re

from helpers import REPO, run
from peers import Backend, answering
from test_h2_strict import LONG

HTTPWG = REPO / "target" / "tools" / "bin" / "httpwg"

# A case that may fail, with the reason. A case that is listed here and passes fails this test too.
EXPLAINED = {}


def test_no_case_of_httpwg_fails_without_an_explanation(proxy):
    with Backend(answering(LONG)) as backend:
        sidecar = proxy(backend.upstream)
        argv = [HTTPWG, "-a", f"127.0.0.1:{sidecar.port}", "--frame-timeout", "3000"]
        done = run(argv, timeout=110)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    failed = set(re.findall(r"Test failed: RFC 9113 :: (.+)", text))
    passed, total = map(int, re.search(r"Passed (\d+)/(\d+) tests", text).groups())
    assert total >= 100 and passed + len(failed) == total, text[-3000:]
    assert failed == set(EXPLAINED), "\n".join(sorted(failed))
