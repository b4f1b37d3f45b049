package kubernetes

import (
	"reflect"
	"time"

	"github.com/libcluster-go/cluster"
)

// What Strategy finds its defaults in, where they aren't set. The first three are
// for the downward API to set; see the package's doc.
const (
	// EnvPodName is this pod's name. Without it the name of the host is taken,
	// which is the same, unless the pod has its own (spec.hostname), or its host's
	// network.
	EnvPodName = "POD_NAME"
	// EnvPodIP is an address of this pod, which is left out by that if one of the
	// names isn't known: pods on the network of one host have theirs in common.
	EnvPodIP = "POD_IP"
	// EnvNamespace is this pod's namespace, where there is no service account.
	EnvNamespace = "POD_NAMESPACE"
	// EnvDomain is the domain of the Kubernetes cluster, where it isn't
	// cluster.local.
	EnvDomain = "CLUSTER_DOMAIN"

	// DefaultPort is that of nodes if neither Strategy nor the transport has one.
	DefaultPort = 4370
	// DefaultRelist is how often everything is listed again.
	DefaultRelist = 10 * time.Minute
	// DefaultServiceAccountPath is where a pod's service account is mounted.
	DefaultServiceAccountPath = "/var/run/secrets/kubernetes.io/serviceaccount"

	defaultDomain = "cluster.local"
	// minRelist has a number without a unit be refused: it would be of nanoseconds.
	minRelist = time.Second
)

// A Source is the kind of objects that nodes are found in.
type Source int

// The sources, and the rule that each needs; see "The role" in the package's doc.
const (
	// EndpointSlices are those of services (discovery.k8s.io/v1): the smallest
	// to watch, with the state of each endpoint.
	EndpointSlices Source = iota
	// Pods need no service, are told a little sooner, and cost the most: each
	// change of a pod is sent to every node as the whole pod.
	Pods
	// Endpoints are what services had before Kubernetes 1.21. They hold 1,000
	// addresses at most; of a larger service, the rest is never found, which is a
	// failure all the time. They don't tell which pods terminate: such a pod is
	// missing, and lingers, so that it is cut alive if it takes longer than the
	// topology's RemoveGrace; if its service has publishNotReadyAddresses, it is
	// among those that are ready, and dialled until it has ended. EndpointSlices and
	// Pods are without these faults.
	Endpoints
)

// A Mode is what the host of a node is.
type Mode int

// The modes.
const (
	// IP is the pod's address.
	IP Mode = iota
	// DNS is the name that the pod's address has: 10-244-1-5.prod.pod.cluster.local.
	DNS
	// Hostname is the name that a pod of a StatefulSet keeps when its address
	// changes: web-0.web-nodes.prod.svc.cluster.local. Pods have one if they are
	// behind the headless service that their spec.subdomain names, as those of a
	// StatefulSet are behind its serviceName. One without is a failure.
	Hostname
)

// A Family says which addresses of pods count. Of a pod with several, one is
// taken.
type Family int

// The families.
const (
	// SameFamily prefers that of this node's own address, and IPv4 if that isn't
	// known. A pod that has only the other counts with that.
	SameFamily Family = iota
	// PreferIPv4 takes IPv6 for pods that have nothing else.
	PreferIPv4
	// PreferIPv6 takes IPv4 for pods that have nothing else.
	PreferIPv6
	// OnlyIPv4 leaves out pods that have no IPv4 address.
	OnlyIPv4
	// OnlyIPv6 leaves out pods that have no IPv6 address.
	OnlyIPv6
)

// Strategy discovers pods by the API of Kubernetes. Service or Selector must be
// given; with one of them, it works in a pod whose service account has the right
// role.
type Strategy struct {
	// Service is the name of the service whose pods are the nodes. That there is no
	// such service is a failure. It must be empty for Pods, which don't know their
	// services: use Selector.
	Service string

	// Selector is a label selector, such as "app=web,tier!=db", of pods if Source
	// is Pods, else of the slices or endpoints, which have their service's labels.
	// Beside Service, both apply.
	Selector string

	// FieldSelector is one of pods, such as "spec.nodeName=worker-1". It must be
	// empty unless Source is Pods.
	FieldSelector string

	// Namespaces are where pods are looked for. Empty means the pod's own: that of
	// its service account, else what the variable POD_NAMESPACE says; with
	// Kubeconfig, that of the context. An answer is whole only if all namespaces
	// have answered.
	Namespaces []string

	// Source is what nodes are found in: EndpointSlices by default, Pods or
	// Endpoints.
	Source Source

	// IncludeNotReady has pods that aren't ready be connected as well. False means
	// that they stay connected, and aren't dialled. If a pod becomes ready only
	// once it is connected, it must be true; see "Readiness" in the package's doc.
	IncludeNotReady bool

	// Mode is what a node's host is: its IP by default, or a name, by DNS or
	// Hostname, which the transport resolves at every attempt.
	Mode Mode

	// Basename is the name of each node: with "web", a pod is the node
	// "web@10.244.1.5:4370". Empty means nodes without a name.
	Basename string

	// Port is that of all nodes. Zero means PortName, if that is set, else that of
	// this node, and 4370 if the transport doesn't know it.
	Port int

	// PortName is the name of the port in the slice or endpoints, or of the
	// container's port if Source is Pods. One of Port and PortName may be set. A
	// pod that has no such port is a failure.
	PortName string

	// Family says which addresses count, and which of several. By default it is
	// that of this node.
	Family Family

	// Domain is that of the Kubernetes cluster, for DNS and Hostname. Empty means
	// what the variable CLUSTER_DOMAIN says, else cluster.local.
	Domain string

	// UseCachedResources has a list be answered from the API server's cache
	// (resourceVersion=0), which is less work for etcd, and may be older than what
	// another list has told: a pod that is gone may be back for some seconds. The
	// watch goes on from there in both cases.
	UseCachedResources bool

	// Relist is how often everything is listed again, give or take a tenth, in
	// case the watch has gone quiet. Zero means 10 minutes; less than a second is
	// refused.
	Relist time.Duration

	// Client makes the requests, instead of one that Kubeconfig or the service
	// account describes. It is a clientset of one's own; see [FromClientset]. Nil
	// means none. What it reads, how it retries and when it gives up is its own:
	// nothing is read again for it; client-go waits by itself when the server says
	// when to come again (Retry-After), so that after 15 s only the silence is told;
	// and a watch that has gone mute is noticed when its own pings say so (45 s with
	// client-go over HTTP/2), or at the next list.
	Client *Client

	// Kubeconfig is a file that describes the API server and how to access it, for
	// programs outside of the Kubernetes cluster. It is read again at every list.
	// Empty means the pod's service account.
	Kubeconfig string

	// Context is that of Kubeconfig. Empty means its current one.
	Context string

	// Master is the address of the API server, such as "https://10.96.0.1:443", for
	// the service account. Empty means what KUBERNETES_SERVICE_HOST and
	// KUBERNETES_SERVICE_PORT say, which every pod has. It must be https.
	Master string

	// ServiceAccountPath is the folder with the files token, ca.crt and namespace
	// of the service account; they are read again as they rotate. Empty means
	// /var/run/secrets/kubernetes.io/serviceaccount.
	ServiceAccountPath string
}

// Equal implements the optional method of [cluster.Strategy]: a Client is the same
// only if it is in the same place.
func (s Strategy) Equal(other cluster.Strategy) bool {
	o, ok := other.(Strategy)
	if !ok || s.Client != o.Client {
		return false
	}
	s.Client, o.Client = nil, nil
	return reflect.DeepEqual(s, o)
}
