"""Settings of the service, beside those of answering."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from motiontrace.answering.settings import AnsweringSettings
from motiontrace.catalog.settings import apart
from motiontrace.fields import Flag

ADDRESS = re.compile(
    # Each part of the path holds something: it neither ends in a slash nor has two in a row.
    r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[\w.~!$&'()*+,;=:@%-]+)*",
    re.ASCII,
)
MAX_ADDRESS = 500
TOKEN = re.compile(r"[!-~]{1,4096}")
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # hosts that stand for every address of the machine


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[a-z0-9.\[\]:-]+", text):
        raise ValueError(f"{text!r} is no origin: write https://HOST or http://HOST:PORT in lower case, without a path")
    return text


def _address(text: str) -> str:
    if len(text) > MAX_ADDRESS or not ADDRESS.fullmatch(text):  # not quoted: it may hold a password
        raise ValueError(
            "it is no address: write https://HOST, http://HOST:PORT or https://HOST/PATH, without a closing slash, "
            f"a user, a password or a query, in at most {MAX_ADDRESS} characters"
        )
    return text


def _out_of_sight(value: Any) -> SecretStr | None:
    """Errors quote what was given: what is a secret is made one before anything can be found wrong with it."""
    if value is None or isinstance(value, SecretStr):
        return value
    return SecretStr(value if isinstance(value, str) else "")


def _token(token: SecretStr) -> SecretStr:
    if not TOKEN.fullmatch(token.get_secret_value()):  # an HTTP client would quote it in its error
        raise ValueError("it is no text that a token can be: copy it again, without blanks and line ends")
    return token


# A variable that is there but empty, as compose files have them, is a setting left out.
_Given = BeforeValidator(lambda value: None if value == "" else value)
Address = Annotated[Annotated[str, AfterValidator(_address)] | None, _Given]
HiddenToken = Annotated[Annotated[SecretStr, AfterValidator(_token)] | None, BeforeValidator(_out_of_sight), _Given]


class ServiceSettings(AnsweringSettings):
    """Where the service listens and what it accepts; flags, variables and file as in CatalogSettings."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8600, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    requests_per_minute: int = Field(
        default=6000,
        ge=1,
        description="Most requests a minute of an API key that has no rate of its own; each API process counts for"
        " itself.",
    )
    cors_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, apart(None)] = Field(
        default=(), description="Origins of web pages that may call the service from a browser, separated by spaces."
    )
    max_queue: int = Field(default=1000, ge=1, description="Most queries that can wait; further ones are refused.")
    keep_uploads_days: float = Field(
        default=30.0,
        ge=0,
        le=36_500,  # what a date can be reckoned back by
        description="How long a query's video is kept after its end, in days. Answers and gradients are kept.",
    )
    keep_queries_days: Annotated[float | None, Flag(default="for ever")] = Field(
        default=None,
        ge=0,
        le=36_500,
        description="How long a query is kept after its end, in days; each takes a few KB of the database.",
    )
    lease_seconds: float = Field(
        default=30.0,
        ge=1,
        le=86_400,
        description="How long a silent worker keeps its query, in seconds; then another takes it over.",
    )
    max_connections: int = Field(
        default=1024,
        ge=8,
        description="Most connections at once; of those on which nothing is done the oldest gives way to a new one.",
    )
    head_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="How long a request's head may take to come, in seconds."
    )
    stall_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="How long the next piece of a request's body may take to come, or some of an answer to be taken,"
        " in seconds.",
    )
    idle_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="How long a connection is kept open between two requests, in seconds."
    )
    max_streams: int = Field(
        default=100, ge=1, description="Most event streams at once of an API key, or of all callers without one."
    )
    max_wait_seconds: int = Field(
        default=60, ge=0, description="Longest time that 'Prefer: wait' can hold a request open, in seconds."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Form of the log lines: text for people, json for programs."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="From which level on log lines are written: debug, info, warning or error."
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address where `motiontrace worker` serves its metrics, if it does."
    )
    metrics_port: Annotated[int | None, Flag(default="nowhere")] = Field(
        default=None,
        ge=1,
        le=65535,
        description="TCP port where `motiontrace worker` serves its metrics; `serve` has them at /metrics.",
    )
    public_url: Annotated[Address, Flag(default="http://HOST:PORT")] = Field(
        default=None,
        description="Where browsers reach this service: links that labelling tools are given begin with it.",
    )
    media_link_days: float = Field(
        default=30.0,
        gt=0,
        le=36_500,
        description="How long a labelling tool's link to a clip's video works, in days, to the end of the day (UTC).",
    )
    label_studio_url: Address = Field(default=None, description="Label Studio's address as the service reaches it.")
    label_studio_public_url: Annotated[Address, Flag(default="label_studio_url")] = Field(
        default=None, description="Label Studio's address as browsers reach it."
    )
    label_studio_token: HiddenToken = Field(
        default=None,
        description="Access token of a user of Label Studio, personal or legacy. Never a flag: a list of"
        " processes shows flags.",
    )
    label_studio_callback_url: Annotated[Address, Flag(default="public_url")] = Field(
        default=None, description="Where Label Studio's server reaches this service, to report changes."
    )

    @property
    def public_address(self) -> str:
        """Where browsers reach this service, without a closing slash."""
        if self.public_url is not None:
            return self.public_url
        host = "127.0.0.1" if self.host in WILDCARDS else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def callback_address(self) -> str:
        """Where Label Studio's server reaches this service, without a closing slash."""
        return self.label_studio_callback_url or self.public_address

    @property
    def label_studio_public_address(self) -> str | None:
        """Where browsers reach Label Studio, without a closing slash; None where no Label Studio is named."""
        return self.label_studio_public_url or self.label_studio_url
