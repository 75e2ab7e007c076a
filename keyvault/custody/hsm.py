"""The root as keys on a PKCS#11 token (OASIS PKCS #11 v2.40), which never leave it.

Each version is one AES-256 key of the token that encrypts and decrypts (CKM_AES_GCM, nonce in front
of what comes out) and can do nothing else: a key that may both decrypt and wrap gives up whatever
it wrapped. The file names library, token and the label its keys begin with, and no secret. One
process holds the token at a time, one call after another: libraries crash otherwise.
"""

import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from keyvault.custody import files
from keyvault.custody.kinds import FOREIGN, LAST, absent, context
from keyvault.errors import CustodyError, SealError

TYPE = "schakel-root-hsm"

_ABOUT = (
    "Where Schakel's root key is: on a token, under labels that begin as said here. It opens with "
    "the token's PIN. The token's own backup is the only copy of it."
)
_NONCE = 12


def create(path: Path, library: str, token: str, pin: str, *, first: int = 1) -> "HsmCustody":
    """Make the first key on a token, and the file that says where it is."""
    document = {
        "type": TYPE,
        "version": 1,
        "about": _ABOUT,
        "library": library,
        "token": token,
        "label": f"schakel-{secrets.token_hex(8)}",
        "last": first,
    }
    files.create(path, document)
    try:
        custody = HsmCustody(path, pin)
    except BaseException:
        path.unlink()
        raise
    custody.generate(first)
    return custody


class PinLock:
    """Waits for the token's PIN."""

    kind = "hsm"
    needed = 1
    held = 0

    def __init__(self, path: Path) -> None:
        self._path = Path(path)

    def offer(self, words: str) -> "HsmCustody":
        """Log in; CustodyError when the token isn't there or the PIN is another."""
        return HsmCustody(self._path, words)


class HsmCustody:
    """Root versions on a token, held by this process alone until `close`."""

    def __init__(self, path: Path, pin: str) -> None:
        self._path = Path(path)
        self._calls = threading.RLock()
        file = files.read(self._path)
        texts = [file.get(name) for name in ("library", "token", "label")]
        if not all(isinstance(text, str) for text in texts) or type(file.get("last")) is not int:
            raise CustodyError(files.damaged(self._path))
        self._library, self._token, self._label = map(str, texts)
        self._pkcs11 = _pkcs11()
        self._holder = _hold(self._path)
        try:
            self._session = self._logged_in(pin)
        except BaseException:
            os.close(self._holder)
            raise

    def __repr__(self) -> str:
        return f"<HsmCustody on {self._token}>"

    def close(self) -> None:
        """Log out, and let another process hold the token."""
        with self._calls:
            self._session.close()
            os.close(self._holder)

    def versions(self) -> tuple[int, ...]:
        """The version numbers on the token now."""
        with self._speaking():
            keys = self._session.get_objects({self._attribute.CLASS: self._secret_key})
            labels = [str(key.label) for key in keys]
        prefix = f"{self._label}-"
        numbers = (label.removeprefix(prefix) for label in labels if label.startswith(prefix))
        return tuple(sorted(int(number) for number in numbers if number.isdecimal()))

    def wrap(self, version: int, data: bytes, aad: bytes) -> bytes:
        """nonce ‖ AES-256-GCM by the token, associated with the version and `aad`."""
        nonce = os.urandom(_NONCE)
        with self._speaking():
            sealed = self._key(version).encrypt(data, **self._gcm(nonce, version, aad))
        return nonce + bytes(sealed)

    def unwrap(self, version: int, wrapped: bytes, aad: bytes) -> bytes:
        """The inverse of `wrap`."""
        nonce, sealed = wrapped[:_NONCE], wrapped[_NONCE:]
        # SoftHSM2 has CKR_GENERAL_ERROR for a tag that doesn't hold.
        wrong = (self._pkcs11.EncryptedDataInvalid, self._pkcs11.EncryptedDataLenRange)
        with self._speaking():
            key = self._key(version)
            try:
                return bytes(key.decrypt(sealed, **self._gcm(nonce, version, aad)))
            except (*wrong, self._pkcs11.GeneralError):
                raise SealError(FOREIGN) from None

    def add(self) -> int:
        """Have the token make another key; the file gets its number before there is one."""
        with self._speaking(), files.locked(self._path):
            file = files.read(self._path)
            version = max(int(file["last"]), *self.versions(), 0) + 1
            files.replace(self._path, {**file, "last": version})
            self.generate(version)
        return version

    def generate(self, version: int) -> None:
        """Have the token make the key of a version that the file has by now."""
        flag = self._pkcs11.MechanismFlag
        with self._speaking():
            self._session.generate_key(
                self._pkcs11.KeyType.AES,
                256,
                label=f"{self._label}-{version}",
                store=True,
                capabilities=flag.ENCRYPT | flag.DECRYPT,
                template=self._guarded,
            )

    def drop(self, version: int) -> None:
        """Destroy a version's key on the token; one that isn't there is no matter."""
        with self._speaking():
            if set(self.versions()) <= {version}:
                raise CustodyError(LAST)
            self._destroy(version)

    def afresh(self) -> "HsmCustody":
        """The token is asked each time, and nothing is remembered of it."""
        return self

    def end(self) -> None:
        """Destroy every version's key on the token, and let go of it."""
        with self._speaking():
            for version in self.versions():
                self._destroy(version)
        self.close()

    def _logged_in(self, pin: str) -> Any:
        """A session of the one user; the PIN stays nowhere."""
        try:
            token = self._pkcs11.lib(self._library).get_token(token_label=self._token)
            return token.open(user_pin=pin, rw=True)
        except (self._pkcs11.PinIncorrect, self._pkcs11.PinLenRange, self._pkcs11.PinInvalid):
            raise CustodyError(
                "That is not the token's PIN. Too many wrong ones lock the token."
            ) from None
        except (self._pkcs11.PKCS11Error, RuntimeError) as fault:
            raise CustodyError(
                f"The token {self._token} can't be opened with {self._library} "
                f"({type(fault).__name__}); see that both are there."
            ) from None

    def _key(self, version: int) -> Any:
        """A version's key, when it is one that this program made."""
        query = {self._attribute.LABEL: f"{self._label}-{version}"}
        found = list(self._session.get_objects(query))
        if len(found) != 1:
            raise CustodyError(absent(version, f"the token {self._token}"))
        key = found[0]
        if any(key[name] != value for name, value in self._guarded.items()):
            raise CustodyError(
                f"Root version {version} on the token could leave it: it was not made by this "
                "program. Find out who put it there."
            )
        return key

    @property
    def _guarded(self) -> dict[Any, bool]:
        """What a root on a token is, and isn't."""
        name = self._attribute
        return {
            name.PRIVATE: True,
            name.SENSITIVE: True,
            name.EXTRACTABLE: False,
            name.WRAP: False,
            name.UNWRAP: False,
        }

    def _destroy(self, version: int) -> None:
        query = {self._attribute.LABEL: f"{self._label}-{version}"}
        for key in list(self._session.get_objects(query)):
            key.destroy()

    def _gcm(self, nonce: bytes, version: int, aad: bytes) -> dict[str, Any]:
        return {
            "mechanism": self._pkcs11.Mechanism.AES_GCM,
            "mechanism_param": self._pkcs11.GCMParams(nonce, context(version, aad), 128),
        }

    @property
    def _attribute(self) -> Any:
        return self._pkcs11.Attribute

    @property
    def _secret_key(self) -> Any:
        return self._pkcs11.ObjectClass.SECRET_KEY

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """One call at a time; what the library says becomes ours."""
        with self._calls:
            try:
                yield
            except self._pkcs11.PKCS11Error as fault:
                raise CustodyError(
                    f"The token {self._token} doesn't answer ({type(fault).__name__}); see that "
                    "it is there, and start the vault again."
                ) from None


def _hold(path: Path) -> int:
    """A lock that ends with this process; CustodyError when another has it."""
    holder = os.open(
        path.with_name(f".{path.name}.holder"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(holder)
        raise CustodyError("Another process holds the token; stop that one first.") from None
    return holder


def _pkcs11() -> Any:
    try:
        return import_module("pkcs11")
    except ImportError:
        raise CustodyError(
            "Custody by a token takes the package python-pkcs11: pip install 'schakel[hsm]'."
        ) from None
