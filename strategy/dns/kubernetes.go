package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/libcluster-go/cluster"
)

// What Kubernetes finds its defaults in.
const (
	// EnvNamespace is the pod's namespace where there is no service account,
	// set by the downward API.
	EnvNamespace = "POD_NAMESPACE"
	// EnvDomain is the domain of the Kubernetes cluster, where it isn't
	// cluster.local.
	EnvDomain = "CLUSTER_DOMAIN"

	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	defaultDomain = "cluster.local"
)

// Kubernetes discovers the pods of a headless service by the DNS of Kubernetes:
// without the API, and so without a role. Service must be given, and Port unless
// SRV is set.
//
//	dns.Kubernetes{Service: "web-nodes", Port: 4370}
//
// # The service
//
//	apiVersion: v1
//	kind: Service
//	metadata:
//	  name: web-nodes
//	spec:
//	  clusterIP: None                # headless
//	  publishNotReadyAddresses: true
//	  selector:
//	    app: web
//	  ports:
//	    - name: cluster
//	      port: 4370
//
// It is headless, since the name of another service stands for one virtual
// address, behind which a connection meets any of the pods, or itself. Give it a
// name of its own, beside the service that takes the users' requests.
//
// publishNotReadyAddresses has a pod be listed as soon as it has an address, and
// until it is gone. Without it a pod is listed only while it is ready: pods that
// become ready once they have found each other would never do, and one whose
// probe fails for longer than the remove grace, since it is busy, would be
// disconnected from all others, which makes a bad hour worse.
//
// # Stable names
//
// The pods of a StatefulSet have names that outlive them: with SRV, they are the
// hosts of the nodes (web-0.web-nodes.prod.svc.cluster.local:4370), and the port
// is that of the service's port PortName.
//
//	dns.Kubernetes{Service: "web-nodes", SRV: true, PortName: "cluster"}
//
//	apiVersion: apps/v1
//	kind: StatefulSet
//	metadata:
//	  name: web
//	spec:
//	  serviceName: web-nodes         # the headless service above
//	  podManagementPolicy: Parallel  # else each waits until the one before is ready
//	  replicas: 3
//	  selector:
//	    matchLabels: {app: web}
//	  template:
//	    metadata:
//	      labels: {app: web}
//	    spec:
//	      containers:
//	        - name: web
//	          image: web
//	          ports:
//	            - name: cluster
//	              containerPort: 4370
//
// Pods of a Deployment have names made of their addresses there.
//
// # What an answer means
//
// The DNS of Kubernetes lists all pods of a headless service, so that an answer
// is authoritative, as Strategy.Authoritative has it. To it, a service without
// pods and one that doesn't exist are the same: both stand for nobody.
//
// See https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/.
type Kubernetes struct {
	// Service is the name of the headless service.
	Service string

	// Namespace is the service's. Empty means the pod's own: that of its service
	// account (/var/run/secrets/kubernetes.io/serviceaccount/namespace), else
	// what the variable POD_NAMESPACE of the environment says, for pods without
	// one (automountServiceAccountToken: false):
	//
	//	env:
	//	  - name: POD_NAMESPACE
	//	    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
	Namespace string

	// Domain is that of the Kubernetes cluster. Empty means what the variable
	// CLUSTER_DOMAIN of the environment says, else cluster.local.
	Domain string

	// Port is that of the nodes: 1 to 65535. It must be zero with SRV.
	Port int

	// SRV asks for the service's SRV records, of which the names of the pods are
	// the hosts of the nodes, and the ports theirs. Names are resolved by the
	// transport, at every attempt.
	SRV bool

	// PortName is the name of the service's TCP port, for SRV. Empty means all
	// ports of the service, which is right if it has only one.
	PortName string

	// Hints takes answers for hints: who is missing from one stays connected.
	Hints bool

	// Basename, Network, Servers, ResolvConf, Interval, Timeout, Attempts and
	// Resolver are as those of [Strategy]. With SRV, Network must be empty.
	Basename   string
	Network    string
	Servers    []string
	ResolvConf string
	Interval   time.Duration
	Timeout    time.Duration
	Attempts   int
	Resolver   func(ctx context.Context, query string) (hosts []string, err error)
}

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field that is wrong, its value, and what would be right.
func (k Kubernetes) Validate() error {
	_, err := k.strategy(podFacts{os.Getenv, os.ReadFile})
	return err
}

// Run implements [cluster.Strategy]: it asks at once and again and again until
// ctx is done. Its error is that of Validate.
func (k Kubernetes) Run(ctx context.Context, r *cluster.Roster) error {
	s, err := k.strategy(podFacts{os.Getenv, os.ReadFile})
	if err != nil {
		return err
	}
	return s.Run(ctx, r)
}

// podFacts is where a pod learns of itself.
type podFacts struct {
	getenv   func(string) string
	readFile func(string) ([]byte, error)
}

// strategy is what k stands for.
func (k Kubernetes) strategy(pod podFacts) (Strategy, error) {
	name, err := k.name(pod)
	if err != nil {
		return Strategy{}, err
	}
	s := Strategy{
		Queries: []string{name}, SRV: k.SRV, Names: k.SRV, Port: k.Port, Authoritative: !k.Hints,
		Basename: k.Basename, Network: k.Network, Servers: k.Servers, ResolvConf: k.ResolvConf,
		Interval: k.Interval, Timeout: k.Timeout, Attempts: k.Attempts, Resolver: k.Resolver,
	}
	return s, s.Validate()
}

// name is the complete name that is asked for; see
// https://github.com/kubernetes/dns/blob/master/docs/specification.md.
func (k Kubernetes) name(pod podFacts) (string, error) {
	var errs []error
	if !isLabel(k.Service) {
		errs = append(errs, fmt.Errorf(`dns: Service is %q; want the name of a headless service, such as "web-nodes"`, k.Service))
	}
	namespace, err := k.namespace(pod)
	if err != nil {
		errs = append(errs, err)
	}
	domain := strings.TrimSuffix(cmp.Or(k.Domain, pod.getenv(EnvDomain), defaultDomain), ".")
	if err := checkName(domain); err != nil {
		errs = append(errs, fmt.Errorf("dns: Domain (or %s) is %q, %w; want one such as %q", EnvDomain, domain, err, defaultDomain))
	}
	name := fmt.Sprintf("%s.%s.svc.%s.", k.Service, namespace, domain)
	if k.PortName != "" {
		if !k.SRV {
			errs = append(errs, fmt.Errorf("dns: PortName is %q and SRV is false; only SRV records have ports", k.PortName))
		}
		if !isLabel(k.PortName) {
			errs = append(errs, fmt.Errorf(`dns: PortName is %q; want the name of the service's port, such as "cluster"`, k.PortName))
		}
		name = "_" + k.PortName + "._tcp." + name
	}
	return name, errors.Join(errs...)
}

func (k Kubernetes) namespace(pod podFacts) (string, error) {
	file, fileErr := pod.readFile(namespaceFile)
	namespace := cmp.Or(k.Namespace, strings.TrimSpace(string(file)), pod.getenv(EnvNamespace))
	switch {
	case namespace == "":
		return "", fmt.Errorf("dns: Namespace is empty, and neither %s (%w) nor %s says in which this pod is; set one of them", namespaceFile, orEmpty(fileErr), EnvNamespace)
	case !isLabel(namespace):
		return "", fmt.Errorf(`dns: Namespace (or %s, or %s) is %q; want one such as "default"`, namespaceFile, EnvNamespace, namespace)
	default:
		return namespace, nil
	}
}

func orEmpty(err error) error {
	if err == nil {
		return errors.New("empty")
	}
	return err
}

// isLabel reports whether s can be one label of a name.
func isLabel(s string) bool {
	labels, ok := miekg.IsDomainName(s)
	return ok && labels == 1 && checkName(s) == nil && !strings.HasSuffix(s, ".")
}
