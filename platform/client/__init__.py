"""The Python client of a running service: `Client` waits for its answers, `AsyncClient` is awaited.

Typed, and patient: what a service that scales, switches releases or loses a node can't answer at once is asked again.
"""

from visnet.platform.client.clients import AsyncClient, Client
from visnet.platform.client.failures import ServiceError, UnreachableError
from visnet.platform.client.retrying import Patience
from visnet.platform.client.writing import ProductWrite

__all__ = ["AsyncClient", "Client", "Patience", "ProductWrite", "ServiceError", "UnreachableError"]
