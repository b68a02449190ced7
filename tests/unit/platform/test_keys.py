"""API keys: shown once, kept as hashes, checked against scope and time; and the command that makes them."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result

from visnet.platform import keys
from visnet.platform.errors import NotFoundError, StoreError
from visnet.platform.keys import KeyRing, allows, create_key, read_keys, revoke_key
from visnet.platform.keys_cli import key as command
from visnet.platform.store import Store


def test_a_key_opens_what_it_was_made_for_and_no_other_does(store: Store) -> None:
    shop = create_key(store, name="shop", scope="write")
    page = create_key(store, name="page", scope="read")
    ring = KeyRing.from_store(store)
    assert ring.check(shop.presented) == shop.key
    assert ring.check(page.presented) == page.key
    prefix, key_id, secret = shop.presented.split("_", 2)
    for wrong in (
        *(None, "", "vn", "vn_", "vn__", secret, key_id, f"{key_id}_{secret}", f"xx_{key_id}_{secret}"),
        *(f"vn_{page.key.key_id}_{secret}", f"vn_{key_id}_{secret[:-1]}", f"vn_{key_id}_{secret}x", f"vn_{key_id}_"),
        *(
            f"{prefix}_{key_id}_{shop.key.secret_hash}",
            f"vn_{key_id}_\xe9\ud800",
            shop.presented.upper(),
            "x" * 100_000,
        ),
    ):
        assert ring.check(wrong) is None


def test_the_secret_is_not_kept(store: Store) -> None:
    made = create_key(store, name="shop", scope="write")
    secret = made.presented.split("_", 2)[2]
    assert len(secret) == 43  # 32 bytes
    assert secret not in store.read(keys.KEYS).decode()
    assert made.key.secret_hash == hashlib.sha256(secret.encode()).hexdigest()
    assert len({create_key(store, name=f"k{n}", scope="read").presented for n in range(20)}) == 20


@pytest.mark.parametrize(
    ("scope", "needed", "allowed"),
    [
        ("read", "read", True),
        ("read", "write", False),
        ("read", "admin", False),
        ("write", "read", True),
        ("write", "write", True),
        ("write", "admin", False),
        ("admin", "read", True),
        ("admin", "admin", True),
    ],
)
def test_scopes_include_each_other(scope: keys.Scope, needed: keys.Scope, allowed: bool) -> None:
    assert allows(scope, needed) is allowed


def test_a_key_expires(store: Store) -> None:
    now = datetime.now(UTC)
    made = create_key(store, name="shop", scope="write", expires_at=now + timedelta(hours=1))
    ring = KeyRing.from_store(store)
    assert ring.check(made.presented) == made.key
    assert ring.check(made.presented, now + timedelta(minutes=59)) is not None
    assert ring.check(made.presented, now + timedelta(hours=1)) is None


def test_a_revoked_key_opens_nothing_and_stays_on_record(store: Store) -> None:
    shop, other = (create_key(store, name=name, scope="write") for name in ("shop", "other"))
    revoke_key(store, "shop")
    revoke_key(store, other.key.key_id)
    ring = KeyRing.from_store(store)
    assert ring.check(shop.presented) is ring.check(other.presented) is None
    assert not ring.any_write
    assert [known.name for known in read_keys(store)] == ["shop", "other"]
    again = create_key(store, name="shop", scope="write")  # the name is free
    with pytest.raises(NotFoundError, match=rf"'nobody'; in use: {again.key.key_id} \(shop\)"):
        revoke_key(store, "nobody")
    with pytest.raises(NotFoundError, match="no key in use"):
        revoke_key(store, shop.key.key_id)
    assert revoke_key(store, "shop").key_id == again.key.key_id


def test_what_a_ring_says_of_its_keys(store: Store) -> None:
    assert not KeyRing.from_store(store).any_read
    assert not KeyRing.from_store(store).any_write
    create_key(store, name="shop", scope="write")
    assert not KeyRing.from_store(store).any_read
    assert KeyRing.from_store(store).any_write
    create_key(store, name="page", scope="read")
    assert KeyRing.from_store(store).any_read
    revoke_key(store, "page")
    assert KeyRing.from_store(store).any_read  # a closed service does not open by itself


def test_what_is_no_key(store: Store) -> None:
    create_key(store, name="shop", scope="read")
    with pytest.raises(ValueError, match="a key named 'shop' already"):
        create_key(store, name="shop", scope="write")
    with pytest.raises(ValueError, match="name that says whose"):
        create_key(store, name=" ", scope="write")
    with pytest.raises(ValueError, match="scopes read, write, admin, got 'root'"):
        create_key(store, name="x", scope="root")  # type: ignore[arg-type]
    for past in (datetime.now(UTC), datetime.now() + timedelta(days=1)):
        with pytest.raises(ValueError, match="time to come, with its zone"):
            create_key(store, name="x", scope="write", expires_at=past)
    assert len(read_keys(store)) == 1


def test_many_are_made_at_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: create_key(store, name=f"k{n}", scope="read"), range(24)))
    ring = KeyRing.from_store(store)
    assert [ring.check(one.presented) for one in made] == [one.key for one in made]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"schema_version": 2, "keys": []}', b'{"schema_version": 1, "keys": [{"name": "x"}]}']
)
def test_a_broken_file_opens_nothing(store: Store, content: bytes) -> None:
    store.write(keys.KEYS, content)
    with pytest.raises(StoreError, match=r"keys/keys.json can't be read"):
        KeyRing.from_store(store)


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--store", store.location])


def test_the_command(store: Store) -> None:
    assert "no keys yet" in run(store, "list").output
    made = json.loads(
        run(store, "create", "--name", "shop", "--scope", "write", "--expires-days", "2", "--json").output
    )
    assert made["valid"]
    found = KeyRing.from_store(store).check(made["key"])
    assert found is not None
    assert (found.name, found.scope, found.key_id) == ("shop", "write", made["id"])
    assert found.expires_at is not None
    assert timedelta(days=1.9) < found.expires_at - found.created_at <= timedelta(days=2.1)
    presented = run(store, "create", "--name", "page", "--scope", "read").output.splitlines()[0]
    assert KeyRing.from_store(store).check(presented) is not None

    listed = run(store, "list")
    assert ["valid to" in line for line in listed.output.splitlines()] == [True, False]
    assert made["key"].rpartition("_")[2] not in listed.output
    assert [one["name"] for one in json.loads(run(store, "list", "--json").output)["keys"]] == ["shop", "page"]

    assert run(store, "revoke", "shop").output == f"{made['id']} (shop) is revoked\n"
    assert KeyRing.from_store(store).check(made["key"]) is None
    assert "revoked" in run(store, "list").output
    failed = run(store, "revoke", "shop")
    assert failed.exit_code == 1
    assert "no key in use" in failed.output
    assert run(store, "create", "--name", "x", "--scope", "root").exit_code == 2
