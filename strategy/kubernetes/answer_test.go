package kubernetes

import (
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestNoObjectAtAll has a service of which there is no object be a failure, since
// there is one even of a service without pods: its name is wrong, or it was deleted.
func TestNoObjectAtAll(t *testing.T) {
	t.Parallel()
	empty := map[Source]runtime.Object{
		EndpointSlices: sliceList("7", ""),
		Pods:           &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}},
		Endpoints:      &corev1.EndpointsList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}},
	}
	for name, tt := range map[string]struct {
		strategy Strategy
		tells    string
	}{
		"a service":              {Strategy{Service: "web-nodes"}, `Fail kubernetes: no EndpointSlice of service "web-nodes" in namespace "app"; is there one?`},
		"a service with labels":  {Strategy{Service: "web-nodes", Selector: "a=b"}, `Fail kubernetes: no EndpointSlice of service "web-nodes" with the labels "a=b" in namespace "app"`},
		"endpoints of a service": {Strategy{Source: Endpoints, Service: "web-nodes"}, `Fail kubernetes: no Endpoints object of service "web-nodes" in namespace "app"`},
		"labels":                 {Strategy{Selector: "app=web"}, "Replace []"},
		"labels of endpoints":    {Strategy{Source: Endpoints, Selector: "app=web"}, "Replace []"},
		"pods":                   {Strategy{Source: Pods, Selector: "app=web"}, "Replace []"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &server{pages: func(metav1.ListOptions) (runtime.Object, error) { return empty[tt.strategy.Source], nil }}
			tt.strategy.Client = s.client()
			inBubble(t, tt.strategy, func(r *record) { r.expect("of no object", tt.tells) })
		})
	}
}

// TestAServiceComesAndGoes has it count as soon as there is one, be it empty, and its
// nodes stay when it is deleted.
func TestAServiceComesAndGoes(t *testing.T) {
	t.Parallel()
	s := &server{}
	s.says()
	inBubble(t, slicesOf(s), func(r *record) {
		r.expect("without it", "Fail kubernetes: no EndpointSlice")
		time.Sleep(time.Minute)
		s.events().Add(slice("app", "s"))
		r.expect("when it comes", "Replace []")
		time.Sleep(time.Minute)
		s.events().Modify(slice("app", "s", of("a", "10.0.0.1")))
		r.expect("when a pod comes", "Replace [10.0.0.1:4370]")
		time.Sleep(time.Minute)
		s.events().Delete(slice("app", "s", of("a", "10.0.0.1")))
		r.expect("when it is deleted", "Fail kubernetes: no EndpointSlice")
	})
}

// TestEndpointsThatAreTruncated has an object that is full be no whole answer.
func TestEndpointsThatAreTruncated(t *testing.T) {
	t.Parallel()
	full := endpointsOf(corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}}}) //nolint:staticcheck // for old clusters
	for name, tt := range map[string]struct {
		says string
		want []string
	}{
		"truncated": {"truncated", []string{
			"Add [10.0.0.1:4370]",
			`Fail kubernetes: namespace "app": the Endpoints object "web-nodes" is truncated, after 1,000 addresses; set Source to EndpointSlices`,
		}},
		"large, and whole": {"warning", []string{"Replace [10.0.0.1:4370]"}}, // as Kubernetes 1.21 has it
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := full.DeepCopy()
			object.Annotations = map[string]string{"endpoints.kubernetes.io/over-capacity": tt.says}
			s := &server{pages: func(metav1.ListOptions) (runtime.Object, error) {
				return &corev1.EndpointsList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []corev1.Endpoints{*object}}, nil //nolint:staticcheck // as above
			}}
			strategy := Strategy{Source: Endpoints, Service: "web-nodes", Client: s.client()}
			inBubble(t, strategy, func(r *record) {
				r.expect("at the start", tt.want...)
				time.Sleep(time.Minute)
				whole := full.DeepCopy()
				whole.ResourceVersion = "8"
				s.events().Modify(whole)
				if tt.says == "truncated" {
					r.expect("when it has room", "Replace [10.0.0.1:4370]")
				}
			})
		})
	}
}

// TestAKubeconfigThatBreaks has a file that is being rewritten right after it was
// checked be a failure, and be read again.
func TestAKubeconfigThatBreaks(t *testing.T) {
	t.Parallel()
	file := kubeconfig(t)
	s := Strategy{Service: "web-nodes", Kubeconfig: file}
	env, reads := outside(), 0
	env.readFile = func(path string) ([]byte, error) {
		if path != file {
			return unmounted(path)
		}
		if reads++; reads > 1 {
			return nil, os.ErrNotExist
		}
		return os.ReadFile(path)
	}
	inBubbleOf(t, env, s, func(r *record) {
		r.expect("when it is gone", `Fail kubernetes: Kubeconfig is "`+file)
		time.Sleep(100 * time.Millisecond)
		r.expect("at the next attempt", `Fail kubernetes: Kubeconfig is "`+file)
	})
}

// TestSilence has the message say who has been asked, and for how long.
func TestSilence(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ where, says string }{
		"of a server":         {"https://10.96.0.1", "https://10.96.0.1 has not answered within 15s"},
		"of a client's, mute": {"", "the API server has not answered within 15s; or it refused, and Client tried again by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			silent := &Client{open: func(Source, string) objects { return mute{tt.where} }}
			inBubble(t, Strategy{Service: "web-nodes", Client: silent}, func(r *record) {
				time.Sleep(15 * time.Second)
				r.expect("after 15 s", `Fail kubernetes: list endpointslices in namespace "app": `+tt.says)
			})
		})
	}
}
