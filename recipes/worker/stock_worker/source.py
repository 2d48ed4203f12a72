"""Where the stock comes from: stock-api, or a folder of JSON files of the same form."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 10  # seconds
MAX_BYTES = 16 * 1024 * 1024


class SourceError(Exception):
    """The stock could not be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the stock, as /v1/items gives it."""

    sku: str
    name: str
    quantity: int
    low: bool


def from_api(address: str) -> list[Item]:
    """The items that stock-api serves. Raises SourceError."""
    url = f"{address}/v1/items"
    if not url.startswith(("http://", "https://")):
        raise SourceError(f"{address}: expected an http:// or https:// address")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            return _items(response.read(MAX_BYTES), url)
    except (OSError, ValueError) as error:
        raise SourceError(f"{url}: {error}") from error


def from_spool(folder: Path) -> list[Item]:
    """The items of every ``*.json`` of a folder; of a sku that is in several files the last one counts. Raises SourceError."""
    items: dict[str, Item] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found = _items(path.read_bytes(), str(path))
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from error
        items.update((item.sku, item) for item in found)
    return [items[sku] for sku in sorted(items)]


def _items(text: bytes, where: str) -> list[Item]:
    try:
        entries = json.loads(text)["items"]
        return [Item(str(e["sku"]), str(e["name"]), int(e["quantity"]), e["low"] is True) for e in entries]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"{where}: not a list of items") from error
