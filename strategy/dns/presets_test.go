package dns

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestPresets has each preset of the package's doc stand there as it is here, be
// valid, and send the right questions.
func TestPresets(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	const docker = "nameserver 127.0.0.11\noptions ndots:0\n"
	for name, tt := range map[string]struct {
		text     string
		strategy Strategy
		conf     string // where the strategy has no servers
		asks     []string
	}{
		"Docker Swarm": {
			`dns.Strategy{Queries: []string{"tasks.web"}, Port: 4370}`,
			Strategy{Queries: []string{"tasks.web"}, Port: 4370},
			docker,
			[]string{"udp 127.0.0.11:53 tasks.web. A", "udp 127.0.0.11:53 tasks.web. AAAA"},
		},
		"Docker Compose": {
			`dns.Strategy{Queries: []string{"web"}, Port: 4370}`,
			Strategy{Queries: []string{"web"}, Port: 4370},
			docker,
			[]string{"udp 127.0.0.11:53 web. A", "udp 127.0.0.11:53 web. AAAA"},
		},
		"Consul": {
			`dns.Strategy{Queries: []string{"web.service.consul."}, SRV: true, Servers: []string{"127.0.0.1:8600"}}`,
			Strategy{Queries: []string{"web.service.consul."}, SRV: true, Servers: []string{"127.0.0.1:8600"}},
			"",
			[]string{"udp 127.0.0.1:8600 web.service.consul. SRV"},
		},
		"AWS Cloud Map": {
			`dns.Strategy{Queries: []string{"web.internal."}, Port: 4370}`,
			Strategy{Queries: []string{"web.internal."}, Port: 4370},
			"nameserver 10.0.0.2\n",
			[]string{"udp 10.0.0.2:53 web.internal. A", "udp 10.0.0.2:53 web.internal. AAAA"},
		},
		"Fly.io": {
			`dns.Strategy{Queries: []string{"web.internal."}, Network: "ip6", Port: 4370}`,
			Strategy{Queries: []string{"web.internal."}, Network: "ip6", Port: 4370},
			"nameserver fdaa::3\n",
			[]string{"udp [fdaa::3]:53 web.internal. AAAA"},
		},
		"Nomad": {
			`dns.Strategy{Queries: []string{"_web._tcp.service.consul."}, SRV: true, Servers: []string{"172.17.0.1:8600"}}`,
			Strategy{Queries: []string{"_web._tcp.service.consul."}, SRV: true, Servers: []string{"172.17.0.1:8600"}},
			"",
			[]string{"udp 172.17.0.1:8600 _web._tcp.service.consul. SRV"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			section, _, _ := strings.Cut(string(doc)[strings.Index(string(doc), "// # "+name+"\n")+1:], "// # ")
			if !strings.Contains(section, "//\t"+tt.text+"\n") {
				t.Errorf("the section %q of the package's doc doesn't have %s", name, tt.text)
			}
			if tt.conf != "" {
				tt.strategy.ResolvConf = conf(t, tt.conf).ResolvConf
			}
			if err := tt.strategy.Validate(); err != nil {
				t.Fatal(err)
			}
			f := &fake{}
			tt.strategy.round(t.Context(), f.exchange, new(turns))
			if asked := slices.Sorted(slices.Values(f.questions())); !slices.Equal(asked, tt.asks) {
				t.Errorf("it asks %q, want %q", asked, tt.asks)
			}
		})
	}
}

// TestKubernetes has the right name be asked for, and its answer be
// authoritative.
func TestKubernetes(t *testing.T) {
	const account = "prod\n"
	for name, tt := range map[string]struct {
		k       Kubernetes
		account string // what the service account's file says; empty: there is none
		env     map[string]string
		asks    string // by UDP, with A first; empty: it is not valid
		says    string // what the error says then
	}{
		"the pod's namespace":    {Kubernetes{Service: "web", Port: 4370}, account, nil, "web.prod.svc.cluster.local. A", ""},
		"no service account":     {Kubernetes{Service: "web", Port: 4370}, "", map[string]string{EnvNamespace: "test"}, "web.test.svc.cluster.local. A", ""},
		"the account goes first": {Kubernetes{Service: "web", Port: 4370}, account, map[string]string{EnvNamespace: "test"}, "web.prod.svc.cluster.local. A", ""},
		"a namespace":            {Kubernetes{Service: "web", Namespace: "mine", Port: 4370}, account, nil, "web.mine.svc.cluster.local. A", ""},
		"another domain":         {Kubernetes{Service: "web", Port: 4370}, account, map[string]string{EnvDomain: "k8s.example"}, "web.prod.svc.k8s.example. A", ""},
		"a domain of its own":    {Kubernetes{Service: "web", Domain: "a.b.", Port: 4370}, account, map[string]string{EnvDomain: "k8s.example"}, "web.prod.svc.a.b. A", ""},
		"SRV":                    {Kubernetes{Service: "web", SRV: true, PortName: "cluster"}, account, nil, "_cluster._tcp.web.prod.svc.cluster.local. SRV", ""},
		"SRV of all ports":       {Kubernetes{Service: "web", SRV: true}, account, nil, "web.prod.svc.cluster.local. SRV", ""},
		"no namespace":           {Kubernetes{Service: "web", Port: 4370}, "", nil, "", "Namespace is empty, and neither /var/run/secrets/kubernetes.io/serviceaccount/namespace (file does not exist) nor POD_NAMESPACE"},
		"an empty account":       {Kubernetes{Service: "web", Port: 4370}, "\n", nil, "", "Namespace is empty"},
		"a bad namespace":        {Kubernetes{Service: "web", Namespace: "a.b", Port: 4370}, account, nil, "", `Namespace (or`},
		"no service":             {Kubernetes{Port: 4370}, account, nil, "", `Service is ""; want the name of a headless service`},
		"a service's full name":  {Kubernetes{Service: "web.prod", Port: 4370}, account, nil, "", `Service is "web.prod"`},
		"no port":                {Kubernetes{Service: "web"}, account, nil, "", "Port is 0"},
		"two ports":              {Kubernetes{Service: "web", Port: 4370, SRV: true}, account, nil, "", "Port is 4370 and SRV is true"},
		"a port name without":    {Kubernetes{Service: "web", Port: 4370, PortName: "cluster"}, account, nil, "", `PortName is "cluster" and SRV is false`},
		"a bad port name":        {Kubernetes{Service: "web", SRV: true, PortName: "a b"}, account, nil, "", `PortName is "a b"`},
		"a bad domain":           {Kubernetes{Service: "web", Domain: "a b", Port: 4370}, account, nil, "", `Domain (or CLUSTER_DOMAIN) is "a b"`},
		"SRV of one family":      {Kubernetes{Service: "web", SRV: true, Network: "ip4"}, account, nil, "", `Network is "ip4" and Names is true (Kubernetes: SRV)`},
		"a bad interval":         {Kubernetes{Service: "web", Port: 4370, Interval: -1}, account, nil, "", "Interval is -1ns"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podFacts{
				getenv: func(key string) string { return tt.env[key] },
				readFile: func(path string) ([]byte, error) {
					if tt.account == "" || path != "/var/run/secrets/kubernetes.io/serviceaccount/namespace" {
						return nil, fs.ErrNotExist
					}
					return []byte(tt.account), nil
				},
			}
			tt.k.Servers = []string{"10.96.0.10"}
			s, err := tt.k.strategy(pod)
			if tt.asks == "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) || tt.account == "" && !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("the error is %v, want %q in that", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			f := &fake{says: map[string]string{tt.asks: answerTo(tt.asks)}}
			got, err := told(t, s, f.exchange)
			want := "Replace 10.0.0.2"
			if tt.k.SRV {
				want = "Replace web-0.web.prod.svc.cluster.local"
			}
			if !slices.Equal(got, []string{want}) {
				t.Errorf("the roster is told %q with %v, want %q", got, err, want)
			}
			if asked := f.questions(); !slices.Contains(asked, "udp 10.96.0.10:53 "+tt.asks) {
				t.Errorf("it asks %q, want %q among that", asked, tt.asks)
			}
			tt.k.Hints = true
			if s, err := tt.k.strategy(pod); err != nil || s.Authoritative {
				t.Errorf("with Hints it is authoritative, or %v", err)
			}
		})
	}
}

// answerTo is one to "name TYPE".
func answerTo(question string) string {
	name, kind, _ := strings.Cut(question, " ")
	if kind == "A" {
		return "|" + name + " 5 A 10.0.0.2"
	}
	return "|" + name + " 5 SRV 0 50 4370 web-0.web.prod.svc.cluster.local."
}

// TestKubernetesPod has a pod find its namespace in its environment, at Run as at
// Validate.
func TestKubernetesPod(t *testing.T) {
	t.Setenv(EnvNamespace, "test")
	if err := (Kubernetes{Service: "web", Port: 4370}).Validate(); err != nil {
		t.Error(err)
	}
	wrong := Kubernetes{Service: "web"}
	if err := wrong.Run(t.Context(), nil); err == nil || err.Error() != wrong.Validate().Error() {
		t.Errorf("Run returns %v, want the error of Validate", err)
	}
}
