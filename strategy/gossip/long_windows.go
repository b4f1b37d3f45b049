package gossip

import (
	"errors"

	"golang.org/x/sys/windows"
)

// tooLong reports whether receiving failed because the packet is longer than the
// buffer; other systems cut it off.
func tooLong(err error) bool { return errors.Is(err, windows.WSAEMSGSIZE) }
