"""The other distribution called ``rewardbench`` is named when it is there."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

import rewardbench


def install_foreign(site: Path, init_hash: str | None = None) -> None:
    info = site / "rewardbench-0.1.4.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rewardbench\nVersion: 0.1.4\n")
    hashed = f"sha256={init_hash}" if init_hash else ""
    (info / "RECORD").write_text(f"rewardbench/__init__.py,{hashed},10\nrewardbench-0.1.4.dist-info/METADATA,,\n")


def digest(file: Path) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()


def test_without_it_nothing_is_said(command) -> None:
    ended = command("--version")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_beside_ours_it_is_one_warning(command, environment: dict[str, str], tmp_path: Path) -> None:
    install_foreign(tmp_path / "site")
    ended = command("--version", variables={"PYTHONPATH": f"{environment['PYTHONPATH']}:{tmp_path / 'site'}"})
    assert ended.returncode == 0
    assert ended.stdout == f"rewardbench {rewardbench.__version__}\n"
    assert ended.stderr.startswith("rewardbench: warning: the distribution 'rewardbench' 0.1.4")
    assert ended.stderr.count("\n") == 1


def test_json_stays_json_beside_it(command, environment: dict[str, str], tmp_path: Path) -> None:
    install_foreign(tmp_path / "site")
    path = f"{environment['PYTHONPATH']}:{tmp_path / 'site'}"
    ended = command("benchmarks", "list", "--format", "json", variables={"PYTHONPATH": path})
    assert ended.stdout.startswith("[")
    assert "warning" in ended.stderr


def copy_of_our_package(site: Path) -> Path:
    """Our packages as if installed into ``site``."""
    home = Path(rewardbench.__file__).parent.parent
    for name in ("rewardbench", "rewardbench_plugin"):
        shutil.copytree(home / name, site / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    return site / "rewardbench" / "__init__.py"


def test_in_the_same_folder_with_our_files_in_place_it_is_a_warning(command, tmp_path: Path) -> None:
    site = tmp_path / "site"
    copy_of_our_package(site)
    install_foreign(site, init_hash="b" * 43)
    ended = command("--version", variables={"PYTHONPATH": str(site)})
    assert ended.returncode == 0
    assert "warning" in ended.stderr


def test_where_its_files_replaced_ours_the_command_refuses(command, tmp_path: Path) -> None:
    site = tmp_path / "site"
    init = copy_of_our_package(site)
    install_foreign(site, init_hash=digest(init))  # the file that runs is the one the other distribution recorded
    ended = command("--version", variables={"PYTHONPATH": str(site)})
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "has replaced files of rewardbench-video" in ended.stderr
    assert ended.stderr.count("\n") == 1
