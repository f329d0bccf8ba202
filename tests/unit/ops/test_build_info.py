"""The build is told, or not told; never made up."""

import subprocess
from pathlib import Path

import pytest

from redflag_ops.build_info import Build, build, find_build, release

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "libs/ops/src/redflag_ops"
    path.mkdir(parents=True)
    return path


def git(root: Path, name: str, text: str) -> None:
    path = root / ".git" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_was_written_into_the_package_goes_first(tmp_path: Path, package: Path) -> None:
    baked = tmp_path / "build.txt"
    git(tmp_path, "HEAD", "f" * 40)
    baked.write_text(COMMIT + "\n")
    assert find_build(baked, package) == Build(COMMIT, "package")
    baked.write_text("unknown\n")
    assert find_build(baked, package) == Build("f" * 40, "checkout")


@pytest.mark.parametrize("packed", [False, True])
def test_a_branch_is_followed_to_its_commit(tmp_path: Path, package: Path, *, packed: bool) -> None:
    git(tmp_path, "HEAD", "ref: refs/heads/main\n")
    if packed:
        git(tmp_path, "packed-refs", f"# pack-refs\n{'a' * 40} refs/heads/main2\n{COMMIT} refs/heads/main\n")
    else:
        git(tmp_path, "refs/heads/main", COMMIT + "\n")
    assert find_build(tmp_path / "none", package) == Build(COMMIT, "checkout")


@pytest.mark.parametrize(
    "head", ["", "ref: refs/heads/none", "ref: refs/../../etc/passwd", "garbage", "ref: /etc"]
)
def test_what_cannot_be_told_is_not_told(tmp_path: Path, package: Path, head: str) -> None:
    git(tmp_path, "HEAD", head)
    assert find_build(tmp_path / "none", package) is None


def test_a_package_that_is_no_checkout_has_no_commit_of_what_lies_above(tmp_path: Path) -> None:
    git(tmp_path, "HEAD", COMMIT)
    installed = tmp_path / "site-packages/redflag_ops"
    installed.mkdir(parents=True)
    assert find_build(tmp_path / "none", installed) is None


def test_this_checkout_says_what_git_says() -> None:
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    found = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip("git does not answer here")
    assert find_build(Path("/none"), root / "libs/ops/src/redflag_ops") == Build(
        found.stdout.strip(), "checkout"
    )
    assert build() is not None


def test_a_package_that_is_not_there_is_dev() -> None:
    assert release("redflag-ops") == "0.1.0"
    assert release("redflag-none") == "dev"
