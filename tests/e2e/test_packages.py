"""What is installed without a compiler: each package into an empty place, offline, and run there."""

from helpers import REPO, run


def test_published_places_and_versions_are_those_of_cargo_toml():
    answer = run([REPO / "packages" / "fill", "--check"])
    assert answer.returncode == 0, answer.stdout + answer.stderr
