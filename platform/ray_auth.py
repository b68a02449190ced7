"""Ray's token authentication, on by default and from one place.

Ray 2.60 turns authentication on in some commands and leaves it off in others, depending on whether a token file
happens to exist; a driver and a cluster that disagree fail with an opaque `ConnectionError`. Here the mode is always
explicit. Whoever can reach a Ray cluster without a token can run any code on it.
"""

import contextlib
import logging
import os
import secrets
import stat
import sys
import tempfile
from pathlib import Path

from visnet.platform.errors import ClusterError

logger = logging.getLogger(__name__)

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def ensure_token() -> Path | None:
    """Turn token authentication on for this process and its children, making the token where there is none.

    The token is taken from `RAY_AUTH_TOKEN`, else the file `RAY_AUTH_TOKEN_PATH`, else `~/.ray/auth_token`, which is
    made (mode 0600) if missing or empty, and tightened to 0600 if others can read it. A file named by
    `RAY_AUTH_TOKEN_PATH` is never written: it is mounted by somebody else.

    `RAY_AUTH_MODE=disabled` is respected, with a warning.

    Returns:
        The token's file, or None if the token is in `RAY_AUTH_TOKEN` or authentication is disabled.

    Raises:
        ClusterError: `RAY_AUTH_TOKEN_PATH` names no readable token, or the default file can't be written.
    """
    if _disabled():
        logger.warning("%s=disabled: whoever reaches the cluster's ports can run any code on it", MODE)
        return None
    path = None if os.environ.get(TOKEN) else _token_file()
    if os.environ.get(MODE, "").strip().lower() != "token":
        os.environ[MODE] = "token"
        _reread_mode()
    return path


def token() -> str | None:
    """The token that this process would send, or None if authentication is disabled or there is no token yet."""
    if _disabled():
        return None
    if value := os.environ.get(TOKEN):
        return value.strip()
    try:
        return token_path().read_text().strip() or None
    except OSError:
        return None


def auth_headers() -> dict[str, str]:
    """The HTTP headers for the dashboard and the jobs API; empty if there is no token to send."""
    value = token()
    return {"Authorization": f"Bearer {value}"} if value else {}


def _disabled() -> bool:
    return os.environ.get(MODE, "").strip().lower() == "disabled"


def token_path() -> Path:
    """The token's file, whether it exists or not: `RAY_AUTH_TOKEN_PATH`, else `~/.ray/auth_token`."""
    named = os.environ.get(TOKEN_PATH)
    return Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"


def _token_file() -> Path:
    path = token_path()
    try:
        if os.environ.get(TOKEN_PATH):
            return _checked(path)
        if not path.is_file() or not path.read_text().strip():
            _write(path)
        _tighten(path)
    except OSError as error:
        message = f"the Ray token {path} can't be read or made: {error}; set {TOKEN} or {TOKEN_PATH}"
        raise ClusterError(message) from error
    return path


def _checked(path: Path) -> Path:
    if not path.is_file() or not path.read_text().strip():
        raise ClusterError(f"{TOKEN_PATH}={path} holds no token; write one there or unset {TOKEN_PATH}")
    return path


def _write(path: Path) -> None:
    """Write a new token, whole or not at all; of two processes that race, the first one's token stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".auth_token-")  # 0600 whatever the umask is
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        if path.exists():  # empty: nobody can use it
            os.replace(name, path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _tighten(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        path.chmod(0o600)
        logger.warning("%s was readable by others (mode %o); now 600", path, mode)


def _reread_mode() -> None:
    """Make a Ray that is already imported see the mode: it reads its environment once, at import."""
    if "ray" in sys.modules:
        # What ray.init() itself calls when it turns authentication on.
        from ray._raylet import Config  # type: ignore[attr-defined]

        Config.initialize("")
