//go:build unix

package kubernetes

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/libcluster-go/cluster"
)

const (
	benchEndpoints = 5000
	benchPerSlice  = 100 // as the endpoint slice controller does
)

// benchSlices are those of a service with many pods, as they come: with managed
// fields and all that isn't needed.
func benchSlices() *discoveryv1.EndpointSliceList {
	list := sliceList("7", "")
	for n := 0; n < benchEndpoints; n += benchPerSlice {
		s := slice("app", fmt.Sprintf("web-nodes-%05d", n))
		s.ManagedFields = benchManaged()
		for i := n; i < n+benchPerSlice; i++ {
			e := of(fmt.Sprintf("web-7c5ddbdf54-%05d", i), benchAddress(i), isReady(true), isServing(true), isTerminating(false))
			e.NodeName = new(fmt.Sprintf("worker-%d", i%100))
			e.TargetRef.UID = "7f1f2f0c-5f0b-4d7c-9a53-" + e.TargetRef.UID
			s.Endpoints = append(s.Endpoints, e)
		}
		list.Items = append(list.Items, *s)
	}
	return list
}

// benchPods are as many, with little more than all pods have.
func benchPods() *corev1.PodList {
	list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
	for i := range benchEndpoints {
		p := podOf([]string{benchAddress(i)}, containers(corev1.ContainerPort{Name: "cluster", ContainerPort: 4370}))
		p.Name = fmt.Sprintf("web-7c5ddbdf54-%05d", i)
		p.UID = types.UID("7f1f2f0c-5f0b-4d7c-9a53-" + p.Name)
		p.ManagedFields = benchManaged()
		list.Items = append(list.Items, *p)
	}
	return list
}

func benchManaged() []metav1.ManagedFieldsEntry {
	managed := &metav1.FieldsV1{}
	managed.SetRawBytes(make([]byte, 1000))
	return []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", FieldsV1: managed}}
}

func benchAddress(i int) string { return fmt.Sprintf("10.0.%d.%d", i/250, i%250+1) }

// Benchmark5000 has a strategy with 5,000 endpoints, in protobuf as a server sends
// them: from the list to the roster, and one more change, also while half of all
// aren't ready. The time is on the wall, and cpu-ns/op of all cores.
func Benchmark5000(b *testing.B) {
	for _, of := range []struct {
		name     string
		strategy Strategy
		list     apiruntime.Object
		group    schema.GroupVersion
	}{
		{"slices", Strategy{Service: "web-nodes"}, benchSlices(), discoveryv1.SchemeGroupVersion},
		{"pods", Strategy{Source: Pods, Selector: "app=web"}, benchPods(), corev1.SchemeGroupVersion},
	} {
		pages := benchPages(b, of.list, of.group)
		b.Run(of.name+"/list", func(b *testing.B) { benchList(b, of.strategy, pages) })
		b.Run(of.name+"/change", func(b *testing.B) { benchChange(b, of.strategy, pages, 1) })
		b.Run(of.name+"/change, half not ready", func(b *testing.B) { benchChange(b, of.strategy, pages, 2) })
	}
}

// benchPages answer with a list that comes over the wire each time.
func benchPages(b *testing.B, list apiruntime.Object, group schema.GroupVersion) func(metav1.ListOptions) (apiruntime.Object, error) {
	b.Helper()
	info, ok := apiruntime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), protobuf)
	if !ok {
		b.Fatal("no protobuf")
	}
	wire, err := apiruntime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, group), list)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("the list has %d bytes", len(wire))
	return func(metav1.ListOptions) (apiruntime.Object, error) {
		return apiruntime.Decode(scheme.Codecs.UniversalDeserializer(), wire)
	}
}

func benchList(b *testing.B, strategy Strategy, pages func(metav1.ListOptions) (apiruntime.Object, error)) {
	b.Helper()
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		stop, told := benchRun(b, strategy, &server{pages: pages})
		<-told
		stop()
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// benchChange has one pod of a board be ready and not in turns; of the others, one
// of each so many is ready.
func benchChange(b *testing.B, strategy Strategy, pages func(metav1.ListOptions) (apiruntime.Object, error), each int) {
	b.Helper()
	before := heap()
	stop, told := benchRun(b, strategy, &server{pages: pages})
	defer stop()
	<-told
	retained := heap() - before
	board, section, n := benchBoard(b, strategy, pages)
	i := 0
	for _, e := range section.objects {
		for j := range e.endpoints {
			if i++; i%each != 0 {
				e.endpoints[j].state = notReady
			}
		}
	}
	var t teller
	more := endpoint{id: "x", pod: "x", addr: netip.AddrFrom4([4]byte{10, 1, 0, 1})}
	b.ReportAllocs()
	used := cpu(b)
	for b.Loop() {
		more.state = ready - more.state
		board.change(section, "one-more", entry{endpoints: []endpoint{more}})
		told := t.say(board.read(n))
		roster := cluster.NewRoster("", nil, func(cluster.Change) {})
		roster.Replace(told[0].Nodes, told[0].Keep...)
	}
	b.ReportMetric(float64(cpu(b)-used)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(retained), "retained-B")
}

// benchRun runs a strategy; told gets how many nodes there are.
func benchRun(b *testing.B, strategy Strategy, s *server) (stop func(), told <-chan int) {
	b.Helper()
	strategy.Client = s.client()
	ctx, cancel := context.WithCancel(b.Context())
	counts, ended := make(chan int, 1), make(chan error, 1)
	roster := cluster.NewRoster("", nil, func(c cluster.Change) {
		if len(c.Nodes) != benchEndpoints {
			b.Errorf("it tells %s of %d (%v)", c.Kind, len(c.Nodes), c.Err)
		}
		counts <- len(c.Nodes)
	})
	go func() { ended <- strategy.run(ctx, roster, inPod(), usual()) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}, counts
}

// benchBoard is a board with what was listed.
func benchBoard(b *testing.B, strategy Strategy, pages func(metav1.ListOptions) (apiruntime.Object, error)) (*board, *section, naming) {
	b.Helper()
	board := newBoard([]string{"app"})
	w := strategy.watcher(inPod(), usual(), board, board.sections[0])
	_, all, err := w.list(b.Context(), (&server{pages: pages}).client().open(strategy.Source, "app"))
	if err != nil {
		b.Fatal(err)
	}
	board.list(board.sections[0], all)
	board.well(board.sections[0])
	return board, board.sections[0], strategy.naming(inPod(), "")
}

// cpu is what the process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// heap is how much lives.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
