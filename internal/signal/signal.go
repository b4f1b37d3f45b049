// Package signal wakes those who wait for a change.
//
//	for {
//		changed := s.Wait() // before looking
//		if ready() {
//			return
//		}
//		<-changed
//	}
package signal

import "sync"

// A Signal wakes all who wait for a change. Its zero value works, and its
// methods may be called from any goroutine and never block.
type Signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// Wait returns a channel that is closed by the next Ring. Take it before
// looking at what may change.
func (s *Signal) Wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// Ring wakes all who wait.
func (s *Signal) Ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
