#!/usr/bin/env python3
"""Writes vectors.json, the test vectors of SPEC.md, from the specification alone:
it shares nothing with the Go code that is tested against them.

    python3 vectors.py > vectors.json
"""
import hashlib
import hmac
import json
import struct


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def derive(secret):
    """HKDF-SHA256 (RFC 5869) without a salt, one block."""
    prk = mac(bytes(32), secret.encode())
    return mac(prk, b"cluster mesh proof v1", b"\x01")


def u16(n):
    return struct.pack(">H", n)


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n)


def string(s):
    b = s.encode() if isinstance(s, str) else s
    return u16(len(b)) + b


def strings(items):
    return u16(len(items)) + b"".join(string(s) for s in items)


def frame(kind, payload=b""):
    return struct.pack(">BBI", kind, 0, len(payload)) + payload


def hello(h):
    b = u16(h["min"]) + u16(h["max"]) + bytes.fromhex(h["features"]) + bytes.fromhex(h["instance"])
    b += string(h["cluster"]) + string(h["node"]) + strings(h["addrs"])
    return b + meta(h["meta"])


def meta(m):
    return u16(len(m)) + b"".join(string(k) + string(m[k]) for k in sorted(m))


def digest(instances):
    d = bytes(16)
    for i in instances:
        d = bytes(a ^ b for a, b in zip(d, bytes.fromhex(i)))
    return d


def claims(entries):
    b = b""
    for c in entries:
        e = bytes([1 if c["linked"] else 0]) + bytes.fromhex(c["instance"]) + strings(c["addrs"])
        b += string(e)
    return b


def count(n, first=0):
    return bytes((first + i) & 0xFF for i in range(n))


SECRETS = [
    "correct horse battery staple",
    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
    "pässwörter gehen auch ✓",
    "a secret that is longer than one block of SHA-256, which has 64 bytes, as passphrases may be",
]
EKM = count(32)
NONCE = count(32, 0x80)

K = derive(SECRETS[0])
D = mac(K, b"D", b"L", EKM)
A = mac(K, b"A", b"L", EKM, D)

PLAIN = {
    "min": 1, "max": 1, "features": u64(1).hex(), "instance": count(16, 0x10).hex(),
    "cluster": "default", "node": "10.0.0.1:4370", "addrs": ["10.0.0.1:4370"], "meta": {},
}
RICH = {
    "min": 1, "max": 3, "features": u64(1 << 63 | 1).hex(), "instance": count(16, 0xF0).hex(),
    "cluster": "größe", "node": "web@[fd00::1]:4370",
    "addrs": ["[fd00::1]:4370", "10.0.0.1:4370", "web-1.example.org:65535"],
    "meta": {"zone": "b", "": "empty key", "version": ""},
}
CLAIMS = [
    {"linked": True, "instance": count(16, 1).hex(), "addrs": ["10.0.0.2:4370"]},
    {"linked": False, "instance": count(16, 2).hex(), "addrs": []},
    {"linked": True, "instance": count(16, 3).hex(), "addrs": ["10.0.0.3:4370", "[fd00::3]:4370"]},
]
INSTANCES = [PLAIN["instance"], RICH["instance"], hashlib.sha256(b"an instance").digest()[:16].hex()]
O = count(32, 0xC0)
LINK, BEFORE = count(8, 0xA0), count(8, 0xB0)


def frames():
    def f(name, number, payload=b"", **fields):
        return {"name": name, "type": number, **fields, "hex": frame(number, payload).hex()}

    return [
        f("proof", 1, b"L" + D, kind="L", proof=D.hex()),
        f("proof", 1, b"L" + bytes(32), kind="L", proof=bytes(32).hex()),
        f("answer", 2, A + hello(PLAIN), proof=A.hex(), hello=PLAIN),
        f("hello", 3, LINK + hello(RICH), link=LINK.hex(), hello=RICH),
        f("welcome", 4),
        f("refuse", 5, u16(0), code=0, reason=""),
        f("refuse", 5, u16(2) + b"another cluster", code=2, reason="another cluster"),
        f("begin", 6, bytes(8) + u64(1), before=bytes(8).hex(), turn=u64(1).hex()),
        f("begin", 6, BEFORE + u64(0x0102030405060708), before=BEFORE.hex(), turn=u64(0x0102030405060708).hex()),
        f("last", 7),
        f("ping", 8, count(8, 1), opaque=count(8, 1).hex()),
        f("pong", 9, count(8, 1), opaque=count(8, 1).hex()),
        f("close", 10, u16(7) + "geht weg – bye".encode(), code=7, reason="geht weg – bye"),
        f("peers", 11, claims(CLAIMS), claims=CLAIMS),
        f("challenge", 12, NONCE, nonce=NONCE.hex()),
        f("reproof", 13, mac(K, b"R", b"D", b"L", EKM, NONCE), proofs=[mac(K, b"R", b"D", b"L", EKM, NONCE).hex()]),
        f("open", 14, count(16, 1) + count(16, 2) + LINK + O + b"chat",
          own=count(16, 1).hex(), other=count(16, 2).hex(), link=LINK.hex(), proof=O.hex(), service="chat"),
        f("message", 16, b"\x05greet" + b"hello", subject="greet", data=b"hello".hex()),
        f("message", 16, b"\x01s", subject="s", data=""),
        f("request", 17, u64(1) + b"\x03add" + b"1+1", id=u64(1).hex(), subject="add", data=b"1+1".hex()),
        f("reply", 18, u64(1) + b"\x00" + b"2", id=u64(1).hex(), status=0, data=b"2".hex()),
        f("reply", 18, u64(2**64 - 1) + b"\x01" + b"no such sum", id=u64(2**64 - 1).hex(), status=1, data=b"no such sum".hex()),
        f("reply", 18, u64(3) + b"\x03", id=u64(3).hex(), status=3, data=""),
        f("large", 19, u32(7) + b"\x10" + u32(1 << 20), transfer=7, of=16, length=1 << 20),
        f("part", 20, u32(7) + b"\x05greet" + b"hel", transfer=7, data=(b"\x05greet" + b"hel").hex()),
        f("part", 20, u32(7), transfer=7, data=""),
        f("digest", 24, digest(INSTANCES), instances=INSTANCES),
        f("digest", 24, count(16, 0x10), instances=[PLAIN["instance"]]),
        f("meta", 25, meta(RICH["meta"]), meta=RICH["meta"]),
        f("meta", 25, meta({}), meta={}),
    ]


def dials_first():
    pairs = [
        ("10.0.0.1:4370", "10.0.0.2:4370"), ("10.0.0.1:4370", "10.0.0.3:4370"),
        ("10.0.0.2:4370", "10.0.0.3:4370"), ("[fd00::1]:4370", "[fd00::2]:4370"),
        ("[fd00::1]:4370", "10.0.0.1:4370"), ("127.0.0.1:1", "127.0.0.1:65535"),
        ("web-1.example.org:4370", "10.0.0.1:4370"),
    ]
    out = []
    for a, b in pairs:
        for self, other in ((a, b), (b, a)):
            ours = hashlib.sha256(f"{self}\0{other}".encode()).digest()
            theirs = hashlib.sha256(f"{other}\0{self}".encode()).digest()
            out.append({"self": self, "other": other, "ours": ours.hex(), "first": ours < theirs})
    return out


def accepted():
    """Payloads in a form that no sender of version 1 makes, and how they are read."""
    entry = b"\x01" + count(16, 1) + strings(["10.0.0.2:4370"])
    return [
        {"why": "fields of a newer version follow", "hex": (hello(PLAIN) + b"newer").hex(), "hello": PLAIN},
        {"why": "addresses aren't canonical",
         "hex": hello({**PLAIN, "node": "n@[::ffff:10.0.0.1]:04370", "addrs": ["10.0.0.1:4370", "Web.Example.:1"]}).hex(),
         "hello": {**PLAIN, "node": "n@10.0.0.1:4370", "addrs": ["10.0.0.1:4370", "web.example:1"]}},
        {"why": "the node's own address is not listed",
         "hex": hello({**PLAIN, "addrs": ["10.0.0.9:1"]}).hex(),
         "hello": {**PLAIN, "addrs": ["10.0.0.1:4370", "10.0.0.9:1"]}},
        {"why": "an entry's fields of a newer version follow", "hex": string(entry + b"newer").hex(), "claims": CLAIMS[:1]},
        {"why": "an address twice", "hex": string(b"\x01" + count(16, 1) + strings(["10.0.0.2:4370", "10.0.0.2:04370"])).hex(),
         "claims": CLAIMS[:1]},
        {"why": "a kind of entry that is neither 0 nor 1 is the end of a link",
         "hex": string(b"\x02" + count(16, 2) + u16(0)).hex(), "claims": CLAIMS[1:2]},
        {"why": "no entry at all", "hex": "", "claims": []},
        {"why": "metadata of a newer version follow", "hex": (meta({"a": "b"}) + b"newer").hex(), "meta": {"a": "b"}},
        {"why": "a key of the metadata twice", "hex": (u16(2) + (string("a") + string("1")) + string("a") + string("2")).hex(),
         "meta": {"a": "2"}},
    ]


def refused():
    p = hello(PLAIN)
    return [
        {"what": "hello", "why": "empty", "hex": ""},
        {"what": "hello", "why": "ends in the middle", "hex": p[:-1].hex()},
        {"what": "hello", "why": "versions the wrong way round", "hex": hello({**PLAIN, "min": 2}).hex()},
        {"what": "hello", "why": "no instance", "hex": hello({**PLAIN, "instance": bytes(16).hex()}).hex()},
        {"what": "hello", "why": "17 addresses", "hex": hello({**PLAIN, "addrs": [f"10.0.0.1:{i + 1}" for i in range(17)]}).hex()},
        {"what": "hello", "why": "a node without a port", "hex": hello({**PLAIN, "node": "10.0.0.1"}).hex()},
        {"what": "hello", "why": "an address of nobody", "hex": hello({**PLAIN, "addrs": ["0.0.0.0:4370"]}).hex()},
        {"what": "claims", "why": "ends in the middle", "hex": claims(CLAIMS)[:-1].hex()},
        {"what": "claims", "why": "a link without an address", "hex": claims([{**CLAIMS[0], "addrs": []}]).hex()},
        {"what": "claims", "why": "17 addresses", "hex": claims([{**CLAIMS[0], "addrs": ["10.0.0.1:1"] * 17}]).hex()},
        {"what": "claims", "why": "a bad address", "hex": claims([{**CLAIMS[0], "addrs": ["10.0.0.1:0"]}]).hex()},
        {"what": "claims", "why": "an empty entry", "hex": "0000"},
        {"what": "meta", "why": "empty", "hex": ""},
        {"what": "meta", "why": "ends in the middle", "hex": meta({"zone": "b"})[:-1].hex()},
        {"what": "meta", "why": "more pairs than fit", "hex": (u16(4097) + bytes(4 * 4097)).hex()},
        {"what": "message", "why": "empty", "hex": ""},
        {"what": "message", "why": "no subject", "hex": "0061"},
        {"what": "message", "why": "the subject ends in the middle", "hex": "0561"},
        {"what": "request", "why": "ends in the ID", "hex": "00" * 7},
        {"what": "request", "why": "no subject", "hex": u64(1).hex() + "00"},
        {"what": "reply", "why": "no status", "hex": u64(1).hex()},
        {"what": "large", "why": "ends in the middle", "hex": (u32(1) + b"\x10").hex()},
        {"what": "large", "why": "short enough for one frame", "hex": (u32(1) + b"\x10" + u32(65 << 10)).hex()},
        {"what": "large", "why": "more than 16 MiB of data", "hex": (u32(1) + b"\x10" + u32(256 + (16 << 20) + 1)).hex()},
        {"what": "large", "why": "a part of parts", "hex": (u32(1) + b"\x14" + u32(1 << 20)).hex()},
        {"what": "part", "why": "no number", "hex": "000000"},
        {"what": "part", "why": "of nothing that is open", "hex": (u32(9) + b"data").hex()},
        {"what": "reason", "why": "no code", "hex": "00"},
        {"what": "reason", "why": "more than 1 KiB", "hex": (u16(1) + b"a" * 1023).hex()},
    ]


def reproofs():
    out = []
    for secret in SECRETS[:2]:
        for role in "DA":
            key = derive(secret)
            out.append({"key": key.hex(), "role": role, "ekm": EKM.hex(), "nonce": NONCE.hex(),
                        "proof": mac(key, b"R", role.encode(), b"L", EKM, NONCE).hex()})
    return out


def openings():
    """Of a stream, each by the values that the link and the stream export."""
    return [{"link": l.hex(), "ekm": e.hex(), "proof": mac(l, b"O", b"S", e).hex()}
            for l, e in ((EKM, bytes(32)), (bytes(32), EKM))]


def proofs():
    out = []
    for secret, ekm in ((SECRETS[0], EKM), (SECRETS[1], EKM), (SECRETS[0], bytes(32))):
        key = derive(secret)
        d = mac(key, b"D", b"L", ekm)
        out.append({"key": key.hex(), "ekm": ekm.hex(), "kind": "L", "dialler": d.hex(),
                    "acceptor": mac(key, b"A", b"L", ekm, d).hex()})
    return out


print(json.dumps({
    "keys": [{"secret": s, "key": derive(s).hex()} for s in SECRETS],
    "proofs": proofs(),
    "reproofs": reproofs(),
    "openings": openings(),
    "dials_first": dials_first(),
    "frames": frames(),
    "accepted": accepted(),
    "refused": refused(),
}, indent="\t", ensure_ascii=False))
