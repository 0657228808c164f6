"""Whether a file lies on a network file system, where SQLite's locks cannot be relied on."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

MOUNTS = Path("/proc/mounts")
"""Where Linux lists what is mounted; missing on other systems."""

NETWORKED = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "9p",
        "ceph",
        "glusterfs",
    }
    | {
        "lustre",
        "beegfs",
        "gpfs",
        "davfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.glusterfs",
    }
    | {
        "fuse.ceph",
        "fuse.davfs2",
        "fuse.gcsfuse",
        "fuse.blobfuse2",
        "fuse.mount-s3",
        "fuse.juicefs",
    }
)
"""Types of file systems that another machine may have mounted too."""


def network_filesystem(path: str, mounts: str) -> str | None:
    """The type of the network file system that holds the path; None for a local one.

    `mounts` is the text of ``/proc/mounts``. The deepest mount point counts, and of two on one point the later.

    >>> network_filesystem("/data/runs.db", "/dev/sda1 / ext4 rw 0 0\\nfs:/x /data nfs4 rw 0 0\\n")
    'nfs4'
    """
    target = PurePosixPath(path)
    depth, found = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = PurePosixPath(_unescaped(fields[1]))
        if target.is_relative_to(point) and len(point.parts) >= depth:
            depth, found = len(point.parts), fields[2]
    return found if found in NETWORKED else None


def mounts() -> str:
    """What is mounted here; empty where the system does not tell."""
    try:
        return MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _unescaped(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
