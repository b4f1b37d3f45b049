package mesh

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestHelloRoundTrip(t *testing.T) {
	h := &hello{
		min: 1, max: 2, features: 3, cluster: "c", node: "n@10.0.0.1:4370",
		addrs: []string{"10.0.0.1:4370", "[fd00::1]:4370"}, instance: instanceID{1},
		meta: map[string]string{"a": "b", "c": ""},
	}
	got, err := decodeHello(append(h.encode(), "what a newer version says"...))
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("got %+v, %v; want %+v", got, err, h)
	}
	whole := h.encode()
	for n := range whole {
		if _, err := decodeHello(whole[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a hello", n, len(whole))
		}
	}
}

// TestHelloOfTooManyAddresses: the node's own counts as well, so that what is
// read can be written again.
func TestHelloOfTooManyAddresses(t *testing.T) {
	h := &hello{min: 1, max: 1, node: "10.0.0.99:1", instance: instance(1)}
	for i := range maxAddrs {
		h.addrs = append(h.addrs, fmt.Sprintf("10.0.0.%d:1", i+1))
	}
	if _, err := decodeHello(h.encode()); !errors.Is(err, errMalformed) {
		t.Errorf("16 addresses without the node's own: %v, want %v", err, errMalformed)
	}
	h.addrs = h.addrs[1:]
	if got, err := decodeHello(h.encode()); err != nil || len(got.addrs) != maxAddrs {
		t.Errorf("15 and its own: %v, %v", got, err)
	}
}

func FuzzDecodeHello(f *testing.F) {
	h := &hello{min: 1, max: 1, node: "n@h:1", instance: instanceID{1}, meta: map[string]string{"a": "b"}}
	f.Add(h.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			return
		}
		again, err := decodeHello(h.encode())
		if err != nil || !reflect.DeepEqual(again, h) {
			t.Fatalf("%+v comes back as %+v, %v", h, again, err)
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte("\x01sdata"))
	f.Fuzz(func(t *testing.T, b []byte) {
		subject, data, err := decodeMessage(b)
		if err == nil && (len(subject) == 0 || 1+len(subject)+len(data) != len(b)) {
			t.Fatalf("%d bytes come apart as %d and %d", len(b), len(subject), len(data))
		}
	})
}

// message is a whole frame.
func message(subject, data string) []byte {
	return (&letter{t: frameMessage, subject: subject, data: []byte(data)}).append(nil)
}

func FuzzDecodeReason(f *testing.F) {
	f.Add(encodeReason(CodeLeft, "bye"))
	f.Fuzz(func(t *testing.T, b []byte) {
		code, _, err := decodeReason(b)
		if err == nil && code.String() == "" {
			t.Fatalf("code %d has no name", code)
		}
	})
}

// TestClaimsAreReadable: whatever peers have said of themselves, the frames that
// pass it on are such as their readers take.
func TestClaimsAreReadable(t *testing.T) {
	var addrs []string
	for i := range maxAddrs + 1 {
		addrs = append(addrs, fmt.Sprintf("10.0.0.%d:4370", i+1))
	}
	var many []claim
	for i := range 3000 {
		many = append(many, claim{linked: i%3 > 0, id: instance(i), addrs: addrs[:1+i%maxAddrs]})
	}
	long := "[fe80::1%" + strings.Repeat("z", maxClaimsFrame) + "]:4370"
	tests := []struct {
		name         string
		claims, want []claim
	}{
		{name: "none"},
		{"many", many, many},
		{"one address too many", []claim{{true, instance(1), addrs}}, []claim{{true, instance(1), addrs[:maxAddrs]}}},
		{
			"one that no frame holds",
			[]claim{{true, instance(1), addrs[:1]}, {true, instance(2), []string{long}}, {true, instance(3), addrs[:1]}},
			[]claim{{true, instance(1), addrs[:1]}, {true, instance(3), addrs[:1]}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []claim
			for _, frame := range encodeClaims(tt.claims) {
				if len(frame) > maxClaimsFrame {
					t.Errorf("a frame has %d bytes, more than %d", len(frame), maxClaimsFrame)
				}
				claims, err := decodeClaims(frame)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, claims...)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %d claims %.200v, want %d %.200v", len(got), got, len(tt.want), tt.want)
			}
		})
	}
}

func FuzzDecodeClaims(f *testing.F) {
	for _, frame := range encodeClaims([]claim{
		{linked: true, id: instance(1), addrs: []string{"10.0.0.1:1", "[fd00::1]:1", "host:1"}},
		{id: instance(2)},
	}) {
		f.Add(frame)
	}
	f.Add([]byte("\x00\x13\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		claims, err := decodeClaims(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatalf("%v is not ErrProtocol", err)
			}
			return
		}
		for _, c := range claims {
			if len(c.addrs) > maxAddrs || c.linked && len(c.addrs) == 0 {
				t.Fatalf("a claim with %d addresses", len(c.addrs))
			}
		}
		if len(b) > maxClaimsFrame {
			return
		}
		frames := encodeClaims(claims)
		if len(frames) > 1 {
			t.Fatalf("%d bytes come back as %d frames", len(b), len(frames))
		}
		again, err := decodeClaims(slices.Concat(frames...))
		if err != nil || !reflect.DeepEqual(again, claims) {
			t.Fatalf("%+v come back as %+v, %v", claims, again, err)
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(appendMeta(nil, nil))
	f.Add(appendMeta(nil, map[string]string{"zone": "b", "": "empty key", "version": ""}))
	f.Fuzz(func(t *testing.T, b []byte) {
		meta, err := decodeMeta(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		again, err := decodeMeta(appendMeta(nil, meta))
		if err != nil || !maps.Equal(again, meta) {
			t.Fatalf("%q come back as %q, %v", meta, again, err)
		}
	})
}

func FuzzDecodeBegin(f *testing.F) {
	f.Add(encodeBegin(linkID{1, 2}, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != beginSize {
			return // refused before
		}
		if before, turn := decodeBegin(b); !bytes.Equal(encodeBegin(before, turn), b) {
			t.Fatalf("%x comes apart as %x and %d", b, before, turn)
		}
	})
}

func FuzzDecodeOpen(f *testing.F) {
	f.Add((&opening{from: instance(1), to: instance(2), link: linkID{3}, proof: [proofSize]byte{4}, service: "service"}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) <= openSize {
			return // refused before
		}
		if o := decodeOpen(b); o.service == "" || !bytes.Equal(o.encode(), b) {
			t.Fatalf("%x comes apart as %+v", b, o)
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, frameProof, make([]byte, 33)), 33)
	f.Add(appendFrame(nil, frameRefuse, []byte{0, 0}), 2)
	f.Add([]byte("\x01\x00\xff\xff\xff\xff"), maxHello)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(0, min(limit, maxHello))
		r := bytes.NewReader(b)
		kind, payload, err := readFrame(r, limit)
		if err != nil {
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			return
		}
		if len(payload) > limit {
			t.Fatalf("%d bytes, more than %d", len(payload), limit)
		}
		want := appendFrame(nil, kind, payload)
		want[1] = b[1] // the flags, which say nothing yet
		if got := b[:len(b)-r.Len()]; !bytes.Equal(got, want) {
			t.Fatalf("%x is read as %x", got, want)
		}
	})
}

// FuzzLink: whatever a peer says on a link, the mesh outlasts it, and nothing of
// the link is left.
func FuzzLink(f *testing.F) {
	ping := appendFrame(nil, framePing, make([]byte, pingSize))
	begin := appendFrame(nil, frameBegin, encodeBegin(linkID{}, 1))
	f.Add(slices.Concat(begin, ping, message("s", "data"), appendFrame(nil, frameLast)))
	f.Add(slices.Concat(begin, appendFrame(nil, framePong, make([]byte, pingSize)), appendFrame(nil, frameClose, encodeReason(CodeLeft, "bye"))))
	f.Add(slices.Concat(ping, appendFrame(nil, frameChallenge, make([]byte, nonceSize)), appendFrame(nil, frameReproof, make([]byte, 2*proofSize))))
	f.Add(slices.Concat(begin, appendFrame(nil, framePeers, encodeClaims([]claim{{true, instance(1), []string{"10.0.0.1:1"}}})[0])))
	request := letter{t: frameRequest, id: 1, subject: "s", data: []byte("data")}
	f.Add(slices.Concat(begin, request.append(nil), appendFrame(nil, frameReply, make([]byte, idSize+1))))
	f.Add(slices.Concat(begin, appendFrame(nil, frameLarge, encodeLarge(1, frameMessage, 70_000)),
		appendFrame(nil, framePart, []byte("\x00\x00\x00\x01\x01sdata")), appendFrame(nil, framePart, []byte{0, 0, 0, 1})))
	f.Add(slices.Concat(begin, appendFrame(nil, frameDigest, make([]byte, 16)), appendFrame(nil, frameMeta, appendMeta(nil, map[string]string{"k": "v"}))))
	f.Add(slices.Concat(appendFrame(nil, 200, []byte("of a newer version")), appendFrame(nil, frameBegin, encodeBegin(linkID{9}, 1))))
	m, err := listenOn(newFakeNet().host(hostIP(1)), quiet(Config{
		Insecure: true, Bind: "10.0.0.1:4370", Resolver: names{},
		AllowAddr:  func(netip.AddrPort) bool { return false },
		Handlers:   map[string]Handler{"s": func(context.Context, Message) {}},
		Responders: map[string]Responder{"s": func(context.Context, Message) ([]byte, error) { return nil, nil }},
	}))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = m.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		h := &hello{node: "10.0.0.2:4370", addrs: []string{"10.0.0.2:4370"}, features: featurePeers | featureDigest | featureMeta}
		// Of either order, so that each side decides in turn.
		binary.BigEndian.PutUint32(h.instance[:], uint32(len(b))<<31|1)
		ours, theirs := net.Pipe()
		l, err := m.newLink(&session{conn: ours}, linkID{9}, len(b)&2 == 0)
		if err != nil {
			t.Fatal(err)
		}
		if m.admit(l, h) != nil {
			t.Fatal("the link isn't taken")
		}
		said := make(chan error, 1)
		go func() {
			_, err := theirs.Write(b)
			_ = theirs.Close()
			said <- err
		}()
		_, _ = io.Copy(io.Discard, theirs)
		<-said
		m.waitReceived(l)
		until(t, m, "the link is gone", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return len(m.peers)+len(m.links)+len(m.byAddr)+len(m.rumours.informers)+int(m.large.used.Load()) == 0 && m.accord.own == digest(m.self.instance)
		})
	})
}

func TestProofBindsEverything(t *testing.T) {
	p, err := newProver([]string{"another horse battery staple", testSecret})
	if err != nil {
		t.Fatal(err)
	}
	key, ekm, other := p.keys[1], make([]byte, 32), append(make([]byte, 31), 1)
	sent := proof(key, 'D', kindLink, ekm, nil)
	answer, matched := p.accept(kindLink, ekm, sent)
	if !bytes.Equal(matched, key) || !bytes.Equal(answer, proof(key, 'A', kindLink, ekm, sent)) {
		t.Fatal("an honest pair is refused")
	}
	for name, got := range map[string]struct {
		kind       kind
		ekm, proof []byte
	}{
		"on another connection": {kindLink, other, sent},
		"for another kind":      {'S', ekm, sent},
		"reflected":             {kindLink, ekm, answer},
		"of an empty answer":    {kindLink, ekm, nil},
		"of the answering side": {kindLink, ekm, proof(key, 'A', kindLink, ekm, nil)},
		"of a link that exists": {kindLink, ekm, reproof(key, 'D', ekm, nil)},
	} {
		if _, matched := p.accept(got.kind, got.ekm, got.proof); matched != nil {
			t.Errorf("a proof %s is taken", name)
		}
	}
	if bytes.Equal(answer, proof(key, 'A', kindLink, ekm, answer)) {
		t.Error("an answer is good for another proof")
	}
}
