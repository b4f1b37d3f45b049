package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcluster-go/cluster/transport/mesh"
)

// testChat watches its mesh until the test ends.
func testChat(t *testing.T, m *mesh.Mesh) (*chat, *journal) {
	t.Helper()
	j := newJournal()
	c := newChat(m, j.add)
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { c.watch(ctx) })
	t.Cleanup(watching.Wait)
	t.Cleanup(stop)
	return c, j
}

func TestRooms(t *testing.T) {
	meshes := testMeshes(t, "ann", "bob", "cid")
	ann, annHears := testChat(t, meshes[0])
	bob, bobHears := testChat(t, meshes[1])
	cid, cidHears := testChat(t, meshes[2])
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(ann.join(t.Context(), "go"))
	do(bob.join(t.Context(), "go")) // later: ann has to tell him that she is there
	annHears.await(t, "[go] * bob is here")
	bobHears.await(t, "[go] * ann is here")
	do(cid.join(t.Context(), "rust"))
	do(ann.say(t.Context(), "go", "hello \x1b[2Jbob"))
	bobHears.await(t, "[go] ann: hello [2Jbob") // nothing that the terminal obeys

	do(cid.join(t.Context(), "go"))
	cidHears.await(t, "[go] * ann is here", "[go] * bob is here")
	if got, want := cid.who("go"), []string{"ann", "bob"}; !slices.Equal(got, want) {
		t.Errorf("in go are %q; want %q", got, want)
	}
	bobHears.await(t, "[go] * cid is here")
	do(bob.leave(t.Context(), "go"))
	annHears.await(t, "[go] * bob has left")
	cidHears.await(t, "[go] * bob has left")
	do(cid.say(t.Context(), "go", "is it only us?"))
	annHears.await(t, "[go] cid: is it only us?")
	do(meshes[2].Close())
	annHears.await(t, "[go] * cid is gone")

	for _, m := range meshes { // no handler runs afterwards
		do(m.Close())
	}
	if slices.Contains(bobHears.all(), "[go] cid: is it only us?") {
		t.Error("bob hears what is said in a room that he has left")
	}
}

// Who comes is told where the others are, and tells where it is.
func TestNewcomersAreGreeted(t *testing.T) {
	secret := mesh.NewSecret()
	open := func(name string) *mesh.Mesh {
		m, err := mesh.Listen(mesh.Config{Name: name, Secrets: []string{secret}, Bind: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	am, bm := open("ann"), open("bob")
	ann, annHears := testChat(t, am)
	bob, bobHears := testChat(t, bm)
	for _, c := range []*chat{ann, bob} {
		if err := c.joinAll(t.Context(), []string{"go", "rust"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := am.Connect(t.Context(), bm.Self()); err != nil {
		t.Fatal(err)
	}
	annHears.await(t, "[go] * bob is here", "[rust] * bob is here")
	bobHears.await(t, "[go] * ann is here", "[rust] * ann is here")
}

// typing is what converse does with lines that were typed.
func typing(t *testing.T, lines string) string {
	t.Helper()
	m := testMeshes(t, "ann")[0]
	var out bytes.Buffer
	at := plainConsole(strings.NewReader(lines), &out)
	c := newChat(m, at.show)
	if err := c.join(t.Context(), "go"); err != nil {
		t.Fatal(err)
	}
	if err := c.converse(t.Context(), "go", at); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCommands(t *testing.T) {
	tests := []struct{ name, lines, want string }{
		{"who", "/who\n", "[go] * in this room: you\n"},
		{"the room of the next line", "/join rust\n/who\n", "[rust] * in this room: you\n"},
		{"back to another room", "/join rust\n/leave\n/who\n", "[go] * in this room: you\n"},
		{"a bad room", "/join a]\n/who\n", "error: the room \"a]\": want a name of 1 to 64 bytes, without spaces and ]\n[go]"},
		{"no room", "/leave\nhello\n/leave\n/who\n", strings.Repeat("error: you are in no room; /join one\n", 3)},
		{"another room is left", "/join rust\n/leave go\n/who\n/leave\n/who\n", "[rust] * in this room: you\nerror: you are in no room"},
		{"a room that one isn't in", "/leave rust\n/who\n", "error: you aren't in the room \"rust\"\n[go] * in this room"},
		{"no command", "/jump\n", "error: \"/jump\" isn't understood; /join ROOM, /leave [ROOM], /who"},
		{"not its arguments", "/join\n", "error: \"/join\" isn't understood; /join ROOM"},
		{"help", "/help\n/jump\n", "/quit\n/join ROOM, /leave [ROOM], /who, /help, /quit\nerror"},
		{"spaces around", "  /who \n", "[go] * in this room: you\n"},
		{"an empty line", "\n \n/who\n", "/quit\n[go] * in this room"},
		{"alone", "is anybody there?\n", "[go] * nobody else is in this room\n"},
		{"a long line", strings.Repeat("ü", 50_000) + "\n/who\n", "nobody else is in this room\n[go] * in this room: you\n"},
		{"spaces after quit", "/quit \n/jump\n", "/help, /quit\n"},
		{"nothing after quit", "/quit\n/jump\n", "/help, /quit\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := typing(t, tt.lines)
			if !strings.Contains(out, tt.want) {
				t.Errorf("%q is missing:\n%s", tt.want, out)
			}
			if strings.HasSuffix(tt.name, "after quit") && strings.Contains(out, "jump") {
				t.Errorf("it goes on after /quit:\n%s", out)
			}
		})
	}
}

// Two who are called the same are told apart by their addresses.
func TestNamesake(t *testing.T) {
	meshes := testMeshes(t, "ann", "bob", "bob")
	ann, annHears := testChat(t, meshes[0])
	bob, _ := testChat(t, meshes[1])
	namesake, namesakeHears := testChat(t, meshes[2])
	for _, c := range []*chat{ann, bob, namesake} {
		if err := c.join(t.Context(), "go"); err != nil {
			t.Fatal(err)
		}
	}
	first, second := string(meshes[1].Self()), string(meshes[2].Self())
	annHears.await(t, "[go] * "+first+" is here", "[go] * "+second+" is here")
	namesakeHears.await(t, "[go] * "+first+" is here", "[go] * ann is here")
	if got, want := ann.who("go"), []string{first, second}; !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("in go are %q; want %q", got, want)
	}
	if err := meshes[2].Close(); err != nil {
		t.Fatal(err)
	}
	annHears.await(t, "[go] * "+second+" is gone")
	if err := bob.say(t.Context(), "go", "only me"); err != nil {
		t.Fatal(err)
	}
	annHears.await(t, "[go] bob: only me")
}

// What is shown goes into a journal, a line at a time.
func (j *journal) Write(line []byte) (int, error) {
	j.add(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// Two that find each other and have different secrets say so, once.
func TestAnotherSecret(t *testing.T) {
	dir := t.TempDir()
	var chats sync.WaitGroup
	start := func(name string) *journal {
		j := newJournal()
		typed, typist := io.Pipe()
		chats.Go(func() {
			if err := talk(t.Context(), settings{name: name, rooms: []string{"go"}, dir: dir}, plainConsole(typed, j)); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(chats.Wait)
		t.Cleanup(func() { _ = typist.Close() })
		j.awaitLine(t, "you are in go; a line goes to go; /join ROOM")
		return j
	}
	ann := start("ann")
	if err := os.Remove(dir + "/secret"); err != nil {
		t.Fatal(err)
	}
	bob := start("bob")
	ann.awaitLine(t, "error: bob@127.0.0.1:")
	bob.awaitLine(t, "error: ann@127.0.0.1:")
	if told := bob.all(); !strings.Contains(told[len(told)-1], " has another secret than you") {
		t.Errorf("bob is shown %q", told)
	}
}

// awaitLine waits for one that begins so.
func (j *journal) awaitLine(t *testing.T, prefix string) {
	t.Helper()
	late := time.After(patience)
	for !slices.ContainsFunc(j.all(), func(l string) bool { return strings.HasPrefix(l, prefix) }) {
		select {
		case <-j.changed:
		case <-late:
			t.Fatalf("shown is %q; want %q", j.all(), prefix)
		}
	}
}

// A wire is a terminal: what is typed comes as it is asked for.
type wire struct {
	keys io.Reader
	bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error) { return w.keys.Read(p) }

func TestATerminalKeepsWhatIsBeingTyped(t *testing.T) {
	keys, typist := io.Pipe()
	w := &wire{keys: keys}
	c := terminalConsole(w, w, func() (int, int, error) { return 80, 24, nil })
	c.prompt("go> ")
	type read struct {
		line string
		err  error
	}
	lines := make(chan read)
	go func() {
		for {
			l, err := c.readLine()
			lines <- read{l, err}
			if err != nil {
				return
			}
		}
	}()
	for _, keys := range []string{"hel", "l"} { // the second is read when the first is done
		if _, err := io.WriteString(typist, keys); err != nil {
			t.Fatal(err)
		}
	}
	c.show("[go] bob: hi")
	if _, err := io.WriteString(typist, "o\r"); err != nil {
		t.Fatal(err)
	}
	if got := <-lines; got.line != "hello" || got.err != nil {
		t.Errorf("it reads %q, %v", got.line, got.err)
	}
	if _, err := io.WriteString(typist, "\x03"); err != nil {
		t.Fatal(err)
	}
	if got := <-lines; !errors.Is(got.err, io.EOF) {
		t.Errorf("Ctrl-C reads %q, %v; want the end", got.line, got.err)
	}
	if out := w.Buffer.String(); !strings.Contains(out, "[go] bob: hi\r\ngo> hel") {
		t.Errorf("the terminal gets %q", out)
	}
}

func TestOneSecret(t *testing.T) {
	dir := t.TempDir() + "/new"
	const chats = 20
	secrets := make(chan string, chats)
	for range chats {
		go func() {
			s, err := sharedSecret(dir)
			if err != nil {
				t.Error(err)
			}
			secrets <- s
		}()
	}
	first := <-secrets
	for range chats - 1 {
		if s := <-secrets; s != first || len(s) < 32 {
			t.Errorf("the secrets are %q and %q", first, s)
		}
	}
	path := dir + "/secret"
	if err := os.Truncate(path, minSecret-1); err != nil {
		t.Fatal(err)
	}
	if _, err := sharedSecret(dir); err == nil || !strings.Contains(err.Error(), path+" has 15 bytes") {
		t.Errorf("a secret that is too short: %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("in the folder are %v (%v); want one file", files, err)
	}
}
