"""The shapes that melange and apko decode recipes into, and the check that a tree has one of them.

The tables follow the Go structs of melange (pkg/config/config.go) and apko (pkg/build/types/types.go) with the key names that
gopkg.in/yaml.v3 gives their fields; both tools decode recipes with ``KnownFields(true)``, so an unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from buildgraph.errors import RecipeError, did_you_mean
from buildgraph.recipes import scalars, yamltext
from buildgraph.recipes.yamltext import Mapping, Node, Scalar, Sequence
from buildgraph.structs import Struct, field


class Leaf(Struct, frozen=True):
    """A scalar type; ``accepts`` says which scalars it takes, None for all."""

    what: str
    accepts: Callable[[Scalar], bool] | None = None


class ListOf(Struct, frozen=True):
    """A list of one type."""

    item: Shape


class MapOf(Struct, frozen=True):
    """A mapping with free keys."""

    value: Shape


class Object(Struct):
    """A mapping with known keys; ``fields`` may be filled later, where a shape contains itself."""

    name: str
    fields: dict[str, Shape] = field(default_factory=dict)


Shape: TypeAlias = "Leaf | ListOf | MapOf | Object"

TEXT = Leaf("a text")
BOOL = Leaf("true or false", scalars.is_bool)
UINT = Leaf("a whole number", scalars.is_uint)
UINT32 = Leaf("a whole number below 2^32", scalars.is_uint32)
INT = Leaf("a whole number", scalars.is_int)
DURATION = Leaf("a duration such as `90m`", scalars.is_duration)
TEXTS = ListOf(TEXT)
TEXT_MAP = MapOf(TEXT)


def texts(*names: str) -> dict[str, Shape]:
    """Fields that are texts."""
    return dict.fromkeys(names, TEXT)


def check(node: Node, shape: Shape, path: str, text: str, *, known_fields: bool = True) -> None:
    """RecipeError at the first place where ``node`` does not have the shape; null is allowed anywhere, as in yaml.v3."""
    _Checker(path, text, known_fields=known_fields).check(node, shape)


class _Checker:
    def __init__(self, path: str, text: str, *, known_fields: bool) -> None:
        self.path = path
        self.text = text
        self.known_fields = known_fields

    def check(self, node: Node, shape: Shape, key: str = "") -> None:
        if isinstance(node, Scalar):
            if shape is not TEXT and not node.is_null:
                self.scalar(node, shape, key)
        elif isinstance(node, Sequence):
            self.sequence(node, shape, key)
        elif isinstance(shape, Object):
            self.struct(node, shape)
        elif isinstance(shape, MapOf):
            for name, value in node.items.items():
                if shape.value is not TEXT or type(value) is not Scalar:
                    self.check(value, shape.value, name)
        else:
            raise self.mismatch(node, shape, key)

    def sequence(self, node: Sequence, shape: Shape, key: str) -> None:
        if not isinstance(shape, ListOf):
            raise self.mismatch(node, shape, key)
        for item in node.items:
            if shape.item is not TEXT:
                self.check(item, shape.item, key)
            elif type(item) is not Scalar:
                raise self.mismatch(item, shape, key, found=f"a list with {yamltext.describe(item)} in it")

    def struct(self, node: Mapping, shape: Object) -> None:
        for name, value in node.items.items():
            inner = shape.fields.get(name)
            if inner is TEXT and type(value) is Scalar:
                continue
            if inner is not None:
                self.check(value, inner, name)
            elif self.known_fields:
                raise self.unknown(node, name, shape)

    def scalar(self, node: Scalar, shape: Shape, key: str) -> None:
        if not isinstance(shape, Leaf):
            raise self.mismatch(node, shape, key)
        if shape.accepts is not None and not shape.accepts(node):
            quoted = f'the quoted text "{node.text}"' if self._is_quoted(node, shape) else ""
            raise self.mismatch(node, shape, key, found=quoted)

    @staticmethod
    def _is_quoted(node: Scalar, shape: Leaf) -> bool:
        """Whether the field would take the text if it stood there without its quotes."""
        return not node.plain and shape.accepts is not None and shape.accepts(Scalar(node.text, plain=True))

    def mismatch(self, node: Node, shape: Shape, key: str, found: str = "") -> RecipeError:
        what = f"{f'`{key}`: ' if key else ''}expected {expected(shape)}, found {found or yamltext.describe(node)}"
        return RecipeError(what, where=yamltext.place(node, self.path, self.text))

    def unknown(self, node: Mapping, name: str, shape: Object) -> RecipeError:
        where = yamltext.key_place(node, name, self.path, self.text)
        close = did_you_mean(name, shape.fields)
        hint = close or f"{shape.name} has " + ", ".join(f"`{known}`" for known in sorted(shape.fields))
        return RecipeError(f"{shape.name} has no field `{name}`", where=where, hint=hint)


def expected(shape: Shape) -> str:
    """A shape in words."""
    if isinstance(shape, Leaf):
        return shape.what
    if isinstance(shape, ListOf):
        return f"a list of {_plural(shape.item)}"
    return "a mapping"


def _plural(shape: Shape) -> str:
    if isinstance(shape, Leaf):
        return "texts" if shape is TEXT else "values"
    return "mappings" if isinstance(shape, (Object, MapOf)) else "lists"


# What apko reads, by its pkg/build/types/types.go.

_ACCOUNTS = Object(
    "`accounts`",
    {
        "run-as": TEXT,
        "users": ListOf(Object("a user", {**texts("username", "shell", "homedir"), "uid": UINT32, "gid": UINT32})),
        "groups": ListOf(Object("a group", {"groupname": TEXT, "gid": UINT32, "members": TEXTS})),
    },
)
CONTENTS = Object(
    "`contents`",
    {
        **dict.fromkeys(("build_repositories", "runtime_repositories", "repositories", "keyring", "packages"), TEXTS),
        "runtime_keyring": ListOf(Object("a runtime key", texts("name", "content"))),
        "baseimage": Object("`baseimage`", texts("image", "apkindex")),
    },
)
_PATH = Object(
    "a path", {**texts("path", "type", "source"), "uid": UINT32, "gid": UINT32, "permissions": UINT32, "recursive": BOOL}
)
IMAGE = Object(
    "an apko recipe",
    {
        **texts("cmd", "stop-signal", "work-dir", "vcs-url", "include"),
        "contents": CONTENTS,
        "entrypoint": Object("`entrypoint`", {**texts("type", "command", "shell-fragment"), "services": TEXT_MAP}),
        "accounts": _ACCOUNTS,
        "archs": TEXTS,
        "environment": TEXT_MAP,
        "paths": ListOf(_PATH),
        "annotations": TEXT_MAP,
        "volumes": TEXTS,
        "layering": Object("`layering`", {"strategy": TEXT, "budget": INT}),
        "certificates": Object(
            "`certificates`",
            {
                "additional": ListOf(Object("a certificate", texts("name", "content"))),
                "providers": TEXTS,
            },
        ),
    },
)

# What melange reads, by its pkg/config/config.go.

_ENVIRONMENT = Object("`environment`", IMAGE.fields)
PIPELINE = Object(
    "a pipeline step",
    {
        **texts("if", "name", "uses", "runs", "label", "working-directory"),
        "with": TEXT_MAP,
        "inputs": MapOf(Object("an input", {**texts("description", "default"), "required": BOOL})),
        "needs": Object("`needs`", {"packages": TEXTS}),
        "assertions": Object("`assertions`", {"required-steps": INT}),
        "environment": TEXT_MAP,
    },
)
PIPELINE.fields["pipeline"] = ListOf(PIPELINE)

_DEPENDENCIES = Object(
    "`dependencies`",
    {
        **dict.fromkeys(("runtime", "provides", "replaces"), TEXTS),
        **texts("provider-priority", "replaces-priority"),
    },
)
_RESOURCES = Object("`resources`", texts("cpu", "cpumodel", "memory", "disk"))
# What a package and a subpackage have in common.
_ANY_PACKAGE: dict[str, Shape] = {
    **texts("name", "description", "url", "commit"),
    "annotations": TEXT_MAP,
    "dependencies": _DEPENDENCIES,
    "options": Object("`options`", dict.fromkeys(("no-provides", "no-depends", "no-commands", "no-versioned-shlib-deps"), BOOL)),
    "scriptlets": Object(
        "`scriptlets`",
        {
            **texts("pre-install", "post-install", "pre-deinstall", "post-deinstall", "pre-upgrade", "post-upgrade"),
            "trigger": Object("`trigger`", {"script": TEXT, "paths": TEXTS}),
        },
    ),
    "checks": Object("`checks`", {"disabled": TEXTS}),
    "setcap": ListOf(Object("a capability", {"path": TEXT, "add": TEXT_MAP, "reason": TEXT})),
}
_PACKAGE = Object(
    "`package`",
    {
        **_ANY_PACKAGE,
        "version": TEXT,
        "epoch": UINT,
        "target-architecture": TEXTS,
        "copyright": ListOf(
            Object(
                "a copyright",
                {
                    **texts("attestation", "license", "license-path", "detection-override"),
                    "paths": TEXTS,
                },
            )
        ),
        "cpe": Object(
            "`cpe`",
            texts(
                "part",
                "vendor",
                "product",
                "edition",
                "language",
                "sw_edition",
                "target_sw",
                "target_hw",
                "other",
            ),
        ),
        "timeout": DURATION,
        "resources": _RESOURCES,
        "test-resources": _RESOURCES,
    },
)
_TEST = Object("`test`", {"environment": _ENVIRONMENT, "pipeline": ListOf(PIPELINE)})
_SUBPACKAGE = Object(
    "a subpackage",
    {
        **_ANY_PACKAGE,
        **texts("if", "range"),
        "pipeline": ListOf(PIPELINE),
        "test": _TEST,
    },
)
_MONITOR = texts("strip-prefix", "strip-suffix")
_TAG_FILTERS = texts("tag-filter-prefix", "tag-filter-contains")
_UPDATE = Object(
    "`update`",
    {
        **dict.fromkeys(("enabled", "manual", "require-sequential", "shared", "enable-prerelease-tags"), BOOL),
        **texts("version-separator", "exclude-reason"),
        "ignore-regex-patterns": TEXTS,
        "release-monitor": Object(
            "`release-monitor`",
            {
                **_MONITOR,
                **texts("version-filter-contains", "version-filter-prefix"),
                "identifier": INT,
            },
        ),
        "github": Object("`github`", {**_MONITOR, **_TAG_FILTERS, **texts("identifier", "tag-filter"), "use-tag": BOOL}),
        "git": Object("`git`", {**_MONITOR, **_TAG_FILTERS}),
        "oci": Object("`oci`", {**_MONITOR, **_TAG_FILTERS, "identifier": TEXT}),
        "version_data": Object(
            "`version_data`",
            {
                "version_format": TEXT,
                "sources": ListOf(
                    Object("a source", {**texts("name", "stream", "commit_source"), "ignore": TEXTS, "use_release": BOOL})
                ),
            },
        ),
        "version-transform": ListOf(Object("a version transform", texts("match", "replace"))),
        "schedule": Object("`schedule`", texts("reason", "period")),
    },
)
_OPTION = Object(
    "an option",
    {
        "vars": TEXT_MAP,
        "environment": Object(
            "`environment`",
            {
                "contents": Object("`contents`", {"packages": Object("`packages`", {"add": TEXTS, "remove": TEXTS})}),
            },
        ),
    },
)
RECIPE = Object(
    "a melange recipe",
    {
        "package": _PACKAGE,
        "environment": _ENVIRONMENT,
        "capabilities": Object("`capabilities`", {"add": TEXTS, "drop": TEXTS}),
        "pipeline": ListOf(PIPELINE),
        "subpackages": ListOf(_SUBPACKAGE),
        "data": ListOf(Object("a range", {"name": TEXT, "items": TEXT_MAP})),
        "update": _UPDATE,
        "vars": TEXT_MAP,
        "var-transforms": ListOf(Object("a transform", texts("from", "match", "replace", "to"))),
        "options": MapOf(_OPTION),
        "test": _TEST,
    },
)
