package main

import (
	"context"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/libcluster-go/cluster/strategy/kubernetes"
	"github.com/libcluster-go/cluster/transport/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGreetsWhomItFinds(t *testing.T) {
	secret := mesh.NewSecret()
	t.Setenv("CLUSTER_SECRET", secret)
	t.Setenv(kubernetes.EnvPodIP, "127.0.0.2") // the other is another pod
	t.Setenv(kubernetes.EnvPodName, "web-0")
	greetings := make(chan string, 1)
	other, err := mesh.Listen(mesh.Config{
		Secrets: []string{secret}, Bind: "127.0.0.1:0",
		Handlers: map[string]mesh.Handler{"hello": func(_ context.Context, msg mesh.Message) { greetings <- string(msg.Data) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	clientset := fake.NewClientset(&discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "app", Name: "web-nodes-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web-nodes"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{other.Self().Host()}}},
	})
	pods := kubernetes.Strategy{
		Service: "web-nodes", Namespaces: []string{"app"}, Port: other.Self().Port(), Client: kubernetes.FromClientset(clientset),
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, pods, "127.0.0.1:0") }()
	select {
	case got := <-greetings:
		if got != "hello from web-0" {
			t.Errorf("it says %q", got)
		}
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(10 * time.Second):
		t.Fatal("no greeting")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestMistakesAreExplained(t *testing.T) {
	for name, tt := range map[string]struct{ secret, ip, want string }{
		"no secret":      {"", "127.0.0.1", "CLUSTER_SECRET is not set"},
		"no address":     {mesh.NewSecret(), "", "POD_IP is not set"},
		"a short secret": {"abc", "127.0.0.1", "has 3 bytes; want at least 16"},
		"not in a pod":   {mesh.NewSecret(), "127.0.0.1", "KUBERNETES_SERVICE_HOST"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CLUSTER_SECRET", tt.secret)
			t.Setenv(kubernetes.EnvPodIP, tt.ip)
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			err := run(t.Context(), kubernetes.Strategy{Service: "web-nodes", Namespaces: []string{"app"}}, "127.0.0.1:0")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q in it", err, tt.want)
			}
		})
	}
}

// TestManifests has both kinds of pods be the same, but for what tells them apart,
// and every file be one that the README has applied.
func TestManifests(t *testing.T) {
	readme := read(t, "README.md")
	files, err := os.ReadDir("manifests")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.Contains(readme, "manifests/"+f.Name()) {
			t.Errorf("the README doesn't tell of %s", f.Name())
		}
	}
	_, deployment, _ := strings.Cut(read(t, "manifests/deployment.yaml"), "\n    spec:\n")
	_, statefulset, _ := strings.Cut(read(t, "manifests/statefulset.yaml"), "\n    spec:\n")
	if deployment == "" || deployment != statefulset {
		t.Errorf("the pods differ:\n%s\n%s", deployment, statefulset)
	}
}

// TestDockerfile has the image's program be built as the Dockerfile says, with the Go
// that go.mod asks for, and start where there is nothing else.
func TestDockerfile(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	version := find(t, `(?m)^go (\d+\.\d+)`, read(t, "../../go.mod"))
	if image := find(t, `(?m)^FROM golang:(\S+) AS build$`, dockerfile); image != version {
		t.Errorf("it builds with Go %s, and go.mod wants %s", image, version)
	}
	command := find(t, `(?m)^RUN (.*\bgo build .*)$`, dockerfile)
	program := find(t, ` -o (\S+) `, command)
	for _, uses := range []string{"COPY --from=build " + program + " " + program, `ENTRYPOINT ["` + program + `"]`} {
		if !strings.Contains(dockerfile, uses) {
			t.Errorf("it builds %s, and has no %s", program, uses)
		}
	}

	built := filepath.Join(t.TempDir(), "node")
	build := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(command, " "+program+" ", " "+built+" ", 1))
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	node := exec.CommandContext(t.Context(), built)
	node.Env = []string{}
	if out, err := node.CombinedOutput(); err == nil || !strings.Contains(string(out), "CLUSTER_SECRET is not set") {
		t.Errorf("it says %q (%v)", out, err)
	}
	if linked, err := elf.Open(built); err == nil { // on Linux, as in the image
		defer linked.Close()
		if libraries, err := linked.ImportedLibraries(); err != nil || len(libraries) > 0 {
			t.Errorf("it needs %q (%v), which an empty image hasn't", libraries, err)
		}
	}
}

// find is the first group of what matches.
func find(t *testing.T, pattern, text string) string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("nothing matches %s in\n%s", pattern, text)
	}
	return match[1]
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
