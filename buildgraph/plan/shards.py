"""Targets packed into groups for machines that build beside each other, so that all end at about the same time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from buildgraph.structs import Struct, field


class Shard(Struct):
    """The targets of one group; ``work`` is all that has to be built for them, ``milliseconds`` how long that takes."""

    targets: list[str] = field(default_factory=list)
    work: set[str] = field(default_factory=set)
    milliseconds: int = 0


def pack(work: Mapping[str, Collection[str]], seconds: Callable[[str], float], count: int) -> list[Shard]:
    """At most ``count`` groups, none empty, of the targets in ``work``, which says what has to be built for each.

    The longest target comes first, into the group that would then be done soonest: what two targets both need is built once
    where they are together. What a group builds anyway is not given to another one. The same for the same arguments.
    """
    took = {name: round(seconds(name) * 1000) for names in work.values() for name in names}

    def sum_of(names: Collection[str]) -> int:
        return sum(took[name] for name in names)

    total = {target: sum_of(names) for target, names in work.items()}
    shards = [Shard() for _ in range(min(count, len(work)))]
    for target in sorted(work, key=lambda target: (-total[target], target)):
        needed = set(work[target])
        done = [shard for shard in shards if shard.work >= needed]
        chosen = (done or sorted(shards, key=lambda shard: shard.milliseconds + sum_of(needed - shard.work)))[0]
        chosen.milliseconds += sum_of(needed - chosen.work)
        chosen.work |= needed
        chosen.targets.append(target)
    return [shard for shard in shards if shard.targets]
