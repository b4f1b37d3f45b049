package mesh

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/libcluster-go/cluster/transport"
)

// A hexed is bytes that the vectors have in hexadecimal digits.
type hexed []byte

func (h *hexed) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vectors are testdata/vectors.json, which vectors.py makes without this code.
type vectors struct {
	Keys []struct {
		Secret string
		Key    hexed
	}
	Proofs []struct {
		Key, EKM          hexed
		Kind              string
		Dialler, Acceptor hexed
	}
	Reproofs []struct {
		Key               hexed
		Role              string
		EKM, Nonce, Proof hexed
	}
	Openings []struct {
		Link, EKM, Proof hexed
	}
	DialsFirst []struct {
		Self, Other string
		Ours        hexed
		First       bool
	} `json:"dials_first"`
	Frames   []frameVector
	Accepted []struct {
		Why    string
		Hex    hexed
		Hello  *helloVector
		Claims []claimVector
		Meta   map[string]string
	}
	Refused []struct {
		What, Why string
		Hex       hexed
	}
}

type helloVector struct {
	Min, Max           uint16
	Features, Instance hexed
	Cluster, Node      string
	Addrs              []string
	Meta               map[string]string
}

func (v *helloVector) hello() *hello {
	return &hello{
		min: v.Min, max: v.Max, features: binary.BigEndian.Uint64(v.Features), instance: instanceID(v.Instance),
		cluster: v.Cluster, node: transport.Node(v.Node), addrs: v.Addrs, meta: v.Meta,
	}
}

type claimVector struct {
	Linked   bool
	Instance hexed
	Addrs    []string
}

func claimsOf(vs []claimVector) (claims []claim) {
	for _, v := range vs {
		c := claim{linked: v.Linked, id: instanceID(v.Instance)}
		if len(v.Addrs) > 0 {
			c.addrs = v.Addrs
		}
		claims = append(claims, c)
	}
	return claims
}

type frameVector struct {
	Name                string
	Type                frameType
	Hex                 hexed
	Kind                string
	Proof, Link, Before hexed
	Turn, Opaque, Nonce hexed
	Own, Other          hexed
	Service             string
	Hello               *helloVector
	Code                Code
	Reason, Subject     string
	Proofs              []hexed
	Data                hexed
	ID                  hexed
	Status              status
	Number              uint32 `json:"transfer"`
	Of                  frameType
	Length              int
	Claims              []claimVector
	Instances           []hexed
	Meta                map[string]string
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{
		"keys": len(v.Keys), "proofs": len(v.Proofs), "reproofs": len(v.Reproofs), "openings": len(v.Openings), "dials_first": len(v.DialsFirst),
		"frames": len(v.Frames), "accepted": len(v.Accepted), "refused": len(v.Refused),
	} {
		if n == 0 {
			t.Fatalf("there are no %s", name)
		}
	}
	return v
}

func TestVectorsOfProofs(t *testing.T) {
	v := readVectors(t)
	for _, k := range v.Keys {
		p, err := newProver([]string{k.Secret})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.keys[0], k.Key) {
			t.Errorf("the key of %q is %x, want %x", k.Secret, p.keys[0], k.Key)
		}
	}
	for _, p := range v.Proofs {
		if p.Kind != string(rune(kindLink)) {
			t.Fatalf("kind %q", p.Kind)
		}
		sent := proof(p.Key, 'D', kindLink, p.EKM, nil)
		answer, _ := (&prover{keys: [][]byte{make([]byte, 32), p.Key}}).accept(kindLink, p.EKM, p.Dialler)
		if !bytes.Equal(sent, p.Dialler) || !bytes.Equal(answer, p.Acceptor) {
			t.Errorf("proofs of key %x over %x: %x, %x; want %x, %x", p.Key, p.EKM, sent, answer, p.Dialler, p.Acceptor)
		}
	}
	for _, r := range v.Reproofs {
		l := &link{dialled: r.Role == "D"}
		if got := reproof(r.Key, l.role(), r.EKM, r.Nonce); !bytes.Equal(got, r.Proof) {
			t.Errorf("proof again of key %x by %s: %x, want %x", r.Key, r.Role, got, r.Proof)
		}
	}
	for _, o := range v.Openings {
		if got := openProof(o.Link, o.EKM); !bytes.Equal(got, o.Proof) {
			t.Errorf("opening %x beside %x: %x, want %x", o.EKM, o.Link, got, o.Proof)
		}
	}
}

func TestVectorsOfWhoDials(t *testing.T) {
	for _, p := range readVectors(t).DialsFirst {
		if got := dialsFirst(p.Self, p.Other); got != p.First {
			t.Errorf("%s dials %s first: %v, want %v", p.Self, p.Other, got, p.First)
		}
		if dialsFirst(p.Other, p.Self) == p.First {
			t.Errorf("%s and %s agree that neither or both dial first", p.Self, p.Other)
		}
		if ours := sha256.Sum256([]byte(p.Self + "\x00" + p.Other)); !bytes.Equal(ours[:], p.Ours) {
			t.Errorf("the hash of %s and %s is %x, want %x", p.Self, p.Other, ours, p.Ours)
		}
	}
}

// encode lays a frame out as the mesh sends it.
func (v *frameVector) encode() []byte {
	switch v.Type {
	case frameProof:
		return appendFrame(nil, v.Type, []byte(v.Kind), v.Proof)
	case frameAnswer:
		return appendFrame(nil, v.Type, v.Proof, v.Hello.hello().encode())
	case frameHello:
		return appendFrame(nil, v.Type, v.Link, v.Hello.hello().encode())
	case frameRefuse, frameClose:
		return appendFrame(nil, v.Type, encodeReason(v.Code, v.Reason))
	case frameBegin:
		return appendFrame(nil, v.Type, encodeBegin(linkID(v.Before), binary.BigEndian.Uint64(v.Turn)))
	case framePing, framePong:
		return appendFrame(nil, v.Type, v.Opaque)
	case framePeers:
		return appendFrame(nil, v.Type, encodeClaims(claimsOf(v.Claims))...)
	case frameChallenge:
		return appendFrame(nil, v.Type, v.Nonce)
	case frameReproof:
		var all []byte
		for _, p := range v.Proofs {
			all = append(all, p...)
		}
		return appendFrame(nil, v.Type, all)
	case frameOpen:
		return appendFrame(nil, v.Type, v.opening().encode())
	case frameMessage, frameRequest, frameReply:
		return v.letter().append(nil)
	case frameLarge:
		return appendFrame(nil, v.Type, encodeLarge(v.Number, v.Of, v.Length))
	case framePart:
		t := &transfer{id: v.Number, data: v.Data}
		return t.appendPart(nil, len(v.Data))
	case frameDigest:
		d := v.digest()
		return appendFrame(nil, v.Type, d[:])
	case frameMeta:
		return appendFrame(nil, v.Type, appendMeta(nil, v.Meta))
	default: // welcome and last are empty
		return appendFrame(nil, v.Type)
	}
}

func (v *frameVector) opening() *opening {
	return &opening{
		from: instanceID(v.Own), to: instanceID(v.Other), link: linkID(v.Link),
		proof: [proofSize]byte(v.Proof), service: v.Service,
	}
}

func (v *frameVector) letter() *letter {
	return &letter{t: v.Type, id: v.number(v.ID), status: v.Status, subject: v.Subject, data: v.Data}
}

func (v *frameVector) digest() (d digest) {
	for _, id := range v.Instances {
		d.toggle(instanceID(id))
	}
	return d
}

// number reads 64 bits; those that a frame doesn't have are zero.
func (v *frameVector) number(h hexed) uint64 {
	if len(h) == 0 {
		return 0
	}
	return binary.BigEndian.Uint64(h)
}

// decode checks what a frame's payload is read as.
func (v *frameVector) decode(t *testing.T, payload []byte) {
	t.Helper()
	var got, want any
	var err error
	switch v.Type {
	case frameAnswer:
		want = v.Hello.hello()
		got, err = decodeHello(payload[proofSize:])
	case frameHello:
		want = v.Hello.hello()
		got, err = decodeHello(payload[len(linkID{}):])
	case frameRefuse, frameClose:
		want = closeError{v.Code, v.Reason}
		var e closeError
		e.code, e.reason, err = decodeReason(payload)
		got = e
	case frameBegin:
		before, turn := decodeBegin(payload)
		got, want = [2]any{before, turn}, [2]any{linkID(v.Before), binary.BigEndian.Uint64(v.Turn)}
	case framePeers:
		want = claimsOf(v.Claims)
		got, err = decodeClaims(payload)
	case frameOpen:
		got, want = *decodeOpen(payload), *v.opening()
	case frameMessage:
		want = [2]string{v.Subject, string(v.Data)}
		var subject, data []byte
		subject, data, err = decodeMessage(payload)
		got = [2]string{string(subject), string(data)}
	case frameRequest:
		l := letter{t: v.Type}
		var subject []byte
		l.id, subject, l.data, err = decodeRequest(payload)
		l.subject = string(subject)
		got, want = l, *v.letter()
	case frameReply:
		l := letter{t: v.Type}
		l.id, l.status, l.data, err = decodeReply(payload)
		got, want = l, *v.letter()
	case frameLarge:
		number, of, length, e := decodeLarge(payload)
		got, want, err = [3]any{number, of, length}, [3]any{v.Number, v.Of, v.Length}, e
	case framePart:
		as := arrivals{budget: &budget{most: 1 << 30}}
		if err = as.begin(encodeLarge(v.Number, frameMessage, 1<<20), func(frameType) int { return 1 << 30 }); err == nil {
			_, err = as.part(bytes.NewReader(payload), len(payload))
		}
		if a := as.open[v.Number]; a != nil {
			got = a.payload[:a.came]
		} else {
			got = []byte{}
		}
		want = []byte(v.Data)
	case frameDigest:
		got, want = digest(payload), v.digest()
	case frameMeta:
		want = v.Meta
		got, err = decodeMeta(payload)
	default: // nothing to take apart
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s is read as %+v, %v; want %+v", v.Name, got, err, want)
	}
}

func TestVectorsOfFrames(t *testing.T) {
	seen := map[frameType]bool{}
	for _, v := range readVectors(t).Frames {
		seen[v.Type] = true
		if got := v.encode(); !bytes.Equal(got, v.Hex) {
			t.Errorf("%s is laid out as %x, want %x", v.Name, got, v.Hex)
		}
		kind, payload, err := readFrame(bytes.NewReader(v.Hex), maxHello)
		if err != nil || kind != v.Type {
			t.Errorf("%s is read as type %d, %v; want %d", v.Name, kind, err, v.Type)
			continue
		}
		if size, fixed := fixedSize(kind); fixed && len(payload) != size {
			t.Errorf("%s has %d bytes, want %d", v.Name, len(payload), size)
		}
		v.decode(t, payload)
	}
	for name, number := range constants(t, "wire.go", "frame", "frameType") {
		if !seen[frameType(number)] {
			t.Errorf("there is no vector of %s frames", name)
		}
	}
}

func TestVectorsOfOddPayloads(t *testing.T) {
	v := readVectors(t)
	for _, a := range v.Accepted {
		t.Run("accepted: "+a.Why, func(t *testing.T) {
			var got, want any
			var err error
			switch {
			case a.Hello != nil:
				want = a.Hello.hello()
				got, err = decodeHello(a.Hex)
			case a.Meta != nil:
				want = a.Meta
				got, err = decodeMeta(a.Hex)
			default:
				want = claimsOf(a.Claims)
				got, err = decodeClaims(a.Hex)
			}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("it is read as %+v, %v; want %+v", got, err, want)
			}
		})
	}
	decoders := map[string]func([]byte) error{
		"hello":   func(b []byte) error { _, err := decodeHello(b); return err },
		"claims":  func(b []byte) error { _, err := decodeClaims(b); return err },
		"meta":    func(b []byte) error { _, err := decodeMeta(b); return err },
		"message": func(b []byte) error { _, _, err := decodeMessage(b); return err },
		"request": func(b []byte) error { _, _, _, err := decodeRequest(b); return err },
		"reply":   func(b []byte) error { _, _, _, err := decodeReply(b); return err },
		"large":   func(b []byte) error { _, _, _, err := decodeLarge(b); return err },
		"part": func(b []byte) error {
			_, err := (&arrivals{}).part(bytes.NewReader(b), len(b))
			return err
		},
		"reason": func(b []byte) error { _, _, err := decodeReason(b); return err },
	}
	for _, r := range v.Refused {
		t.Run("refused: "+r.What+": "+r.Why, func(t *testing.T) {
			if err := decoders[r.What](r.Hex); !errors.Is(err, ErrProtocol) {
				t.Errorf("%v, want ErrProtocol", err)
			}
		})
	}
}
