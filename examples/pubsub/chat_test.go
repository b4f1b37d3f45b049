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
		{"no room", "/leave\nhello\n/leave\n", "error: you are in no room; /join one\nerror: this isn't a room that you are in: \"\"\n"},
		{"no command", "/jump\n", "error: \"/jump\" isn't a command; a line goes to the room"},
		{"an empty line", "\n/who\n", "/quit\n[go] * in this room"},
		{"nothing after quit", "/quit\n/jump\n", "/who, /quit\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := typing(t, tt.lines)
			if !strings.Contains(out, tt.want) {
				t.Errorf("%q is missing:\n%s", tt.want, out)
			}
			if tt.name == "nothing after quit" && strings.Contains(out, "jump") {
				t.Errorf("it goes on after /quit:\n%s", out)
			}
		})
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
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("in the folder are %v (%v); want one file", files, err)
	}
}
