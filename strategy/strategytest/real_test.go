package strategytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libcluster-go/cluster"
)

// The tests of this file have the suite wait in real time.

// TestFile is for a strategy that reads a file.
func TestFile(t *testing.T) {
	t.Parallel()
	Test(t, Harness{Parallel: true, New: func(t testing.TB, nodes ...cluster.Node) Source {
		f := &file{t: t, path: filepath.Join(t.TempDir(), "hosts")}
		f.set(nodes...)
		return Source{
			Strategy: cluster.Poll(interval, f.read),
			Set:      f.set,
			Faults: map[string]Fault{
				"gone":        {Break: f.remove, Mend: f.write},
				"a directory": {Break: func() { f.remove(); f.must(os.Mkdir(f.path, 0o700)) }, Mend: func() { f.remove(); f.write() }},
				"half":        {Break: func() { f.must(os.WriteFile(f.path, []byte(f.text[:len(f.text)/2]), 0o600)) }, Mend: f.write},
			},
		}
	}})
}

type file struct {
	t          testing.TB
	path, text string
}

func (f *file) set(nodes ...cluster.Node) {
	f.text = text(nodes)
	f.write()
}

func (f *file) write() {
	f.must(os.WriteFile(f.path+".new", []byte(f.text), 0o600))
	f.must(os.Rename(f.path+".new", f.path))
}

func (f *file) remove() { f.must(os.Remove(f.path)) }

func (f *file) must(err error) {
	f.t.Helper()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.t.Error(err)
	}
}

func (f *file) read(context.Context) ([]cluster.Node, error) {
	got, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	return parse(string(got))
}

// text lists nodes such that it can be seen whether the list is whole.
func text(nodes []cluster.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprintln(&b, n)
	}
	return b.String() + "end\n"
}

func parse(text string) (nodes []cluster.Node, err error) {
	list, whole := strings.CutSuffix(text, "end\n")
	if !whole {
		return nil, fmt.Errorf("%q has no end", text)
	}
	for n := range strings.FieldsSeq(list) {
		nodes = append(nodes, cluster.Node(n))
	}
	return nodes, nil
}

// TestServer is for a strategy that asks a server, whose goroutines begin while
// Run goes on, and are no leak.
func TestServer(t *testing.T) {
	t.Parallel()
	Test(t, Harness{Parallel: true, New: func(t testing.TB, nodes ...cluster.Node) Source {
		f := newFake(t, nodes)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nodes, hangs, _, err := f.watch()
			switch {
			case hangs:
				<-r.Context().Done()
			case err != nil:
				http.Error(w, err.Error(), http.StatusInternalServerError)
			default:
				_, _ = io.WriteString(w, text(nodes))
			}
		}))
		t.Cleanup(server.Close)
		client := &http.Client{Timeout: 10 * interval, Transport: &http.Transport{DisableKeepAlives: true}}
		return Source{
			Strategy: cluster.Poll(interval, func(ctx context.Context) ([]cluster.Node, error) { return get(ctx, client, server.URL) }),
			Set:      f.set,
			Faults:   f.faults(),
		}
	}})
}

func get(ctx context.Context, client *http.Client, url string) ([]cluster.Node, error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(ask)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, errors.New(answer.Status)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	return parse(string(body))
}
