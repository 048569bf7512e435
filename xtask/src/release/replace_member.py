"""Replaces a file in a .tar.gz archive: replace_member.py ARCHIVE NAME FILE. All else stays as it was."""

import gzip
import io
import sys
import tarfile
from pathlib import Path

archive, name, file = sys.argv[1:]
written = io.BytesIO()
with tarfile.open(archive) as old, tarfile.open(fileobj=written, mode="w") as new:
    for member in old:
        contents = old.extractfile(member)
        if member.name == name:
            contents = io.BytesIO(Path(file).read_bytes())
            member.size = len(contents.getbuffer())
        new.addfile(member, contents)
# Without a time, so that the same sources give the same bytes.
Path(archive).write_bytes(gzip.compress(written.getvalue(), mtime=0))
