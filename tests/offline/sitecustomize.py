"""No network: a Python that has this folder on its path reaches only its own machine.

Jupyter talks to its kernels over 127.0.0.1; everything else is refused.
"""

import socket

_connect = socket.socket.connect
_resolve = socket.getaddrinfo


def _is_here(host: object) -> bool:
    return (
        host is None or str(host) in {"", "localhost", "::1", "0.0.0.0"} or str(host)[:4] == "127."
    )


def connect(self: socket.socket, address: object) -> None:
    """As ever, for this machine; an error for any other."""
    if isinstance(address, tuple) and not _is_here(address[0]):
        raise OSError(f"the network is forbidden here; tried {address[0]}")
    return _connect(self, address)


def getaddrinfo(host: object, *rest: object, **options: object) -> list:
    """As ever, for this machine; an error for any other."""
    if not _is_here(host):
        raise socket.gaierror(f"the network is forbidden here; tried {host}")
    return _resolve(host, *rest, **options)


socket.socket.connect = connect
socket.getaddrinfo = getaddrinfo
