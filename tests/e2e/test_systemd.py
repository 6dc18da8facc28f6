"""The systemd unit, as far as systemd can judge it without being the init of this machine."""

import re
import shlex

from artefacts import EXAMPLES
from helpers import PROXY, run, tool

UNIT = EXAMPLES / "systemd" / "redcar.service"


def verify(folder, text):
    unit = folder / "redcar.service"
    unit.write_text(text.replace("/usr/local/bin/proxy", str(PROXY)))
    return run([tool("systemd-analyze"), "verify", "--man=no", unit])


def test_systemd_accepts_the_unit_without_a_word(tmp_path):
    answer = verify(tmp_path, UNIT.read_text())
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_systemd_would_notice_a_wrong_key(tmp_path):
    answer = verify(tmp_path, UNIT.read_text().replace("ProtectClock=", "ProtectClok="))
    assert "ProtectClok" in answer.stderr


def test_what_the_unit_leaves_the_sidecar_is_little():
    """Exposure from 0 to 10, ten times as large for the threshold; over it is an error."""
    flags = ["--offline=true", "--threshold=15", "--no-pager"]
    answer = run([tool("systemd-analyze"), "security", *flags, UNIT])
    assert answer.returncode == 0, answer.stdout[-300:] + answer.stderr


def test_the_flags_of_the_unit_are_flags_of_the_program():
    command = re.search(r"^ExecStart=(.+)$", UNIT.read_text(), re.MULTILINE)[1]
    answer = run([PROXY, "check", *shlex.split(command)[1:]])
    assert "flags are valid" in answer.stdout, answer.stderr
