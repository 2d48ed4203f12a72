"""What single packages need beyond moving their files, and the packages that are written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable

from buildgraph.errors import RepositoryError
from tools.seed.layout import Tree, directory, file, link

# Not applets of Wolfi's, or such as must not shadow the real thing: binutils' ar, a machine's init.
_NO_APPLETS = frozenset({"busybox", "ar", "rpm", "rpm2cpio", "dpkg", "dpkg-deb", "init", "linuxrc", "run-init"})


# The tracing of LTTng, Kerberos, and a way to do HTTP by curl that is off by default.
_DOTNET_LEFT_OUT = (".a", "/libcoreclrtraceptprovider.so", "/System.Net.Security.Native.so", "/System.Net.Http.Native.so")


def applets(binary: bytes) -> list[str]:
    """The applets of a busybox binary, of any architecture, from the table in it (sorted names, a zero after each).

    Raises RepositoryError if the table is not found.
    """
    start = binary.find(b"\0[\0[[\0")
    if start < 0:
        what = "the table of applets is not found in Debian's busybox"
        raise RepositoryError(what)
    end = binary.index(b"\0\0", start + 1)
    return [name.decode() for name in binary[start + 1 : end].split(b"\0")]


def _busybox(tree: Tree) -> None:
    """Only the binary and the list from which apko makes the applets' links, where no other package has a file."""
    binary = tree["usr/bin/busybox"]
    paths = [f"/usr/bin/{name}" for name in applets(binary.data) if name not in _NO_APPLETS]
    tree.clear()
    tree["usr/bin/busybox"] = binary
    tree["etc/busybox-paths.d/busybox"] = file("\n".join(["/bin/busybox", *sorted(paths)]) + "\n")


def _ca_certificates(tree: Tree) -> None:
    """One file of all certificates, which Debian's postinst would make; the links are where OpenSSL and others look."""
    pems = [entry.data for path, entry in sorted(tree.items()) if path.startswith("usr/share/ca-certificates/")]
    bundle = b"".join(pem if pem.endswith(b"\n") else pem + b"\n" for pem in pems if pem)
    tree.clear()
    tree["etc/ssl/certs/ca-certificates.crt"] = file(bundle)
    tree["etc/ssl/cert.pem"] = link("certs/ca-certificates.crt")
    tree["usr/lib/ssl/cert.pem"] = link("/etc/ssl/certs/ca-certificates.crt")


def _python(tree: Tree) -> None:
    """Modules are installed to site-packages, not to Debian's dist-packages: there melange's scan looks for them.

    Debian's own modules stay in /usr/lib/python3/dist-packages, which is searched too.
    """
    path = "usr/lib/python3.11/sysconfig.py"
    text = tree[path].data.decode()
    for scheme in ("posix_local", "deb_system"):
        text = text.replace(f"prefix_scheme = '{scheme}'", "prefix_scheme = 'posix_prefix'")
    tree[path] = file(text, tree[path].mode)
    tree["usr/lib/python3.11/site-packages"] = directory()
    tree["usr/lib/python3/dist-packages/site-packages.pth"] = file("/usr/lib/python3.11/site-packages\n")


def _ninja(tree: Tree) -> None:
    """Samurai's name for the command, which some recipes call."""
    tree["usr/bin/samu"] = link("ninja")


def _dotnet(tree: Tree) -> None:
    """The command, where Wolfi has it; without what asks for libraries that nothing here uses, and static libraries.

    The runtime looks for every file of its own list (``native``) and does not start where one is missing, so they leave that too.
    """
    tree["usr/bin/dotnet"] = link("../share/dotnet/dotnet")
    folder = "usr/share/dotnet/shared/Microsoft.NETCore.App/3.1.2"
    path = f"{folder}/Microsoft.NETCore.App.deps.json"
    listed = json.loads(tree[path].data)
    for packages in listed["targets"].values():
        for package in packages.values():
            native = package.get("native", {})
            for name in [name for name in native if name.endswith(_DOTNET_LEFT_OUT)]:
                del native[name], tree[f"{folder}/{name.rpartition('/')[2]}"]
    tree[path] = file(json.dumps(listed, indent=2))


def _baselayout(tree: Tree) -> None:
    """Wolfi's folders and links; the accounts are root and nobody."""
    for path in ("dev", "etc", "home", "opt", "proc", "run", "sys", "usr/bin", "usr/lib", "usr/local/bin", "usr/local/lib"):
        tree[path] = directory()
    for path in ("var/empty", "var/log"):
        tree[path] = directory()
    tree["root"] = directory(0o700)
    tree["tmp"] = tree["var/tmp"] = directory(0o1777)
    for path, target in (
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("usr/sbin", "bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib"),
        ("usr/lib64", "lib"),
        ("usr/local/lib64", "lib"),
        ("var/run", "../run"),
    ):
        tree[path] = link(target)
    tree["etc/passwd"] = file("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    tree["etc/group"] = file("root:x:0:root\nnobody:x:65534:\n")
    tree["etc/shadow"] = file("root:*::0:::::\nnobody:!::0:::::\n", 0o640)
    tree["etc/shells"] = file("/bin/sh\n/bin/bash\n")
    tree["etc/hosts"] = file("127.0.0.1\tlocalhost localhost.localdomain\n::1\tlocalhost localhost.localdomain\n")
    tree["etc/nsswitch.conf"] = file("passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n")
    tree["etc/profile"] = file("export PATH=/usr/local/bin:/usr/bin:/bin\numask 022\n")
    release = ("ID=wolfi", 'NAME="Wolfi"', 'PRETTY_NAME="Wolfi (seed made from Debian 12 packages)"', 'VERSION_ID="20230201"')
    tree["etc/os-release"] = file("\n".join(release) + "\n")


FIXUPS: dict[str, Callable[[Tree], None]] = {
    "busybox": _busybox,
    "ca-certificates-bundle": _ca_certificates,
    "python-3.11": _python,
    "ninja": _ninja,
    "dotnet-3-runtime": _dotnet,
    "wolfi-baselayout": _baselayout,
}


def commands(name: str) -> tuple[str, ...]:
    """Commands that a package answers for though no file says so.

    Only ``sh``: the other applets also come from packages that may be installed beside busybox, and apko takes two
    packages that provide one name with different versions for rivals.
    """
    return ("sh",) if name == "busybox" else ()
