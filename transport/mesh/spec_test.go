package mesh

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/internal/secret"
	"github.com/libcluster-go/cluster/transport"
)

// constants reads the constants of a file that have a prefix and a type, or all
// with that prefix if the type is empty; those whose value isn't a number alone
// are zero.
func constants(t *testing.T, file, prefix, kind string) map[string]int {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		name, ok := strings.CutPrefix(spec.Names[0].Name, prefix)
		if id, typed := spec.Type.(*ast.Ident); !ok || kind != "" && (!typed || id.Name != kind) {
			return true
		}
		value := 0
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			value, _ = strconv.Atoi(lit.Value)
		}
		found[name] = value
		return true
	})
	if len(found) == 0 {
		t.Fatalf("%s has no constants %s…", file, prefix)
	}
	return found
}

// table returns the rows of the first table below a heading of SPEC.md, without
// its head.
func table(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	_, rest, ok := strings.Cut(readSpec(t), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("SPEC.md has no heading %q", heading)
	}
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if len(rows) > 0 || strings.HasPrefix(line, "#") {
				break
			}
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.Trim(strings.TrimSpace(cell), "`"))
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("there is no table below %q", heading)
	}
	return rows[2:]
}

func readSpec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// numbered reads a table whose rows begin with a number and a name.
func numbered(t *testing.T, heading string) map[string]int {
	t.Helper()
	names := map[string]int{}
	for _, row := range table(t, heading) {
		n, err := strconv.Atoi(row[0])
		if _, twice := names[row[1]]; err != nil || twice {
			t.Fatalf("%s: row %q", heading, row)
		}
		names[row[1]] = n
	}
	return names
}

func TestSpecFrames(t *testing.T) {
	code := map[string]int{}
	for name, n := range constants(t, "wire.go", "frame", "frameType") {
		code[strings.ToLower(name)] = n
	}
	if spec := numbered(t, "## Frame types"); !reflect.DeepEqual(spec, code) {
		t.Errorf("SPEC.md has %v, the code %v", spec, code)
	}
}

func TestSpecCodes(t *testing.T) {
	code := map[string]int{}
	for _, n := range constants(t, "errors.go", "Code", "Code") {
		code[Code(n).String()] = n
	}
	if spec := numbered(t, "## Codes"); !reflect.DeepEqual(spec, code) {
		t.Errorf("SPEC.md has %v, the code %v", spec, code)
	}
}

func TestSpecStatuses(t *testing.T) {
	code := map[string]int{}
	for name, n := range constants(t, "letter.go", "status", "status") {
		code[strings.ReplaceAll(strings.ToLower(name), "_", "")] = n
	}
	spec := map[string]int{}
	for name, n := range numbered(t, "## Messages and requests") {
		spec[strings.ReplaceAll(name, "_", "")] = n
	}
	if !reflect.DeepEqual(spec, code) {
		t.Errorf("SPEC.md has %v, the code %v", spec, code)
	}
}

func TestSpecLimits(t *testing.T) {
	code := map[string]int64{
		"Cluster": maxClusterName, "Name": longestName(), "Advertise": maxAddrs, "Meta": maxMeta, "Secrets": maxSecrets,
		"secret": secret.MinBytes, "distinct": secret.MinDistinct,
		"MaxHandshakes": defaultMaxHandshakes, "MaxPeers": defaultMaxPeers, "MaxMessage": defaultMaxMessage,
		"most MaxMessage": maxMessageLimit, "SendQueue": defaultSendQueue, "ReceiveQueue": defaultReceiveQueue,
		"ReceiveLarge": defaultReceiveLarge, "MaxRequests": defaultMaxRequests, "whole": maxWhole, "part": maxPart, "open": maxOpen, "error": maxErrorText,
		"at once": guestsAtOnce, "a second": guestsPerSecond, "places": maxPlaces,
		"hello": maxHello, "reason": maxRefuse, "peers": maxClaimsFrame, "subject": maxSubject,
		"dials": learnedMost, "dials a second": learnedPerSec, "failures": learnedFailures, "lost": maxLost, "tombstones": maxTombstones, "apart": maxApart,
	}
	compareValues(t, "## Limits", code)
}

// longestName is how long the name before the @ may be.
func longestName() (n int64) {
	for n = 1; ; n++ {
		if _, err := transport.ParseNode(strings.Repeat("n", int(n)+1) + "@h:1"); err != nil {
			return n
		}
	}
}

func TestSpecTimes(t *testing.T) {
	code := map[string]int64{}
	for name, d := range map[string]time.Duration{
		"HandshakeTimeout": defaultHandshakeTimeout, "Heartbeat": defaultHeartbeat, "DownAfter": defaultDownAfter, "ForgetAfter": defaultForgetAfter, "DivergedAfter": defaultDivergedAfter,
		"conflict": conflictPing, "prove": proveWithin, "ask": askAgain, "part": partTimeout, "vanish": vanishAfter,
		"wait min": waitTicksMin * waitTick, "wait max": waitTicksMax * waitTick,
		"news min": newsPauseMin, "news max": newsPauseMax, "news busy": newsBusy,
		"spread": spreadPerPeer, "spread max": spreadMax, "spread turn": spreadTurn,
		"lost min": lostPauseMin, "lost max": lostPauseMax, "owner": ownerTime, "tombstone": tombstoneTime,
	} {
		code[name] = int64(d)
	}
	compareValues(t, "## Times", code)
}

// compareValues compares a table whose rows begin with a name and a value.
func compareValues(t *testing.T, heading string, code map[string]int64) {
	t.Helper()
	spec := map[string]int64{}
	for _, row := range table(t, heading) {
		v, err := value(row[1])
		if _, twice := spec[row[0]]; err != nil || twice {
			t.Fatalf("%s: row %q: %v", heading, row, err)
		}
		spec[row[0]] = v
	}
	for name, want := range code {
		if got, ok := spec[name]; !ok || got != want {
			t.Errorf("%s: SPEC.md has %d (%v) for %s, the code %d", heading, got, ok, name, want)
		}
		delete(spec, name)
	}
	for name := range spec {
		t.Errorf("%s: SPEC.md has %s, and nothing in the code is compared with it", heading, name)
	}
}

// value reads "512", "32 KiB" or "5 s".
func value(s string) (int64, error) {
	number, unit, _ := strings.Cut(s, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, err
	}
	units := map[string]int64{
		"": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20,
		"ms": int64(time.Millisecond), "s": int64(time.Second), "min": int64(time.Minute), "h": int64(time.Hour),
	}
	if units[unit] == 0 {
		return 0, fmt.Errorf("%q has no unit that is known", s)
	}
	return n * units[unit], nil
}

// TestSpecDefaults: every default of Config that the wire's other end can notice
// is in the document.
func TestSpecDefaults(t *testing.T) {
	known := []string{"Cluster"} // a name, not a number
	for _, heading := range []string{"## Limits", "## Times"} {
		for _, row := range table(t, heading) {
			known = append(known, row[0])
		}
	}
	for name := range constants(t, "config.go", "default", "") {
		if !slices.Contains(known, name) {
			t.Errorf("SPEC.md doesn't have Config.%s", name)
		}
	}
}

// TestSpecStrings: the strings and numbers that two implementations have to
// agree on stand in the document as they are in the code.
func TestSpecStrings(t *testing.T) {
	spec := readSpec(t)
	for _, s := range []string{
		alpn, exporterLabel, keyInfo, defaultCluster,
		fmt.Sprintf("TCP port %d", Port), fmt.Sprintf("versions %d to %d", protocolMin, protocolMax),
		fmt.Sprintf("`%016x`", featurePeers), fmt.Sprintf("`%016x`", featureDigest), fmt.Sprintf("`%016x`", featureMeta),
		fmt.Sprintf("0x%02x", byte(kindLink)),
	} {
		if !strings.Contains(spec, s) {
			t.Errorf("SPEC.md doesn't have %q", s)
		}
	}
}

// TestNamedTestsExist: what a document says a test shows, a test of that name
// exists for, in the file that is linked.
func TestNamedTestsExist(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	for _, doc := range []string{"SPEC.md", filepath.Join("..", "..", ".github", "SECURITY.md")} {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(b), -1)
		if len(names) == 0 {
			t.Errorf("%s names no test", doc)
		}
		for _, name := range names {
			if !strings.Contains(code.String(), "\nfunc "+name+"(") {
				t.Errorf("%s names %s, which doesn't exist", doc, name)
			}
		}
	}
}

// A stranger is the other end of a link that is made of nothing but the document
// and the standard library.
type stranger struct {
	t    *testing.T
	conn *tls.Conn
}

func newStranger(t *testing.T, m *Mesh) *stranger {
	t.Helper()
	conn, err := tls.Dial("tcp", m.Addr().String(), &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"cluster-mesh/1"}, InsecureSkipVerify: true, //nolint:gosec // as the document says
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &stranger{t, conn}
}

func (s *stranger) say(kind byte, payload string) {
	s.t.Helper()
	frame := binary.BigEndian.AppendUint32([]byte{kind, 0}, uint32(len(payload)))
	if _, err := s.conn.Write(append(frame, payload...)); err != nil {
		s.t.Fatal(err)
	}
}

// hear reads on to a frame of that type.
func (s *stranger) hear(kind byte) string {
	s.t.Helper()
	for {
		var header [6]byte
		if _, err := io.ReadFull(s.conn, header[:]); err != nil {
			s.t.Fatalf("type %d was due: %v", kind, err)
		}
		payload := make([]byte, binary.BigEndian.Uint32(header[2:]))
		if _, err := io.ReadFull(s.conn, payload); err != nil {
			s.t.Fatal(err)
		}
		if header[0] == kind {
			return string(payload)
		}
	}
}

// prove proves the secret, and checks that the other end does.
func (s *stranger) prove() {
	s.t.Helper()
	state := s.conn.ConnectionState()
	ekm, err := state.ExportKeyingMaterial("EXPORTER-cluster-mesh-v1", []byte("L"), 32)
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := hkdf.Key(sha256.New, []byte(testSecret), nil, "cluster mesh proof v1", 32)
	if err != nil {
		s.t.Fatal(err)
	}
	mac := func(parts ...string) string {
		h := hmac.New(sha256.New, key)
		_, _ = io.WriteString(h, strings.Join(parts, ""))
		return string(h.Sum(nil))
	}
	proofD := mac("DL", string(ekm))
	s.say(1, "L"+proofD)
	if answer := s.hear(2); answer[:32] != mac("AL", string(ekm), proofD) {
		s.t.Fatal("proof_A is no good")
	}
}

// TestAStrangersImplementation links, is told of who is there, is answered, and
// is heard.
func TestAStrangersImplementation(t *testing.T) {
	got := make(chan Message, 1)
	m := listen(t, func(c *Config) {
		c.Handlers = map[string]Handler{"greet": func(_ context.Context, msg Message) { got <- msg }}
		c.Responders = map[string]Responder{"echo": func(_ context.Context, msg Message) ([]byte, error) { return msg.Data, nil }}
	})
	connect(t, listen(t, nil), m)
	s := newStranger(t, m)
	s.prove()
	s.say(3, "the link"+
		"\x00\x01"+"\x00\x01"+"\x00\x00\x00\x00\x00\x00\x00\x01"+ // versions, features
		strings.Repeat("\xff", 16)+ // the greatest instance: it follows
		"\x00\x07default"+"\x00\x10stranger@h:65535"+"\x00\x01"+"\x00\x07h:65535"+"\x00\x00")
	s.hear(4)
	begin := s.hear(6)
	if before, turn := begin[:8], begin[8:]; before != strings.Repeat("\x00", 8) || turn == before {
		t.Fatalf("begin is %q", begin)
	}
	s.say(6, begin)
	if peers := s.hear(11); len(peers) < 2+1+16 || peers[2] != 1 {
		t.Errorf("peers is %q", peers)
	}
	s.say(99, "of another version")
	s.say(8, "8 bytes.")
	if pong := s.hear(9); pong != "8 bytes." {
		t.Errorf("pong is %q", pong)
	}
	s.say(16, "\x05greethello")
	if msg := <-got; string(msg.Data) != "hello" || msg.From != "stranger@h:65535" {
		t.Errorf("it is heard as %+v", msg)
	}
	s.say(19, "\x00\x00\x00\x01"+"\x11"+"\x00\x01\x86\xa0") // a request of 100,000 bytes
	request := "8 bytes." + "\x04echo" + strings.Repeat("0123456789", 9999)[:100_000-13]
	s.say(20, "\x00\x00\x00\x01"+request[:60_000])
	s.say(17, "the next"+"\x04echohello")
	if reply := s.hear(18); reply != "the next"+"\x00hello" {
		t.Errorf("the reply to a small request is %q", reply)
	}
	s.say(20, "\x00\x00\x00\x01"+request[60_000:])
	large := s.hear(19)
	var reply string
	for len(reply) < int(binary.BigEndian.Uint32([]byte(large[5:]))) {
		reply += s.hear(20)[4:]
	}
	if want := "8 bytes." + "\x00" + request[13:]; reply != want || large[4] != 18 {
		t.Errorf("the reply to a large request is %.100q, as type %d", reply, large[4])
	}
	s.say(10, "\x00\x07")
	until(t, m, "it has left", func() bool { return peerCount(m) == 1 })
	if !m.Departed("stranger@h:65535") {
		t.Error("it isn't known to have left")
	}
}

// TestAListenerReadsNothing: what goes over the line shows neither the secret,
// nor who is there, nor what is said; in an insecure mesh it does.
func TestAListenerReadsNothing(t *testing.T) {
	const name, subject, data = "who-is-there", "the-subject", "what-is-said"
	for _, insecure := range []bool{false, true} {
		t.Run(fmt.Sprint("insecure ", insecure), func(t *testing.T) {
			said := make(chan struct{})
			named := func(c *Config) {
				c.Name, c.Insecure = name, insecure
				if c.Handlers = map[string]Handler{subject: func(context.Context, Message) { close(said) }}; insecure {
					c.Secrets = nil
				}
			}
			a, b := listen(t, named), listen(t, named)
			var recorded lockedBytes
			r := startRecorder(t, b.Addr().String(), nil, recorded.write)
			if err := a.dial(t.Context(), target{addr: r.addr()}, nil); err != nil {
				t.Fatal(err)
			}
			if err := a.Send(t.Context(), b.Self(), subject, []byte(data)); err != nil {
				t.Fatal(err)
			}
			<-said
			line := recorded.bytes()
			for _, part := range []string{name, subject, data} {
				if shown := bytes.Contains(line, []byte(part)); shown != insecure {
					t.Errorf("%q is on the line: %v", part, shown)
				}
			}
			if bytes.Contains(line, []byte(testSecret)) {
				t.Error("the secret is on the line")
			}
		})
	}
}

// TestWhatAnImpostorLearns: one who is dialled can try guesses of the secret with
// the dialler's proof, and is told nothing else.
func TestWhatAnImpostorLearns(t *testing.T) {
	m := listen(t, func(c *Config) { c.Name = "who-is-there" })
	conn, dialled := newAttacker(t).accept(m)
	shown := proofOf(t, conn)
	ekm, err := exportKey(conn.ConnectionState(), kindLink)
	if err != nil {
		t.Fatal(err)
	}
	for guess, right := range map[string]bool{testSecret: true, nextSecret: false} {
		p, err := newProver([]string{guess})
		if err != nil {
			t.Fatal(err)
		}
		if hit := bytes.Equal(proof(p.keys[0], 'D', kindLink, ekm, nil), shown[1:]); hit != right {
			t.Errorf("the guess %q: %v", guess, hit)
		}
	}
	if err := writeFrame(conn, frameAnswer, make([]byte, proofSize), m.self.encode()); err != nil {
		t.Fatal(err)
	}
	if err := <-dialled; !errors.Is(err, ErrProof) {
		t.Errorf("the dialler: %v, want ErrProof", err)
	}
	if more, _ := io.ReadAll(conn); len(more) > 0 {
		t.Errorf("it says %q besides", more)
	}
}
