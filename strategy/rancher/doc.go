// Package rancher discovers the containers of a service of Rancher 1.x, or of
// Cattle, by the metadata service that every host of it runs.
//
//	cluster.Topology{Name: "web", Strategy: rancher.Strategy{}}
//
// finds the other containers of this container's own service. The metadata is
// described at
// https://rancher.com/docs/rancher/v1.6/en/rancher-services/metadata-service/.
// Only containers that are in Rancher's network can ask for it, or whose label
// io.rancher.container.dns is true.
//
// # How it asks
//
// The metadata has a version, which is another one after every change. It is
// read first, then the service, and then the server is asked to answer as soon as
// the version isn't that one any more: so a change is acted on at once, and none
// is missed in between. An idle node asks every 30 to 35 seconds. A server that
// answers without having waited is asked again after Strategy.Interval. An answer
// of nobody may be a mistake: a change is then waited for no longer than 3 s before
// the service is asked for again, twice at least before others are given up (see
// cluster.Roster.ConfirmWithin).
//
// # What counts
//
// A container counts whose state is one of Strategy.States and whose health is
// one of Strategy.Health: by default, one that runs or starts, and that is
// healthy or isn't checked. One that doesn't count but may still run, since it is
// unhealthy, initializing or stopping, say, is kept: its link stays, and it isn't
// dialled. One that is stopped, removed or broken is as good as gone, and is given
// up after the remove grace, as one is that isn't listed any more. One that has
// no address yet is left out.
//
// # What fails
//
// A failure changes nothing, and the server is asked again: after some 100 ms,
// and then twice as late each time, up to Strategy.Interval or 30 s. A failure is
// whatever isn't a whole answer: a server that can't be reached or whose name
// can't be resolved, any status but 200, a redirect, a content that isn't the
// JSON of a service or a stack, and no answer in time. That is 5 s, for a
// request that the server is asked to hold that much more, and less after an
// answer of nobody if the remove grace is short: from a server that is too slow
// for that, an answer of nobody is itself a failure. If the address of a container
// isn't one, that fails and the others count as hints.
//
// # Concurrency
//
// A Strategy is a value: it may serve several topologies at once.
package rancher
