package kubernetes

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/libcluster-go/cluster/transport"
)

// Validate implements the optional method of [cluster.Strategy]: its error names
// every field that is wrong, its value, and what would be right. It reads the
// environment and Kubeconfig, and asks nobody.
func (s Strategy) Validate() error {
	_, err := s.check(ofProcess())
	return err
}

// check returns what Validate does, and the namespaces in which to look: both of
// one reading of the kubeconfig, which may change at any time.
func (s Strategy) check(env environment) (namespaces []string, err error) {
	inContext, accessErr := s.checkAccess(env)
	namespaces, namespacesErr := s.namespaces(env, inContext)
	return namespaces, errors.Join(s.checkWhom(), namespacesErr, s.checkNodes(env), accessErr)
}

// checkWhom checks what says which pods count.
func (s Strategy) checkWhom() error {
	var errs []error
	if s.Source < EndpointSlices || s.Source > Endpoints {
		errs = append(errs, fmt.Errorf("kubernetes: Source is %d; want EndpointSlices, Pods or Endpoints", s.Source))
	}
	switch {
	case s.Source == Pods && s.Service != "":
		errs = append(errs, fmt.Errorf("kubernetes: Service is %q and Source is Pods, which don't know their services; set Selector to the selector of the service", s.Service))
	case s.Source == Pods && s.Selector == "" && s.FieldSelector == "":
		errs = append(errs, errors.New(`kubernetes: Selector is empty; want one of pods, such as "app=web"`))
	case s.Source != Pods && s.Service == "" && s.Selector == "":
		errs = append(errs, errors.New(`kubernetes: Service and Selector are empty; want the name of a service, such as "web-nodes", or the labels of one`))
	}
	if s.Service != "" && s.Source != Pods {
		errs = append(errs, checkLabel("Service", s.Service, "web-nodes"))
	}
	if _, err := labels.Parse(s.Selector); err != nil {
		errs = append(errs, fmt.Errorf(`kubernetes: Selector is %q: %w; want one such as "app=web"`, s.Selector, err))
	}
	if _, err := fields.ParseSelector(s.FieldSelector); err != nil {
		errs = append(errs, fmt.Errorf(`kubernetes: FieldSelector is %q: %w; want one such as "spec.nodeName=worker-1"`, s.FieldSelector, err))
	}
	if s.FieldSelector != "" && s.Source != Pods {
		errs = append(errs, fmt.Errorf("kubernetes: FieldSelector is %q; want none unless Source is Pods", s.FieldSelector))
	}
	if s.Relist != 0 && s.Relist < minRelist {
		errs = append(errs, fmt.Errorf("kubernetes: Relist is %s; want at least %s, with its unit, such as 10 * time.Minute, or 0 for %s", s.Relist, minRelist, DefaultRelist))
	}
	return errors.Join(errs...)
}

// checkNodes checks what makes a node of a pod.
func (s Strategy) checkNodes(env environment) error {
	var errs []error
	if s.Mode < IP || s.Mode > Hostname {
		errs = append(errs, fmt.Errorf("kubernetes: Mode is %d; want IP, DNS or Hostname", s.Mode))
	}
	if s.Family < SameFamily || s.Family > OnlyIPv6 {
		errs = append(errs, fmt.Errorf("kubernetes: Family is %d; want SameFamily, PreferIPv4, PreferIPv6, OnlyIPv4 or OnlyIPv6", s.Family))
	}
	if s.Basename != "" {
		if _, err := transport.ParseNodeWithPort(s.Basename+"@localhost", DefaultPort); err != nil {
			errs = append(errs, fmt.Errorf("kubernetes: Basename is %q: %w", s.Basename, err))
		}
	}
	if s.Port < 0 || s.Port > 65535 {
		errs = append(errs, fmt.Errorf("kubernetes: Port is %d; want 1 to 65535, or 0 for that of this node", s.Port))
	}
	if s.Port != 0 && s.PortName != "" {
		errs = append(errs, fmt.Errorf("kubernetes: Port is %d and PortName is %q; set one of the two", s.Port, s.PortName))
	}
	if s.PortName != "" {
		errs = append(errs, checkLabel("PortName", s.PortName, "cluster"))
	}
	domain := s.domain(env)
	needed := s.Domain != "" || s.Mode != IP // else whatever is around is others'
	if msgs := validation.IsDNS1123Subdomain(strings.ToLower(domain)); needed && len(msgs) > 0 {
		errs = append(errs, fmt.Errorf("kubernetes: Domain (or %s) is %q; want one such as %q", EnvDomain, domain, defaultDomain))
	}
	if own := env.getenv(EnvPodIP); own != "" {
		if _, err := netip.ParseAddr(own); err != nil {
			errs = append(errs, fmt.Errorf("kubernetes: %s is %q; want this pod's address, as the downward API's status.podIP says", EnvPodIP, own))
		}
	}
	return errors.Join(errs...)
}

// checkAccess checks what says how to access the API server. It returns the
// namespace of the kubeconfig's context, if there is one.
func (s Strategy) checkAccess(env environment) (namespace string, err error) {
	switch {
	case s.Client != nil && s.Client.open == nil:
		return "", errors.New("kubernetes: Client is empty; want one that FromClientset makes")
	case s.Client != nil && (s.Kubeconfig != "" || s.Master != ""):
		return "", fmt.Errorf("kubernetes: Client is set beside Kubeconfig (%q) or Master (%q); set one of them", s.Kubeconfig, s.Master)
	case s.Kubeconfig != "" && s.Master != "":
		return "", fmt.Errorf("kubernetes: Kubeconfig is %q and Master is %q; set one of the two", s.Kubeconfig, s.Master)
	case s.Context != "" && s.Kubeconfig == "":
		return "", fmt.Errorf("kubernetes: Context is %q and Kubeconfig is empty; want the file that the context is in", s.Context)
	case s.Client != nil:
		return "", nil
	}
	_, namespace, err = s.config(env)
	return namespace, err
}

func checkLabel(field, value, example string) error {
	if len(validation.IsDNS1123Label(value)) > 0 {
		return fmt.Errorf("kubernetes: %s is %q; want a name of lower-case letters, digits and -, such as %q", field, value, example)
	}
	return nil
}
