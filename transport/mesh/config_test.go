package mesh

import (
	"strings"
	"testing"
)

func TestBadConfig(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"no secret", Config{}, "Config.Secrets is empty"},
		{"short", Config{Secrets: []string{"short"}}, "Config.Secrets[0] has 5 bytes; want at least 16"},
		{"weak", Config{Secrets: []string{strings.Repeat("ab", 20)}}, "2 different bytes; want at least 8"},
		{"both", Config{Secrets: []string{testSecret}, Insecure: true}, "Config.Insecure is true and Config.Secrets has 1"},
		{"no such address", Config{Insecure: true, Bind: "192.0.2.1:0"}, `Config.Bind "192.0.2.1:0" can't be listened on`},
		{"no port", Config{Insecure: true, Bind: "localhost"}, `Config.Bind "localhost"`},
		{"template", Config{Insecure: true, Bind: "{{ nonsense }}"}, "not a go-sockaddr template"},
		{"advertise", Config{Insecure: true, Bind: "127.0.0.1:0", Advertise: "a b c:x"}, "Config.Advertise"},
		{"heartbeat", Config{Insecure: true, Heartbeat: -1}, "Config.Heartbeat is -1ns; want at least 10ms"},
		{"message", Config{Insecure: true, MaxMessage: 16<<20 + 1}, "Config.MaxMessage is 16777217; want at most 16777216"},
		{"no message", Config{Insecure: true, MaxMessage: -1}, "Config.MaxMessage is -1; want at least 1"},
		{"large", Config{Insecure: true, MaxMessage: 1000, ReceiveLarge: 1999}, "Config.ReceiveLarge is 1999; want at least 2000"},
		{"requests", Config{Insecure: true, MaxRequests: -1}, "Config.MaxRequests is -1; want at least 1"},
		{"no responder", Config{Insecure: true, Responders: map[string]Responder{"s": nil}}, `Config.Responders["s"] is nil`},
		{"responder", Config{Insecure: true, Responders: map[string]Responder{"": nil}}, "Config.Responders: mesh: bad subject"},
		{"diverged", Config{Insecure: true, DivergedAfter: defaultHeartbeat}, "Config.DivergedAfter is 5s; want at least 10s"},
		{"meta", Config{Insecure: true, Meta: map[string]string{"k": strings.Repeat("v", maxMeta)}}, "Config.Meta has 16389 bytes; want at most 16384"},
		{"name", Config{Insecure: true, Bind: "127.0.0.1:0", Name: "a b"}, "Config.Name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Listen(tt.cfg)
			if m != nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
