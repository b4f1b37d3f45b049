package mesh

import (
	"context"
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

// A desk serves the requests of one peer to one subject. The inbox's mu guards
// it.
type desk struct {
	running int
	waiting []item
	bytes   int // of those that wait
}

// request is called by a link's reader: it neither blocks nor runs a responder.
func (in *inbox) request(id uint64, subject, data []byte, held int) {
	e := (*in.m.handlers.table.Load())[string(subject)]
	if e == nil || e.respond == nil {
		in.m.large.give(held)
		in.refuse(id, statusNoHandler)
		return
	}
	r := item{data: data, id: id, held: held}
	in.mu.Lock()
	d := in.desks[e.subject]
	if d == nil {
		d = &desk{}
		if in.desks == nil {
			in.desks = map[string]*desk{}
		}
		in.desks[e.subject] = d
	}
	full := false
	switch {
	case d.running < in.m.cfg.MaxRequests:
		d.running++
		in.m.handlers.begin(e.name)
		go in.serve(e, d, r)
	case d.bytes > 0 && d.bytes+r.size() > in.m.cfg.ReceiveQueue:
		full = true
	default:
		d.waiting = append(d.waiting, r)
		d.bytes += r.size()
	}
	in.mu.Unlock()
	if full {
		in.m.large.give(held)
		in.overloaded(id, e.subject)
	}
}

// overloaded refuses a request for which there is no room.
func (in *inbox) overloaded(id uint64, subject string) {
	in.m.dropped.Add(1)
	in.refuse(id, statusOverloaded)
	if left, ok := in.m.refusals.due("overloaded", subject+"\x00"+string(in.from), time.Now()); ok {
		in.m.log.Warn("too many requests wait, refusing more", "subject", subject, "node", in.from, "repeated", left)
	}
}

// refuse answers for the reader, which must not wait: if the other side reads no
// answers, it gets none.
func (in *inbox) refuse(id uint64, s status) {
	l := letter{t: frameReply, id: id, status: s}
	in.m.mu.Lock()
	defer in.m.mu.Unlock()
	if in.peer.active != nil {
		in.peer.active.out.order(frameReply, l.appendHead(nil))
	}
}

// serve answers a request, and then those that wait.
func (in *inbox) serve(e *entry, d *desk, r item) {
	defer in.m.handlers.end(e.name)
	done := false
	defer func() {
		if !done { // the responder has ended its goroutine, by runtime.Goexit
			in.m.handlers.begin(e.name)
			go in.serveAnew(e, d, r)
		}
	}()
	for ok := true; ok; r, ok = in.nextRequest(e.subject, d) {
		if in.m.ctx.Err() == nil {
			l := letter{t: frameReply, id: r.id, subject: e.subject}
			l.status, l.data = in.respond(Message{From: in.from, Subject: e.subject, Data: r.data})
			_ = in.m.sendTo(in.m.ctx, in.peer, &l, true) // if the peer is down, it knows
		}
		in.m.large.give(r.held)
	}
	done = true
}

// serveAnew answers a request that ended its goroutine, as if it had panicked, and
// then those that wait.
func (in *inbox) serveAnew(e *entry, d *desk, r item) {
	_ = in.m.sendTo(in.m.ctx, in.peer, &letter{t: frameReply, id: r.id, subject: e.subject, status: statusPanicked}, true)
	in.m.large.give(r.held)
	if next, ok := in.nextRequest(e.subject, d); ok {
		in.serve(e, d, next) // which ends it for the handlers
		return
	}
	in.m.handlers.end(e.name)
}

func (in *inbox) nextRequest(subject string, d *desk) (item, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(d.waiting) == 0 {
		if d.running--; d.running == 0 {
			delete(in.desks, subject)
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
func (in *inbox) respond(msg Message) (s status, data []byte) {
	defer func() {
		if r := recover(); r != nil {
			in.panicked(msg, r)
			s, data = statusPanicked, nil
		}
	}()
	e := in.m.handlers.find(msg.Subject)
	if e == nil || e.respond == nil {
		return statusNoHandler, nil
	}
	reply, err := e.respond(in.m.ctx, msg)
	switch {
	case err != nil:
		text := err.Error()
		return statusError, []byte(text[:min(len(text), maxErrorText)])
	case len(reply) > in.m.cfg.MaxMessage:
		return statusTooLarge, nil
	default:
		return statusOK, reply
	}
}
