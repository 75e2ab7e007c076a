"""Fifty planted people go through everything that the service does, and through what goes wrong."""

import base64
import csv
import hashlib
import io
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyrage

from api.client import ServiceRefusal
from api.demo.extracts import ExtractFile
from linkage.datasets import Dataset
from tests.api.house import refusal_of
from tests.api.tus import half_sent, patch, send
from tests.traces.plants import Plant, plants
from tests.traces.service import Watched

WORK, CHILDREN = "employment-service", "child-benefit"
COUNT = 50


def digits(text: str) -> str:
    """A national number without its punctuation."""
    return "".join(sign for sign in text if sign.isdecimal())


class Planted:
    """The demo's extracts, with fifty of their people renamed to plants."""

    def __init__(self, house: Watched, seed: int) -> None:
        work, children = (house.story.truths[name, "2024"] for name in (WORK, CHILDREN))
        in_both = {digits(row["insz"]) for row in _rows(children, ";")} & {
            digits(row["rijksregisternummer"]) for row in _rows(work, ",")
        }
        numbers = sorted(number for number in in_both if len(number) == 11)
        others = {digits(row["insz"]) for row in _rows(children, ";")} - set(numbers)
        numbers += sorted(number for number in others if len(number) == 11)
        self.people = plants(seed, numbers[:COUNT])
        self._by_number = {plant.number: plant for plant in self.people}
        self.files = {WORK: self._work(work), CHILDREN: self._children(children)}

    @property
    def texts(self) -> list[str]:
        """Everything that must be found nowhere."""
        return [text for plant in self.people for text in plant.texts]

    def _work(self, file: ExtractFile) -> ExtractFile:
        """With a phone, an e-mail and a remark that holds both."""
        rows = list(_rows(file, ","))
        for row in rows:
            row.update({"telefoon": "", "email": "", "opmerking": ""})
            plant = self._by_number.get(digits(row["rijksregisternummer"]))
            if plant is not None:
                row.update(
                    voornaam=plant.first_name, achternaam=plant.last_name, straat=plant.street,
                    nummer=plant.house_number, telefoon=plant.phone, email=plant.email,
                    opmerking=f"{plant.first_name} {plant.last_name} belt met {plant.phone}",
                )  # fmt: skip
        mapping = file.dataset.to_mapping()
        mapping["variables"] = [
            *mapping["variables"],
            {"name": "telefoon", "role": "identifier", "type": "phone", "title": {"en": "Phone"}},
            {"name": "email", "role": "identifier", "type": "email", "title": {"en": "E-mail"}},
            {"name": "opmerking", "role": "other", "type": "text", "title": {"en": "Remark"}},
        ]
        return replace(file, content=_written(rows, ","), dataset=Dataset.from_mapping(mapping))

    def _children(self, file: ExtractFile) -> ExtractFile:
        rows = list(_rows(file, ";"))
        for row in rows:
            for number, first, last in (
                ("insz", "voornaam", "naam"),
                ("moeder_insz", "moeder_voornaam", "moeder_naam"),
                ("vader_insz", "vader_voornaam", "vader_naam"),
            ):
                plant = self._by_number.get(digits(row[number]))
                if plant is not None:
                    row.update({first: plant.first_name, last: plant.last_name})
                    row.update(straat=plant.street, huisnummer=plant.house_number)
        return replace(file, content=_written(rows, ";"))


def _rows(file: ExtractFile, delimiter: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(file.content.decode()), delimiter=delimiter)


def _written(rows: Sequence[dict[str, str]], delimiter: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def faulty(file: ExtractFile, plant: Plant) -> dict[str, bytes]:
    """Files with faults that tempt a program to show what it read, by what is wrong with them."""
    content = file.content
    head, _, rest = content.partition(b"\r\n")
    first, _, more = rest.partition(b"\r\n")
    name = f"{plant.first_name} {plant.last_name}".encode()
    cells = first.split(b'","')
    return {
        "no header": rest,
        "a name as header": head.replace(b"voornaam", name) + b"\r\n" + rest,
        "a number as header": head.replace(b"email", plant.number.encode()) + b"\r\n" + rest,
        "names twice in the header": b",".join([name] * 15) + b"\r\n" + rest,
        "a field too many": head + b"\r\n" + first + b',"' + name + b'"\r\n' + more,
        "an open quote": head + b'\r\n"' + name + b"\r\n" + rest,
        "a name as date": b"\r\n".join([head, b'","'.join([*cells[:3], name, *cells[4:]]), more]),
        "a name as code": b"\r\n".join([head, b'","'.join([*cells[:9], name, *cells[10:]]), more]),
        "a number as place": b"\r\n".join(
            [head, b'","'.join([*cells[:8], plant.number.encode(), *cells[9:]]), more]
        ),
        "half a letter": content.replace(name[:6], name[:5] + b"\xc3\x81\x8d"),
        "two bytes a letter": content.decode().encode("utf-16")[:-1],
        "a null byte": content.replace(name[:6], name[:6] + b"\0"),
        "nothing but names": b"\r\n".join([name] * 400),
        "no line ends": content.replace(b"\r\n", b" "),
        "like Parquet": b"PAR1" + content + b"PAR1",
    }


def _parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


class Telling:
    """What happens, chapter by chapter."""

    def __init__(self, house: Watched, planted: Planted) -> None:
        self.house, self.planted = house, planted
        self.plant, self.other = planted.people[0], planted.people[1]
        self.everything = "\n".join(planted.texts)

    def _armed(self, site: str, kind: str = "ValueError") -> None:
        self.house.arm(site, kind, self.everything)

    def _passed(self, site: str) -> None:
        assert not self.house.armed(site), f"nobody passed {site}"

    # -- deliveries -------------------------------------------------------------------------------

    def holders_check_and_deliver(self) -> None:
        """At their own terminal, with faults and crashes in the worker at its most tempting."""
        house, outside = self.house, self.house.outside
        for name, holder in ((WORK, "holder-vdab"), (CHILDREN, "holder-groeipakket")):
            file = self.planted.files[name]
            declared, extract = outside / f"{name}.yaml", outside / f"{name}.csv"
            declared.write_text(json.dumps(file.dataset.to_mapping()))
            extract.write_bytes(file.content)
            house.terminal(holder, "dataset", "add", str(declared))
            house.terminal(holder, "--json", "check", str(extract), "--dataset", str(declared))
        for site, kind in (
            ("object-for-linkage", "ValueError"), ("object-for-release", "Panic"),
        ):  # fmt: skip
            self._armed(site, kind)
        told = house.terminal("holder-vdab", "--json", "upload", str(outside / f"{WORK}.csv"),
                              "--dataset", WORK, "--period", "2024")  # fmt: skip
        assert json.loads(told)["state"] == "accepted"
        self._passed("object-for-linkage")
        self._passed("object-for-release")

    def a_worker_is_killed(self) -> None:
        """`kill -9` with everything in its memory; the next one finishes."""
        house = self.house
        house.arm("object-for-release", "wait", "")
        holder = house["holder-groeipakket"]
        sealed = house.outside / "killed.age"
        holder.encrypt(house.outside / f"{CHILDREN}.csv", sealed)
        location = holder.open_upload(sealed, CHILDREN, "2024")
        holder.send(location, sealed)
        for _ in range(600):
            if house.held:
                break
            time.sleep(0.05)
        assert house.held
        os.kill(house.held, signal.SIGKILL)
        (house.faults / "held").unlink()
        assert holder.wait_delivery(location.rpartition("/")[2])["state"] == "accepted"

    def faulty_files_are_rejected(self) -> None:
        """With a report by row, variable and reason, at the holder's terminal and at ours."""
        house, file = self.house, self.planted.files[WORK]
        for place, (what, content) in enumerate(faulty(file, self.plant).items()):
            extract = house.outside / f"faulty-{place}.csv"
            extract.write_bytes(content)
            declared = str(house.outside / f"{WORK}.yaml")
            if place % 3 == 0:
                form = ("--json",) if place % 2 else ()
                house.terminal(
                    "holder-vdab", *form, "check", str(extract), "--dataset", declared, code=1
                )
            assert self._delivered(extract)["state"] == "rejected", what

    def parquet_is_taken_too(self) -> None:
        """The same rows, unpacked by a process of their own; then cut, and with a null column."""
        rows = list(_rows(self.planted.files[WORK], ","))
        table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
        for what, made, state in (
            ("half of it", _parquet(table)[:20_000], "rejected"),
            ("a name for a column", _parquet(table.rename_columns([
                self.plant.last_name, *table.column_names[1:]])), "rejected"),
            ("names for dates", _parquet(table.set_column(
                3, "geboortedatum", table["achternaam"])), "rejected"),
            ("all of it", _parquet(table), "accepted"),
        ):  # fmt: skip
            extract = self.house.outside / "rows.parquet"
            extract.write_bytes(made)
            delivered = self._delivered(extract, period="2020")
            assert delivered["state"] == state, (what, delivered["report"])

    def damaged_files_are_rejected(self) -> None:
        """Cut, changed, encrypted to another, or not at all."""
        house, holder = self.house, self.house["holder-vdab"]
        extract = house.outside / f"{WORK}.csv"
        sealed = house.outside / "sealed.age"
        holder.encrypt(extract, sealed)
        whole = sealed.read_bytes()
        foreign = pyrage.x25519.Identity.generate().to_public()
        changed = bytearray(whole)
        changed[len(changed) // 2] ^= 1
        rows = extract.read_bytes()
        for content in (
            whole[: len(whole) // 2],
            bytes(changed),
            pyrage.encrypt(rows, [foreign]),
        ):
            sealed.write_bytes(content)
            location = holder.open_upload(sealed, WORK, "2023")
            holder.send(location, sealed)
            state = holder.wait_delivery(location.rpartition("/")[2])["state"]
            assert state == "rejected"
        location = holder.open_upload(extract, WORK, "2023")
        assert refusal_of(lambda: holder.send(location, extract)).type == "plaintext-upload"
        magic = (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n")
        for piece in (
            rows[:1],
            rows[:3000],
            self.everything.encode(),
            *((m + rows)[:5000] for m in magic),
        ):
            assert patch(holder, location, 0, piece).status_code == 415
        assert send(holder, "DELETE", location).status_code == 204

    def _delivered(self, extract: Path, period: str = "2023") -> dict[str, Any]:
        holder, sealed = self.house["holder-vdab"], extract.with_suffix(".age")
        holder.encrypt(extract, sealed)
        location = holder.open_upload(sealed, WORK, period)
        holder.send(location, sealed)
        return holder.wait_delivery(location.rpartition("/")[2])

    def uploads_are_cut(self) -> None:
        """One line breaks and the upload stays open, one is given up with bytes on their way."""
        house, holder = self.house, self.house["holder-vdab"]
        sealed = house.outside / "cut.age"
        holder.encrypt(house.outside / f"{WORK}.csv", sealed)
        whole = sealed.read_bytes()
        for given_up in (False, True):
            location = holder.open_upload(sealed, WORK, "2022")
            with half_sent(holder, location, 0, whole[:9000], len(whole)):
                if given_up:
                    assert send(holder, "DELETE", location).status_code == 204

    # -- permits and releases ---------------------------------------------------------------------

    def releases_are_built_and_refused(self) -> str:
        """With exceptions in linkage and in the building of the release."""
        house = self.house
        permit = house.granted("traces", **self._asked())
        sites = ("link", "object-for-linkage", "object-for-release")
        for site, kind in zip(sites, ("KeyError", "Panic", "ValueError"), strict=True):
            self._armed(site, kind)
        release = house.built(permit)
        assert release["state"] == "built", release["refusal"]
        for site in sites:
            self._passed(site)
        strict = {**self._asked(), "thresholds": {"k": 100, "suppression": 0.0}}
        refused = house.built(house.granted("traces-strict", **strict))
        assert refused["state"] == "refused"
        house.terminal("statistician-2", "--json", "release", "list")
        self._armed("object-for-api", "ValueError")
        house.story.clear(house, release)
        self._passed("object-for-api")
        return str(release["id"])

    def _asked(self) -> dict[str, Any]:
        """The demo's request for the two datasets that are here."""
        document = self.house.application("traces")
        datasets = [entry for entry in document["datasets"] if entry["id"] in (WORK, CHILDREN)]
        scenario = {**document["scenario"], "sensitive": ["status", "in_education"]}
        return {
            "datasets": [{**entry, "periods": ["2024"]} for entry in datasets],
            "scenario": scenario,
        }

    def free_text_is_refused(self) -> None:
        """A remark that names people is asked for, and doesn't come."""
        document = self.house.application("remarks", **self._asked())
        entry = next(each for each in document["datasets"] if each["id"] == WORK)
        entry["variables"].append({"name": "opmerking", "as": "remark", "rule": [{"keep": {}}]})
        try:
            permit = self.house.story.granted(self.house, "researcher-1", document)
        except ServiceRefusal:
            return  # the minimum coarsening lets no free text into a permit
        assert self.house.built(permit)["state"] == "refused"

    def a_release_is_downloaded(self, release: str) -> dict[str, bytes]:
        """By its recipient, at their own terminal; the opened package comes back."""
        house = self.house
        identity = house.outside / "identity.txt"
        identity.write_text(f"{house.identities['researcher-1']}\n")
        house.terminal("researcher-2", "download", release, "--identity", str(identity),
                       "--out", str(house.outside / "stolen"), code=1)  # fmt: skip
        house.terminal("researcher-1", "--json", "download", release, "--identity", str(identity),
                       "--out", str(house.outside / "package"))  # fmt: skip
        return dict(house.package(release).files)

    def the_ledger_is_read(self) -> None:
        """By an auditor over HTTP, by a holder at a terminal, and from the folder itself."""
        house = self.house
        for path in ("/ledger?most=10000", "/ledger/refusals", "/ledger/strangers", "/jobs"):
            house.ask("GET", path, person="auditor-1")
            house.ask("GET", path, person="admin-1")
        house.terminal("holder-vdab", "--json", "ledger", "verify")
        house.terminal("auditor-1", "ledger", "verify", "--data", str(house.settings.data))

    # -- callers who err --------------------------------------------------------------------------

    def callers_put_names_in_odd_places(self) -> None:
        """Paths, queries, headers, metadata, fields and keys of JSON, tokens, broken requests."""
        house = self.house
        routes = house.ask("GET", "/openapi.json").json()["paths"]
        for place, text in enumerate((*self.plant.texts[2:4], *self.other.texts[4:])):
            person = ("holder-vdab", "statistician-1", "researcher-1", "admin-1", None)[place % 5]
            for path, methods in routes.items():
                for method in methods:
                    self._astray(method.upper(), path, text, person)
        for text in self.other.texts[:4]:
            self._odd_uploads(text)
            self._odd_tokens(text)
        self._broken_requests()
        self._faults_while_answering()

    def _astray(self, method: str, path: str, text: str, person: str | None) -> None:
        quoted = "".join(f"%{byte:02x}" for byte in text.encode())
        filled = path.replace("{", "\0").split("\0")
        asked = "".join(
            part if "}" not in part else quoted + part.partition("}")[2] for part in filled
        )
        headers = {"Content-Type": "application/json", "X-Name": quoted, "Idempotency-Key": quoted}
        body = {
            text: text, "document": {text: text, "person": text}, "signatures": [{text: text}],
            "signature": {"person": text, "value": text}, "id": text, "name": [text],
            "permit": text, "period": text, "reason": {text: text}, "only": {text: [text]},
            "title": {"en": text}, "variables": [{"name": text, "type": text, text: text}],
            "datasets": [{"id": text, text: [text]}], "holder": text, "kind": text,
        }  # fmt: skip
        changing = method in ("POST", "PUT", "PATCH", "DELETE")
        self.house.ask(method, f"{asked}?q={quoted}&start={quoted}&since={quoted}&{quoted}=1",
                       headers, body if changing else None, person)  # fmt: skip

    def _odd_uploads(self, text: str) -> None:
        def metadata(**pairs: str) -> str:
            return ",".join(
                f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items()
            )

        digest = hashlib.sha256(text.encode()).hexdigest()
        tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}
        for known in (
            metadata(dataset=text, period="2021", sha256=digest),
            metadata(dataset=WORK, period=text, sha256=digest),
            metadata(dataset=WORK, period="2021", sha256=text),
            metadata(dataset=WORK, period="2021", sha256=digest, mode=text),
            f"dataset {text}", f"{text} {text}",
        ):  # fmt: skip
            answer = self.house.ask(
                "POST", "/uploads", {**tus, "Upload-Metadata": known}, person="holder-vdab"
            )
            assert answer.status_code >= 400
        named = metadata(dataset=WORK, period="2021", sha256="0" * 64, filename=text, remark=text)
        answer = self.house.ask(
            "POST", "/uploads", {**tus, "Upload-Metadata": named}, person="holder-vdab"
        )
        location = answer.headers["Location"]
        for header in ("Upload-Offset", "Upload-Checksum", "Content-Type", "Tus-Resumable"):
            wrong = {
                "Tus-Resumable": "1.0.0", "Upload-Offset": "0",
                "Content-Type": "application/offset+octet-stream", header: text,
            }  # fmt: skip
            answer = self.house.ask("PATCH", location, wrong, b"age", "holder-vdab")
            assert answer.status_code >= 400
        self.house.ask("DELETE", location, {"Tus-Resumable": "1.0.0"}, person="holder-vdab")

    def _odd_tokens(self, text: str) -> None:
        coded = base64.urlsafe_b64encode(json.dumps({"sub": text}).encode()).decode().rstrip("=")
        for token in (f"Bearer {text}", f"Bearer {coded}.{coded}.{coded}", text):
            self.house.ask("GET", "/deliveries", {"Authorization": token}, person=None)
        for form in (
            {"grant_type": text, "client_assertion": text},
            {"grant_type": "client_credentials", "client_assertion": f"{coded}.{coded}.{coded}",
             "client_assertion_type": text, "client_id": text, "scope": text},
        ):  # fmt: skip
            for path in ("/token",):
                body = "&".join(f"{key}={value}" for key, value in form.items()).encode()
                kinds = {"Content-Type": "application/x-www-form-urlencoded"}
                self.house.ask("POST", path, kinds, body, person=None)
                self.house.ask(
                    "POST", path, {"Content-Type": "application/json"}, form, person=None
                )

    def _broken_requests(self) -> None:
        import socket
        from urllib.parse import urlsplit

        address = urlsplit(self.house.server)
        name = self.plant.last_name.encode()
        for broken in (
            b"GET /" + name + b" HTTP/9.9\r\n\r\n",
            name * 40 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + name + b"\r\n\r\n",
            b"GET /" + name + b" HTTP/1.1\r\nHost: " + name + b"\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: " + name + b"\r\n\r\n",
            b"POST /people HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + name,
        ):
            with socket.create_connection((address.hostname, address.port)) as line:
                line.settimeout(5)
                line.sendall(broken)
                line.shutdown(socket.SHUT_WR)
                told = b""
                while piece := line.recv(4096):
                    told += piece
            self.house.answers.append(("broken request", told))

    def _faults_while_answering(self) -> None:
        """An exception with all the names in it, while a refusal is being written down."""
        for kind in ("ValueError", "KeyError"):
            self._armed("answer", kind)
            answer = self.house.ask("GET", f"/deliveries/{self.plant.number}")
            assert answer.status_code == 500
            self._passed("answer")
