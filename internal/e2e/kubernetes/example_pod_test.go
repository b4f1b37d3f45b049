//go:build linux

package kubernetes_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/libcluster-go/cluster/internal/e2e/hosts"
	"github.com/libcluster-go/cluster/strategy/kubernetes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/libcluster-go/cluster/internal/e2e/kubernetes/controlplane"
)

const (
	example = "../../../examples/kubernetes"
	// inPod has a program find the service account where Kubernetes mounts it. What
	// is mounted on a host of the tests, the machine doesn't see.
	inPod = `mount -t tmpfs tmpfs /var/run && mkdir -p "$1" && mount --bind "$2" "$1" && exec "$3"`
)

// build builds the program of the example as its Dockerfile does.
func (s *space) build() (program string) {
	s.Helper()
	program = filepath.Join(s.TempDir(), "node")
	cmd := exec.CommandContext(s.Context(), "go", "build", "-trimpath", "-o", program, "./examples/kubernetes")
	cmd.Dir, cmd.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.Fatalf("go build %s: %v\n%s", example, err, out)
	}
	return program
}

// A running pod runs the program of the example.
type running struct {
	*space
	name  string
	lines chan string // of its log
}

// runPod is what kubelet does with a pod that has an address: the program runs on a
// host, with the pod's environment and its service account. When the test ends, it is
// told to end, and must do so in good order.
func (s *space) runPod(name, program string, h *hosts.Host) *running {
	s.Helper()
	pod, err := s.api.CoreV1().Pods(s.name).Get(s.Context(), name, metav1.GetOptions{})
	s.must(err)
	mount := s.mount(s.token(pod.Spec.ServiceAccountName, pod))
	cmd := h.Command(context.Background(), "sh", "-c", inPod, "sh", kubernetes.DefaultServiceAccountPath, mount, program)
	cmd.Env = append(s.environment(pod), "PATH="+os.Getenv("PATH"))
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	s.must(cmd.Start())
	r := &running{space: s, name: name, lines: make(chan string, 10000)}
	var reader sync.WaitGroup
	reader.Go(func() {
		for l := bufio.NewScanner(out); l.Scan(); {
			r.lines <- l.Text()
		}
	})
	s.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(soon, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		if err := cmd.Wait(); err != nil {
			s.Errorf("%s is told to end, and does so with %v", name, err)
		}
		_ = in.Close()
		reader.Wait()
	})
	return r
}

// environment is that of the pod's container.
func (s *space) environment(pod *corev1.Pod) (env []string) {
	s.Helper()
	env = []string{
		"KUBERNETES_SERVICE_HOST=" + s.plane.Addr.Addr().String(), fmt.Sprintf("KUBERNETES_SERVICE_PORT=%d", controlplane.Port),
	}
	fields := map[string]string{"status.podIP": pod.Status.PodIP, "metadata.name": pod.Name, "metadata.namespace": pod.Namespace}
	for _, v := range pod.Spec.Containers[0].Env {
		value := v.Value
		switch from := v.ValueFrom; {
		case from == nil:
		case from.FieldRef != nil:
			value = fields[from.FieldRef.FieldPath]
		case from.SecretKeyRef != nil:
			secret, err := s.api.CoreV1().Secrets(s.name).Get(s.Context(), from.SecretKeyRef.Name, metav1.GetOptions{})
			s.must(err)
			value = string(secret.Data[from.SecretKeyRef.Key])
		}
		if value == "" {
			s.Fatalf("%s has the variable %s from somewhere that the tests don't know: %+v", pod.Name, v.Name, v)
		}
		env = append(env, v.Name+"="+value)
	}
	return env
}

// hears waits until a pod has logged a greeting of each of the others.
func (r *running) hears(others ...string) {
	r.Helper()
	missing := map[string]bool{}
	for _, o := range others {
		missing[o] = o != r.name
	}
	maps.DeleteFunc(missing, func(_ string, is bool) bool { return !is })
	late := time.NewTimer(soon)
	defer late.Stop()
	var log []string
	for len(missing) > 0 {
		select {
		case line := <-r.lines:
			log = append(log, line)
			if _, name, is := strings.Cut(line, " says: hello from "); is {
				delete(missing, name)
			}
		case <-late.C:
			r.Fatalf("after %s, %s has not heard of %q:\n%s", soon, r.name, slices.Sorted(maps.Keys(missing)), strings.Join(log, "\n"))
		}
	}
}
