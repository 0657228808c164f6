"""The house itself: what may be in the repository, how it is laid out, what a wheel of it holds."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LONGEST_MODULE = 400  # lines

# Spelt so that this file does not hold what it looks for.
REGISTRIES = [r"py[p]i[.]org", r"python[h]osted[.]org", r"registry[.]np[m]js", r"deb[.]de[b]ian"]
MACHINE_PATHS = [r"/wor[k]/", r"/roo[t]/", r"[.][.]/sha[r]ed"]
LOCK_FILES = {
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "package-lock.json",
    "pylock.toml",
}


def repository_files() -> list[Path]:
    """Every file that is committed or would be by `git add --all`, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    names = sorted(set(answer.stdout.split("\0")) - {""})
    return [Path(name) for name in names if (ROOT / name).is_file()]


def configuration() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def package_folders() -> dict[str, Path]:
    """The import packages that pyproject.toml maps to a folder at the root."""
    mapped: dict[str, str] = configuration()["tool"]["setuptools"]["package-dir"]
    return {package: Path(folder) for package, folder in mapped.items()}


def package_of(file: Path) -> str | None:
    """The import package that a file at this place belongs to; None outside the packages."""
    for package, folder in package_folders().items():
        if file.is_relative_to(folder):
            return ".".join([package, *file.parent.relative_to(folder).parts])
    return None


def lines_that_match(patterns: list[str]) -> list[str]:
    """Every line of a text file in the repository that holds one of the patterns, with its place."""
    wanted = re.compile("|".join(patterns))
    found: list[str] = []
    for file in repository_files():
        try:
            text = (ROOT / file).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        lines = enumerate(text.splitlines(), start=1)
        found += [
            f"{file}:{number}: {line.strip()}" for number, line in lines if wanted.search(line)
        ]
    return found


def test_no_lock_file_is_in_the_repository() -> None:
    """A lock file would carry the addresses of the registry that it was made with."""
    assert [] == [file for file in repository_files() if file.name in LOCK_FILES]


def test_no_registry_address_is_in_the_repository() -> None:
    """Whoever installs this may use another registry than we do."""
    assert [] == lines_that_match(REGISTRIES)


def test_no_path_of_a_machine_is_in_the_repository() -> None:
    """A path that exists on one machine only helps nobody else; nor does the place of this clone."""
    here = [re.escape(f"{ROOT}/")] if len(ROOT.parts) > 2 else []
    assert [] == lines_that_match(MACHINE_PATHS + here)


def test_constraints_are_plain_version_pins() -> None:
    """A constraint is `name==version` and perhaps a marker: no option, no address, no file."""
    pin = re.compile(r"[a-z0-9-]+==[0-9a-z.+!]+( ; [a-z_]+ [^:/@]+)?")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    assert [] == [line for line in lines if not pin.fullmatch(line)]


def test_constraints_hold_every_dependency_at_an_allowed_version() -> None:
    """After a change of dependencies somebody has to run `make constraints`."""
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, version = line.partition(" ; ")[0].split("==")
        pins.setdefault(name, []).append(version)

    project = configuration()["project"]
    groups = configuration()["dependency-groups"]
    declared = [
        *project["dependencies"],
        *(entry for extra in project.get("optional-dependencies", {}).values() for entry in extra),
        *(entry for group in groups.values() for entry in group if isinstance(entry, str)),
    ]
    wrong: list[str] = []
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        if name == project["name"]:
            continue  # an extra that includes another one
        versions = pins.get(name, [])
        if not versions or not all(map(requirement.specifier.contains, versions)):
            wrong.append(f"{requirement}: {versions or 'not pinned'}")
    assert [] == wrong


def test_no_module_is_longer_than_the_limit() -> None:
    """A file holds one idea; past the limit it holds two."""
    modules = [file for file in repository_files() if file.suffix == ".py"]
    lengths = {str(file): (ROOT / file).read_text(encoding="utf-8").count("\n") for file in modules}
    assert "domain/run.py" in lengths
    assert {} == {name: length for name, length in lengths.items() if length > LONGEST_MODULE}


def test_decision_records_are_numbered_without_a_gap() -> None:
    """Two people who write at once, and take the same number, notice here; so does who skips one."""
    records = sorted(
        file.name for file in (ROOT / "docs/decisions").glob("*.md") if file.stem != "index"
    )
    assert records
    assert [f"{number:04}" for number in range(1, len(records) + 1)] == [
        name[:4] for name in records
    ]
    assert [] == [name for name in records if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name)]


def test_packages_in_pyproject_are_the_folders_with_an_init() -> None:
    """An editable install finds a forgotten subpackage; the wheel would lack it."""
    inits = [file for file in repository_files() if file.name == "__init__.py"]
    assert sorted(filter(None, map(package_of, inits))) == sorted(
        configuration()["tool"]["setuptools"]["packages"]
    )


def test_every_module_lies_in_a_package() -> None:
    """A folder of modules without `__init__.py` imports from a checkout but is in no wheel."""
    modules = [file for file in repository_files() if file.suffix == ".py" and package_of(file)]
    assert [] == [file for file in modules if not (ROOT / file.parent / "__init__.py").is_file()]


def test_make_targets_named_in_prose_exist() -> None:
    """Whoever follows the README or a guide finds the targets that it names."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    named: set[str] = set()
    for file in repository_files():
        if file.suffix == ".md":
            text = (ROOT / file).read_text(encoding="utf-8")
            for code in re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL):
                commands = re.findall(r"^[`$ ]*make ([a-z][a-z -]*)", code, re.MULTILINE)
                named.update(*(command.split() for command in commands))
    assert {"demo", "test"} <= named
    assert set() == named - targets


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel that was built from a source distribution of a clean copy."""
    source = tmp_path_factory.mktemp("source")
    for file in repository_files():
        if package_of(file) or file.parent == Path():
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, source / file)
    archive = build("build_sdist", source)
    unpacked = tmp_path_factory.mktemp("unpacked")
    safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # 3.11.4
    shutil.unpack_archive(archive, unpacked, **safely)
    with zipfile.ZipFile(build("build_wheel", next(unpacked.iterdir()))) as content:
        return content.namelist()


def build(hook: str, folder: Path) -> Path:
    """Call a hook of the build backend in a folder, as pip does, and return what it made."""
    code = f"from setuptools import build_meta; build_meta.{hook}('dist')"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    return next((folder / "dist").iterdir())


def test_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: list[str]) -> None:
    """Modules, templates and `py.typed` are all there, and no test or stray file came along."""
    expected = [
        "/".join([*package.split("."), file.name])
        for file in repository_files()
        if (package := package_of(file))
    ]
    assert sorted(expected) == sorted(name for name in wheel if ".dist-info/" not in name)


def test_wheel_brings_one_top_level_package(wheel: list[str]) -> None:
    """Nothing called `domain` or `infrastructure` lands in a user's site-packages."""
    top_level = {name.split("/")[0] for name in wheel if ".dist-info/" not in name}
    assert {"lastword"} == top_level
