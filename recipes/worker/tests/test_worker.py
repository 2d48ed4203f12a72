"""Run while the package is built: ``python3 -m unittest``."""

from __future__ import annotations

import json
import tempfile
import unittest
from pathlib import Path

from stock_worker import report, settings, source
from stock_worker.main import main

ENGLISH = """\
title = Stock report
summary = {low} of {total} items are low
line = {name} ({sku}): {quantity} left
nothing = Nothing to order
"""


def entry(sku: str, quantity: int, *, low: bool) -> dict[str, object]:
    return {"sku": sku, "name": sku.title(), "quantity": quantity, "reorder_at": 5, "low": low}


class WorkerTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "en.messages").write_text(ENGLISH, "utf-8")

    def write_settings(self, text: str) -> Path:
        path = self.folder / "worker.ini"
        path.write_text(f"[worker]\n{text}", "utf-8")
        return path

    def write_spool(self, name: str, *entries: dict[str, object]) -> None:
        (self.folder / name).write_text(json.dumps({"items": entries}), "utf-8")

    def test_environment_overrides_the_file(self) -> None:
        path = self.write_settings("language = de\nevery = 60\n")

        chosen = settings.load(path, {"STOCK_LANGUAGE": "fr"})

        self.assertEqual((chosen.language, chosen.every), ("fr", 60))

    def test_bad_settings_are_refused(self) -> None:
        for text in ("every = soon\n", "evry = 5\n", "language = ../x\n"):
            with self.subTest(text), self.assertRaises(settings.SettingsError):
                settings.load(self.write_settings(text), {})

    def test_the_last_file_of_the_spool_counts(self) -> None:
        self.write_spool("1.json", entry("tea", 1, low=True), entry("milk", 9, low=False))
        self.write_spool("2.json", entry("tea", 8, low=False))

        items = source.from_spool(self.folder)

        self.assertEqual([(item.sku, item.quantity) for item in items], [("milk", 9), ("tea", 8)])

    def test_a_broken_count_is_named(self) -> None:
        (self.folder / "1.json").write_text("[]", "utf-8")

        with self.assertRaisesRegex(source.SourceError, "1.json"):
            source.from_spool(self.folder)

    def test_once_writes_the_report(self) -> None:
        self.write_spool("1.json", entry("tea", 1, low=True), entry("milk", 9, low=False))
        path = self.write_settings(f"spool = {self.folder}\nreport = {self.folder}/out/report.txt\n")

        status = main(["--once", "--settings", str(path), "--messages", str(self.folder)])

        self.assertEqual(status, 0)
        text = (self.folder / "out/report.txt").read_text("utf-8")
        self.assertEqual(text, "Stock report\n1 of 2 items are low\n\n- Tea (tea): 1 left\n")

    def test_a_language_that_is_not_installed(self) -> None:
        with self.assertRaisesRegex(report.MessagesError, "stock-messages-de"):
            report.load_messages(self.folder, "de")


if __name__ == "__main__":
    unittest.main()
