"""Sources that recipes download and pin: what of melange's ``fetch`` and ``git-checkout`` can be brought before a build.

A source is pinned if its digest stands in the recipe, so that whoever brings it, whenever, brings the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from buildgraph.errors import Place, RecipeError
from buildgraph.recipes.values import LOGIN_HINT, NetworkReason, PinnedSource, carries_login

PIPELINES = frozenset({"fetch", "git-checkout"})
_WHOLE_HISTORY = "-1"
# What can stand in a file of git's settings and on a command line as it is.
_REPOSITORY = re.compile(r"(?:https?|git)://[^\s\"'\\;#]+")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*")

Input = Callable[[str], str]


def pinned(pipeline: str, given: Input, path: str, line: int) -> PinnedSource | NetworkReason:
    """The source of a step that uses one of ``PIPELINES``, or why it needs the network.

    ``given`` has the values of the step's inputs, empty for those without one. Raises RecipeError for an address with a password.
    """
    # It would be in the key, in the package's provenance and in what is said of the download.
    if carries_login(given("uri") if pipeline == "fetch" else given("repository")):
        raise RecipeError("a source's address with a user or password in it", where=Place(path, line), hint=LOGIN_HINT)
    source = _archive(given, path, line) if pipeline == "fetch" else _checkout(given, path, line)
    return source if isinstance(source, PinnedSource) else NetworkReason(f"uses: {pipeline} {source}", path, line)


def together(sources: Iterable[PinnedSource], *, own_home: bool) -> tuple[tuple[PinnedSource, ...], tuple[NetworkReason, ...]]:
    """The sources of a recipe without repeats, and why some of them need the network after all.

    git is told by its settings in the home folder where a repository lies: not where a recipe has a home of its own. And it
    finds one by the address alone: one that stood for several states could be cloned in none of them exactly.
    """
    found = tuple({(source.address, source.content): source for source in sources}.values())
    states: dict[str, int] = {}
    for source in found:
        states[source.address] = states.get(source.address, 0) + source.is_git
    kept, reasons = [], []
    for source in found:
        several = states[source.address] > 1
        if source.is_git and (own_home or several):
            why = "of one repository in several states" if several else "where the recipe sets HOME"
            reasons.append(NetworkReason(f"uses: git-checkout {why}", source.path, source.line))
        else:
            kept.append(source)
    return tuple(kept), tuple(reasons)


def _archive(given: Input, path: str, line: int) -> PinnedSource | str:
    address = given("uri")
    # As the pipeline: with both, the first is the one that it looks at.
    for kind in ("sha256", "sha512"):
        digest = given(f"expected-{kind}")
        if digest:
            if not address.startswith(("https://", "http://")):
                return f"of an address that only its own programs know: {address}"
            return PinnedSource(address, f"{kind}:{digest}", path=path, line=line)
    return "without a checksum"


def _checkout(given: Input, path: str, line: int) -> PinnedSource | str:
    address, commit = given("repository"), given("expected-commit")
    branch, tag, depth = given("branch"), given("tag"), given("depth") or "unset"
    is_tip = bool(branch) and given("expected-commit-is-branch-tip") == "true"
    if not commit:
        return "without expected-commit"
    if given("recurse-submodules") == "true":
        return "with submodules"
    if any(line.partition("#")[0].strip() for line in given("cherry-picks").splitlines()):
        return "with cherry-picks"
    if not _REPOSITORY.fullmatch(address) or not all(_BRANCH.fullmatch(name) for name in (branch, tag) if name):
        return f"of an address that only git itself knows: {address}"
    if depth == "unset":  # as the pipeline: a commit on a branch is looked for in all of its history
        depth = _WHOLE_HISTORY if branch and not is_tip else "1"
    if depth != _WHOLE_HISTORY and not (depth.isascii() and depth.isdigit() and int(depth)):
        return f"with the depth `{depth}`"
    ref = f"refs/heads/{branch}" if branch else f"refs/tags/{tag}" if tag else ""
    return PinnedSource(address, f"commit:{commit}", ref, 0 if depth == _WHOLE_HISTORY else int(depth), path, line, is_tip)
