package mesh

import (
	"context"
	"sync"
	"time"
)

// A Responder answers the requests of one subject. It is called from a goroutine
// of the mesh's own, for several requests at once, in no certain order: at most
// Config.MaxRequests of each peer and subject; further ones wait until they
// fill Config.ReceiveQueue, and are then refused with [ErrOverloaded]. It may call
// every method of the mesh. ctx is done when the mesh is closed, and not when the
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

// desks serve the requests of one peer.
type desks struct {
	peer *peer
	m    *Mesh

	mu   sync.Mutex
	open map[string]*desk // by subject; while there are requests
}

// A desk serves the requests to one subject. The desks' mu guards it.
type desk struct {
	running int
	waiting []item
	bytes   int // of those that wait
}

// request is called by a link's reader: it neither blocks nor runs a responder.
func (ds *desks) request(id uint64, subject, data []byte, held int) {
	e := (*ds.m.handlers.table.Load())[string(subject)]
	if e == nil || e.respond == nil {
		ds.m.large.give(held)
		ds.refuse(id, statusNoHandler)
		return
	}
	r := item{data: data, id: id, held: held}
	ds.mu.Lock()
	d := ds.open[e.subject]
	if d == nil {
		d = &desk{}
		if ds.open == nil {
			ds.open = map[string]*desk{}
		}
		ds.open[e.subject] = d
	}
	full := false
	switch {
	case d.running < ds.m.cfg.MaxRequests:
		d.running++
		ds.m.handlers.begin(e.name)
		go ds.serve(e, d, r)
	case d.bytes > 0 && d.bytes+r.size() > ds.m.cfg.ReceiveQueue:
		full = true
	default:
		d.waiting = append(d.waiting, r)
		d.bytes += r.size()
	}
	ds.mu.Unlock()
	if full {
		ds.m.large.give(held)
		ds.overloaded(id, e.subject)
	}
}

// overloaded refuses a request for which there is no room.
func (ds *desks) overloaded(id uint64, subject string) {
	ds.refuse(id, statusOverloaded)
	if left, ok := ds.m.refusals.due("overloaded", subject+"\x00"+string(ds.peer.hello.node), time.Now()); ok {
		ds.m.log.Warn("too many requests wait, refusing more", "subject", subject, "node", ds.peer.hello.node, "repeated", left)
	}
}

// refuse answers for the reader, which must not wait: if the other side reads no
// answers, it gets none.
func (ds *desks) refuse(id uint64, s status) {
	if s == statusOverloaded {
		ds.m.counts.overloaded.Add(1)
	}
	l := letter{t: frameReply, id: id, status: s}
	ds.m.mu.Lock()
	defer ds.m.mu.Unlock()
	if ds.peer.active != nil {
		ds.peer.active.out.order(frameReply, l.appendHead(nil))
	}
}

// serve answers a request, and then those that wait.
func (ds *desks) serve(e *entry, d *desk, r item) {
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
			l.status, l.data = ds.respond(Message{From: ds.peer.hello.node, Subject: e.subject, Data: r.data})
			_ = ds.m.sendTo(ds.m.ctx, ds.peer, &l, true) // if the peer is down, it knows
		}
		ds.m.large.give(r.held)
	}
	done = true
}

// serveAnew answers a request that ended its goroutine, as if it had panicked, and
// then those that wait.
func (ds *desks) serveAnew(e *entry, d *desk, r item) {
	_ = ds.m.sendTo(ds.m.ctx, ds.peer, &letter{t: frameReply, id: r.id, subject: e.subject, status: statusPanicked}, true)
	ds.m.large.give(r.held)
	if next, ok := ds.nextRequest(e.subject, d); ok {
		ds.serve(e, d, next) // which ends it for the handlers
		return
	}
	ds.m.handlers.end(e.name)
}

func (ds *desks) nextRequest(subject string, d *desk) (item, bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if len(d.waiting) == 0 {
		if d.running--; d.running == 0 {
			delete(ds.open, subject)
		}
		return item{}, false
	}
	r := d.waiting[0]
	d.waiting[0] = item{}
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
