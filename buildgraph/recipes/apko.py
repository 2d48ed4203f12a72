"""apko recipes: YAML tree to values with includes merged, as apko merges them, and their boxed form.

The sources are apko's pkg/build/types/image_configuration.go (parse, MergeInto, Validate) and types.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from buildgraph.errors import RecipeError, did_you_mean
from buildgraph.recipes import architecture, scalars, schema, yamltext
from buildgraph.recipes.pipelines import child, mappings_of, text_of, texts_of
from buildgraph.recipes.values import ApkoRecipe, Need, Source, Written, written_address
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence

# The file that an `include:` line names, or None where there is none; the second argument is the path of the including file.
LoadInclude: TypeAlias = Callable[[str, str], Source | None]

_MAX_INCLUDES = 20
_FILE_NAME = re.compile(r"[a-zA-Z0-9_-]+[a-zA-Z0-9_.-]*")
_LISTS = ("keyring", "runtime_keyring", "build_repositories", "runtime_repositories", "repositories", "packages")
# Mappings that are merged key by key; an `entrypoint`, `layering` or `certificates` is taken whole.
_MERGED_INSIDE = frozenset({"contents", "accounts", "environment", "annotations"})
_REMOTE = re.compile(r"(?:@\S+\s+)?https?://")
# apko wants a line for /etc/apk/repositories; where all packages are local, people give it melange's default out-dir.
_NO_REPOSITORY = "./packages"
_PATH_TYPES = ("directory", "empty-file", "hardlink", "symlink", "permissions")


def read_apko(tree: Node, path: str, text: str, *, load_include: LoadInclude) -> ApkoRecipe:
    """The recipe in ``tree`` with its includes; RecipeError, with a place, for everything that apko would refuse."""
    sources, includes = _chain(Source(path, tree, text), load_include)
    written = {key: _written(sources, key) for key in _LISTS if key != "runtime_keyring"}
    entrypoint = _first(sources, "entrypoint")
    kind = text_of(child(entrypoint[1], "type")) if entrypoint else ""
    packages = [Need(x.text, x.path, x.line, x.column, "contents") for x in written["packages"]]
    if entrypoint and kind == "service-bundle":
        packages.append(Need("s6", entrypoint[0].path, entrypoint[1].line, entrypoint[1].column, "entrypoint"))
    archs = _first(sources, "archs")
    recipe = ApkoRecipe(
        path=path,
        includes=tuple(includes),
        packages=tuple(packages),
        build_repositories=written["build_repositories"],
        runtime_repositories=written["runtime_repositories"],
        repositories=written["repositories"],
        keyring=written["keyring"],
        architectures=tuple(architecture.to_apk(item.text) for item in texts_of(archs[1])) if archs else (),
        entrypoint_type=kind,
        files=_files(sources),
    )
    _validate(sources)
    return recipe


def merged_apko(tree: Mapping, path: str, text: str, *, load_include: LoadInclude) -> Mapping:
    """One tree that says what the recipe and its includes say together (MergeInto), without ``include``."""
    sources, _ = _chain(Source(path, tree, text), load_include)
    merged = Mapping()
    for source in sources:
        if isinstance(source.tree, Mapping):
            merged = _merge(merged, source.tree)
    return _with(merged, {"include": None})


def boxed_apko(merged: Mapping, *, keyring: tuple[str, ...] = (), fallback_repositories: tuple[str, ...] = ()) -> Mapping:
    """The image as it lies in the box: packages come from ``./repo``, what the image shows stays the user's.

    ``repositories`` move to ``runtime_repositories``, because apko writes both to /etc/apk/repositories (build/apk.go) but asks
    only the former; folders are dropped, as the image could not reach them. Where none is left, ``fallback_repositories`` (the
    manifest's) stand in, and where there are none either, the folders stay, since apko wants a line. ``keyring`` are paths inside
    the box of the key files that the user's keyring lines name: apko copies each to /etc/apk/keys under its base name, so equal
    base names give an equal image.
    """
    contents = merged.items.get("contents")
    contents = contents if isinstance(contents, Mapping) else Mapping()
    kept = [item.text for key in ("repositories", "runtime_repositories") for item in texts_of(child(contents, key))]
    runtime = [line for line in dict.fromkeys(kept) if _REMOTE.match(line)]
    runtime = runtime or list(fallback_repositories or dict.fromkeys(kept)) or [_NO_REPOSITORY]
    changes: dict[str, Node | None] = {
        "build_repositories": Sequence([Scalar("./repo")]),
        "runtime_repositories": Sequence([Scalar(line) for line in runtime]),
        "repositories": None,
        "keyring": Sequence([Scalar(line) for line in keyring]) if keyring else None,
    }
    return _with(merged, {"contents": _with(contents, changes), "include": None})


def _chain(source: Source, load_include: LoadInclude) -> tuple[list[Source], list[Written]]:
    """All files, innermost include first, which is the order of concatenated lists; and the include lines, outermost first."""
    sources: list[Source] = []
    includes: list[Written] = []
    while True:
        if not isinstance(source.tree, Mapping):
            what = f"expected a mapping, found {yamltext.describe(source.tree)}"
            raise RecipeError(what, where=yamltext.place(source.tree, source.path, source.text))
        schema.check(source.tree, schema.IMAGE, source.path, source.text)
        sources.insert(0, source)
        node = source.tree.items.get("include")
        if not text_of(node) or node is None:
            return sources, includes
        where = yamltext.place(node, source.path, source.text)
        name = text_of(node)
        included = load_include(name, source.path)
        if included is None:
            raise RecipeError(f"the included file `{name}` does not exist", where=where)
        if included.path in {known.path for known in sources} or len(sources) > _MAX_INCLUDES:
            raise RecipeError(f"`{name}` includes itself", where=where)
        includes.append(Written(included.path, source.path, node.line, node.column))
        source = included


def _merge(included: Mapping, own: Mapping) -> Mapping:
    """apko's MergeInto: lists are concatenated, included ones first; for all else the including file wins."""
    # MergeInto leaves `vcs-url` of an included file behind.
    out = Mapping({key: value for key, value in included.items.items() if key != "vcs-url"}, own.line, own.column)
    for key, value in own.items.items():
        known = out.items.get(key)
        if _is_zero(value, outer=key == "entrypoint") or (key == "archs" and not texts_of(value)):
            continue
        if isinstance(value, Sequence) and isinstance(known, Sequence) and key != "archs":
            out.items[key] = Sequence([*known.items, *value.items])
        elif isinstance(value, Mapping) and isinstance(known, Mapping) and key in _MERGED_INSIDE:
            out.items[key] = _merge_inner(key, known, value)
        else:
            out.items[key] = value
    return out


def _is_zero(node: Node, *, outer: bool) -> bool:
    """Whether Go takes a value for one that is not given: an empty text, or a struct of such (`entrypoint: {type: ""}`)."""
    if isinstance(node, Scalar):
        return not text_of(node)
    return outer and isinstance(node, Mapping) and all(_is_zero(value, outer=False) for value in node.items.values())


def _merge_inner(key: str, included: Mapping, own: Mapping) -> Mapping:
    out = Mapping(dict(included.items), own.line, own.column)
    for name, value in own.items.items():
        known = out.items.get(name)
        if key in {"contents", "accounts"} and isinstance(value, Sequence) and isinstance(known, Sequence):
            out.items[name] = Sequence([*known.items, *value.items])
        elif key in {"contents", "accounts"} and isinstance(value, Scalar) and not text_of(value):
            continue
        else:
            out.items[name] = value
    return out


def _first(sources: list[Source], key: str) -> tuple[Source, Node] | None:
    """The value of a key that the outermost file with a value decides."""
    for source in reversed(sources):
        node = child(source.tree, key)
        if node is None or _is_zero(node, outer=key == "entrypoint") or (isinstance(node, Sequence) and not texts_of(node)):
            continue
        return source, node
    return None


def _written(sources: list[Source], key: str) -> tuple[Written, ...]:
    # apko cuts trailing slashes off repositories (trimRepos).
    trimmed = key.endswith("repositories")
    return tuple(
        written_address(item.text.rstrip("/") if trimmed else item.text, source.path, item.line, item.column)
        for source in sources
        for item in texts_of(child(source.tree, "contents", key))
    )


def _files(sources: list[Source]) -> tuple[Written, ...]:
    """``baseimage`` names the only files of the workspace that apko reads; ``paths[].source`` is a path inside the image."""
    contents = [Source(source.path, node, source.text) for source in sources if (node := child(source.tree, "contents"))]
    source, node = _first(contents, "baseimage") or (Source("", Mapping(), ""), Mapping())
    files = [child(node, key) for key in ("image", "apkindex")]
    return tuple(Written(x.text, source.path, x.line, x.column) for x in files if isinstance(x, Scalar) and text_of(x))


def _validate(sources: list[Source]) -> None:
    """What apko refuses: Validate, and of the build what can be seen in the recipe (paths.go, layers.go)."""
    keys: set[str] = set()
    for source in sources:
        _validate_accounts(source)
        for path in mappings_of(child(source.tree, "paths")):
            kind = text_of(path.items.get("type"))
            if kind not in _PATH_TYPES:
                hint = did_you_mean(kind, _PATH_TYPES) or "the types are " + ", ".join(_PATH_TYPES)
                raise _refusal(f"`{kind}` is not a type of path", path.items.get("type", path), source, hint)
        for key in mappings_of(child(source.tree, "contents", "runtime_keyring")):
            name = _file_name(key, source)
            if name in keys:
                raise _refusal(f"there are two runtime keys `{name}`", key.items["name"], source)
            keys.add(name)
            if not text_of(key.items.get("content")):
                raise _refusal("a runtime key has no `content`", key, source)
    _validate_what_is_taken_whole(sources)


def _validate_accounts(source: Source) -> None:
    for user in mappings_of(child(source.tree, "accounts", "users")):
        if not text_of(user.items.get("username")):
            raise _refusal("a user has no `username`", user, source)
        if scalars.number(user.items.get("uid")) == 0:
            raise _refusal(
                "a user must not have the uid 0", user.items.get("uid", user), source, "to run as root, use `run-as: 0`"
            )
    for group in mappings_of(child(source.tree, "accounts", "groups")):
        if not text_of(group.items.get("groupname")):
            raise _refusal("a group has no `groupname`", group, source)


def _validate_what_is_taken_whole(sources: list[Source]) -> None:
    certificates, layering = _first(sources, "certificates"), _first(sources, "layering")
    if certificates:
        for certificate in mappings_of(child(certificates[1], "additional")):
            _file_name(certificate, certificates[0])
    if layering:
        strategy = text_of(child(layering[1], "strategy"))
        if strategy != "origin" and (strategy or scalars.number(child(layering[1], "budget"))):
            raise _refusal(f"`{strategy}` is not a layering strategy", layering[1], layering[0], "the only one is `origin`")


def _file_name(entry: Mapping, source: Source) -> str:
    name = text_of(entry.items.get("name"))
    if not _FILE_NAME.fullmatch(name):
        what = f"`{name}` cannot be the name of a file: letters, digits and `_.-`, no dot first"
        raise _refusal(what, entry.items.get("name", entry), source)
    return name


def _refusal(what: str, node: Node, source: Source, hint: str = "") -> RecipeError:
    return RecipeError(what, where=yamltext.place(node, source.path, source.text), hint=hint)


def _with(node: Mapping, changes: dict[str, Node | None]) -> Mapping:
    items = {key: value for key, value in {**node.items, **changes}.items() if value is not None}
    return Mapping(items, node.line, node.column)
