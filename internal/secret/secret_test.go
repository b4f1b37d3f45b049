package secret_test

import (
	"strings"
	"testing"

	"github.com/libcluster-go/cluster/internal/secret"
)

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		secret string
		says   string // empty: it is good
	}{
		"none":                     {"", "has 0 bytes; want at least 16"},
		"15 bytes":                 {"0123456789abcde", "has 15 bytes; want at least 16"},
		"16 bytes":                 {"0123456789abcdef", ""},
		"one byte again and again": {strings.Repeat("a", 100), "has 1 different bytes; want at least 8"},
		"7 different bytes":        {strings.Repeat("abcdefg", 3), "has 7 different bytes; want at least 8"},
		"8 different bytes":        {strings.Repeat("abcdefgh", 2), ""},
		"bytes, not characters":    {"ääääääää", "has 2 different bytes; want at least 8"},
		"any bytes":                {"\x00\xff\x01\xfe\x02\xfd\x03\xfc\x04\xfb\x05\xfa\x06\xf9\x07\xf8", ""},
	} {
		t.Run(name, func(t *testing.T) {
			switch err := secret.Check(tt.secret); {
			case tt.says == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case tt.says != "" && err == nil:
				t.Error("it is taken for good")
			case tt.says != "" && err.Error() != tt.says:
				t.Errorf("the error is %q, want %q", err, tt.says)
			case tt.secret != "" && err != nil && strings.Contains(err.Error(), tt.secret):
				t.Errorf("the error %q shows the secret", err)
			}
		})
	}
}
