package mesh

import (
	"context"
	"sync"
	"time"
)

// A Responder answers the requests of one subject. It is called from a goroutine
// of the mesh's own, for several requests at once, in no certain order: at most
// Config.MaxRequests of each peer and subject; further ones wait until they
// fill Config.ReceiveQueue, and are then refused with [ErrOverloaded]. Those that
// wait when the peer goes down are dropped. It may call every method of the mesh. ctx is done when the mesh is closed, and not when the
// request is given up. reply is read until it is sent, so it must not change; an
// error's text goes to the other node, up to 1 KiB of it, as a [RemoteError]. A
// panic is logged here, and is [ErrPanicked] there.
type Responder func(ctx context.Context, msg Message) (reply []byte, err error)

// Respond sets the responder of a subject, in place of the one before; nil
// removes it. It has nothing to do with the subject's [Handler]. The error is
// [ErrSubject].
func (m *Mesh) Respond(subject string, r Responder) error {
	if err := checkSubject(subject); err != nil {
		return err
	}
	m.handlers.change(subject, func(e *entry) { e.respond = r })
	return nil
}

// desks serve the requests of one instance. They outlive the peer while any are
// served: when it comes up again, these count.
type desks struct {
	m *Mesh

	mu   sync.Mutex
	peer *peer            // whose requests are taken; nil while it is down
	open map[string]*desk // by subject; while there are requests
}

// A desk serves the requests to one subject. The desks' mu guards it.
type desk struct {
	running int
	waiting []request // of the desks' peer
	bytes   int       // of those that wait
}

// A request is what waits for a responder.
type request struct {
	from *peer // who gets the reply, if it is up then
	id   uint64
	data []byte
	held int // bytes of the mesh's budget
}

// size is what a request counts in a queue, as a message does.
func (r *request) size() int { return itemHeader + len(r.data) }

// takeFrom says whose requests are taken from now on. Those that wait are of a peer
// that is down, which can get no reply.
func (ds *desks) takeFrom(p *peer) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.peer = p
	for _, d := range ds.open {
		for _, r := range d.waiting {
			ds.m.large.give(r.held)
		}
		d.waiting, d.bytes = nil, 0
	}
}

// idle reports whether nothing is served.
func (ds *desks) idle() bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return len(ds.open) == 0
}

// request is called by a link's reader: it neither blocks nor runs a responder.
func (ds *desks) request(r request, subject []byte) {
	e := (*ds.m.handlers.table.Load())[string(subject)]
	if e == nil || e.respond == nil {
		ds.m.large.give(r.held)
		ds.m.refuse(r.from, r.id, statusNoHandler)
		return
	}
	if !ds.take(e, r) {
		ds.m.large.give(r.held)
		ds.m.overloaded(r.from, r.id, e.subject)
	}
}

// take has a request served, now or later, and reports false if there is no room
// for it. It drops what comes too late.
func (ds *desks) take(e *entry, r request) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if r.from != ds.peer {
		ds.m.large.give(r.held)
		return true
	}
	d := ds.open[e.subject]
	if d == nil {
		d = &desk{}
		if ds.open == nil {
			ds.open = map[string]*desk{}
		}
		ds.open[e.subject] = d
	}
	switch {
	case d.running < ds.m.cfg.MaxRequests:
		d.running++
		ds.m.handlers.begin(e.name)
		go ds.serve(e, d, r)
	case d.bytes > 0 && d.bytes+r.size() > ds.m.cfg.ReceiveQueue:
		return false
	default:
		d.waiting = append(d.waiting, r)
		d.bytes += r.size()
	}
	return true
}

// overloaded refuses a request for which there is no room.
func (m *Mesh) overloaded(p *peer, id uint64, subject string) {
	m.refuse(p, id, statusOverloaded)
	if left, ok := m.refusals.due("overloaded", subject+"\x00"+string(p.hello.node), time.Now()); ok {
		m.log.Warn("too many requests wait, refusing more", "subject", subject, "node", p.hello.node, "repeated", left)
	}
}

// refuse answers for the reader, which must not wait: if the other side reads no
// answers, it gets none.
func (m *Mesh) refuse(p *peer, id uint64, s status) {
	if s == statusOverloaded {
		m.counts.overloaded.Add(1)
	}
	l := letter{t: frameReply, id: id, status: s}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.active != nil {
		p.active.out.order(frameReply, l.appendHead(nil))
	}
}

// serve answers a request, and then those that wait.
func (ds *desks) serve(e *entry, d *desk, r request) {
	defer ds.m.handlers.end(e.name)
	done := false
	defer func() {
		if !done { // the responder has ended its goroutine, by runtime.Goexit
			ds.m.handlers.begin(e.name)
			go ds.serveAnew(e, d, r)
		}
	}()
	for ok := true; ok; r, ok = ds.nextRequest(e.subject, d) {
		if ds.m.ctx.Err() == nil {
			l := letter{t: frameReply, id: r.id, subject: e.subject}
			l.status, l.data = ds.respond(Message{From: r.from.hello.node, Subject: e.subject, Data: r.data})
			_ = ds.m.sendTo(ds.m.ctx, r.from, &l, true) // if the peer is down, it knows
		}
		ds.m.large.give(r.held)
	}
	done = true
}

// serveAnew answers a request that ended its goroutine, as if it had panicked, and
// then those that wait.
func (ds *desks) serveAnew(e *entry, d *desk, r request) {
	_ = ds.m.sendTo(ds.m.ctx, r.from, &letter{t: frameReply, id: r.id, subject: e.subject, status: statusPanicked}, true)
	ds.m.large.give(r.held)
	if next, ok := ds.nextRequest(e.subject, d); ok {
		ds.serve(e, d, next) // which ends it for the handlers
		return
	}
	ds.m.handlers.end(e.name)
}

func (ds *desks) nextRequest(subject string, d *desk) (request, bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if len(d.waiting) == 0 {
		if d.running--; d.running == 0 {
			delete(ds.open, subject)
		}
		return request{}, false
	}
	r := d.waiting[0]
	d.waiting[0] = request{}
	d.waiting = d.waiting[1:]
	d.bytes -= r.size()
	return r, true
}

// respond calls the user's code.
func (ds *desks) respond(msg Message) (s status, data []byte) {
	defer func() {
		if r := recover(); r != nil {
			ds.m.panicked(msg, r)
			s, data = statusPanicked, nil
		}
	}()
	e := ds.m.handlers.find(msg.Subject)
	if e == nil || e.respond == nil {
		return statusNoHandler, nil
	}
	reply, err := e.respond(ds.m.ctx, msg)
	switch {
	case err != nil:
		text := err.Error()
		return statusError, []byte(text[:min(len(text), maxErrorText)])
	case len(reply) > ds.m.cfg.MaxMessage:
		return statusTooLarge, nil
	default:
		return statusOK, reply
	}
}
