from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mlrun.journal import netfs
from mlrun.journal.netfs import (
    filesystem_type,
    is_network,
    local_journal,
    parse_mount,
    parse_mountinfo,
)

if TYPE_CHECKING:
    from pathlib import Path

MOUNTINFO = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /home rw shared:7 master:2 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / /home/me/fast\040disk rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/s3 rw - fuse.mount-s3 mount-s3 rw
33 22 0:43 / /mnt/ntfs rw - fuse.ntfs-3g /dev/vdc rw
34 22 0:44 / /mnt/twice rw - cifs //a/b rw
35 34 0:45 / /mnt/twice rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/", "ext4", False),
        ("/homestead/x", "ext4", False),
        ("/home", "nfs4", True),
        ("/home/me/x", "nfs4", True),
        ("/home/me/fast disk/store", "xfs", False),
        ("/mnt/s3/a", "fuse.mount-s3", True),
        ("/mnt/ntfs/a", "fuse.ntfs-3g", False),
        ("/mnt/twice/a", "tmpfs", False),
    ],
)
def test_the_deepest_mount_decides(
    path: str, kind: str, network: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    monkeypatch.setattr(netfs, "_mounts", lambda: parse_mountinfo(MOUNTINFO))
    monkeypatch.setattr(netfs, "_existing", lambda path: path)
    assert filesystem_type(Path(path)) == kind
    assert is_network(Path(path)) is network


def test_what_mount_prints_is_understood() -> None:
    text = (
        "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
        "server:/x on /Volumes/my (nfs) share (smbfs, nodev, nosuid)\n"
        "map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)\n"
    )
    assert parse_mount(text) == [
        ("/", "apfs"),
        ("/Volumes/my (nfs) share", "smbfs"),
        ("/System/Volumes/Data/home", "autofs"),
    ]


def test_this_machine_names_its_file_system(tmp_path: Path) -> None:
    assert filesystem_type(tmp_path)
    assert filesystem_type(tmp_path / "not" / "yet" / "there") == filesystem_type(tmp_path)


def test_the_local_journal_lies_in_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store, other = tmp_path / "a", tmp_path / "b"
    found = local_journal(store)
    assert found.parent == tmp_path / "state" / "mlrun" / "journal"
    assert local_journal(store) == found
    assert local_journal(other) != found
    store.mkdir()
    (tmp_path / "link").symlink_to(store)
    assert local_journal(tmp_path / "link") == found


def test_a_state_folder_on_a_network_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(netfs, "is_network", lambda path: str(path).startswith(str(tmp_path)))
    found = local_journal(tmp_path / "store")
    assert not str(found).startswith(str(tmp_path))
    assert str(os.getuid()) in str(found)
