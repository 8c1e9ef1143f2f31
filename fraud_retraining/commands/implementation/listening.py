"""The socket that a server of a command listens at."""

import socket

from fraud_retraining.domain.values.errors import SettingsError


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; bound here, because uvicorn would log a port that is taken, and exit without our error.

    Raises:
        SettingsError: the address cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"cannot listen at {host}, port {port}",
            culprits=[error],
            remedy="end what listens there already, or name another one with --host and --port.",
        ) from None
