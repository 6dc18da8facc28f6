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
    answer = run([ZIZMOR, "--offline", "--persona", "pedantic", FOLDER.parent], timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_what_its_configuration_silences_is_only_the_missing_digests_of_images():
    flags = ["--offline", "--persona", "pedantic", "--no-config", "--format", "json"]
    answer = run([ZIZMOR, *flags, FOLDER.parent], timeout=60)
    found = {finding["ident"] for finding in json.loads(answer.stdout)}
    assert found == {"unpinned-images"}
    config = (REPO / ".github" / "zizmor.yml").read_text()
    assert set(yaml.safe_load(config)["rules"]) == found


def test_every_action_is_pinned_by_commit_with_its_version_beside_it():
    pins = {}
    for path in WORKFLOWS:
        for line in re.findall(r"uses:(.*)", path.read_text()):
            pin = re.fullmatch(r" ([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
            assert pin, f"{path.name}: uses:{line}"
            assert pins.setdefault(pin[1], pin.groups()) == pin.groups(), "one version of each"
    assert len(pins) > 5


def test_dependabot_watches_every_place_that_names_versions():
    updates = yaml.safe_load((REPO / ".github" / "dependabot.yml").read_text())["updates"]
    watched = {
        (update["package-ecosystem"], folder.strip("/"))
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    manifests = {
        "Cargo.toml": "cargo",
        "Dockerfile": "docker",
        "compose.yaml": "docker-compose",
        "requirements.txt": "pip",
        "package.json": "npm",
    }
    places = ("benches", "examples", "fuzz", "image", "tests")
    files = [*REPO.glob("*"), *(file for place in places for file in (REPO / place).rglob("*"))]
    wanted = {
        (manifests[file.name], folder.as_posix().strip("."))
        for file in files
        if file.name in manifests
        and not {"target", "node_modules"} & set((folder := file.parent.relative_to(REPO)).parts)
    }
    assert watched == wanted | {("github-actions", "")}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_jobs_may_do_only_what_they_say(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {} and workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["permissions"] and job["timeout-minutes"]
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


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
