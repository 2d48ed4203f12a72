"""The local cache: blobs named by their digest, records of what actions gave, and locks between processes.

One folder that many processes share. Everything in it but the records is plain files:

    FORMAT               the number of this layout, "1"
    CACHEDIR.TAG         tells backup tools to skip the folder (https://bford.info/cachedir/)
    .gitignore           tells git the same
    blobs/ab/abcdef...   a blob, read-only, named by its BLAKE3 digest: `b3sum` prints the name of a sound one
    records/             the records, an SQLite database that diskcache keeps
    records.journal      each change of a record as a line, from which the database is made again
    records.changed      its time says when a record was stored or removed last
    records.lock         held while the database is opened or replaced
    records.corrupt-N/   a database that could not be read, moved aside
    tmp/                 blobs being written (*.part), scratch folders and their *.owner files, and the gate of both
    locks/               one file per action that runs just now
    users.lock           shared by all who use the cache, alone by who removes something
    pins                 targets whose results are kept
    quarantine/          blobs whose content did not match their name
    apk/                 apko's own cache of unpacked packages, named by their checksums
    keys/                public keys of repositories, as they were fetched

What holds after a kill at any instant, because a blob gets its name by a rename once it is complete: a blob is whole or
absent. What a killed process leaves in `tmp/` is told from what is in use by the locks that the system frees with the
process. Nothing is synced to the disk, as in git's loose objects and Bazel's disk cache: a power cut may cost the last blobs
and records, or leave a blob short. A short blob has the wrong size, which `Cas.has` looks at, and the wrong digest.
"""
