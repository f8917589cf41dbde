"""What is shipped: the wheel, the twistd plugins, the systemd unit, the Makefile."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import twisted
from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

# One worker builds the wheel.
pytestmark = pytest.mark.xdist_group("packaging")

ROOT = Path(__file__).parents[2]
SHIPPED = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
CACHES = shutil.ignore_patterns("__pycache__", "*.pyc", "dropin.cache")
#: Real folders in the test's site-packages, since the wheel adds to them; the rest are links.
OPEN_FOLDERS = ("twisted", "twisted/plugins")
PLUGINS = ("cyclades_tx", "ganeti-simulator", "ganeti-eventd", "vncauthproxy")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """The output of a command that must succeed."""
    kept = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the tree stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in SHIPPED:
        shutil.copy(ROOT / name, source)
    for name in ("cyclades_tx", "twisted"):
        shutil.copytree(ROOT / name, source / name, ignore=CACHES)
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", out, source, cwd=out)
    (built,) = out.glob("cyclades_tx-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site-packages with this environment's libraries, into which the wheel was installed."""
    prefix = tmp_path_factory.mktemp("installed")
    here = Path(twisted.__file__).parents[1]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = prefix / "lib" / version / "site-packages"
    for folder in ("", *OPEN_FOLDERS):
        (site / folder).mkdir(parents=True)
        for entry in (here / folder).iterdir():
            ours = entry.name.lower().replace("-", "_").startswith(("cyclades_tx", "__editable__"))
            known = entry.name in ("__pycache__", "dropin.cache")
            if not (ours or known or str(entry.relative_to(here)) in OPEN_FOLDERS):
                (site / folder / entry.name).symlink_to(entry)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    options = ("--no-deps", "--no-index", "--ignore-installed", "--no-compile")
    run(*pip, "install", *options, "--prefix", prefix, wheel, cwd=prefix)
    return site


def run_installed(site: Path, code: str, cwd: Path) -> str:
    """The output of Python code that sees nothing but that site-packages."""
    return run(sys.executable, "-S", "-P", "-c", code, cwd=cwd, PYTHONPATH=str(site))


def test_the_wheel_holds_every_module_and_schema_file(wheel: Path) -> None:
    """A room without an ``__init__.py`` would be left behind in silence."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for suffix in ("*.py", "*.sql", "*.xml", "py.typed")
        for path in (ROOT / "cyclades_tx").rglob(suffix)
    }
    assert wanted - names == set()


def test_the_wheel_does_not_touch_twisted(wheel: Path) -> None:
    """An ``__init__.py`` in either folder would overwrite Twisted's own."""
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("twisted/")] == [
        "twisted/plugins/cyclades_tx_plugin.py",
        "twisted/plugins/ganeti_eventd_plugin.py",
    ]


def test_twistd_finds_every_plugin_from_another_folder(installed: Path, tmp_path: Path) -> None:
    """As an operator calls it after an installation."""
    code = "from twisted.scripts.twistd import run; import sys; sys.argv[1:] = ['--help']; run()"
    text = run_installed(installed, code, tmp_path)
    for name in PLUGINS:
        assert re.search(rf"^\s+{name}\s", text, re.MULTILINE)
    assert "Traceback" not in text


def test_twisted_still_imports_beside_the_plugin(installed: Path, tmp_path: Path) -> None:
    """The plugin that is found is the installed one."""
    code = (
        "import twisted.web.server, twisted.plugins.cyclades_tx_plugin as plugin;"
        "print(plugin.__file__, twisted.__version__)"
    )
    plugin, version = run_installed(installed, code, tmp_path).split()
    assert Path(plugin) == installed / "twisted" / "plugins" / "cyclades_tx_plugin.py"
    assert version == twisted.__version__


def test_the_command_is_declared(wheel: Path) -> None:
    """``snf-manage`` comes with the installation."""
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert "snf-manage = cyclades_tx.manage:main" in archive.read(name).decode()


@pytest.mark.parametrize(
    "name", ["cyclades_tx", "ganeti_simulator", "vncauthproxy", "ganeti_eventd"]
)
def test_a_plugin_names_a_module_that_can_make_its_service(name: str) -> None:
    """The names are text, so only a look tells that they are right."""
    from twisted.plugins import cyclades_tx_plugin, ganeti_eventd_plugin

    maker = getattr(ganeti_eventd_plugin if name == "ganeti_eventd" else cyclades_tx_plugin, name)
    verifyObject(IServiceMaker, maker)
    verifyObject(IPlugin, maker)
    assert callable(maker.makeService)
    assert callable(maker.options)


def test_twisteds_folders_have_no_init() -> None:
    """It must never be added, not even empty."""
    assert list((ROOT / "twisted").rglob("__init__.py*")) == []


def test_the_weak_libraries_are_pinned() -> None:
    """They are used through cures made for exactly these releases."""
    text = (ROOT / "setup.py").read_text()
    assert '"txAMQP == 0.8.2"' in text
    assert '"txpostgres == 1.7.0"' in text


def test_the_unit_starts_the_plugin_with_enough_descriptors() -> None:
    """And starts it again when it ends."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "etc" / "cyclades-tx.service")
    service = unit["Service"]
    assert re.fullmatch(
        r"/\S+/twistd --nodaemon --pidfile= cyclades_tx --config /\S+\.toml", service["ExecStart"]
    )
    assert int(service["LimitNOFILE"]) >= 65_536
    assert service["Restart"] == "always"
    assert service["NoNewPrivileges"] == "yes"
    assert service["User"] != "root"


def test_make_alone_lists_every_target() -> None:
    """A newcomer types it first."""
    listed = set(re.findall(r"^  ([a-z-]+) - \S", run("make", cwd=ROOT), re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == set(phony[1].split())


def test_make_run_takes_port_and_state() -> None:
    """Also a folder with a space in its name."""
    text = run("make", "-n", "run", "PORT=8080", "STATE=/srv/my cloud", cwd=ROOT)
    assert "-m cyclades_tx.trial --state '/srv/my cloud' --port '8080'" in text
