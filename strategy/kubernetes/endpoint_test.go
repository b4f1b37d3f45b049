package kubernetes

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func isReady(is bool) func(*discoveryv1.EndpointConditions) {
	return func(c *discoveryv1.EndpointConditions) { c.Ready = &is }
}

func isServing(is bool) func(*discoveryv1.EndpointConditions) {
	return func(c *discoveryv1.EndpointConditions) { c.Serving = &is }
}

func isTerminating(is bool) func(*discoveryv1.EndpointConditions) {
	return func(c *discoveryv1.EndpointConditions) { c.Terminating = &is }
}

// podOf is a pod named a, with that for its UID, which is ready unless it is changed.
func podOf(addresses []string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "a", UID: "a", Labels: map[string]string{"app": "web"}},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: "True"}, {Type: corev1.PodReady, Status: "True"}},
		},
	}
	for _, a := range addresses {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
	}
	for _, c := range changes {
		c(p)
	}
	return p
}

func unready(p *corev1.Pod) { p.Status.Conditions[1].Status = "False" }

func phase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = phase }
}

func deleted(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Unix(1, 0)) }

func containers(ports ...corev1.ContainerPort) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Name: "first"}, {Name: "second", Ports: ports}}
	}
}

func sidecar(ports ...corev1.ContainerPort) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "sidecar", Ports: ports}} }
}

func slicePorts(s *discoveryv1.EndpointSlice, ports ...discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
	s.Ports = ports
	return s
}

func sliceOfType(family discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	s := slice("app", "s", endpoints...)
	s.AddressType = family
	return s
}

func endpointsOf(subsets ...corev1.EndpointSubset) *corev1.Endpoints { //nolint:staticcheck // for old clusters
	return &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "web-nodes"}, Subsets: subsets} //nolint:staticcheck // as above
}

// TestExtract has what is kept of an object: who counts, and how.
func TestExtract(t *testing.T) {
	at := netip.MustParseAddr
	one := func(s state) []endpoint { return []endpoint{{id: "a", pod: "a", addr: at("10.0.0.1"), state: s}} }
	withPort := func(port int) []endpoint {
		e := one(ready)
		e[0].port = port
		return e
	}
	udp, tcp := corev1.ProtocolUDP, corev1.ProtocolTCP
	two := []discoveryv1.EndpointPort{
		{Name: new("http"), Port: new(int32(80))},
		{Name: new("cluster"), Port: new(int32(4371)), Protocol: &udp},
		{Name: new("cluster"), Port: new(int32(4370)), Protocol: &tcp},
	}
	nodePort := corev1.ContainerPort{Name: "cluster", ContainerPort: 4370}
	ref := &corev1.ObjectReference{Kind: "Pod", Name: "a", UID: "a"}
	for name, tt := range map[string]struct {
		object   runtime.Object
		portName string
		want     []endpoint
	}{
		"slice: ready":                                  {slice("app", "s", of("a", "10.0.0.1", isReady(true))), "", one(ready)},
		"slice: not known whether ready":                {slice("app", "s", of("a", "10.0.0.1")), "", one(ready)},
		"slice: not ready":                              {slice("app", "s", of("a", "10.0.0.1", isReady(false), isServing(false))), "", one(notReady)},
		"slice: not ready, of a service that says so":   {slice("app", "s", of("a", "10.0.0.1", isReady(true), isServing(false))), "", one(ready)},
		"slice: terminating and serving":                {slice("app", "s", of("a", "10.0.0.1", isReady(false), isServing(true), isTerminating(true))), "", one(terminating)},
		"slice: terminating, of a service that says so": {slice("app", "s", of("a", "10.0.0.1", isReady(true), isServing(true), isTerminating(true))), "", one(terminating)},
		"slice: not terminating":                        {slice("app", "s", of("a", "10.0.0.1", isReady(true), isServing(true), isTerminating(false))), "", one(ready)},
		"slice: of nobody":                              {slice("app", "s"), "", nil},
		"slice: no address":                             {slice("app", "s", discoveryv1.Endpoint{}), "", nil},
		"slice: several addresses of one":               {slice("app", "s", discoveryv1.Endpoint{Addresses: []string{"10.0.0.1", "10.0.0.2"}, TargetRef: ref}), "", one(ready)},
		"slice: of no pod":                              {slice("app", "s", discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}}), "", []endpoint{{id: "10.0.0.1", addr: at("10.0.0.1"), state: ready}}},
		"slice: of a node":                              {slice("app", "s", discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Node", Name: "n", UID: "u"}}), "", []endpoint{{id: "u", addr: at("10.0.0.1"), state: ready}}},
		"slice: IPv6":                                   {sliceOfType(discoveryv1.AddressTypeIPv6, of("a", "fd00::1")), "", []endpoint{{id: "a", pod: "a", addr: at("fd00::1"), state: ready}}},
		"slice: names":                                  {sliceOfType(discoveryv1.AddressTypeFQDN, of("a", "a.example.org")), "", nil},
		"slice: hostname":                               {slice("app", "s", discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}, Hostname: new("a"), TargetRef: ref}), "", []endpoint{{id: "a", pod: "a", addr: at("10.0.0.1"), hostname: "a.web-nodes", state: ready}}},
		"slice: port by name":                           {slicePorts(slice("app", "s", of("a", "10.0.0.1")), two...), "cluster", withPort(4370)},
		"slice: port without a name":                    {slicePorts(slice("app", "s", of("a", "10.0.0.1")), discoveryv1.EndpointPort{Port: new(int32(1))}), "cluster", one(ready)},
		"slice: all ports":                              {slicePorts(slice("app", "s", of("a", "10.0.0.1")), discoveryv1.EndpointPort{Name: new("cluster")}), "cluster", one(ready)},

		"pod: ready":                  {podOf([]string{"10.0.0.1"}), "", one(ready)},
		"pod: not ready":              {podOf([]string{"10.0.0.1"}, unready), "", one(notReady)},
		"pod: no conditions yet":      {podOf([]string{"10.0.0.1"}, func(p *corev1.Pod) { p.Status.Conditions = nil }), "", one(notReady)},
		"pod: pending":                {podOf([]string{"10.0.0.1"}, unready, phase(corev1.PodPending)), "", one(notReady)},
		"pod: on a node that is mute": {podOf([]string{"10.0.0.1"}, unready, phase(corev1.PodUnknown)), "", one(notReady)},
		"pod: terminating":            {podOf([]string{"10.0.0.1"}, deleted), "", one(terminating)},
		"pod: failed":                 {podOf([]string{"10.0.0.1"}, phase(corev1.PodFailed)), "", nil},
		"pod: succeeded":              {podOf([]string{"10.0.0.1"}, phase(corev1.PodSucceeded)), "", nil},
		"pod: terminating and failed": {podOf([]string{"10.0.0.1"}, deleted, phase(corev1.PodFailed)), "", nil},
		"pod: no address":             {podOf(nil, unready), "", nil},
		"pod: only podIP":             {podOf(nil, func(p *corev1.Pod) { p.Status.PodIP = "10.0.0.1" }), "", one(ready)},
		"pod: two families": {podOf([]string{"10.0.0.1", "fd00::1"}), "", []endpoint{
			{id: "a", pod: "a", addr: at("10.0.0.1"), state: ready}, {id: "a", pod: "a", addr: at("fd00::1"), state: ready},
		}},
		"pod: hostname": {podOf([]string{"10.0.0.1"}, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "a", "web-nodes" }), "", []endpoint{
			{id: "a", pod: "a", addr: at("10.0.0.1"), hostname: "a.web-nodes", state: ready},
		}},
		"pod: a hostname without a service": {podOf([]string{"10.0.0.1"}, func(p *corev1.Pod) { p.Spec.Hostname = "a" }), "", one(ready)},
		"pod: port by name":                 {podOf([]string{"10.0.0.1"}, containers(corev1.ContainerPort{Name: "http", ContainerPort: 80}, nodePort)), "cluster", withPort(4370)},
		"pod: port of a sidecar":            {podOf([]string{"10.0.0.1"}, sidecar(nodePort)), "cluster", withPort(4370)},
		"pod: no such port":                 {podOf([]string{"10.0.0.1"}, containers(corev1.ContainerPort{Name: "cluster", ContainerPort: 1, Protocol: udp})), "cluster", one(ready)},

		"endpoints: of nobody": {endpointsOf(), "", nil},
		"endpoints: ready and not": {endpointsOf(corev1.EndpointSubset{ //nolint:staticcheck // for old clusters
			Addresses:         []corev1.EndpointAddress{{IP: "10.0.0.1", TargetRef: ref}},
			NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.0.0.2", Hostname: "web-1", TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "b", UID: "b"}}},
			Ports:             []corev1.EndpointPort{{Name: "http", Port: 80}, {Name: "cluster", Port: 4370}},
		}), "cluster", []endpoint{
			{id: "a", pod: "a", addr: at("10.0.0.1"), port: 4370, state: ready},
			{id: "b", pod: "b", addr: at("10.0.0.2"), port: 4370, hostname: "web-1.web-nodes", state: notReady},
		}},
		"endpoints: without targets": {endpointsOf(corev1.EndpointSubset{ //nolint:staticcheck // for old clusters
			Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}},
		}), "cluster", []endpoint{{id: "10.0.0.1", addr: at("10.0.0.1"), state: ready}}},
	} {
		t.Run(name, func(t *testing.T) {
			kind, _, _ := strings.Cut(name, ":")
			source := map[string]Source{"slice": EndpointSlices, "pod": Pods, "endpoints": Endpoints}[kind]
			_, got, err := source.extract(tt.object, tt.portName)
			if err != nil || got.truncated || !slices.Equal(got.endpoints, tt.want) {
				t.Errorf("it is %+v (%v), want %+v", got, err, tt.want)
			}
		})
	}
}

// TestAnotherKind has an object that isn't of the source be an error, and no
// object without endpoints.
func TestAnotherKind(t *testing.T) {
	lists := map[Source]runtime.Object{EndpointSlices: &discoveryv1.EndpointSliceList{}, Pods: &corev1.PodList{}, Endpoints: &corev1.EndpointsList{}}
	items := map[Source]runtime.Object{EndpointSlices: slice("app", "s"), Pods: podOf(nil), Endpoints: endpointsOf()}
	for asked := range lists {
		for came := range lists {
			_, _, err := asked.extract(items[came], "")
			if (err == nil) != (asked == came) {
				t.Errorf("an object of %s among the %s: %v", came.resource(), asked.resource(), err)
			}
			if err := asked.checkList(lists[came]); (err == nil) != (asked == came) {
				t.Errorf("a list of %s for %s: %v", came.resource(), asked.resource(), err)
			}
		}
	}
}
