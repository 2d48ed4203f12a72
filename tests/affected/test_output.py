"""What `bg affected` prints, and how it ends."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from buildgraph.cli.session import Session
from buildgraph.cli.settings import Settings
from buildgraph.keys.digest import digest_text
from buildgraph.plan.record import DeepRecord, Found
from buildgraph.plan.store import Last
from buildgraph.report.console import Console
from tests.affected.checkout import WITH_LIB, Checkout
from tests.layouts.repository import apko, melange


def session(checkout: Checkout) -> Session:
    """A session on a workspace as `bg affected` has one."""
    home = checkout.top.parent / "home"
    return Session(
        Settings(checkout.root, checkout.root, {}, home / ".cache/buildgraph", home, offline=True, stand_ins=True), Console()
    )


@pytest.fixture
def edited(checkout: Checkout) -> Checkout:
    """The library changed, the tool is gone, an image is new."""
    checkout.edit("lib/lib.c", "1;", "2;")
    checkout.git("rm", "-q", "tool.yaml", "images/tool.yaml")
    checkout.write({"images/new.yaml": apko("lib")})
    return checkout


def test_labels_can_be_handed_to_build(edited: Checkout) -> None:
    """One a line, only of targets that are there."""
    printed, said = edited.bg("affected", "--since", "HEAD")
    assert printed == "//:lib\n//:program\n//images:new\n//images:program\n"
    assert said == "2 targets of HEAD are no longer there (--why shows which)\n"


def test_why(edited: Checkout) -> None:
    """What became of each, and the reasons: its own, or those of what it depends on."""
    printed, said = edited.bg("affected", "--since", "HEAD", "--why")
    assert printed.splitlines() == [
        "//:lib  changed",
        "    lib/lib.c changed",
        "//:program  changed",
        "    //:lib: lib/lib.c changed",
        "//images:new  new",
        "//images:program  changed",
        "    //:lib: lib/lib.c changed",
        "//:tool  removed",
        "//images:tool  removed",
    ]
    assert said == ""


def test_many_reasons(checkout: Checkout) -> None:
    """The nearest three, and how many more there are."""
    names = [f"part{number}" for number in range(6)]
    checkout.commit({f"{name}.yaml": melange(name) for name in names} | {"all.yaml": melange("all", needs=", ".join(names))})
    for name in names:
        checkout.edit(f"{name}.yaml", "runs: make", "runs: make all")
    reasons = checkout.rows("--since", "HEAD", "//:all")["//:all"]["reasons"]
    assert [reason.partition(": ")[2] for reason in reasons[:3]] == [
        f"{name}.yaml:11: pipeline[0].runs changed" for name in ("part5", "part4", "part3")
    ]
    assert reasons[3:] == ["and 3 more that it depends on"]


def test_json(edited: Checkout) -> None:
    """The commit that was meant, and a row for each node; with --format too."""
    answer = json.loads(edited.bg("affected", "--since", "main", "--json", "//images/...")[0])
    commit = edited.git("rev-parse", "HEAD")
    assert answer == {
        "since": "main",
        "commit": commit,
        "targets": [
            {
                "target": target,
                "node": target,
                "kind": "image",
                "change": change,
                "reasons": ["//:lib: lib/lib.c changed"] if change == "changed" else [],
                "files": [],
            }
            for target, change in (("//images:new", "new"), ("//images:program", "changed"), ("//images:tool", "removed"))
        ],
    }
    assert json.loads(edited.bg("affected", "--since", "main", "--format", "json", "//images/...")[0]) == answer


def test_the_exit_code(edited: Checkout) -> None:
    """With --exit-code that of `git diff`: 1 where something is affected, also by being gone; what is printed is the same."""
    printed, _ = edited.bg("affected", "--since", "HEAD")
    assert edited.bg("affected", "--since", "HEAD", "--exit-code", code=1)[0] == printed
    assert edited.bg("affected", "--since", "HEAD", "--exit-code", "//:tool", code=1)[0] == ""
    edited.commit()
    assert edited.bg("affected", "--since", "HEAD", "--exit-code") == ("", "nothing is affected\n")


def test_a_matrix_of_targets(edited: Checkout) -> None:
    """On one line, for $GITHUB_OUTPUT; nothing in it where nothing is affected."""
    printed, _ = edited.bg("affected", "--since", "HEAD", "--format", "matrix", "//images/...")
    assert printed.count("\n") == 1
    assert json.loads(printed) == {
        "include": [
            {"name": "//images:new", "targets": "//images:new"},
            {"name": "//images:program", "targets": "//images:program"},
        ]
    }
    edited.commit()
    assert edited.bg("affected", "--since", "HEAD", "--format", "matrix")[0] == '{"include": []}\n'


def test_a_matrix_of_shards(checkout: Checkout) -> None:
    """Packed by the times of earlier builds; what has none counts as a second; what depends on the same is together."""
    names = [f"part{number}" for number in range(4)]
    checkout.commit({f"{name}.yaml": melange(name) for name in names})
    store = session(checkout).store
    key = digest_text("x")
    for name, seconds in zip(names, (4.0, 3.0, 2.0), strict=False):
        store.put_last(f"//:{name}@x86_64", Last(key, key, key, seconds))
    for name in names:
        checkout.edit(f"{name}.yaml", "runs: make", "runs: make all")

    def shards(count: int, *patterns: str) -> list[str]:
        arguments = ("affected", "--since", "HEAD", "--format", "matrix", "--shards", str(count), *patterns)
        found = json.loads(checkout.bg(*arguments)[0])["include"]
        assert [one["name"] for one in found] == [f"{number} of {len(found)}" for number in range(1, len(found) + 1)]
        return [one["targets"] for one in found]

    assert shards(2) == ["//:part0 //:part3", "//:part1 //:part2"]
    assert shards(9) == ["//:part0", "//:part1", "//:part2", "//:part3"]
    assert shards(1) == ["//:part0 //:part1 //:part2 //:part3"]
    checkout.edit("lib/lib.c", "1;", "2;")
    assert shards(2, "//:lib", "//:program", "//images/...", "//:part3") == [
        "//:lib //:program //images:program",
        "//:part3",
    ]


@pytest.mark.parametrize(
    "options", [("--shards", "2"), ("--why", "--json"), ("--format", "matrix", "--why"), ("--format", "matrix", "--shards", "0")]
)
def test_options_that_contradict_each_other(checkout: Checkout, options: tuple[str, ...]) -> None:
    """Are a mistake; so is not to say what to compare with."""
    checkout.bg("affected", "--since", "HEAD", *options, code=2)
    assert "the following arguments are required: --since" in checkout.bg("affected", code=2)[1]


def test_what_building_showed(checkout: Checkout) -> None:
    """A dependency that no recipe states is in no key; where the cache has a record of it, it counts all the same."""
    now = session(checkout)
    keys = {name: now.rebuilder.deep_key(name) for name in now.graph.order}
    some = digest_text("x")
    beyond = {"x86_64": Found((), ("cmd:tool",), some)}
    now.store.put_deep(keys["//:lib@x86_64"], DeepRecord(some, some, {"//:tool@x86_64": keys["//:tool@x86_64"]}, {}))
    now.store.put_deep(keys["//images:program"], DeepRecord(some, some, {}, beyond))
    assert checkout.affected() == set()
    checkout.edit("tool.yaml", "runs: make", "runs: make all")
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == WITH_LIB | {"//:tool", "//images:tool"}
    assert rows["//:lib"]["reasons"] == ["takes packages of //:tool@x86_64, as building it showed, which changed"]
    assert rows["//:program"]["reasons"] == [f"//:lib: {rows['//:lib']['reasons'][0]}"]
    checkout.git("checkout", "-q", ".")
    checkout.write({"extra.yaml": melange("extra").replace("runtime: []", "provides: [cmd:tool=1]")})
    rows = checkout.rows("--since", "HEAD")
    assert set(rows) == {"//:extra", "//images:program"}
    assert rows["//images:program"]["reasons"] == ["other packages meet what building it showed that it needs"]


def test_the_network_is_not_asked(checkout: Checkout) -> None:
    """For no key and no index, and no tool is made: an address stands for what is not at hand, so that it counts."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        image = f"contents:\n  keyring: [{address}/one.rsa.pub]\n  repositories: [{address}]\n  packages: [tool, unlocked]\n"
        checkout.commit({"images/tool.yaml": image})
        assert checkout.affected() == set()
        checkout.edit("images/tool.yaml", "one.rsa.pub", "two.rsa.pub")
        assert checkout.affected() == {"//images:tool"}
        server.shutdown()
    assert asked == []
    tools = checkout.top.parent / "home/.cache/buildgraph/tools"
    assert not tools.exists() or [path.name for path in tools.iterdir()] == ["seen.json"]
