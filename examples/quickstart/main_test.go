package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/libcluster-go/cluster"
	"github.com/libcluster-go/cluster/transport/mesh"
)

// argsEnv makes the test's binary the program, with these arguments.
const argsEnv = "QUICKSTART_TEST_ARGS"

func TestMain(m *testing.M) {
	args, program := os.LookupEnv(argsEnv)
	switch {
	case os.Getenv(registryEnv) != "":
		main()
	case program:
		os.Exit(run(strings.Fields(args)))
	default:
		goleak.VerifyTestMain(m)
	}
}

// program is the quickstart, not started yet, and where it has its temporary
// files.
func program(t *testing.T, args string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	temp = t.TempDir()
	cmd = exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), argsEnv+"="+args, "GORACE=atexit_sleep_ms=0", // a second for each process
		"TMPDIR="+temp, "TMP="+temp)
	return cmd, temp
}

// isEmpty checks that a program that has ended has left nothing.
func isEmpty(t *testing.T, temp string) {
	t.Helper()
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("the program has left %v behind (%v)", left, err)
	}
}

// runProgram returns what it printed, and its exit code.
func runProgram(t *testing.T, args string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd, temp := program(t, args)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	isEmpty(t, temp)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestTheWholeShow(t *testing.T) {
	stdout, stderr, code := runProgram(t, "-nodes 3")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, %s\n%s", code, stderr, stdout)
	}
	var all time.Duration
	for _, took := range regexp.MustCompile(`(?m)^  time to .* (\d+\.\d) ms`).FindAllStringSubmatch(stdout, -1) {
		d, err := time.ParseDuration(took[1] + "ms")
		if err != nil {
			t.Fatal(err)
		}
		all += d
	}
	if all <= 0 || all > 15*time.Second {
		t.Errorf("its steps took %s", all)
	}
	rest := stdout
	for _, want := range []string{
		`starting 3 nodes`, `full mesh: .* \(3 links\)`, `6 messages`, `kill -9 node-2 \(pid \d+\)`, `all others have noticed`,
		`starting node-2 again`, `whole again`, `all have left`,
		`time to full mesh +\d+\.\d ms`, `time to notice the loss +\d+\.\d ms`, `time to heal +\d+\.\d ms`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("%q is missing, or out of order:\n%s", want, stdout)
		}
		rest = rest[at[1]:]
	}
	if strings.ContainsAny(stdout, "\x1b\r") {
		t.Errorf("not plain lines: %q", stdout)
	}
}

// The README shows what the program prints, but for the numbers.
func TestTheReadmesSampleIsReal(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sample, _ := strings.Cut(string(readme), "go run ./examples/quickstart\n")
	_, sample, _ = strings.Cut(sample, "```\n")
	sample, _, _ = strings.Cut(sample, "```\n")
	stdout, _, _ := runProgram(t, "")
	alike := func(s string) string {
		return strings.TrimSpace(regexp.MustCompile(` *\d+(\.\d+)?`).ReplaceAllString(s, " N"))
	}
	if got, want := alike(sample), alike(stdout); got != want {
		t.Errorf("the README has\n%s\nand the program prints\n%s", got, want)
	}
}

func TestAStepThatIsLateIsNamed(t *testing.T) {
	stdout, stderr, code := runProgram(t, "-nodes 3 -timeout 1ns")
	if want := "quickstart: not in 1ns: every node is linked with every other\n"; code != 1 || stderr != want {
		t.Errorf("exit code %d, stderr %q; want 1, %q", code, stderr, want)
	}
	if want := "node-1   has 0 messages, lacks node-2 node-3"; !strings.Contains(stdout, want) {
		t.Errorf("%q is missing:\n%s", want, stdout)
	}
}

func TestWrongUse(t *testing.T) {
	tests := []struct {
		name, args string
		code       int
		stderr     string
	}{
		{"too few", "-nodes 1", 2, "-nodes is 1; want 2 to 50"},
		{"too many", "-nodes 51", 2, "-nodes is 51; want 2 to 50"},
		{"not a number", "-nodes many", 2, `invalid value "many" for flag -nodes`},
		{"no time", "-timeout 0s", 2, "-timeout is 0s; want a positive one"},
		{"an argument", "5", 2, `"5" is given`},
		{"an unknown flag", "-node 5", 2, "flag provided but not defined: -node"},
		{"help", "-help", 0, "-stay"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := runProgram(t, tt.args)
			if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.stderr) {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}

// A running program shares its output with its nodes: that ends when the last
// of them does.
type running struct {
	cmd    *exec.Cmd
	temp   string
	output *os.File
	lines  *bufio.Scanner
}

func startProgram(t *testing.T, args string) *running {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	cmd, temp := program(t, args)
	cmd.Stdout, cmd.Stderr = w, w // the nodes have the second from it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &running{cmd, temp, r, bufio.NewScanner(r)}
}

// await reads up to a line that matches, and returns the groups of that.
func (r *running) await(t *testing.T, pattern string) []string {
	t.Helper()
	_ = r.output.SetReadDeadline(time.Now().Add(time.Minute)) // where there is none, go test has one
	var seen []string
	for match := regexp.MustCompile(pattern); r.lines.Scan(); {
		if m := match.FindStringSubmatch(r.lines.Text()); m != nil {
			return m
		}
		seen = append(seen, r.lines.Text())
	}
	t.Fatalf("%q doesn't come (%v):\n%s", pattern, r.lines.Err(), strings.Join(seen, "\n"))
	return nil
}

// end waits until the program and all its nodes have ended.
func (r *running) end(t *testing.T) (code int) {
	t.Helper()
	_ = r.output.SetReadDeadline(time.Now().Add(20 * time.Second)) // where there is none, go test has one
	for r.lines.Scan() {
	}
	if err := r.lines.Err(); err != nil {
		t.Fatalf("a process is still running: %v", err)
	}
	_ = r.cmd.Wait() // the exit code says it
	return r.cmd.ProcessState.ExitCode()
}

func TestNoNodeOutlivesAKilledProgram(t *testing.T) {
	r := startProgram(t, "-nodes 3 -stay")
	r.await(t, "running until Ctrl-C")
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.end(t)
	isEmpty(t, r.temp)
}

// A node that was stopped by SIGSTOP hasn't ended.
func TestStraysAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, err := os.Create(t.TempDir() + "/out")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		d := &demo{screen: newScreen(out), nodes: meshOf(3)}
		told := 0
		look := func(when, want string) {
			t.Helper()
			for range 10 {
				d.tellStrays()
				time.Sleep(strayAfter / 8)
			}
			all, err := os.ReadFile(out.Name())
			_, got, _ := strings.Cut(string(all[told:]), "s  ") // after the time
			if told = len(all); err != nil || strings.TrimSpace(got) != want {
				t.Errorf("%s: %q (%v), want %q", when, got, err, want)
			}
		}
		stray := d.nodes[1]
		first, third := d.nodes[0].links, d.nodes[2].links
		look("all are linked", "")
		d.nodes[0].links = nil
		look("one has dropped it", "")
		d.nodes[2].links = nil
		look("all have", "✗ node-2 (pid 1001) has not ended, but no other node is linked with it")
		look("that is told once", "")
		d.nodes[0].links, d.nodes[2].links = first, third
		look("it is back", "✔ node-2 is linked again")
		d.nodes[0].links, d.nodes[2].links, stray.ended = nil, nil, true
		look("it has ended, of which others tell", "")
	})
}

func TestAPortThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := newReports()
	addr := taken.Addr().String()
	p, err := start("node-1", cluster.Node(addr), t.TempDir(), mesh.NewSecret(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close([]*process{p})
	err = p.take((<-r.all).report)
	for _, want := range []string{"node-1: ", addr, "can't be listened on"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v; want %q in it", err, want)
		}
	}
}

func TestACancelledShowLeavesNobody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	err = show(ctx, options{nodes: 3, limit: time.Minute}, newScreen(out))
	if !errors.Is(err, context.Canceled) { // that all have ended, the leak check sees
		t.Errorf("%v; want %v", err, context.Canceled)
	}
}

// A file that is open for reading stands for a disk that is full.
func TestAShowThatCannotBeShownEnds(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	out, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	err = show(t.Context(), options{nodes: 2, limit: time.Minute}, newScreen(out))
	if failed, ok := errors.AsType[*fs.PathError](err); !ok || failed.Op != "write" {
		t.Errorf("%v; want the error of a write", err)
	}
	isEmpty(t, os.Getenv("TMPDIR"))
}

func TestWhatIsMeasured(t *testing.T) {
	tests := []struct {
		name         string
		without      [][2]int // links that a node doesn't report: whose, with whom
		full, unseen bool     // unseen: the second
	}{
		{"all are linked", nil, true, false},
		{"one end is missing", [][2]int{{0, 2}}, false, false},
		{"one has noticed", [][2]int{{0, 1}}, false, false},
		{"all have noticed", [][2]int{{0, 1}, {2, 1}}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &demo{nodes: meshOf(3)}
			for _, l := range tt.without {
				p, o := d.nodes[l[0]], d.nodes[l[1]]
				p.links = slices.DeleteFunc(p.links, func(n cluster.Node) bool { return n == o.node })
			}
			if d.full() != tt.full || d.unseen(d.nodes[1]) != tt.unseen {
				t.Errorf("full %t, unseen %t", d.full(), d.unseen(d.nodes[1]))
			}
		})
	}
}

func TestUntil(t *testing.T) {
	tests := []struct {
		name, reported string
		err            error // of an end
		want           string
	}{
		{"nothing happens", eventLinks, nil, "not in 10s: the moon is full"},
		{"an error", eventError, nil, "node-1: no luck"},
		{"an end", eventEnded, nil, "node-1 (pid 7) has ended: by itself"},
		{"a bad end", eventEnded, errors.New("exit status 2"), "node-1 (pid 7) has ended: exit status 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out, err := os.Create(t.TempDir() + "/out")
				if err != nil {
					t.Fatal(err)
				}
				defer out.Close()
				p := &process{name: "node-1", cmd: &exec.Cmd{Process: &os.Process{Pid: 7}}}
				d := &demo{options: options{limit: 10 * time.Second}, screen: newScreen(out), nodes: []*process{p}, reports: newReports()}
				go func() { d.reports.all <- said{p, report{Event: tt.reported, Error: "no luck", err: tt.err}} }()
				err = d.until(t.Context(), "the moon is full", func() bool { return false })
				if err == nil || err.Error() != tt.want {
					t.Errorf("%v; want %s", err, tt.want)
				}
			})
		})
	}
}
