package rancher

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/libcluster-go/cluster"
)

// TestValidate has each mistake named by field and value, with what would be
// right.
func TestValidate(t *testing.T) {
	for name, tt := range map[string]struct {
		strategy Strategy
		says     []string // none: it is right
	}{
		"the zero value":       {Strategy{}, nil},
		"everything":           {Strategy{BaseURL: "https://10.0.0.9:8080/2016-07-29/", Service: "web-1_a", Stack: "Shop", Basename: "app", Port: 65535, States: []string{"running"}, Health: []string{""}, Interval: 1, Client: &http.Client{}}, nil},
		"a path":               {Strategy{Path: "self/stack"}, nil},
		"an index in a path":   {Strategy{Path: "/stacks/0/services/web.1_a/"}, nil},
		"behind a proxy":       {Strategy{BaseURL: "http://[::1]/rancher/2015-12-19"}, nil},
		"no scheme":            {Strategy{BaseURL: "rancher-metadata/latest"}, []string{`BaseURL is "rancher-metadata/latest"`, "http://rancher-metadata/latest"}},
		"another scheme":       {Strategy{BaseURL: "ftp://rancher-metadata/latest"}, []string{`BaseURL is "ftp:`}},
		"no host":              {Strategy{BaseURL: "http:///latest"}, []string{`BaseURL is "http:///latest"`}},
		"a query":              {Strategy{BaseURL: "http://h/latest?a=b"}, []string{`BaseURL is "http://h/latest?a=b"`, "a query"}},
		"a fragment":           {Strategy{BaseURL: "http://h/latest#a"}, []string{"a fragment"}},
		"no URL":               {Strategy{BaseURL: "http://h:port/"}, []string{"BaseURL", `":port"`, "want such as"}},
		"a port without host":  {Strategy{BaseURL: "http://:80/latest"}, []string{`"http://:80/latest"`, "no host"}},
		"a big port in it":     {Strategy{BaseURL: "http://h:65536/latest"}, []string{"1 to 65535"}},
		"port zero in it":      {Strategy{BaseURL: "http://h:0/latest"}, []string{"1 to 65535"}},
		"a blank at its end":   {Strategy{BaseURL: "http://h/latest "}, []string{`"http://h/latest "`, "a version"}},
		"more than a base":     {Strategy{BaseURL: "http://h/latest/self/service"}, []string{"a version"}},
		"no version":           {Strategy{BaseURL: "http://h/"}, []string{"a version", DefaultBaseURL}},
		"a path and a service": {Strategy{Path: "self/stack", Service: "web"}, []string{`Path is "self/stack"`, `Service "web"`}},
		"a path and a stack":   {Strategy{Path: "self/stack", Stack: "shop"}, []string{`Stack "shop"`}},
		"a path as a service":  {Strategy{Service: "shop/web"}, []string{`Service is "shop/web"`, "want a name"}},
		"an index":             {Strategy{Stack: "17"}, []string{`Stack is "17"`, "one is a letter"}},
		"an index of dots":     {Strategy{Stack: "1.7"}, []string{"letters, digits, -, _ and dots"}},
		"dots":                 {Strategy{Service: ".."}, []string{`Service is ".."`}},
		"a bad name":           {Strategy{Basename: "a@b"}, []string{`Basename is "a@b"`}},
		"upper case":           {Strategy{States: []string{"starting", "Running"}}, []string{`States has "Running"`, "lower-case"}},
		"a blank":              {Strategy{Health: []string{"healthy "}}, []string{`Health has "healthy "`, "lower-case"}},
		"two in one":           {Strategy{States: []string{"running,starting"}}, []string{`"running,starting"`}},
		"no state":             {Strategy{States: []string{}}, []string{"States is empty", "nil for the default"}},
		"no health":            {Strategy{Health: []string{}}, []string{"Health is empty"}},
		"a port below 0":       {Strategy{Port: -1}, []string{"Port is -1", "1 to 65535"}},
		"a port too big":       {Strategy{Port: 65536}, []string{"Port is 65536"}},
		"an interval below 0":  {Strategy{Interval: -time.Second}, []string{"Interval is -1s", "0 for 5s"}},
		"several":              {Strategy{Port: -1, Interval: -1, Service: "?"}, []string{"Port is -1", "Interval is -1ns", `Service is "?"`}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.strategy.Validate()
			if len(tt.says) == 0 {
				if err != nil {
					t.Errorf("it is refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is taken for valid")
			}
			for _, say := range tt.says {
				if !strings.Contains(err.Error(), say) {
					t.Errorf("the error is %q, want %q in that", err, say)
				}
			}
			r := cluster.NewRoster("", nil, func(c cluster.Change) { t.Errorf("Run tells %v", c) })
			if ran := tt.strategy.Run(t.Context(), r); fmt.Sprint(ran) != err.Error() {
				t.Errorf("Run returns %v, want the error of Validate", ran)
			}
		})
	}
}

// TestBadPath has each path refused, with its value, that would ask for something
// else than it says.
func TestBadPath(t *testing.T) {
	for _, path := range []string{
		"self/50%", "%zz", "%2e%2e", "..", "../../x", "self/./service", "self/../..", "/", "//", " ", "self//service",
		"self/service?x=1", "self/service#x", "http://other/", "self/service\n", "self/\x00", "self/ser vice", "self/\u00a0",
	} {
		t.Run(path, func(t *testing.T) {
			if err := (Strategy{Path: path}).Validate(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("Path is %q", path)) {
				t.Errorf("the error is %v, want one that quotes the path", err)
			}
		})
	}
}

// TestNoPassword has an error not show one, nor a part of it.
func TestNoPassword(t *testing.T) {
	for _, base := range []string{
		"http://me:hush@127.0.0.1:1/latest", "ftp://me:hush@h",
		"http://me:hush@h:port/latest", "http://me:hush@[::1/latest", "http://me:hush@h/%zz", "http://me:hush@h/\x7f", "http://me:hush\n@h/latest",
		"http://me:%hush@h/latest", "http://me:%zhush@h/latest", "http://me:hush/sh@h/latest", "http://me:hush?sh@h/latest", "http://me:hush#sh@h/latest",
		"me:hush@h/latest", "http:/me:hush@h/latest", "http:///me:hush@h/latest", "//me:hush@h/latest", "http://me:hush@:80/latest",
	} {
		s := Strategy{BaseURL: base, Interval: time.Hour}
		err := s.Validate()
		if err == nil {
			err = first(t, s, "").Err
		}
		if err == nil || strings.Contains(err.Error(), "hu") {
			t.Errorf("of %s the error is %v, want one without the password", base, err)
		}
	}
}

func TestEqual(t *testing.T) {
	one, two := &http.Client{}, &http.Client{}
	for name, tt := range map[string]struct {
		a, b Strategy
		want bool
	}{
		"the zero value":  {Strategy{}, Strategy{}, true},
		"the same":        {Strategy{States: []string{"running"}, Client: one}, Strategy{States: []string{"running"}, Client: one}, true},
		"another client":  {Strategy{Client: one}, Strategy{Client: two}, false},
		"another service": {Strategy{Service: "a"}, Strategy{Service: "b"}, false},
		"other states":    {Strategy{}, Strategy{States: []string{"running"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.a.Equal(tt.b); got != tt.want {
				t.Errorf("it is %t, want %t", got, tt.want)
			}
		})
	}
	if (Strategy{}).Equal(cluster.Poll(1, nil)) {
		t.Error("it equals a strategy of another kind")
	}
}
