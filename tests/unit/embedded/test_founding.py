"""Founding a network: sizes that make none, keys that only their owner reads, commands that every process gets."""

from __future__ import annotations

import pytest

from haulout.account.wallet import read_secret
from haulout.crypto import ed25519
from haulout.crypto.bls import Bls12381
from haulout.embedded.assembly import UpOptions, _prepare
from haulout.embedded.folder import FolderOfAnotherVersion, NetworkFolder, ShapeChanged, read_json, write_json
from haulout.embedded.founding import check_shape, command_of, environment_of, found_network, write_client_file
from haulout.embedded.layout import Layout
from haulout.errors import InvalidField
from haulout.ledger.draft import Draft, EmptyView
from haulout.ledger.genesis import Genesis, build_genesis
from haulout.ledger.queries import balance, committee
from haulout.world.clock import SystemClock
from haulout.world.rng import SystemRng


@pytest.mark.parametrize(("nodes", "shards"), [(4, 4), (5, 100), (4, 10), (80, 1000), (10, 10)])
def test_sizes_that_make_a_network(nodes, shards) -> None:
    check_shape(nodes, shards)


@pytest.mark.parametrize(
    ("nodes", "shards"), [(3, 4), (0, 100), (-1, 100), (3, 100), (5, 3), (5, 0), (5, 1001), (81, 1000), (11, 10)]
)
def test_sizes_that_make_none(nodes, shards) -> None:
    with pytest.raises(InvalidField, match=r"nodes|shards"):
        check_shape(nodes, shards)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = NetworkFolder(tmp_path_factory.mktemp("net"))
    layout = Layout(20_000, 4)
    shape = found_network(folder, layout, n_shards=10, clock=SystemClock(), rng=SystemRng())
    write_client_file(folder, layout)
    return folder, layout, shape


def test_the_genesis_names_the_committee_and_funds_the_client(town) -> None:
    folder, _, shape = town
    state = Draft(EmptyView())
    state.absorb(build_genesis(Genesis.from_json(folder.genesis_file.read_text()), Bls12381()).writes)
    members = committee(state).members
    assert (len(members), sum(member.weight for member in members)) == (4, 10)
    for wallet in (folder.wallet_file, folder.data_of("gateway") / "wallet.json"):
        assert balance(state, ed25519.address_of(ed25519.public_key(read_secret(wallet)))) > 10**9
    assert folder.require_shape() == shape


def test_every_key_is_its_owners_and_no_two_are_the_same(town) -> None:
    folder, layout, _ = town
    files = [folder.data_of(name) / "keys.json" for name in layout.names if name.startswith("node")]
    files += [folder.wallet_file, folder.data_of("gateway") / "wallet.json", folder.data_of("graphql") / "wallet.json"]
    secrets = []
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        secrets += [value for key, value in read_json(file).items() if key.lower().endswith("secret")]
    assert len(secrets) == len(set(secrets)) == 3 * 4 + 3


def test_clients_are_told_where_everything_listens(town) -> None:
    folder, _, _ = town
    document = read_json(folder.client_file)
    assert document["gateway"] == "http://127.0.0.1:20000"
    assert document["ledger"] == "127.0.0.1:20002"
    assert document["wallet"] == str(folder.wallet_file)


def test_every_process_gets_its_own_folder_and_ports(town) -> None:
    folder, layout, _ = town
    commands = {name: command_of(name, folder, layout) for name in layout.names}
    for option in ("--dir", "--listen", "--metrics"):
        values = [command[command.index(option) + 1] for command in commands.values()]
        assert len(set(values)) == len(layout.names)
    assert commands["node-2"][commands["node-2"].index("--keys") + 1].endswith("nodes/node-2/keys.json")
    assert "secret" not in " ".join(word for command in commands.values() for word in command).lower()
    assert environment_of("node-2")["HAULOUT_PROCESS"] == "node-2"


def test_who_has_no_token_may_store_unless_the_owner_says_otherwise(monkeypatch) -> None:
    monkeypatch.delenv("HAULOUT_ANONYMOUS", raising=False)
    assert environment_of("graphql")["HAULOUT_ANONYMOUS"] == "READ,WRITE_BLOB"
    assert "HAULOUT_ANONYMOUS" not in environment_of("gateway")
    monkeypatch.setenv("HAULOUT_ANONYMOUS", "READ")
    assert environment_of("graphql")["HAULOUT_ANONYMOUS"] == "READ"


def options(folder, *, nodes=None, shards=None, port_base=None) -> UpOptions:
    return UpOptions(folder=folder, n_nodes=nodes, n_shards=shards, port_base=port_base, restart=True)


def test_starting_again_keeps_the_network_and_refuses_another_size(town) -> None:
    folder, _, shape = town
    again, layout, wanted = _prepare(options(folder, nodes=4, shards=10), SystemClock())
    assert (again.chain_id, layout.n_nodes, wanted) == (shape.chain_id, 4, 20_000)
    for sizes in ({"nodes": 5}, {"shards": 11}, {"nodes": 0}):
        with pytest.raises(ShapeChanged, match="another --dir"):
            _prepare(options(folder, **sizes), SystemClock())


@pytest.mark.parametrize("sizes", [{"nodes": 0}, {"shards": 0}, {"port_base": 0}, {"port_base": 70_000}, {"nodes": 3}])
def test_nonsense_founds_nothing(tmp_path, sizes) -> None:
    folder = NetworkFolder(tmp_path / "net")
    with pytest.raises(InvalidField):
        _prepare(options(folder, **sizes), SystemClock())
    assert not folder.root.exists()


def test_a_folder_of_another_version_is_not_started(tmp_path) -> None:
    folder = NetworkFolder(tmp_path)
    write_json(folder.network_file, {"format": 2})
    with pytest.raises(FolderOfAnotherVersion):
        _prepare(options(folder), SystemClock())
