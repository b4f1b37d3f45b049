package cluster_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// submatches are what the first group of a pattern matches in a text. There has
// to be something, so that a change of form isn't taken for agreement.
func submatches(t *testing.T, text, pattern string) []string {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	if len(all) == 0 {
		t.Fatalf("nothing matches %s", pattern)
	}
	return all
}

const goBlocks = "(?s)```go\n(.*?)```"

func TestReadmeProgramsBuild(t *testing.T) {
	built := 0
	for i, code := range submatches(t, read(t, "README.md"), goBlocks) {
		if !strings.HasPrefix(code, "package ") {
			continue
		}
		built++
		file := filepath.Join(t.TempDir(), fmt.Sprintf("block%d.go", i))
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	if built == 0 {
		t.Error("there is no program")
	}
}

// A fragment stands in an example that runs, word for word.
func TestReadmeFragmentsAreOfExamples(t *testing.T) {
	examples := unindent(read(t, "example_test.go"))
	for _, code := range submatches(t, read(t, "README.md"), goBlocks) {
		if !strings.HasPrefix(code, "package ") && !strings.Contains(examples, unindent(code)) {
			t.Errorf("example_test.go doesn't have:\n%s", code)
		}
	}
}

func unindent(code string) string {
	return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(code, "")
}

func TestDocumentedCommandsExist(t *testing.T) {
	for _, doc := range []string{"README.md", ".github/CONTRIBUTING.md"} {
		for _, command := range submatches(t, read(t, doc), `(?m)^    ((?:go|\.ci/run)\b.*)`) {
			for word := range strings.FieldsSeq(command) {
				path, _, _ := strings.Cut(word, "...")
				if !strings.Contains(path, "/") {
					continue
				}
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s: %s: %v", doc, command, err)
				}
			}
		}
	}
}

func TestDocumentedStrategiesExist(t *testing.T) {
	table := submatches(t, read(t, "README.md"), "(?m)^\\|.*\\| `([a-z]+)` \\| [^|]+ \\|$")
	if !slices.Contains(table, "static") {
		t.Errorf("the table has %q", table)
	}
	for _, name := range table {
		if _, err := os.Stat(filepath.Join("strategy", name, name+".go")); err != nil {
			t.Error(err)
		}
	}
}

// Every rule that is promised has a test, and every such test is a promise.
func TestDocumentedRulesAreTests(t *testing.T) {
	promised := submatches(t, read(t, "README.md"), "(?m)^\\| `(TestRule\\d+)` \\| \\S")
	files, _ := filepath.Glob("rules*_test.go")
	var tested []string
	for _, file := range files {
		tested = append(tested, submatches(t, read(t, file), `(?m)^func (TestRule\d+)_\w+\(t \*testing\.T\)`)...)
	}
	slices.Sort(tested)
	tested = slices.Compact(tested)
	if !slices.Equal(promised, tested) {
		t.Errorf("the README has %q, the tests %q", promised, tested)
	}
}

func TestDocumentedFilesExist(t *testing.T) {
	for _, path := range submatches(t, read(t, "README.md"), `\]\(([^)#:]+)\)`) {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	for _, path := range submatches(t, read(t, "README.md"), "`((?:examples|transport|strategy)(?:/[a-z]+)*)`") {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
