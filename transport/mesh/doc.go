// Package mesh is the default transport: an authenticated, encrypted full mesh
// over TCP, in which every node has one link with every other.
//
//	m, err := mesh.Listen(mesh.Config{Secrets: []string{secret}})
//	…
//	defer m.Close()
//	m.Handle("greet", func(ctx context.Context, msg mesh.Message) { … })
//	err = m.Connect(ctx, "10.0.0.2:4370")
//	err = m.Send(ctx, "10.0.0.2:4370", "greet", []byte("hello"))
//
// Nodes belong to a mesh by a secret that they share; no certificates have to
// be made. Each link is a TLS 1.3 connection over which both ends prove that
// they know the secret, bound to that very connection, so that a relay gains
// nothing.
//
// Of a pair's links one is used, however many are dialled: the instance with
// the smaller ID decides which, and messages move over to it in order.
//
// # Messages and requests
//
// [Mesh.Send] and [Mesh.Broadcast] are at most once, and in order for each pair and
// subject. [Mesh.Request] waits for the reply of the other node's [Responder], with
// an error for each way in which there can be none. Either may have up to
// Config.MaxMessage bytes: what is large goes in parts, between which the pings and
// all that is small go on, so a link may carry both. A message whose handler is too
// slow is dropped, and counted ([Mesh.Stats]); a request gets [ErrOverloaded].
//
// # Streams
//
// What takes a [net.Listener] and a dial func, such as net/http, gRPC or Raft,
// runs over the mesh unchanged: [Mesh.ListenService] and [Mesh.Dial] give real
// connections, secured as the links are, between nodes that are linked.
//
// # Agreement
//
// Nodes tell their peers a digest of whom they are linked with, when it changes.
// So each knows whether all see the same ([Mesh.Agreement]), and when they keep
// disagreeing, [Diverged] names the pairs that can't see each other. What a node
// tells of itself, [Mesh.SetMeta] changes.
//
// # Concurrency
//
// All methods may be called from any goroutine at once, a [Handler] included.
// A handler is called for one message at a time of each peer and subject, a
// [Responder] for several requests at once; no lock is held then, and no link
// waits for it. Events come in the order in which they happened.
package mesh
