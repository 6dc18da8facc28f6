"""The GitHub workflows, by their linter and our rules. Nothing here can run them."""

import json
import re

import pytest
import yaml
from helpers import REPO, run

FOLDER = REPO / ".github" / "workflows"
ZIZMOR = REPO / "target" / "e2e-venv" / "bin" / "zizmor"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def test_zizmor_finds_nothing_else():
    answer = run([ZIZMOR, "--offline", "--persona", "pedantic", FOLDER], timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_what_its_configuration_silences_is_only_the_missing_hashes():
    flags = ["--offline", "--persona", "pedantic", "--no-config", "--format", "json"]
    answer = run([ZIZMOR, *flags, FOLDER], timeout=60)
    found = {finding["ident"] for finding in json.loads(answer.stdout)}
    assert found == {"unpinned-uses", "unpinned-images"}
    config = (REPO / ".github" / "zizmor.yml").read_text()
    assert set(yaml.safe_load(config)["rules"]) == found and "BEFORE THE FIRST RELEASE" in config


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_jobs_may_do_only_what_they_say(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {} and workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["permissions"] and job["timeout-minutes"]
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
    for action in re.findall(r"uses: (\S+)", path.read_text()):
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|[0-9a-f]{40})", action), action


def test_ci_runs_the_command_that_people_run():
    steps = yaml.safe_load((FOLDER / "ci.yml").read_text())["jobs"]["tests"]["steps"]
    assert [s["run"] for s in steps if "run" in s] == [".ci/run"]
    assert "exec tests/run" in (REPO / ".ci" / "run").read_text()


def test_the_release_builds_both_architectures_signs_and_lists():
    jobs = yaml.safe_load((FOLDER / "release.yml").read_text())["jobs"]
    assert [m["arch"] for m in jobs["binary"]["strategy"]["matrix"]["include"]] == [
        "amd64",
        "arm64",
    ]
    assert "image/build-static" in [s.get("run") for s in jobs["binary"]["steps"]]
    push = next(s["with"] for s in jobs["image"]["steps"] if s.get("id") == "push")
    assert push["target"] == "prebuilt" and push["platforms"] == "linux/amd64,linux/arm64"
    assert push["sbom"] is True and push["provenance"] == "mode=max"
    assert "FROM base AS prebuilt" in (REPO / "Dockerfile").read_text()
    everything = (FOLDER / "release.yml").read_text()
    for needed in ("cosign sign --yes", "cosign sign-blob", "attest-build-provenance", "cyclonedx"):
        assert needed in everything
