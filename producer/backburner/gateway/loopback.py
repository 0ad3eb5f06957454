"""Which addresses are this machine's alone."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host's name or address can only be this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
