package kubernetes

import "sync"

// A board is where the watchers of all namespaces write what they see.
type board struct {
	changed chan struct{} // holds one if something is to be told

	mu       sync.Mutex
	sections []*section
}

// A section is that of one namespace. The board's mutex guards it.
type section struct {
	namespace string
	objects   map[string]entry // by the name of the object
	synced    bool             // it is whole, and a watch keeps it so
	err       error            // why it isn't any more
}

func newBoard(namespaces []string) *board {
	b := &board{changed: make(chan struct{}, 1)}
	for _, n := range namespaces {
		b.sections = append(b.sections, &section{namespace: n})
	}
	return b
}

// notify has the board be read. It never blocks.
func (b *board) notify() {
	select {
	case b.changed <- struct{}{}:
	default: // it will be
	}
}

// list replaces all objects. Of a section that isn't synced this isn't to be told
// before it is known whether the watch works, too.
func (b *board) list(s *section, objects map[string]entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.objects = objects
	if s.synced {
		b.notify()
	}
}

// well says that a watch goes on from what was listed.
func (b *board) well(s *section) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !s.synced {
		s.synced, s.err = true, nil
		b.notify()
	}
}

// change sets what an object says now. Most changes of pods change nothing of that.
func (b *board) change(s *section, name string, e entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if before, known := s.objects[name]; known && before.equal(e) {
		return
	}
	s.objects[name] = e
	b.notify()
}

// remove says that an object is gone.
func (b *board) remove(s *section, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(s.objects, name)
	b.notify()
}

// fail says that a section may be out of date from now on.
func (b *board) fail(s *section, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.synced, s.err = false, err
	b.notify()
}
