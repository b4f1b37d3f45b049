package kubernetes

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
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
	managed := &metav1.FieldsV1{}
	managed.SetRawBytes(make([]byte, 1000))
	for n := 0; n < benchEndpoints; n += benchPerSlice {
		s := slice("app", fmt.Sprintf("web-nodes-%05d", n))
		s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", FieldsV1: managed}}
		for i := n; i < n+benchPerSlice; i++ {
			e := of(fmt.Sprintf("web-7c5ddbdf54-%05d", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), isReady(true), isServing(true), isTerminating(false))
			e.NodeName = new(fmt.Sprintf("worker-%d", i%100))
			e.TargetRef.UID = "7f1f2f0c-5f0b-4d7c-9a53-" + e.TargetRef.UID
			s.Endpoints = append(s.Endpoints, e)
		}
		list.Items = append(list.Items, *s)
	}
	return list
}

// Benchmark5000 has a strategy with 5,000 endpoints, in protobuf as a server sends
// them: from the list to the roster, and one more change.
func Benchmark5000(b *testing.B) {
	info, ok := apiruntime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), protobuf)
	if !ok {
		b.Fatal("no protobuf")
	}
	wire, err := apiruntime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, discoveryv1.SchemeGroupVersion), benchSlices())
	if err != nil {
		b.Fatal(err)
	}
	decoded := func() apiruntime.Object {
		list, err := apiruntime.Decode(scheme.Codecs.UniversalDeserializer(), wire)
		if err != nil {
			b.Error(err)
		}
		return list
	}
	b.Run("list", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s := &server{pages: func(metav1.ListOptions) (apiruntime.Object, error) { return decoded(), nil }}
			stop, told := benchRun(b, s)
			<-told
			stop()
		}
		b.ReportMetric(float64(len(wire)), "wire-B/op")
	})
	b.Run("change", func(b *testing.B) {
		s := &server{pages: func(metav1.ListOptions) (apiruntime.Object, error) { return decoded(), nil }}
		before := heap()
		stop, told := benchRun(b, s)
		defer stop()
		<-told
		retained := heap() - before
		board, section, n := benchBoard(b, decoded())
		var t teller
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			state := ready
			if i++; i%2 == 0 {
				state = notReady
			}
			board.change(section, "one-more", []endpoint{{id: "x", pod: "x", addr: section.objects["web-nodes-00000"][0].addr, state: state}})
			told := t.say(board.read(n))
			roster := cluster.NewRoster("", nil, func(cluster.Change) {})
			roster.Replace(told[0].Nodes, told[0].Keep...)
		}
		b.ReportMetric(float64(retained), "retained-B")
	})
}

// benchRun runs a strategy; told gets how many nodes there are.
func benchRun(b *testing.B, s *server) (stop func(), told <-chan int) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	counts, ended := make(chan int, 1), make(chan error, 1)
	roster := cluster.NewRoster("", nil, func(c cluster.Change) {
		if len(c.Nodes) != benchEndpoints {
			b.Errorf("it tells %s of %d (%v)", c.Kind, len(c.Nodes), c.Err)
		}
		counts <- len(c.Nodes)
	})
	go func() { ended <- slicesOf(s).run(ctx, roster, inPod(), answerTimeout) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}, counts
}

// benchBoard is a board with what was listed.
func benchBoard(b *testing.B, list apiruntime.Object) (*board, *section, naming) {
	b.Helper()
	s := &server{pages: func(metav1.ListOptions) (apiruntime.Object, error) { return list, nil }}
	board := newBoard([]string{"app"})
	w := Strategy{Service: "web-nodes"}.watcher(inPod(), board, board.sections[0])
	w.timeout = answerTimeout
	_, all, err := w.list(b.Context(), s.client().open(EndpointSlices, "app"))
	if err != nil {
		b.Fatal(err)
	}
	board.list(board.sections[0], all)
	board.well(board.sections[0])
	return board, board.sections[0], Strategy{Service: "web-nodes"}.naming(inPod(), "")
}

// heap is how much lives.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
