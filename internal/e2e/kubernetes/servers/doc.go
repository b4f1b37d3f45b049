// Package servers has nothing but its go.mod, which pins the servers that the tests
// beside it need, and all that goes into them. .ci/kubernetes builds them.
package servers
