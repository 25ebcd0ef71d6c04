import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.address import Address, bind, bound_address
from gateway.cli import main
from gateway.up.cli import _NOTHING, resolve


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="acs-ingest", env=environment)


def write_certificate(folder: Path, *, passphrase: bytes | None = None) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    return cert_file, key_file


def test_nothing_given_is_the_default_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = resolve(_NOTHING)
    assert ("127.0.0.1:8080", "127.0.0.1:9464") == (str(plan.listen), str(plan.admin))
    assert (1, 30, tmp_path / "data") == (plan.gateways, plan.drain_s, plan.data)
    assert ["record", "finish"] == list(plan.pools)


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[up]\nlisten = '[::1]:1'\ngateways = 2\ndrain_s = 5\nadmin = 'off'\n")
    from_file = resolve({**_NOTHING, "config": file})
    assert (2, 5, "[::1]:1", None) == (
        from_file.gateways,
        from_file.drain_s,
        str(from_file.listen),
        from_file.admin,
    )
    plan = resolve(
        {
            **_NOTHING,
            "config": file,
            "gateways": 3,
            "drain_s": 7.0,
            "listen": "127.0.0.1:2",
            "admin": "127.0.0.1:3",
            "data": tmp_path,
        }
    )
    assert (3, 7, "127.0.0.1:2", "127.0.0.1:3", tmp_path) == (
        plan.gateways,
        plan.drain_s,
        str(plan.listen),
        str(plan.admin),
        plan.data,
    )


def test_check_says_ok_and_what_follows(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[pools.live]\nprocesses = 2\n[up]\ndata = '/var/x'\nlisten = '0.0.0.0:80'\n")
    result = run("check", "--config", str(file))
    lines = result.stdout.splitlines()
    assert 0 == result.exit_code
    assert "ok" == lines[0]
    assert "listen     ws://0.0.0.0:80/media" in lines
    assert "data       /var/x" in lines
    assert "pool       record: 1 x replay" in lines
    assert "pool       live: 2 x newest" in lines


@pytest.mark.parametrize("command", ["check", "up"])
def test_faulty_file_is_one_line_with_its_path_before_anything_starts(
    tmp_path: Path, command: str
) -> None:
    file = tmp_path / "acs-ingest.toml"
    file.write_text("[up]\ngateways = 0\n")
    result = run(command, "--config", str(file))
    assert 78 == result.exit_code
    assert f"Error: {file}: [up] gateways: Expected int >= 1\n" == result.stderr
    assert [file] == list(tmp_path.iterdir())


def test_options_come_from_the_environment_too(tmp_path: Path) -> None:
    result = run("up", ACS_INGEST_UP_LISTEN=":1", ACS_INGEST_UP_DATA=str(tmp_path))
    assert 2 == result.exit_code
    assert "Invalid value for --listen: ':1' names no host" in result.stderr


@pytest.mark.parametrize(
    "options", [["--listen", "0.0.0.0:0"], ["--listen", "127.0.0.1:0", "--admin", "[::]:0"]]
)
def test_address_beyond_loopback_is_refused_with_the_way_out(
    tmp_path: Path, options: list[str]
) -> None:
    result = run("up", "--data", str(tmp_path), *options)
    assert 78 == result.exit_code
    assert 1 == result.stderr.count("\n")
    assert "--insecure" in result.stderr


@pytest.mark.parametrize(
    ("option", "way_out"), [("--listen", "with --listen"), ("--admin", "none with --admin off")]
)
def test_port_in_use_is_one_line_with_the_way_out(
    tmp_path: Path, option: str, way_out: str
) -> None:
    with bind(Address("127.0.0.1", 0), option) as taken:
        address = str(bound_address(taken))
        options = {"--listen": "127.0.0.1:0", "--admin": "127.0.0.1:0", option: address}
        arguments = [part for pair in options.items() for part in pair]
        result = run("up", "--data", str(tmp_path / "data"), *arguments)
    assert 69 == result.exit_code
    assert 1 == result.stderr.count("\n")
    assert f"cannot listen on {address}: Address already in use" in result.stderr
    assert way_out in result.stderr


def test_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    result = run(
        "up", ACS_INGEST_UP_LISTEN="127.0.0.1:0", ACS_INGEST_UP_DATA=str(tmp_path / "data" / "x")
    )
    assert (69, 1) == (result.exit_code, result.stderr.count("\n"))


def test_certificate_and_key_of_the_file_are_tried(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    file = tmp_path / "a.toml"
    file.write_text(f"[gateway]\ntls_cert = '{cert}'\ntls_key = '{key}'\n")
    assert (cert, key) == resolve({**_NOTHING, "config": file}).tls
    assert "wss://127.0.0.1:8080/media" in run("check", "--config", str(file)).stdout
    key.unlink()
    result = run("check", "--config", str(file))
    assert 78 == result.exit_code
    assert f"{key} cannot be read: No such file or directory" in result.stderr


def test_certificate_without_a_key_is_a_usage_error(tmp_path: Path) -> None:
    cert, _ = write_certificate(tmp_path)
    result = run("up", "--tls-cert", str(cert), "--data", str(tmp_path))
    assert 2 == result.exit_code
    assert "--tls-cert and --tls-key go together" in result.stderr


def test_key_with_a_passphrase_is_refused_without_asking(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path, passphrase=b"secret")
    result = run("up", "--tls-cert", str(cert), "--tls-key", str(key), "--data", str(tmp_path))
    assert (78, 1) == (result.exit_code, result.stderr.count("\n"))
    assert "without a passphrase" in result.stderr
