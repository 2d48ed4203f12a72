"""The report: items and messages in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stock_worker.source import Item


class MessagesError(Exception):
    """A language that is not installed."""


def load_messages(folder: Path, language: str) -> dict[str, str]:
    """The messages of a language. Raises MessagesError."""
    try:
        text = (folder / f"{language}.messages").read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MessagesError(f"no messages for the language {language!r}: install stock-messages-{language}") from error
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def compose(items: Iterable[Item], messages: Mapping[str, str]) -> str:
    """The text of a report, with the low items by sku."""
    items = list(items)
    low = sorted((item for item in items if item.low), key=lambda item: item.sku)
    lines = [messages["title"], messages["summary"].format(low=len(low), total=len(items)), ""]
    lines += [f"- {messages['line'].format(name=item.name, sku=item.sku, quantity=item.quantity)}" for item in low]
    if not low:
        lines.append(messages["nothing"])
    return "\n".join(lines) + "\n"


def save(text: str, path: Path) -> None:
    """Replaces the report in one step, so that a reader never sees half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)
