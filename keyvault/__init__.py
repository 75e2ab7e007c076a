"""The only place where key bytes exist.

Where do key bytes live?
    The root in its custody (a file of mode 0600, bare or locked by a passphrase or by what m of n
    custodians share, or a token that it never leaves; `custody`). The private halves of the
    process roles in the database, wrapped by the root. Every other key in the database or
    beside its object, sealed to one role's public half. Opened ones in the memory of the process
    that uses them: `Secret`s, which don't print, pickle, copy or reach a message. What takes the
    root or the vault's own keys is a `Safe`: in the caller's process, or in the vault's own, which
    answers the others on a Unix socket and believes none of them (`server`).

Who opens what?
    intake   the age identity that uploads are encrypted to
    linkage  identifiers of deliveries, spine and subject-id keys of scopes
    release  payload of deliveries, links
    vault    pseudonym keys of projects; permit, receipt, token, job and ledger keys
    `identified` has its key pair and opens nothing yet. A process holds the private half of its own
    role and of no other; the vault's process hands it over its socket to that role's user.
    Sealing to a role takes its public half only (`Sealer`).

What stays compatible?
    Subject ids, pseudonyms, sealed keys, sealed files, signatures, permit envelopes, receipts,
    manifests, ledger leaves, checkpoints and tiles have vectors in tests/keyvault/vectors; each
    format carries a version, and a new version is added beside the old one (`frozen.txt` there
    holds a test to it). The ledger's own formats are others' where others have one: RFC 6962,
    C2SP signed-note, tlog-checkpoint and tlog-tiles. Rotating the root rewraps a few rows: no file,
    no sealed key and no pseudonym changes.

`Vault` is the door. The database can't be believed and need not be: see `vault`.
"""
