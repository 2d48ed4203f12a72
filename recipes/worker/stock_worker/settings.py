"""What the worker is told to do: a settings file, each value of which the environment can override."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECTION = "worker"
DEFAULTS = {
    "api": "",
    "spool": "/var/spool/stock",
    "report": "/var/lib/stock/report.txt",
    "language": "en",
    "every": "900",
}


class SettingsError(Exception):
    """A setting that cannot be used; the message is for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``api``: the address of stock-api, empty for the spool; ``every``: seconds between two reports."""

    api: str
    spool: Path
    report: Path
    language: str
    every: int


def load(path: Path, environment: Mapping[str, str]) -> Settings:
    """The settings of a file; a missing file means the defaults. Raises SettingsError."""
    parser = configparser.ConfigParser(defaults=DEFAULTS, interpolation=None)
    try:
        parser.read(path, "utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error
    section = parser[SECTION] if parser.has_section(SECTION) else parser[configparser.DEFAULTSECT]
    unknown = sorted(set(section) - set(DEFAULTS))
    if unknown:
        raise SettingsError(f"{path}: there is no setting {unknown[0]!r}; known are {', '.join(DEFAULTS)}")
    values = {name: environment.get(f"STOCK_{name.upper()}", section[name]).strip() for name in DEFAULTS}
    if not values["every"].isdecimal() or int(values["every"]) < 1:
        raise SettingsError(f"{path}: every = {values['every']!r}: expected a number of seconds from 1 up")
    if not values["language"].isalpha():
        raise SettingsError(f"{path}: language = {values['language']!r}: expected letters only, such as de")
    return Settings(
        api=values["api"].rstrip("/"),
        spool=Path(values["spool"]),
        report=Path(values["report"]),
        language=values["language"],
        every=int(values["every"]),
    )
