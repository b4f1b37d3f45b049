package gossip

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/libcluster-go/cluster"
)

const (
	secretA = "correct horse battery staple"
	secretB = "another secret of the tests"
)

// Two instances; what is in them is of no matter.
func instanceA() instance { return instance{0xaa, 1, 2, 3} }
func instanceB() instance { return instance{0xbb, 4, 5, 6} }

func keys(tb testing.TB, secrets ...string) keyring {
	tb.Helper()
	k, err := newKeyring(secrets)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// sealWith makes a packet as a sender with this secret does; "" is in the clear.
func sealWith(tb testing.TB, secret string, i instance, counter uint64, m message) []byte {
	tb.Helper()
	k := keyring{}
	if secret != "" {
		k = keys(tb, secret)
	}
	sealers, err := k.sealers(i)
	if err != nil {
		tb.Fatal(err)
	}
	return seal(sealers[0], i, counter, m)
}

func openWith(k keyring, packet []byte) (message, error) {
	h, err := parseHeader(packet)
	if err != nil {
		return message{}, err
	}
	m, _, err := k.open(packet, h, nil)
	return m, err
}

// TestMessage has every message come back as it was.
func TestMessage(t *testing.T) {
	many := make([]mention, 300)
	for name, tt := range map[string]struct {
		sent message
		want func(*message) // nil: as sent
	}{
		"a newcomer":        {message{cluster: "default", nodes: []cluster.Node{"10.0.0.1:4370"}}, nil},
		"a farewell":        {message{leaving: true, period: 1<<32 - 1, cluster: "default", nodes: []cluster.Node{"10.0.0.1:4370"}}, nil},
		"a name":            {message{cluster: "default", nodes: []cluster.Node{"web@web-1.internal:4370"}}, nil},
		"dual stack":        {message{cluster: "default", nodes: []cluster.Node{"10.0.0.1:4370", "[2001:db8::1]:4370"}}, nil},
		"a long cluster":    {message{cluster: strings.Repeat("c", maxCluster), nodes: []cluster.Node{"10.0.0.1:4370"}}, nil},
		"any cluster":       {message{cluster: "\x00\xff", nodes: []cluster.Node{"10.0.0.1:4370"}}, nil},
		"mentions":          {message{cluster: "c", nodes: []cluster.Node{"10.0.0.1:4370"}, heard: []mention{{instanceA(), 1, true}, {instanceB(), 1 << 31, false}}}, nil},
		"too many mentions": {message{cluster: "c", nodes: []cluster.Node{"10.0.0.1:4370"}, heard: many}, func(m *message) { m.heard = m.heard[:m.mentions()] }},
	} {
		for _, secret := range []string{secretA, ""} {
			t.Run(fmt.Sprintf("%s/sealed %t", name, secret != ""), func(t *testing.T) {
				packet := sealWith(t, secret, instanceA(), 7, tt.sent)
				if len(packet) > maxPacket {
					t.Errorf("the packet has %d bytes, more than %d", len(packet), maxPacket)
				}
				k := keyring{}
				if secret != "" {
					k = keys(t, secret)
				}
				got, err := openWith(k, packet)
				if err != nil {
					t.Fatal(err)
				}
				if tt.want != nil {
					tt.want(&tt.sent)
				}
				if !reflect.DeepEqual(got, tt.sent) {
					t.Errorf("it comes back as %+v, want %+v", got, tt.sent)
				}
			})
		}
	}
}

// TestSealedSaysNothing has no part of the body be seen from outside.
func TestSealedSaysNothing(t *testing.T) {
	packet := sealWith(t, secretA, instanceA(), 1, message{cluster: "payments", nodes: []cluster.Node{"web@10.0.0.1:4370"}})
	for _, part := range []string{"payments", "web", "10.0.0.1", "4370", secretA} {
		if bytes.Contains(packet, []byte(part)) {
			t.Errorf("the packet shows %q", part)
		}
	}
}

// TestOpenRefuses has each kind of bad packet dropped for what it is.
func TestOpenRefuses(t *testing.T) {
	hello := message{cluster: "default", nodes: []cluster.Node{"10.0.0.1:4370"}}
	good := sealWith(t, secretA, instanceA(), 1, hello)
	inClear := sealWith(t, "", instanceA(), 1, hello)
	changed := func(packet []byte, i int, to byte) []byte {
		p := slices.Clone(packet)
		p[i] = to
		return p
	}
	name := headerSize + 1 + 4
	body := name + 1 + len("default")
	for name, tt := range map[string]struct {
		keys   keyring
		packet []byte
		want   error
	}{
		"nothing":                   {keys(t, secretA), nil, errMalformed},
		"half a header":             {keys(t, secretA), good[:headerSize-1], errMalformed},
		"no body":                   {keys(t, secretA), good[:headerSize], errForged},
		"half a tag":                {keys(t, secretA), good[:headerSize+tagSize/2], errForged},
		"cut short":                 {keys(t, secretA), good[:len(good)-1], errForged},
		"too long":                  {keys(t, secretA), append(slices.Clone(good), make([]byte, maxPacket)...), errMalformed},
		"another protocol":          {keys(t, secretA), changed(good, 0, 'x'), errMalformed},
		"another version":           {keys(t, secretA), changed(good, 3, 2), errMalformed},
		"an unknown mode":           {keys(t, secretA), changed(good, 4, 'X'), errMalformed},
		"a counter of 0":            {keys(t, secretA), changed(good, headerSize-1, 0), errMalformed},
		"another counter":           {keys(t, secretA), changed(good, headerSize-1, 2), errForged},
		"another's instance":        {keys(t, secretA), changed(good, 5, 0xbb), errForged},
		"a changed body":            {keys(t, secretA), changed(good, headerSize, good[headerSize]^1), errForged},
		"a changed tag":             {keys(t, secretA), changed(good, len(good)-1, good[len(good)-1]^1), errForged},
		"another secret":            {keys(t, secretB), good, errForged},
		"in the clear to us":        {keys(t, secretA), inClear, errForged},
		"said to be in the clear":   {keys(t, secretA), changed(good, 4, byte(modeClear)), errForged},
		"sealed to an insecure one": {keyring{}, good, errForged},
		"no cluster":                {keyring{}, changed(inClear, name, 0), errMalformed},
		"a cluster cut short":       {keyring{}, changed(inClear, name, 255), errMalformed},
		"no nodes":                  {keyring{}, changed(inClear, body, 0), errMalformed},
		"too many nodes":            {keyring{}, changed(inClear, body, maxNodes+1), errMalformed},
		"a node cut short":          {keyring{}, changed(inClear, body+1, 1), errMalformed},
		"a node that is none":       {keyring{}, changed(inClear, body+3, ' '), errMalformed},
		"mentions cut short":        {keyring{}, changed(inClear, len(inClear)-1, 1), errMalformed},
		"mentions left out":         {keyring{}, inClear[:len(inClear)-1], errMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := openWith(tt.keys, tt.packet); !errors.Is(err, tt.want) {
				t.Errorf("it opens as %+v, %v; want %v", m, err, tt.want)
			}
		})
	}
}

// TestRotation has secrets changed in two steps: all understand each other in
// each, whoever has taken the next step already.
func TestRotation(t *testing.T) {
	hello := message{cluster: "default", nodes: []cluster.Node{"10.0.0.1:4370"}}
	steps := [][]string{{secretA}, {secretB, secretA}, {secretB}}
	for i, from := range steps {
		for j, to := range steps {
			sealers, err := keys(t, from...).sealers(instanceA())
			if err != nil {
				t.Fatal(err)
			}
			opened := 0
			for n, key := range sealers {
				if _, err := openWith(keys(t, to...), seal(key, instanceA(), uint64(n+1), hello)); err == nil {
					opened++
				}
			}
			if near := max(i-j, j-i) <= 1; (opened > 0) != near {
				t.Errorf("from step %d to step %d, %d of %d packets are opened", i, j, opened, len(sealers))
			}
		}
	}
}

// TestKnownKey has a sender's second secret be understood when the first is the
// one that is known.
func TestKnownKey(t *testing.T) {
	k := keys(t, secretB, secretA)
	hello := message{cluster: "default", nodes: []cluster.Node{"10.0.0.1:4370"}}
	first := sealWith(t, secretA, instanceA(), 1, hello)
	h, _ := parseHeader(first)
	_, known, err := k.open(first, h, nil)
	if err != nil || known == nil {
		t.Fatalf("the first opens with %v, %v", known, err)
	}
	second := sealWith(t, secretB, instanceA(), 2, hello)
	h, _ = parseHeader(second)
	if _, _, err := k.open(second, h, known); err != nil {
		t.Errorf("the second, of another secret, does not open: %v", err)
	}
}

// TestTrailingBytes has those of later versions ignored.
func TestTrailingBytes(t *testing.T) {
	packet := sealWith(t, "", instanceA(), 1, message{cluster: "default", nodes: []cluster.Node{"10.0.0.1:4370"}})
	if _, err := openWith(keyring{}, append(packet, 1, 2, 3)); err != nil {
		t.Errorf("it is refused: %v", err)
	}
}

// TestCheck has what doesn't fit refused before it is sent.
func TestCheck(t *testing.T) {
	long := cluster.Node(strings.Repeat("n", 250) + "@10.0.0.1:4370")
	for name, tt := range map[string]struct {
		message message
		says    string
	}{
		"small":                {message{cluster: "c", nodes: []cluster.Node{"10.0.0.1:4370"}}, ""},
		"three long nodes":     {message{cluster: "c", nodes: []cluster.Node{long, long, long}}, ""},
		"a longer cluster":     {message{cluster: strings.Repeat("c", 256), nodes: []cluster.Node{"10.0.0.1:4370"}}, "Cluster has 256 bytes"},
		"no cluster":           {message{nodes: []cluster.Node{"10.0.0.1:4370"}}, "Cluster has 0 bytes"},
		"seventeen nodes":      {message{cluster: "c", nodes: slices.Repeat([]cluster.Node{"10.0.0.1:4370"}, 17)}, "Advertise has 17 nodes"},
		"more than a packet":   {message{cluster: "c", nodes: slices.Repeat([]cluster.Node{long}, 5)}, "too many for a packet"},
		"no room for mentions": {message{cluster: "c", nodes: slices.Repeat([]cluster.Node{long}, 4)}, "too many for a packet"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.message.check()
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("check returns %v, want %q", err, tt.says)
			}
		})
	}
}

func TestWindow(t *testing.T) {
	for name, tt := range map[string]struct {
		noted []uint64
		fresh []uint64
		stale []uint64
	}{
		"new":                {nil, []uint64{1, 2, 1 << 63}, nil},
		"in order":           {[]uint64{1, 2, 3}, []uint64{4}, []uint64{1, 2, 3}},
		"out of order":       {[]uint64{3, 1}, []uint64{2, 4}, []uint64{1, 3}},
		"the edge":           {[]uint64{100}, []uint64{37, 99}, []uint64{36, 1}},
		"a leap":             {[]uint64{1, 2, 1000}, []uint64{999, 937}, []uint64{1000, 936, 1, 2}},
		"a leap of 64":       {[]uint64{1, 65}, []uint64{2, 64}, []uint64{1, 65}},
		"the greatest":       {[]uint64{1<<64 - 1}, []uint64{1<<64 - 2}, []uint64{1<<64 - 1, 1}},
		"a hole stays a gap": {[]uint64{1, 3, 5, 4}, []uint64{2}, []uint64{1, 3, 4, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			var w window
			for _, c := range tt.noted {
				if !w.fresh(c) {
					t.Fatalf("%d is stale the first time", c)
				}
				w.note(c)
			}
			for _, c := range tt.fresh {
				if !w.fresh(c) {
					t.Errorf("%d is stale", c)
				}
			}
			for _, c := range tt.stale {
				if w.fresh(c) {
					t.Errorf("%d is fresh", c)
				}
			}
		})
	}
}

// A vector is one of FORMAT.md's.
type vector struct {
	name, secret string
	instance     instance
	counter      uint64
	message      message
	packet       []byte
}

// vectors reads those of FORMAT.md.
func vectors(t *testing.T) (all []vector) {
	t.Helper()
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(doc), "```")
	for i := 1; i < len(parts); i += 2 {
		var v vector
		for line := range strings.SplitSeq(strings.TrimSpace(parts[i]), "\n") {
			field, value, _ := strings.Cut(line, ": ")
			v.set(t, field, value)
		}
		all = append(all, v)
	}
	return all
}

func (v *vector) set(t *testing.T, field, value string) {
	t.Helper()
	binary := func(text string) []byte {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatalf("%s: %s: %v", v.name, field, err)
		}
		return b
	}
	number := func(text string) uint32 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("%s: %s: %v", v.name, field, err)
		}
		return uint32(n)
	}
	switch field {
	case "name":
		v.name = value
	case "secret":
		v.secret = value
	case "instance":
		copy(v.instance[:], binary(value))
	case "counter":
		v.counter, _ = strconv.ParseUint(value, 10, 64)
	case "leaving":
		v.message.leaving = true
	case "period":
		v.message.period = number(value)
	case "cluster":
		v.message.cluster = value
	case "node":
		v.message.nodes = append(v.message.nodes, cluster.Node(value))
	case "mention", "mention and ask":
		id, heard, _ := strings.Cut(value, " in ")
		m := mention{period: number(heard), asks: field == "mention and ask"}
		copy(m.instance[:], binary(id))
		v.message.heard = append(v.message.heard, m)
	case "packet":
		v.packet = binary(value)
	default:
		t.Fatalf("%s: what is %q?", v.name, field)
	}
}

// TestVectors has the document and the code say the same.
func TestVectors(t *testing.T) {
	all := vectors(t)
	if len(all) < 4 {
		t.Fatalf("there are %d vectors, want at least 4", len(all))
	}
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			if got := sealWith(t, v.secret, v.instance, v.counter, v.message); !bytes.Equal(got, v.packet) {
				t.Errorf("the packet is\n%x, want\n%x", got, v.packet)
			}
			k := keyring{}
			if v.secret != "" {
				k = keys(t, v.secret)
			}
			if got, err := openWith(k, v.packet); err != nil || !reflect.DeepEqual(got, v.message) {
				t.Errorf("it opens as %+v, %v; want %+v", got, err, v.message)
			}
		})
	}
}

// FuzzPacket has no packet, sealed or in the clear, do harm, and whatever is
// understood be understood the same when it is sent again.
func FuzzPacket(f *testing.F) {
	hello := message{cluster: "default", nodes: []cluster.Node{"10.0.0.1:4370", "[2001:db8::1]:4370"}, heard: []mention{{instanceB(), 7, true}}}
	f.Add(sealWith(f, secretA, instanceA(), 1, hello))
	f.Add(sealWith(f, "", instanceA(), 1, hello))
	f.Add(sealWith(f, "", instanceA(), 1<<63, message{leaving: true, cluster: "c", nodes: []cluster.Node{"web@web-1:4370"}}))
	sealedKeys := keys(f, secretB, secretA)
	f.Fuzz(func(t *testing.T, packet []byte) {
		if _, err := openWith(sealedKeys, packet); err != nil && !errors.Is(err, errForged) && !errors.Is(err, errMalformed) {
			t.Errorf("sealed: %v is no reason to drop a packet", err)
		}
		m, err := openWith(keyring{}, packet)
		if err != nil {
			if !errors.Is(err, errForged) && !errors.Is(err, errMalformed) {
				t.Errorf("in the clear: %v is no reason to drop a packet", err)
			}
			return
		}
		h, err := parseHeader(packet)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.append(nil)) > maxBody {
			return // its nodes in canonical form, or room for a tag
		}
		again, err := openWith(keyring{}, seal(nil, h.instance, h.counter, m))
		m.heard = m.heard[:min(len(m.heard), max(0, m.mentions()))]
		if err != nil || len(again.heard) != len(m.heard) || again.cluster != m.cluster || again.period != m.period || !slices.Equal(again.nodes, m.nodes) || !slices.Equal(again.heard, m.heard) {
			t.Errorf("%+v comes back as %+v, %v", m, again, err)
		}
	})
}
