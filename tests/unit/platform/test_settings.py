"""Settings: what is wrong is named by its key, what is left out has its default, and a small machine gets less."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.errors import SettingsError
from visnet.platform.settings import Settings
from visnet.platform.settings_file import find_cluster_file, load_settings, parse_settings


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def nested(key: str, value: Any) -> Any:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def leaves(settings: Any, prefix: str = "") -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            found.update(leaves(value, f"{prefix}{field.name}."))
        else:
            found[f"{prefix}{field.name}"] = value
    return found


DEFAULTS = leaves(Settings())


def test_no_file_an_empty_file_and_a_file_of_rays_alone_give_the_defaults(tmp_path: Path) -> None:
    assert load_settings(None) == Settings()
    for text in ("", "cluster_name: x", "metadata:", "metadata: {team: x}", "metadata: {visnet: }"):
        assert load_settings(write(tmp_path / "cluster.yaml", text)) == Settings()


def test_what_is_named_is_set_and_the_rest_is_default(tmp_path: Path) -> None:
    text = """
    cluster_name: shop
    metadata:
      visnet:
        store: s3://bucket/visnet
        train: {workers: 8, gpus_per_worker: 1, learning_rate: 1.0e-3}
        serve:
          shard: {replicas: 2}
    """
    settings = load_settings(write(tmp_path / "cluster.yaml", text))
    changed = {key: value for key, value in leaves(settings).items() if value != DEFAULTS[key]}
    assert changed == {
        "store": "s3://bucket/visnet",
        "train.workers": 8,
        "train.learning_rate": 1e-3,
        "serve.shard.replicas": 2,
    }
    assert isinstance(settings.train.gpus_per_worker, float)


@pytest.mark.parametrize("key", DEFAULTS)
def test_the_default_itself_is_a_right_value(key: str) -> None:
    value = DEFAULTS[key]
    written = list(value) if isinstance(value, tuple) else value  # YAML knows lists
    assert parse_settings(nested(key, written), source="x") == Settings()


WRONG: tuple[Any, ...] = (None, [], {}, "many", "2", float("nan"), -1, True)
RIGHT_FOR = {str: ("many", "2"), tuple: ([],)}


def wrong_values() -> list[tuple[str, Any]]:
    keys = {key: type(value) for key, value in DEFAULTS.items()}
    pairs = [(key, wrong) for key, kind in keys.items() for wrong in WRONG if wrong not in RIGHT_FOR.get(kind, ())]
    right = [("train.recipe_options", {}), ("train.min_workers", None), ("train.margin", None)]
    right += [("detector.recipe_options", {}), ("detector.min_workers", None), ("detector.channels_last", True)]
    right += [("embed.trust_uris", True)]
    right += [("train.channels_last", True), ("train.compile", True), ("recommend.same_category", True)]
    right += [("recommend.in_stock", value) for value in (None, "many", "2")]
    right += [("serve.journal", value) for value in (None, "many", "2")]
    right += [(key, value) for key in ("pool", "serve.pool") for value in (None, "many", "2")]
    right += [("serve.fetch_private", True), ("serve.ingress_apart", True), ("serve.shard.apart", True)]
    right += [("recommend.price_band", None), ("recommend.candidates", None)]
    return [
        (key, wrong)
        for key, wrong in pairs
        if not (key.endswith("seed") and wrong == -1) and not any((key, wrong) == pair for pair in right)
    ]


@pytest.mark.parametrize(("key", "wrong"), wrong_values())
def test_every_wrong_value_is_named_by_its_key(key: str, wrong: Any) -> None:
    with pytest.raises(SettingsError, match=rf"^cluster.yaml: metadata\.visnet\.{key}(\.0)?: .*, got ") as error:
        parse_settings(nested(key, wrong), source="cluster.yaml")
    assert ";" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "wrong", "expected"),
    [
        ("train.workers", 0, "greater than or equal to 1, got 0"),
        ("train.workers", 2.5, "valid integer, got 2.5"),
        ("train.workers", True, "valid integer, got True"),
        ("train.workers", "2", "valid integer, got '2'"),
        ("train.gpus_per_worker", 1.5, "less than or equal to 1, got 1.5"),
        ("train.learning_rate", 0, "greater than 0, got 0"),
        ("train.learning_rate", float("inf"), "finite number, got inf"),
        ("serve.port", 65536, "less than or equal to 65535, got 65536"),
        ("serve.embedder", 3, "got 3"),
        ("serve.host", 127, "valid string, got 127"),
        ("store", None, "valid string, got None"),
    ],
)
def test_the_text_says_what_was_expected_and_what_came(key: str, wrong: Any, expected: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_settings(nested(key, wrong), source="cluster.yaml")
    assert str(error.value).startswith(f"cluster.yaml: metadata.visnet.{key}: ")
    assert str(error.value).endswith(expected)


@pytest.mark.parametrize("key", ["trian", "train.worker", "serve.embedder.gpu", "serve.shard.nodes", "index.nprobes"])
def test_an_unknown_key_is_named(key: str) -> None:
    with pytest.raises(SettingsError, match=rf"^x: metadata\.visnet\.{key}: there is no such setting$"):
        parse_settings(nested(key, 1), source="x")


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError, match=r"train\.workers: .*; metadata\.visnet\.index\.shard: there is no such"):
        parse_settings({"train": {"workers": 0}, "index": {"shard": 2}}, source="x")


def test_replicas_are_bounded_from_both_sides() -> None:
    with pytest.raises(SettingsError, match=r"embedder\.min_replicas: expected at most max_replicas \(2\), got 3"):
        parse_settings({"serve": {"embedder": {"min_replicas": 3, "max_replicas": 2}}}, source="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "can't read .*cluster.yaml"),
        ("- a", "the file: expected a mapping, got "),
        ("just text", "the file: expected a mapping, got 'just text'"),
        ("metadata: [a]", "metadata: expected a mapping, got "),
        ("metadata: {visnet: [a]}", r"metadata\.visnet: .*got \['a'\]"),
        ("metadata: {visnet: false}", r"metadata\.visnet: .*got False"),
        ("metadata: {visnet: {1: 2}}", r"metadata\.visnet"),
        ("metadata: {visnet: {train: {workers: yes}}}", r"metadata\.visnet\.train\.workers: .*, got True"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(write(tmp_path / "cluster.yaml", text))


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_bytes(b"\xff\xfe\x00\x01")
    for path in (tmp_path / "cluster.yaml", tmp_path, tmp_path / "nothing.yaml"):
        with pytest.raises(SettingsError, match="can't read"):
            load_settings(path)


def test_the_cluster_file_named_then_the_environments_then_the_nearest_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    monkeypatch.delenv("VISNET_CLUSTER_FILE", raising=False)
    above = write(tmp_path / "cluster.yaml", "")
    assert find_cluster_file() == above
    nearer = write(tmp_path / "a" / "cluster.yaml", "")
    assert find_cluster_file() == nearer
    other = write(tmp_path / "other.yaml", "")
    monkeypatch.setenv("VISNET_CLUSTER_FILE", str(other))
    assert find_cluster_file() == other
    assert find_cluster_file(str(above)) == above
    with pytest.raises(SettingsError, match=r"no cluster file nowhere.yaml"):
        find_cluster_file("nowhere.yaml")


LARGE = parse_settings(
    {
        "train": {"workers": 16, "cpus_per_worker": 12},
        "embed": {"actors": 16, "cpus_per_actor": 6},
        "index": {"shards": 4},
        "serve": {
            "embedder": {"min_replicas": 4, "max_replicas": 32, "cpus": 4, "gpus": 1},
            "shard": {"replicas": 3, "cpus": 4},
        },
    },
    source="x",
)


@pytest.mark.parametrize("settings", [Settings(), LARGE])
@pytest.mark.parametrize(("cpus", "gpus"), [(2, 0), (8, 1), (1, 0), (16, 4), (2, 4), (7, 2)])
def test_cut_to_a_machine_each_pass_fits_on_it(settings: Settings, cpus: int, gpus: int) -> None:
    cut = settings.cut_to(cpus=cpus, gpus=gpus)
    train, embed, serve = cut.train, cut.embed, cut.serve
    assert train.workers * train.cpus_per_worker <= cpus
    assert train.workers * train.gpus_per_worker <= gpus
    assert embed.actors * embed.cpus_per_actor <= cpus
    assert embed.actors * embed.gpus_per_actor <= gpus
    assert serve.embedder.max_replicas * serve.embedder.cpus <= cpus
    assert cut.index.shards * serve.shard.cpus * serve.shard.replicas <= cpus
    shard_gpus = cut.index.shards * serve.shard.gpus * serve.shard.replicas
    assert serve.embedder.max_replicas * serve.embedder.gpus + shard_gpus <= gpus
    for amount in (train.cpus_per_worker, embed.cpus_per_actor, serve.embedder.cpus, serve.shard.cpus):
        assert amount <= 1 or amount == int(amount), "Ray refuses parts of a CPU above one"
    plain = dataclasses.asdict(cut)
    plain["evaluate"]["ks"] = list(plain["evaluate"]["ks"])
    assert parse_settings(plain, source="cut") == cut  # still right values all of them


def test_cut_to_a_laptop() -> None:
    cut = LARGE.cut_to(cpus=2, gpus=0)
    assert (cut.train.workers, cut.train.gpus_per_worker, cut.train.cpus_per_worker) == (2, 0.0, 1.0)
    assert (cut.embed.actors, cut.embed.gpus_per_actor) == (2, 0.0)
    assert (cut.serve.embedder.min_replicas, cut.serve.embedder.max_replicas, cut.serve.embedder.gpus) == (2, 2, 0.0)
    assert (cut.serve.shard.replicas, cut.serve.shard.gpus) == (1, 0.0)
    unchanged = {key for key, value in leaves(cut).items() if value == leaves(LARGE)[key]}
    assert {"train.batch_size", "index.shards", "serve.port", "recommend.k"} <= unchanged


def test_cut_to_one_gpu() -> None:
    cut = Settings().cut_to(cpus=8, gpus=1)
    assert (cut.train.workers, cut.train.gpus_per_worker, cut.train.cpus_per_worker) == (1, 1.0, 1.0)
    assert (cut.embed.actors, cut.embed.gpus_per_actor) == (1, 1.0)
    assert (cut.serve.embedder.max_replicas, cut.serve.embedder.gpus, cut.serve.shard.gpus) == (1, 0.25, 0.25)


def test_a_large_machine_cuts_nothing_but_copies() -> None:
    cut = LARGE.cut_to(cpus=10_000, gpus=64)
    changed = {key for key, value in leaves(cut).items() if value != leaves(LARGE)[key]}
    assert changed <= {"serve.shard.replicas", "serve.embedder.gpus"}
