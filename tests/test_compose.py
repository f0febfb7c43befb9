"""docker-compose.yml as docker compose itself reads it, and the files beside it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from motiontrace import cli
from motiontrace.commands.options import parameters
from motiontrace.doctor.installation import given_settings
from motiontrace.service.labeling.label_studio.connection import connect
from motiontrace.service.settings import ServiceSettings

ROOT = Path(__file__).parents[1]
COMPOSE = Path(sys.executable).with_name("docker-compose")  # the program alone: it needs no Docker to read a file
EVERYTHING = ("--profile", "*")
JOBS = {"migrate", "demo", "index", "index-gpu", "prometheus-key"}


def compose(*arguments: str, env_file: Path = ROOT / ".env.example", **environment: str) -> dict[str, Any]:
    command = [COMPOSE, "--project-directory", ROOT, "--env-file", env_file, *arguments, "config", "--format", "json"]
    run = subprocess.run(command, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True)
    if run.returncode:
        raise ValueError(run.stderr)
    configuration: dict[str, Any] = json.loads(run.stdout)
    return configuration


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(*EVERYTHING)["services"]
    return found


def test_without_a_profile_there_is_what_a_service_needs() -> None:
    assert set(compose()["services"]) == {"postgres", "migrate", "api", "worker"}


@pytest.mark.parametrize(
    ("profile", "added"),
    [
        ("demo", {"demo"}),
        ("index", {"index"}),
        ("gpu", {"worker-gpu", "index-gpu"}),
        ("labeling", {"label-studio"}),
        ("observability", {"prometheus-key", "prometheus"}),
    ],
)
def test_each_profile_adds_its_services(profile: str, added: set[str]) -> None:
    assert set(compose("--profile", profile)["services"]) - set(compose()["services"]) == added


def test_nothing_is_published_beyond_this_machine(services: dict[str, dict[str, Any]]) -> None:
    published = {name: each for name, service in services.items() for each in service.get("ports", [])}
    assert set(published) == {"api", "label-studio", "prometheus"}
    assert {port["host_ip"] for port in published.values()} == {"127.0.0.1"}


def test_every_service_is_confined(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        user, _, group = service["user"].partition(":")
        assert int(user) > 0 and int(group) > 0, name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged") and not service.get("cap_add"), name
        limits = service["deploy"]["resources"]["limits"]
        assert float(limits["cpus"]) > 0 and int(limits["memory"]) > 0 and limits["pids"] > 0, name


def test_a_service_is_restarted_and_looked_after_and_a_job_is_not(services: dict[str, dict[str, Any]]) -> None:
    image_checks = "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()
    for name, service in services.items():
        assert "container_name" not in service, f"{name} could not be scaled"
        if name in JOBS:
            assert (service["restart"], service["healthcheck"]) == ("no", {"disable": True}), name
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"] if name != "api" else image_checks, name
            assert service["stop_grace_period"] in ("30s", "1m0s"), name


def test_only_what_is_called_or_fetches_models_has_a_way_out(services: dict[str, dict[str, Any]]) -> None:
    assert compose(*EVERYTHING)["networks"]["backend"]["internal"]
    outside = {name for name, service in services.items() if set(service["networks"]) != {"backend"}}
    assert outside == {"api", "label-studio", "prometheus", "index", "index-gpu"}


def test_the_admin_key_is_seen_by_the_job_that_makes_it_only(services: dict[str, dict[str, Any]]) -> None:
    def mounting(volume: str) -> set[str]:
        return {name for name, service in services.items() for each in service["volumes"] if each["source"] == volume}

    assert mounting("keys") == {"migrate"}
    assert mounting("prometheus-key") == {"prometheus-key", "prometheus"}


def test_clips_models_and_demo_have_one_path_wherever_they_are_read(services: dict[str, dict[str, Any]]) -> None:
    readers = ("api", "worker", "worker-gpu", "index", "index-gpu")
    mounts = [{each["target"]: each for each in services[name]["volumes"]} for name in readers]
    assert all(mount == mounts[0] for mount in mounts)
    assert {target for target, each in mounts[0].items() if each.get("read_only")} == {"/clips", "/models", "/demo"}
    demo = {each["target"]: each["source"] for each in services["demo"]["volumes"]}
    assert demo == {"/data": "home", "/demo": "demo"}


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MOTIONTRACE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def verbs() -> Any:
    cli.register()
    return typer.main.get_command(cli.app)


@pytest.mark.usefixtures("no_settings")
def test_the_variables_that_containers_get_are_settings(
    services: dict[str, dict[str, Any]], verbs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            monkeypatch.setenv(name, value)
    findings = [finding for finding in given_settings(parameters(verbs)) if finding.level != "ok"]
    assert not findings


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize(
    "name", ["migrate", "api", "worker", "demo", "index", "worker-gpu", "index-gpu", "prometheus-key"]
)
def test_the_commands_of_containers_can_be_parsed(name: str, verbs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = compose(*EVERYTHING, INDEX_MODEL="/models/wan", INDEX_NAME="wan")["services"][name]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    entrypoint, command = service["entrypoint"] or ["motiontrace"], service["command"]
    lines = [shlex.split(line) for line in command[0].split(";")] if entrypoint[0] == "sh" else [entrypoint + command]
    for program, *arguments in lines:
        assert program == "motiontrace"
        verb = verbs
        while hasattr(verb, "commands"):
            verb = verb.commands[arguments.pop(0)]
        verb.make_context("motiontrace", arguments)  # fails where an option is unknown, wrong or missing


def settings_of(service: dict[str, Any]) -> ServiceSettings:
    """The settings that a container has."""
    given = {name.lower().removeprefix("motiontrace_"): value for name, value in service["environment"].items()}
    return ServiceSettings(**{name: value for name, value in given.items() if name in ServiceSettings.model_fields})


@pytest.mark.usefixtures("no_settings")
def test_without_a_token_label_studio_is_off(services: dict[str, dict[str, Any]]) -> None:
    assert connect(settings_of(services["api"])) is None
    assert not services["label-studio"]["environment"]["LABEL_STUDIO_PASSWORD"]  # and makes no user then


@pytest.mark.usefixtures("no_settings")
def test_the_api_and_label_studio_find_each_other(services: dict[str, dict[str, Any]]) -> None:
    token = "0123456789abcdef0123456789abcdef01234567"
    given = compose(*EVERYTHING, LABEL_STUDIO_TOKEN=token)["services"]
    settings, studio = settings_of(given["api"]), given["label-studio"]
    assert settings.label_studio_token is not None
    assert settings.label_studio_token.get_secret_value() == token == studio["environment"]["LABEL_STUDIO_USER_TOKEN"]

    api = given["api"]
    aliases = {*api["networks"]["frontend"]["aliases"], "api"}
    called = urlsplit(settings.callback_address)
    assert called.hostname in aliases and "." in called.hostname  # Label Studio takes no other
    assert called.port == api["ports"][0]["target"]
    assert settings.label_studio_url == f"http://label-studio:{studio['ports'][0]['target']}"
    assert settings.public_address == f"http://127.0.0.1:{api['ports'][0]['published']}"
    assert settings.label_studio_public_address == f"http://127.0.0.1:{studio['ports'][0]['published']}"


def test_label_studio_reaches_the_api_and_neither_the_database_nor_itself(services: dict[str, dict[str, Any]]) -> None:
    studio = services["label-studio"]
    assert set(studio["networks"]) == {"frontend"}
    banned = [ip_network(each) for each in studio["environment"]["USER_ADDITIONAL_BANNED_SUBNETS"].split(",")]

    def is_banned(address: str) -> bool:
        return any(ip_address(address) in network for network in banned)

    assert not is_banned("172.18.0.2") and not is_banned("192.168.16.2")  # Docker's networks
    closed = ("127.0.0.1", "0.0.0.0", "169.254.169.254", "10.0.0.1", "100.64.0.1", "::1", "fe80::1", "fd00::1")
    assert all(map(is_banned, closed))


def test_label_studio_is_of_the_version_that_tests_run_against(services: dict[str, dict[str, Any]]) -> None:
    version = services["label-studio"]["image"].partition(":")[2]
    assert f"label-studio=={version}" in (ROOT / "tests" / "labeling" / "constraints.txt").read_text().splitlines()


def test_the_example_sets_every_variable_to_its_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = dict(re.findall(r"\$\{(\w+):[-?]([^}]*)\}", text))
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert "password" not in used.pop("POSTGRES_PASSWORD") and example.pop("POSTGRES_PASSWORD")
    assert example == used
    assert "$" not in re.sub(r"\$\{\w+:[-?][^}]*\}", "", text)


def test_without_a_password_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    with pytest.raises(ValueError, match=r"copy \.env\.example to \.env"):
        compose(env_file=tmp_path / ".env")


def test_a_misspelt_key_is_found(tmp_path: Path) -> None:
    """Else the checks above would say little."""
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    file = tmp_path / "docker-compose.yml"
    file.write_text(file.read_text().replace("    shm_size:", "    shm_sise:"))
    with pytest.raises(ValueError, match="shm_sise"):
        compose("--file", str(file))


def test_prometheus_asks_for_metrics_that_there_are() -> None:
    alerts = yaml.safe_load((ROOT / "docker" / "alerts.yml").read_text())
    expressions = " ".join(rule["expr"] for group in alerts["groups"] for rule in group["rules"])
    asked = {name.removesuffix("_count") for name in re.findall(r"motiontrace_\w+", expressions)}
    documented = set(re.findall(r"^\| `(motiontrace_\w+)`", (ROOT / "docs" / "operations.md").read_text(), re.M))
    assert asked and asked <= documented


def test_prometheus_scrapes_the_ports_that_services_listen_on(services: dict[str, dict[str, Any]]) -> None:
    scrapes = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())["scrape_configs"]
    api, worker, itself = scrapes
    assert api["static_configs"][0]["targets"] == [f"api:{services['api']['ports'][0]['target']}"]
    assert worker["dns_sd_configs"][0]["names"] == ["worker", "worker-gpu"]
    assert str(worker["dns_sd_configs"][0]["port"]) == services["worker"]["environment"]["MOTIONTRACE_METRICS_PORT"]
    assert itself["static_configs"][0]["targets"] == [f"localhost:{services['prometheus']['ports'][0]['target']}"]


def test_the_image_holds_every_room() -> None:
    rooms = sorted(link.name for link in (ROOT / "motiontrace").iterdir() if link.is_symlink())
    assert {"indexer", "migrations", "service"} <= set(rooms)
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^COPY \. \.$", dockerfile, re.M)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in ("motiontrace", *rooms)} <= set(allowed)
    assert re.findall(r"^USER (.*)$", dockerfile, re.M) == ["10001:10001", "10001:10001"]
