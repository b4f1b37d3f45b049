package kubernetes

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A RequestError is why a request to the API server failed: what a strategy tells
// Roster.Fail. Its message says what to do about it, where that is known.
type RequestError struct {
	Verb      string // "list" or "watch"
	Source    Source
	Namespace string
	Err       error // what errors.Is… of k8s.io/apimachinery/pkg/api/errors take

	given bool // it was made by Strategy.Client
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("kubernetes: %s %s in namespace %q: %v%s", e.Verb, e.Source.resource(), e.Namespace, e.Err, e.advice())
}

// Unwrap returns Err.
func (e *RequestError) Unwrap() error { return e.Err }

func (e *RequestError) advice() string {
	switch {
	case apierrors.IsForbidden(e.Err):
		verbs := `["list", "watch"]`
		if e.Verb == "watch" { // it may list
			verbs = `["watch"]`
		}
		return fmt.Sprintf("; its Role in namespace %q lacks the rule {apiGroups: [%q], resources: [%q], verbs: %s}",
			e.Namespace, e.Source.group(), e.Source.resource(), verbs)
	case apierrors.IsUnauthorized(e.Err) && e.given:
		return "; the API server doesn't accept the token or certificate of Client"
	case apierrors.IsUnauthorized(e.Err):
		return "; the API server doesn't accept the token or certificate, which is read again at the next attempt"
	case apierrors.IsNotFound(e.Err) && e.Source == EndpointSlices:
		return "; if the API server is older than Kubernetes 1.21, set Source to Endpoints"
	default:
		return ""
	}
}

// group is the source's API group.
func (s Source) group() string {
	if s == EndpointSlices {
		return discoveryv1.GroupName
	}
	return ""
}

// resource is what the source is called in paths and roles.
func (s Source) resource() string {
	switch s {
	case EndpointSlices:
		return "endpointslices"
	case Pods:
		return "pods"
	case Endpoints:
		return "endpoints"
	default:
		return fmt.Sprintf("source %d", int(s)) // Validate refuses it
	}
}
