// Package kubernetes discovers pods by the API of Kubernetes, whose changes it
// watches.
package kubernetes
