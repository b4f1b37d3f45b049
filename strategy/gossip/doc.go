// Package gossip discovers the nodes that can be heard on the local network, by
// UDP multicast or broadcast, without a server or a list.
//
//	cluster.Topology{
//		Name:     "web",
//		Strategy: gossip.Strategy{Secrets: []string{os.Getenv("CLUSTER_SECRET")}},
//	}
//
// Every node announces itself every few seconds, and a newcomer is answered at
// once: it knows everybody within a second.
//
// # What is heard, and what follows
//
// Two nodes find each other if each hears the other. A node that is heard is
// passed on as a hint: it is connected, and nothing else is disconnected for
// that. Silence never removes a node. One that isn't heard for long, for being
// frozen, cut off or dead, stays connected as long as its link lives; when that
// is down too, it is redialled until the hint expires (cluster.WithHintTTL, 10
// minutes), and passed on at once when it is heard again. Only a farewell
// removes: a Run that ends sends one, and two seconds later the node is
// disconnected and no longer redialled, unless another instance was heard at its
// address within three intervals, by this name or another. So a restarted node is not taken for one that
// has left, and neither is one whose strategy was changed, or of which another
// topology gossips still.
//
// A new node is passed on at once, but no more than MaxNewNodes a second, and
// MaxNodes in all, since each is dialled until it is linked or its hint expires. A node that says that it is at a loopback address is believed
// only on its own machine. A node with several addresses (Advertise) is passed
// on by one of the family by which it was heard.
//
// A machine that can't send is a failure, reported as such; nothing is removed
// for it. If it can by some interface, the others are logged when that changes:
// nodes that are reached only by those aren't found.
//
// # Who can do what
//
// Packets are encrypted and authenticated with AES-256-GCM, by a key for each
// sender that is derived from the secret and the sender's random instance, with
// a counter as nonce; FORMAT.md has the details. Without the secret, somebody on
// the network
//
//   - can't read who is there: clusters, names and addresses are sealed. That
//     machines gossip, how many Runs there are, and when each started can be
//     seen.
//   - can't make a node dial or give up another: forged, changed and repeated
//     packets are dropped. One that was recorded before a node started is worth
//     nothing to it either, nor is one of a node that was forgotten since: a node
//     is believed only once it has mentioned the listener's own instance, which
//     is new at every start, and its period, which is new every 5 minutes. A
//     recording makes each node that hears it send an answer (at most ten a
//     second), and no more.
//   - can relay packets between networks as they are sent, which lets nodes hear
//     of each other that otherwise would not; the links between them prove the
//     secret for themselves.
//   - can keep packets away, or drown them.
//
// Who has the secret is a member, and can say anything. In an insecure cluster
// everybody is. How much it can have dialled is bounded (MaxNodes).
//
// What is remembered is bounded: 4096 senders that are proven, and 1024 that
// aren't yet. A packet that is no good is counted (Stats), and never remembered
// or logged by itself: there is one line for them all, every 10 minutes at most.
//
// # Concurrency
//
// A Strategy is a value: it may serve several topologies at once, each with an
// instance and sockets of its own. A Run has one goroutine that owns what it
// knows, and one that reads for each UDP socket: one for each address family, and
// more where there are many interfaces. All have ended when it returns.
package gossip
