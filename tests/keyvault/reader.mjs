// A second reader of the auditor's pack. It shares no code with the service: JavaScript, Node's own
// crypto, and the descriptions of RFC 6962, C2SP signed-note, tlog-checkpoint and tlog-tiles.
//
//     node reader.mjs PACK VERIFIER [NOTE…]
//
// Prints {"size", "root", "kinds"} when everything holds, and a sentence and exit code 1 otherwise.
// Each NOTE is a file with a checkpoint that somebody kept: it has to be of the same history.

import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";

class Broken extends Error {}
const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
const demand = (holds, text) => { if (!holds) throw new Broken(text); };

function base64(text) {
  const data = Buffer.from(text, "base64");
  demand(data.toString("base64") === text, "something isn't base64");
  return data;
}

function keyOf(verifier) {
  const [name, id, ...rest] = verifier.split("+");
  const identified = base64(rest.join("+"));
  const expected = sha256(Buffer.from(`${name}\n`), identified).subarray(0, 4);
  demand(identified[0] === 1 && identified.length === 33, "the verifier is no Ed25519 key");
  demand(id === expected.toString("hex"), "the verifier's id is another");
  const jwk = { kty: "OKP", crv: "Ed25519", x: identified.subarray(1).toString("base64url") };
  return { name, id: expected, key: createPublicKey({ key: jwk, format: "jwk" }) };
}

function readNote(note, signer) {
  const end = note.lastIndexOf("\n\n");
  demand(end > 0 && note.endsWith("\n"), "a checkpoint is no note");
  const text = note.slice(0, end + 1);
  let signed = false;
  for (const line of note.slice(end + 2).split("\n").slice(0, -1)) {
    const [dash, name, encoded, ...more] = line.split(" ");
    demand(dash === "\u2014" && encoded && more.length === 0, "a checkpoint's signature is no line");
    const data = base64(encoded);
    if (name !== signer.name || !data.subarray(0, 4).equals(signer.id)) continue;
    demand(verify(null, Buffer.from(text), signer.key, data.subarray(4)), "a signature doesn't hold");
    signed = true;
  }
  demand(signed, "a checkpoint isn't signed by that ledger");
  const [origin, size, root] = text.split("\n");
  demand(origin === signer.name && /^(0|[1-9][0-9]*)$/.test(size), "a checkpoint is another's");
  return { size: Number(size), root: base64(root) };
}

const group = (number) => String(number).padStart(3, "0");
function tileName(level, number, width) {
  let name = group(number % 1000);
  for (let rest = Math.floor(number / 1000); rest; rest = Math.floor(rest / 1000))
    name = `x${group(rest % 1000)}/${name}`;
  return `tile/${level}/${name}${width < 256 ? `.p/${width}` : ""}`;
}

function* filesIn(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isDirectory()) yield* filesIn(join(folder, entry.name));
    else yield join(folder, entry.name);
}

// the root as RFC 6962 defines it, from leaf hashes
function rootOf(hashes) {
  if (hashes.length === 0) return sha256();
  let level = hashes;
  while (level.length > 1) {
    const above = [];
    for (let n = 0; n < level.length; n += 2)
      above.push(n + 1 < level.length ? sha256(Buffer.of(1), level[n], level[n + 1]) : level[n]);
    level = above;
  }
  return level[0];
}

function read(pack, verifier, notes) {
  const signer = keyOf(verifier);
  const head = readNote(readFileSync(join(pack, "checkpoint"), "utf8"), signer);
  const expected = new Set();
  const leaves = [];
  for (let number = 0; leaves.length < head.size; number += 1) {
    const width = Math.min(256, head.size - leaves.length);
    const name = tileName("entries", number, width);
    expected.add(name);
    const data = readFileSync(join(pack, name));
    for (let place = 0; place < data.length; ) {
      demand(place + 2 <= data.length, "a bundle is cut off");
      const end = place + 2 + data.readUInt16BE(place);
      demand(end <= data.length, "a bundle is cut off");
      leaves.push(data.subarray(place + 2, end));
      place = end;
    }
  }
  demand(leaves.length === head.size, "there are more entries than the checkpoint counts");
  const hashes = leaves.map((leaf) => sha256(Buffer.of(0), leaf));
  demand(rootOf(hashes).equals(head.root), "the entries are not those of the checkpoint");
  for (let level = 0, nodes = hashes; nodes.length; level += 1) {
    const above = [];
    for (let number = 0; number * 256 < nodes.length; number += 1) {
      const part = nodes.slice(number * 256, number * 256 + 256);
      const name = tileName(level, number, part.length);
      expected.add(name);
      demand(readFileSync(join(pack, name)).equals(Buffer.concat(part)), `${name} is another`);
      if (part.length === 256) above.push(rootOf(part));
    }
    nodes = above;
  }
  for (const file of filesIn(join(pack, "tile")))
    demand(expected.has(relative(pack, file)), `${relative(pack, file)} doesn't belong here`);
  for (const note of notes) {
    const old = readNote(note, signer);
    demand(old.size <= head.size, "entries were removed since a checkpoint that was kept");
    demand(rootOf(hashes.slice(0, old.size)).equals(old.root), "history was rewritten");
  }
  const kinds = {};
  leaves.forEach((leaf, position) => {
    const entry = JSON.parse(leaf.toString("utf8"));
    demand(entry.position === position, `entry ${position} calls itself another`);
    kinds[entry.kind] = (kinds[entry.kind] ?? 0) + 1;
  });
  return { size: head.size, root: head.root.toString("hex"), kinds };
}

const [pack, verifier, ...notes] = process.argv.slice(2);
try {
  const told = read(pack, verifier, notes.map((name) => readFileSync(name, "utf8")));
  console.log(JSON.stringify(told));
} catch (fault) {
  console.error(fault.message);
  process.exitCode = 1;
}
