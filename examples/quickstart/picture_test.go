package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/libcluster-go/cluster"
)

func unstyled(_, text string) string { return text }

// meshOf is a full mesh.
func meshOf(n int) []*process {
	nodes := make([]*process, n)
	for i := range nodes {
		nodes[i] = &process{
			name: fmt.Sprintf("node-%d", i+1), node: cluster.Node(fmt.Sprintf("127.0.0.1:%d", 10000+i)),
			cmd: &exec.Cmd{Process: &os.Process{Pid: 1000 + i}},
		}
	}
	for _, p := range nodes {
		for _, o := range nodes {
			if o != p {
				p.links = append(p.links, o.node)
			}
		}
	}
	return nodes
}

func TestPictureFits(t *testing.T) {
	tests := []struct {
		name                 string
		nodes, width, height int
		want                 string // in the first line of the picture
	}{
		{"five", 5, 80, 24, "  node-1   · ● ● ● ●  pid 1000"},
		{"no room for the pid", 5, 24, 24, "  node-1   · ● ● ● ●"},
		{"no room for gaps", 5, 18, 24, "  node-1  ·●●●●"},
		{"twenty in a usual terminal", 20, 80, 24, "  ⣮⡻"},
		{"twenty in a high one", 20, 80, 40, "  node-1   · ● ●"},
		{"fifty in a usual terminal", 50, 80, 24, "  ⣮⡻"},
		{"fifty in a large one", 50, 130, 70, "  node-1   · ● ●"},
		{"fifty in a narrow one", 50, 30, 70, "  ⣮⡻"},
		{"no room for a picture", 50, 80, 10, "  1225 of 1225 links"},
		{"no room for anything", 50, 10, 10, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lines := picture(meshOf(tt.nodes), unstyled, tt.width, tt.height)
			if len(lines) >= tt.height {
				t.Errorf("%d lines, with a height of %d", len(lines), tt.height)
			}
			for _, l := range lines {
				if n := utf8.RuneCountInString(l); n > tt.width {
					t.Errorf("%d characters, more than %d: %s", n, tt.width, l)
				}
			}
			if got := strings.Join(lines, "\n"); !strings.HasPrefix(strings.TrimPrefix(got, "\n"), tt.want) || got != "" && tt.want == "" {
				t.Errorf("it begins otherwise than %q:\n%s", tt.want, got)
			}
		})
	}
}

func TestPictureShowsALoss(t *testing.T) {
	nodes := meshOf(3)
	nodes[1].state, nodes[1].links = killed, nil
	nodes[0].links = []cluster.Node{nodes[2].node} // it has noticed
	want := []string{
		"",
		"  node-1   · ✗ ●  pid 1000",
		"  node-2   ✗ · ✗  killed",
		"  node-3   ● ● ·  pid 1002",
		"  1 of 3 links",
	}
	if got := picture(nodes, unstyled, 80, 24); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A file stands for the terminal: what is written is what matters.
func TestScreenDrawsInPlace(t *testing.T) {
	out, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := &screen{out: out, live: true, picture: func(int, int) []string { return []string{"a", "b"} }}
	s.print("one")
	s.draw() // nothing has changed
	s.changed = true
	s.draw()
	s.clear()
	s.print("two")
	got, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	const picture = "a\x1b[K\nb\x1b[K\n\x1b[J"
	want := "\rone\x1b[K\n" + picture + "\r\x1b[2A" + picture + "\r\x1b[2A\x1b[J" + "\rtwo\x1b[K\n\x1b[J"
	if string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
