package signal

import "testing"

func TestRingWakesAllWhoWaitAndNobodyLater(t *testing.T) {
	var s Signal
	s.Ring() // nobody waits
	a, b := s.Wait(), s.Wait()
	s.Ring()
	<-a
	<-b
	select {
	case <-s.Wait():
		t.Error("a wait that began after the ring is over")
	default:
	}
}
