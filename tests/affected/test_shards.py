"""How targets are packed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildgraph.plan.shards import pack

NODES = st.sampled_from("abcdefgh")
WORK = st.dictionaries(st.sampled_from([f"//:{name}" for name in "abcdefgh"]), st.frozensets(NODES, min_size=1), max_size=8)


@given(WORK, st.dictionaries(NODES, st.integers(0, 9)), st.integers(1, 5))
def test_every_target_is_in_one_group_that_builds_all_it_needs(
    work: dict[str, frozenset[str]], seconds: dict[str, int], count: int
) -> None:
    """No group is empty, none builds what nothing in it needs, and its time is that of what it builds."""
    shards = pack(work, lambda name: seconds.get(name, 1), count)
    assert sorted(target for shard in shards for target in shard.targets) == sorted(work)
    assert len(shards) <= count
    for shard in shards:
        assert shard.targets
        assert shard.work == set().union(*(work[target] for target in shard.targets))
        assert shard.milliseconds == sum(1000 * seconds.get(name, 1) for name in shard.work)


@given(WORK, st.dictionaries(NODES, st.integers(0, 9)), st.integers(1, 5))
def test_the_longest_group_is_no_longer_than_one_alone(
    work: dict[str, frozenset[str]], seconds: dict[str, int], count: int
) -> None:
    """More groups never make the last one end later than all of it on one machine would."""
    every = set().union(*work.values())
    shards = pack(work, lambda name: seconds.get(name, 1), count)
    assert max((shard.milliseconds for shard in shards), default=0) <= sum(1000 * seconds.get(name, 1) for name in every)


def test_what_a_group_builds_anyway_stays_with_it() -> None:
    """Though another one would be done sooner."""
    work = {"//:app": {"lib", "app"}, "//:lib": {"lib"}, "//:other": {"other"}}
    assert [shard.targets for shard in pack(work, lambda _: 1.0, 2)] == [["//:app", "//:lib"], ["//:other"]]


def test_the_same_for_the_same_arguments_in_any_order() -> None:
    """So that two jobs of one run agree."""
    work = {f"//:{name}": {name, "lib"} for name in "abcdef"}
    backwards = dict(reversed(work.items()))
    assert pack(work, lambda _: 1.0, 3) == pack(backwards, lambda _: 1.0, 3)
