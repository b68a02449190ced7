"""Where a store's journal is, for all who write it, follow it or fold it."""

from __future__ import annotations

from visnet.platform.errors import SettingsError
from visnet.platform.journal import Journal, open_journal
from visnet.platform.store import Store

JOURNAL = "journal/journal.sqlite"


def journal_place(store: Store, named: str | None) -> str | None:
    """What `open_journal` takes; None if there can be no journal.

    Args:
        named: the setting `serve.journal`; without it a local store holds the journal itself. An object store can't,
            because SQLite needs a file that is locked and synced: there PostgreSQL has to be named.
    """
    if named is not None or not store.is_local:
        return named
    store.make_directory(JOURNAL.rpartition("/")[0])
    return store.path(JOURNAL)


def journal_of(store: Store, named: str | None) -> Journal:
    """The journal of a store, open.

    Raises:
        SettingsError: there can be none.
        StoreError: it can't be opened.
    """
    place = journal_place(store, named)
    if place is None:
        raise SettingsError(
            f"the store {store.location} is no folder, which could hold the journal: name the service's database in "
            "metadata.visnet.serve.journal of the cluster file"
        )
    return open_journal(place)
