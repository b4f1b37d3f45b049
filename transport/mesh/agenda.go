package mesh

import (
	"container/heap"
	"time"
)

// An agenda is a heap of rumours, of which the first is the one to look at next.
type agenda []*rumour

// put has a rumour looked at at a time.
func (a *agenda) put(u *rumour, at time.Time) {
	if u.at = at; u.index == 0 {
		heap.Push(a, u)
	} else {
		heap.Fix(a, u.index-1)
	}
}

func (a *agenda) remove(u *rumour) {
	if u.index > 0 {
		heap.Remove(a, u.index-1)
	}
}

// Len, Less, Swap, Push and Pop are for package heap.
func (a *agenda) Len() int           { return len(*a) }
func (a *agenda) Less(i, j int) bool { return (*a)[i].at.Before((*a)[j].at) }
func (a *agenda) Swap(i, j int) {
	us := *a
	us[i], us[j] = us[j], us[i]
	us[i].index, us[j].index = i+1, j+1
}

func (a *agenda) Push(u any) {
	r := u.(*rumour)
	*a = append(*a, r)
	r.index = len(*a)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	u := (*a)[last]
	(*a)[last] = nil
	*a, u.index = (*a)[:last], 0
	return u
}
