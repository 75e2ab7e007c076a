"""What an operator may set; everything has a default that works on one machine."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


@dataclass(frozen=True)
class Clock:
    """The time that everything is decided by. `shift` lets a rehearsal live in another year."""

    shift: timedelta = timedelta(0)

    def now(self) -> datetime:
        """The present moment, aware and in UTC."""
        return datetime.now(UTC) + self.shift


class Settings(BaseSettings):
    """Read from the environment (`SCHAKEL_DATA=…`), never from a file of the working folder."""

    model_config = SettingsConfigDict(env_prefix="SCHAKEL_", frozen=True)

    data: Path = Path("var/schakel")
    """Database, objects and (with file custody) the root key live below it."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8470
    issuer: str = "https://schakel.invalid"
    """Who signs tokens and receipts; also the audience that client assertions name."""
    longest_upload: int = 64 * 2**30
    """Bytes of one encrypted delivery at most."""
    longest_parquet: int = 256 * 2**20
    """Bytes of one Parquet extract at most: it is held in memory while it is read."""
    most_records: int = 50_000_000
    """Records of one delivery at most: each costs intake eight bytes of memory."""
    upload_days: int = 7
    """How long an upload may stand still before it is given up and its bytes are removed."""
    open_uploads: int = 50
    """How many uploads one organisation may have under way at a time."""
    token_seconds: int = 600
    lease_seconds: int = 60
    """How long a worker may stay silent before another takes its job over."""
    role_users: str = ""
    """Which user each process role runs as, `api=schakel-api,intake=1002,…` (names or numbers).

    The vault's process lets nobody else in; without it, its own user alone, who may take any role.
    """
    vault_socket: Path | None = None
    """Where the vault's process listens; in `run` below `data` unless set.

    A folder somewhere else has to be the vault's user's, and closed to everybody but the group:
    who can put a socket there can pass for the vault.
    """
    behind_proxy: bool = False
    certificate: Path | None = None
    certificate_key: Path | None = None

    @property
    def database(self) -> str:
        """URL of the service's own database."""
        return f"sqlite:///{self.data / 'schakel.sqlite'}"

    @property
    def objects(self) -> Path:
        """Folder of stored objects: ciphertext all of it."""
        return self.data / "objects"

    @property
    def socket(self) -> Path:
        """The Unix socket of the vault's process."""
        return self.vault_socket or self.data / "run" / "vault.sock"

    @property
    def root_key(self) -> Path:
        """File custody's root key, beside and not inside what gets backed up as data."""
        return self.data / "keys" / "root.json"
