"""What a recipe says, as plain frozen values, and their form as JSON-able lists for the state file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from buildgraph.errors import Place, RecipeError
from buildgraph.structs import Struct

if TYPE_CHECKING:
    from buildgraph.recipes.yamltext import Node

Value = TypeVar("Value")


class Written(Struct, frozen=True):
    """A text of a recipe after substitution, and where it is written; ``line`` and ``column`` count from 1."""

    text: str
    path: str
    line: int
    column: int


_LOGIN = re.compile(r"https?://[^/?#\s]*@")
LOGIN_HINT = "the address alone belongs here; bg takes the user and password from HTTP_AUTH or ~/.netrc"


def is_remote(line: str) -> bool:
    """Whether a repository or keyring line, with a tag or without, is an address, not a folder of somebody's machine."""
    return line.rpartition(" ")[2].startswith(("https://", "http://"))


def carries_login(line: str) -> bool:
    """Whether a repository or keyring line has a user or password in its address, as in ``https://user:password@host/``."""
    return _LOGIN.search(line) is not None


def written_address(text: str, path: str, line: int, column: int) -> Written:
    """A repository or keyring line. Raises RecipeError for one with a password, which would go into keys, records and images."""
    if carries_login(text):
        # The line is not shown.
        raise RecipeError("an address with a user or password in it", where=Place(path, line), hint=LOGIN_HINT)
    return Written(text, path, line, column)


class Need(Struct, frozen=True):
    """A package that something asks for: ``text`` is apko's syntax, ``name[op version][@tag]``; the place is where it is written.

    ``via`` is ``environment``, ``contents``, ``dependencies``, ``option NAME``, ``entrypoint``, ``scan`` for what melange found
    in the files, or the name of the pipeline whose ``needs:`` asks for it; the place is then the ``uses:`` line of the recipe.
    """

    text: str
    path: str = ""
    line: int = 0
    column: int = 0
    via: str = ""

    @property
    def place(self) -> str:
        """``file:line``, or the file alone."""
        return f"{self.path}:{self.line}" if self.line else self.path


class Use(Struct, frozen=True):
    """A ``uses:`` and where it is written; ``file`` is the local definition's path, empty for melange's own."""

    name: str
    path: str
    line: int
    column: int
    file: str


class NetworkReason(Struct, frozen=True):
    """Why an action needs the network: a pipeline that fetches (``uses: fetch``) or a command in ``runs:`` (``npm ci``)."""

    what: str
    path: str
    line: int


class PinnedSource(Struct, frozen=True):
    """A source that a recipe downloads and pins by digest, so that it may come from anywhere, at any time.

    An archive has the digest ``sha256:HEX`` or ``sha512:HEX`` of its bytes. A checkout has ``commit:HEX`` (or that of a tag's
    object); ``ref`` is the branch or tag by which it is asked for (``refs/tags/v1``, empty for HEAD), ``depth`` the number of
    commits of its history, 0 for all; ``is_tip`` says that the branch must end there when it is brought. The place is where it is
    used.
    """

    address: str
    digest: str
    ref: str = ""
    depth: int = 0
    path: str = ""
    line: int = 0
    is_tip: bool = False

    @property
    def is_git(self) -> bool:
        """Whether it is a checkout."""
        return self.digest.startswith("commit:")

    @property
    def content(self) -> str:
        """All that its content is a function of, as a text; what stands in keys and names its record."""
        if not self.is_git:
            return self.digest
        return f"{self.digest} {self.ref or 'HEAD'} depth {self.depth or 'all'}{' tip' if self.is_tip else ''}"

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.path}:{self.line}"


class PackageDecl(Struct, frozen=True):
    """A package that a recipe makes, as declared; what melange's scan of the files adds is known only after the build.

    ``version`` is full (``1.2.3-r0``). ``condition`` is the subpackage's ``if:`` after parse-time substitution, ``made`` whether
    melange makes the package (build.go, BuildPackage: a variable that is left in a condition counts as empty there). ``line`` is
    that of its name, ``depends_lines`` are those of ``depends``.
    """

    name: str
    version: str
    description: str
    provides: tuple[str, ...]
    depends: tuple[str, ...]
    depends_lines: tuple[int, ...]
    replaces: tuple[str, ...]
    provider_priority: str
    replaces_priority: str
    condition: str
    made: bool
    path: str
    line: int


class TestDecl(Struct, frozen=True):
    """A ``test:`` section: the package that it tests, and what is installed for it.

    ``environment`` has the section's own packages first, then what its pipelines need, then the tested package; repeats are kept.
    """

    package: str
    environment: tuple[Need, ...]
    line: int


class Resources(Struct, frozen=True):
    """``package.resources`` as written, and ``package.timeout`` (a Go duration); empty where not given."""

    cpu: str = ""
    cpumodel: str = ""
    memory: str = ""
    disk: str = ""
    timeout: str = ""


class MelangeRecipe(Struct, frozen=True):
    """A melange recipe for one architecture and one set of build options.

    ``packages`` has the origin first, then the subpackages in the order that melange makes them. ``environment`` is what is
    installed to build it: ``environment.contents.packages``, then what pipelines need, in melange's order, repeats kept.
    ``tests`` are the package's own section and those of subpackages; ``uses``, ``network`` and ``sources`` leave them out.
    ``network`` are the reasons for which a build needs the network itself; ``sources`` can be brought before.
    ``target_architectures`` is empty where the recipe does not limit them; ``architectures`` is ``environment.archs``.
    """

    path: str
    name: str
    version: str
    epoch: int
    full_version: str
    description: str
    target_architectures: tuple[str, ...]
    packages: tuple[PackageDecl, ...]
    environment: tuple[Need, ...]
    repositories: tuple[Written, ...]
    keyring: tuple[Written, ...]
    architectures: tuple[str, ...]
    uses: tuple[Use, ...]
    network: tuple[NetworkReason, ...]
    sources: tuple[PinnedSource, ...]
    run_as: str
    capabilities_added: tuple[str, ...]
    capabilities_dropped: tuple[str, ...]
    resources: Resources
    options: tuple[str, ...]
    tests: tuple[TestDecl, ...]


class ApkoRecipe(Struct, frozen=True):
    """An apko recipe with everything that it includes.

    ``includes`` are the files in the order of reading; ``packages`` is the merged world, included files first, with ``s6`` where
    the entrypoint is a service bundle. ``build_repositories`` serve the build only, ``runtime_repositories`` are only written to
    the image, ``repositories`` are both. ``files`` are the paths of other files that apko reads (a base image and its index).
    """

    path: str
    includes: tuple[Written, ...]
    packages: tuple[Need, ...]
    build_repositories: tuple[Written, ...]
    runtime_repositories: tuple[Written, ...]
    repositories: tuple[Written, ...]
    keyring: tuple[Written, ...]
    architectures: tuple[str, ...]
    entrypoint_type: str
    files: tuple[Written, ...]


class Source(Struct, frozen=True, eq=False):
    """A YAML file that a recipe refers to, read and parsed by the caller: ``path`` is what to show, ``text`` its content.

    Sources are compared by identity: what is made of one (a pipeline's definition) is made once, so a file should have one.
    """

    path: str
    tree: Node
    text: str


_NESTED: dict[str, type] = {
    "packages": PackageDecl,
    "environment": Need,
    "repositories": Written,
    "build_repositories": Written,
    "runtime_repositories": Written,
    "keyring": Written,
    "includes": Written,
    "files": Written,
    "uses": Use,
    "network": NetworkReason,
    "sources": PinnedSource,
    "tests": TestDecl,
}


def to_primitive(recipe: MelangeRecipe | ApkoRecipe) -> list[Any]:
    """A recipe as nested lists of texts, numbers and bools, in the order of the fields."""
    return [_primitive(getattr(recipe, name)) for name in recipe.__struct_fields__]


def melange_from_primitive(data: list[Any]) -> MelangeRecipe:
    """The recipe that ``to_primitive`` gave ``data`` for."""
    return MelangeRecipe(**_values(MelangeRecipe, data))


def apko_from_primitive(data: list[Any]) -> ApkoRecipe:
    """The recipe that ``to_primitive`` gave ``data`` for."""
    return ApkoRecipe(**_values(ApkoRecipe, data))


def _primitive(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_primitive(item) for item in value]
    return [_primitive(getattr(value, name)) for name in value.__struct_fields__] if isinstance(value, Struct) else value


def _values(cls: type[Struct], data: list[Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in zip(cls.__struct_fields__, data, strict=True):
        nested = Need if (cls, name) == (ApkoRecipe, "packages") else _NESTED.get(name)
        if name == "resources":
            out[name] = Resources(*value)
        elif nested is None:
            out[name] = tuple(value) if type(value) is list else value
        elif nested is TestDecl:
            out[name] = tuple(TestDecl(package, _all(Need, needs), line) for package, needs, line in value)
        else:
            out[name] = _all(nested, value)
    return out


def _all(cls: type[Value], rows: list[list[Any]]) -> tuple[Value, ...]:
    return tuple(cls(*(tuple(cell) if type(cell) is list else cell for cell in row)) for row in rows)
