// Package kubernetes discovers pods by the API of Kubernetes, whose changes it
// watches: a pod that becomes ready is told within milliseconds.
//
//	cluster.Topology{
//		Name:     "web",
//		Strategy: kubernetes.Strategy{Service: "web-nodes", PortName: "cluster"},
//	}
//
// finds the pods behind the service web-nodes of this pod's own namespace. The
// folder examples/kubernetes has a program, an image and manifests to copy. Where
// pods may not ask the API, there is dns.Kubernetes.
//
// # The role
//
// The pod's service account needs one rule, in each of the namespaces:
//
//	EndpointSlices  {apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"]}
//	Pods            {apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}
//	Endpoints       {apiGroups: [""], resources: ["endpoints"], verbs: ["list", "watch"]}
//
// Without it the failure names the rule. Pods should know themselves, which the
// downward API tells them:
//
//	env:
//	  - name: POD_IP
//	    valueFrom: {fieldRef: {fieldPath: status.podIP}}
//	  - name: POD_NAME
//	    valueFrom: {fieldRef: {fieldPath: metadata.name}}
//	  - name: POD_NAMESPACE
//	    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
//
// # Readiness
//
// A pod that is ready is connected. One that isn't, or that terminates, is kept:
// its link stays, and it isn't dialled. So nobody is cut for a probe that fails,
// be it all pods at once, and a pod that terminates is linked until it has ended.
// Failed and succeeded pods, those without an address, and this pod never count.
//
// If a pod becomes ready only once it is linked with others, none ever will: each
// waits for the others to be ready. Either readiness must not depend on that, or
// pods must count before they are ready, by Strategy.IncludeNotReady, or by
// publishNotReadyAddresses of the service, which marks all its endpoints as ready.
// The latter also has the names of pods be known to DNS before they are ready, as
// Hostname needs. Terminating pods aren't dialled in either case, unless they are
// told apart no more, as by [Endpoints].
//
// # How it asks
//
// Each namespace is listed and then watched from there on. A watch that the server
// ends in good order is resumed; everything is listed again every Strategy.Relist,
// and after each failure. An answer is told (Roster.Replace) once all namespaces
// have been listed and are watched, and again at each change: the first at once,
// and what comes within 20 ms after that together.
//
// # What fails
//
// A failure changes nothing, and is told at once: 401, 403, 404, 410 (a version
// that has expired), 429, 5xx, what isn't an answer, a server that is dead or mute
// for 15 s, a watch that ends at once. Everything is asked anew after some 100 ms,
// and then twice as late each time, up to 30 s, or when the server says
// (Retry-After, of which 30 s at most are waited); only the whole answer after that tells who has gone. Meanwhile,
// what other namespaces, or a list without a watch, tell of new pods counts as
// hints (Roster.Add). So it does if no node can be made of some pod, since it has
// no port named Strategy.PortName, say; and at the start, once a namespace lets the
// others wait for a second.
//
// That a watch is mute shows by the pings of HTTP/2, which API servers speak. Behind
// a proxy that speaks HTTP/1.1 it shows at the next list only: set a shorter
// Strategy.Relist there.
//
// For each of these attempts, and each list, the token, the certificates and the
// kubeconfig are read again, so that none needs a restart when it rotates. TLS is
// always verified; a kubeconfig that says otherwise is refused. Redirects aren't followed,
// since the token would go where they lead.
//
// It is a failure, too, that there is no slice of Strategy.Service at all, or no
// Endpoints object: of a service with a selector there is always one, though it
// be empty, so that its name is wrong, or it was deleted. Where only labels are
// asked for, nothing found is an answer: nobody is there any more.
//
// # What it costs
//
// Importing this package adds 13.9 MB to a program that uses the static strategy
// (11.8 MB, and 9.9 MB to 8.2 MB without debug information), by client-go v0.37 for
// linux/amd64. It has only the kinds of objects that it needs; a program with a
// clientset of client-go, for [FromClientset], is 42.0 MB larger still.
//
// Of an object, only what a node is made of is kept: managed fields, labels and all
// else are dropped as it comes in. Of 5,000 endpoints, 1.2 MB stays, and 1.7 MB of
// as many pods. From the answer to the list to the roster, it takes 7 ms of one core
// for slices, which are 640 kB, and 32 ms for pods; from a change to the roster, 3 to
// 4 ms.
//
// # Concurrency
//
// A Strategy is a value: it may serve several topologies at once. Each namespace
// has a goroutine, which ends with Run, as all connections do.
package kubernetes
