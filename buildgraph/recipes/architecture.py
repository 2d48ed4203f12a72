"""The names of architectures: apk's, which bg uses everywhere, OCI's and compilers' (apko pkg/build/types/types.go)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

_TO_APK = {
    "386": "x86", "amd64": "x86_64", "arm64": "aarch64", "arm/v6": "armhf", "arm/v7": "armv7", "loong64": "loongarch64",
}  # fmt: skip
_TO_OCI = {apk: oci for oci, apk in _TO_APK.items()}
_TRIPLETS = {
    "x86": "i486-pc-linux-{}",
    "x86_64": "x86_64-pc-linux-{}",
    "aarch64": "aarch64-unknown-linux-{}",
    "armhf": "arm-unknown-linux-{}eabihf",
    "armv7": "armv7l-unknown-linux-{}eabihf",
    "ppc64le": "powerpc64le-unknown-linux-{}",
    "s390x": "s390x-ibm-linux-{}",
    "loongarch64": "loong64-unknown-linux-{}",
}
_RUST_TRIPLETS = {
    **_TRIPLETS,
    "x86": "i686-unknown-linux-{}",
    "x86_64": "x86_64-unknown-linux-{}",
    "armhf": "armv6-unknown-linux-{}eabihf",
    "armv7": "armv7-unknown-linux-{}eabihf",
    "s390x": "s390x-unknown-linux-{}",
}
ALL = ("x86", "x86_64", "aarch64", "armhf", "armv7", "loongarch64", "ppc64le", "riscv64", "s390x")
NAMES = (*ALL, *_TO_APK)


def to_apk(name: str) -> str:
    """apk's name of an architecture given in any spelling that apko takes; an unknown name stays as it is."""
    return _TO_APK.get(name, name)


def to_oci(name: str) -> str:
    """OCI's and Go's name, which is what apko calls an architecture inside."""
    return _TO_OCI.get(to_apk(name), name)


@cache
def variables(architecture: str) -> Mapping[str, str]:
    """The variables that melange defines for an architecture (pkg/build/pipeline.go, NewSubstitutionMap), with glibc."""
    apk = to_apk(architecture)
    gnu = _TRIPLETS.get(apk, f"{apk}-unknown-linux-{{}}")
    rust = _RUST_TRIPLETS.get(apk, f"{apk}-unknown-linux-{{}}")
    return {
        "host.triplet.gnu": gnu.format("gnu"),
        "host.triplet.rust": rust.format("gnu"),
        "cross.triplet.gnu.glibc": gnu.format("gnu"),
        "cross.triplet.gnu.musl": gnu.format("musl"),
        "cross.triplet.rust.glibc": rust.format("gnu"),
        "cross.triplet.rust.musl": rust.format("musl"),
        "build.arch": apk,
        "build.goarch": to_oci(apk),
    }
