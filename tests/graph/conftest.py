"""Property tests draw the same examples in every run here too."""

from __future__ import annotations

import tests.properties.conftest  # noqa: F401 - it sets Hypothesis up
