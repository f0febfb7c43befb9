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
        description="Requests a minute of a key without a rate of its own, at each API process.",
    )
    cors_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, apart(None)] = Field(
        default=(), description="Origins of web pages that may call from a browser, separated by spaces."
    )
    max_queue: int = Field(default=1000, ge=1, description="Most queries that wait; further ones are refused.")
    keep_uploads_days: float = Field(
        default=30.0,
        ge=0,
        le=36_500,  # what a date can be reckoned back by
        description="Days that a query's video is kept after its end.",
    )
    keep_queries_days: Annotated[float | None, Flag(default="for ever")] = Field(
        default=None,
        ge=0,
        le=36_500,
        description="Days that a query is kept after its end, at a few KB each.",
    )
    lease_seconds: float = Field(
        default=30.0,
        ge=1,
        le=86_400,
        description="Seconds after which a silent worker's query goes to another.",
    )
    max_connections: int = Field(
        default=1024,
        ge=8,
        description="Most connections at once; the oldest idle one gives way.",
    )
    head_seconds: float = Field(default=10.0, gt=0, le=3600, description="Seconds for a request's head to arrive.")
    stall_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds for the next piece of a body to arrive, or of an answer to be taken.",
    )
    idle_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="Seconds that a connection stays open between requests."
    )
    max_streams: int = Field(
        default=100, ge=1, description="Most event streams of an API key, or of all callers without one."
    )
    max_wait_seconds: int = Field(default=60, ge=0, description="Longest 'Prefer: wait', seconds.")
    log_format: Literal["text", "json"] = Field(
        default="text", description="Log lines as text for people, or json for programs."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged: debug, info, warning or error."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of the metrics of `motiontrace worker`.")
    metrics_port: Annotated[int | None, Flag(default="nowhere")] = Field(
        default=None,
        ge=1,
        le=65535,
        description="TCP port of the metrics of `motiontrace worker`; `serve` has /metrics.",
    )
    public_url: Annotated[Address, Flag(default="http://HOST:PORT")] = Field(
        default=None,
        description="This service's address for browsers; links for labelling tools begin with it.",
    )
    media_link_days: float = Field(
        default=30.0,
        gt=0,
        le=36_500,
        description="Days that a labelling tool's link to a video works, to the end of the day (UTC).",
    )
    label_studio_url: Address = Field(default=None, description="Label Studio's address for the service.")
    label_studio_public_url: Annotated[Address, Flag(default="label_studio_url")] = Field(
        default=None, description="Label Studio's address for browsers."
    )
    label_studio_token: HiddenToken = Field(
        default=None,
        description="Label Studio's access token, personal or legacy; it has no flag.",
    )
    label_studio_callback_url: Annotated[Address, Flag(default="public_url")] = Field(
        default=None, description="This service's address for Label Studio's server, to report changes."
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
