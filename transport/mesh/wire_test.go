package mesh

import (
	"reflect"
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

func FuzzDecodeReason(f *testing.F) {
	f.Add(encodeReason(CodeLeft, "bye"))
	f.Fuzz(func(t *testing.T, b []byte) {
		code, _, err := decodeReason(b)
		if err == nil && code.String() == "" {
			t.Fatalf("code %d has no name", code)
		}
	})
}

func TestProofBindsEverything(t *testing.T) {
	p, err := newProver([]string{testSecret})
	if err != nil {
		t.Fatal(err)
	}
	ekm, other := make([]byte, 32), append(make([]byte, 31), 1)
	sent := p.dial(0, kindLink, ekm)
	answer, ok := p.accept(kindLink, ekm, sent)
	if !ok || !p.confirm(0, kindLink, ekm, sent, answer) {
		t.Fatal("an honest pair is refused")
	}
	if _, ok := p.accept(kindLink, other, sent); ok {
		t.Error("a proof is good on another connection")
	}
	if _, ok := p.accept('S', ekm, sent); ok {
		t.Error("a proof is good for another kind")
	}
	if p.confirm(0, 'S', ekm, sent, answer) {
		t.Error("an answer is good for another kind")
	}
	if p.confirm(0, kindLink, ekm, sent, sent) {
		t.Error("a proof can be reflected")
	}
	if p.confirm(0, kindLink, ekm, answer, answer) {
		t.Error("an answer is good for another proof")
	}
}
