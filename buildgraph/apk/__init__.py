"""apk packages and indexes: versions, index entries, package files and signatures."""
