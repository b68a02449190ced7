"""The import root: makes the folders beside this file the sub-packages of `visnet`.

The folder `platform/` must never be importable as `platform` (it would shadow the standard library's module), so it
has no `__init__.py` and everything is imported as `visnet.platform`, `visnet.train`, `visnet.batch`, `visnet.serve`.
Because this is one plain file, a checkout works without being installed: Ray ships the working directory to every
node and `import visnet.train` just works there. See docs/decisions/001-import-root.md.
"""

import os as _os

__path__ = [_os.path.dirname(_os.path.abspath(__file__))]
