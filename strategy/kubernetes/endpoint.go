package kubernetes

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// A state says whether a pod counts. A greater one wins where two objects differ
// about a pod: only what terminates never comes back from that.
type state uint8

const (
	notReady state = iota
	ready
	terminating
)

// An endpoint is an address of a pod: all that is kept of an object.
type endpoint struct {
	id       string // of the pod: its UID, or the address if there is none
	pod      string // its name; empty if the object doesn't tell
	addr     netip.Addr
	hostname string // with the service's name: "web-0.web-nodes"; empty if it has none
	port     int    // that is called PortName; 0 if there is none
	state    state
}

// An entry is all that is kept of an object.
type entry struct {
	endpoints []endpoint
	truncated bool // there are more than the object has room for
}

func (e entry) equal(other entry) bool {
	return e.truncated == other.truncated && slices.Equal(e.endpoints, other.endpoints)
}

// extract returns the name of an object of a source, and its endpoints: those of
// pods that failed or succeeded, or have no address, aren't any. portName is the
// name of the port that is asked for.
func (s Source) extract(object runtime.Object, portName string) (name string, kept entry, err error) {
	switch o := object.(type) {
	case *discoveryv1.EndpointSlice:
		if s == EndpointSlices {
			return o.Name, entry{endpoints: ofSlice(o, portName)}, nil
		}
	case *corev1.Pod:
		if s == Pods {
			return o.Name, entry{endpoints: ofPod(o, portName)}, nil
		}
	case *corev1.Endpoints: //nolint:staticcheck // for old clusters
		if s == Endpoints {
			return o.Name, entry{endpoints: ofEndpoints(o, portName), truncated: isTruncated(o)}, nil
		}
	}
	return "", entry{}, fmt.Errorf("the API server sent a %T among the %s", object, s.resource())
}

// checkList refuses what is no list of the source, which may be empty.
func (s Source) checkList(object runtime.Object) error {
	_, ofSlices := object.(*discoveryv1.EndpointSliceList)
	_, pods := object.(*corev1.PodList)
	_, endpoints := object.(*corev1.EndpointsList)
	if s == EndpointSlices && ofSlices || s == Pods && pods || s == Endpoints && endpoints {
		return nil
	}
	return fmt.Errorf("the API server sent a %T for the list of %s", object, s.resource())
}

// ofSlice reads the conditions as
// https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions
// says. Names instead of addresses (FQDN) are deprecated, and never of pods.
func ofSlice(s *discoveryv1.EndpointSlice, portName string) []endpoint {
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	port := 0
	for _, p := range s.Ports {
		if p.Port != nil && deref(p.Name, "") == portName && isTCP(deref(p.Protocol, "")) {
			port = int(*p.Port)
		}
	}
	endpoints := make([]endpoint, 0, len(s.Endpoints))
	for _, e := range s.Endpoints {
		if len(e.Addresses) == 0 {
			continue
		}
		of := endpoint{port: port, state: notReady}
		switch {
		case deref(e.Conditions.Terminating, false):
			of.state = terminating
		case deref(e.Conditions.Ready, true): // nil is for unknown, to be taken for ready
			of.state = ready
		}
		if e.Hostname != nil && *e.Hostname != "" {
			of.hostname = *e.Hostname + "." + s.Labels[discoveryv1.LabelServiceName]
		}
		endpoints = of.appendTo(endpoints, e.Addresses[0], e.TargetRef) // the others mean the same
	}
	return endpoints
}

// ofEndpoints can't tell terminating pods: such an object leaves them out, or, of a
// service with publishNotReadyAddresses, has them among the ready ones.
func ofEndpoints(e *corev1.Endpoints, portName string) (endpoints []endpoint) { //nolint:staticcheck // for old clusters
	for _, subset := range e.Subsets {
		port := 0
		for _, p := range subset.Ports {
			if p.Name == portName && isTCP(p.Protocol) {
				port = int(p.Port)
			}
		}
		add := func(addresses []corev1.EndpointAddress, state state) {
			for _, a := range addresses {
				of := endpoint{port: port, state: state}
				if a.Hostname != "" {
					of.hostname = a.Hostname + "." + e.Name
				}
				endpoints = of.appendTo(endpoints, a.IP, a.TargetRef)
			}
		}
		add(subset.Addresses, ready)
		add(subset.NotReadyAddresses, notReady)
	}
	return endpoints
}

// isTruncated reports whether there are more than the 1,000 addresses that are the
// most of one object:
// https://kubernetes.io/docs/concepts/services-networking/service/#over-capacity-endpoints
func isTruncated(e *corev1.Endpoints) bool { //nolint:staticcheck // for old clusters
	return e.Annotations[corev1.EndpointsOverCapacity] == "truncated"
}

func ofPod(p *corev1.Pod, portName string) (endpoints []endpoint) {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return nil
	}
	of := endpoint{port: containerPort(p, portName), state: notReady}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			of.state = ready
		}
	}
	if p.DeletionTimestamp != nil {
		of.state = terminating
	}
	if p.Spec.Hostname != "" && p.Spec.Subdomain != "" {
		of.hostname = p.Spec.Hostname + "." + p.Spec.Subdomain
	}
	ref := &corev1.ObjectReference{Kind: "Pod", Name: p.Name, UID: p.UID}
	if len(p.Status.PodIPs) == 0 && p.Status.PodIP != "" { // before Kubernetes 1.20
		return of.appendTo(nil, p.Status.PodIP, ref)
	}
	for _, ip := range p.Status.PodIPs {
		endpoints = of.appendTo(endpoints, ip.IP, ref)
	}
	return endpoints
}

// containerPort is the port of that name, of a container or of a sidecar, which is
// an init container that goes on.
func containerPort(p *corev1.Pod, name string) int {
	for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for _, c := range containers {
			for _, port := range c.Ports {
				if port.Name == name && isTCP(port.Protocol) {
					return int(port.ContainerPort)
				}
			}
		}
	}
	return 0
}

// appendTo appends e with an address of what ref refers to. What isn't an address
// is left out: the API server lets none pass.
func (e endpoint) appendTo(endpoints []endpoint, address string, ref *corev1.ObjectReference) []endpoint {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return endpoints
	}
	e.id, e.addr = address, addr.Unmap()
	if ref != nil && ref.Kind == "Pod" {
		e.pod = ref.Name
	}
	if ref != nil && ref.UID != "" {
		e.id = string(ref.UID)
	}
	return append(endpoints, e)
}

// isTCP takes no protocol for TCP, as Kubernetes does.
func isTCP(p corev1.Protocol) bool { return p == "" || p == corev1.ProtocolTCP }

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
