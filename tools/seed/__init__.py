"""The seed: an apk repository made on the spot from a Debian 12 machine's packages, under Wolfi's names.

Recipes written for Wolfi then build without Wolfi's servers: ``python -m tools.seed --link .seed`` leaves a signed
repository behind. The way of the data, one module each::

    names      which Debian packages make up which Wolfi package, and why (data)
    debian     apt's lists, in a state of our own, and downloads checked against them
    npm        packages of npm's registry, checked against what the map says of them
    plan       names + lists -> what to make: versions, debs, dependencies (a closure)
    layout     one deb or tarball -> files where Wolfi's merged /usr has them; update-alternatives' links
    fixups     what single packages need beyond that; packages written by hand
    elf        sonames -> so: provides and depends, as melange's scan gives them
    wrap       one plan entry -> one .apk, in a process of its own
    check      the whole set: every dependency met, no two packages with different bytes in one place
    store      folders that appear whole or not at all, the lock, the link, the key
"""
