"""The exceptions of visnet: one small tree, each saying what was expected, what came and what to do.

Bad arguments raise `ValueError` where they are found; these are for what goes wrong with the world: the store, an
image, a cluster. A process edge (CLI, HTTP) maps them to an exit code or a status.
"""


class VisnetError(Exception):
    """The root: something a user can act on. Its text is shown as it is, without a traceback."""


class SettingsError(VisnetError):
    """`cluster.yaml` or an option holds something that can't be used; the text names the key."""


class FilterError(VisnetError, ValueError):
    """A filter names what the index does not have, or compares it with what does not fit; the text names the field."""


class StoreError(VisnetError):
    """An artifact is missing, unfinished or contradicts another one."""


class DigestMismatchError(StoreError):
    """An index or vectors were made by another encoder than the one at hand."""


class GateError(StoreError):
    """A release did not pass its gates."""


class CatalogError(VisnetError):
    """A catalogue can't be read from its source, or breaks its contract."""


class ImageError(VisnetError):
    """An image can't be used: empty, broken, not an image, too large in bytes or pixels."""


class TooLargeError(ImageError):
    """An image is over the bound of bytes or pixels."""


class ClusterError(VisnetError):
    """Ray can't be started, reached or authenticated with."""


class NotFoundError(VisnetError):
    """A product, release, catalogue or encoder of that name does not exist."""
