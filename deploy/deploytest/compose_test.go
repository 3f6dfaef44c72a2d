package deploytest

import (
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

// composed is compose.yaml with all profiles, in an environment.
func composed(t *testing.T, environment ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{deployed + "/compose.yaml"},
		cli.WithResolvedPaths(true), cli.WithProfiles([]string{"*"}), cli.WithEnv(environment))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context()) // unknown keys are errors
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// Every file that is mounted is there, every image that is pulled has a tag, every
// port stays on this machine, and what may not write or gain rights does not.
func TestCompose(t *testing.T) {
	t.Parallel()
	project := composed(t)
	for name, s := range project.Services {
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type == types.VolumeTypeBind && err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
			}
			if v.Type == types.VolumeTypeBind && !v.ReadOnly {
				t.Errorf("%s may write %s", name, v.Source)
			}
		}
		if _, tag, tagged := strings.Cut(s.Image, ":"); !tagged || tag == "latest" {
			t.Errorf("%s: image %q has no tag", name, s.Image)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s is published on %q", name, p.HostIP)
			}
		}
		if s.Build != nil && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true")) {
			t.Errorf("%s is not confined", name)
		}
	}
	var prometheus struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read(t, "prometheus/prometheus.yml"), &prometheus); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, c := range prometheus.ScrapeConfigs {
		targets = append(targets, c.StaticConfigs[0].Targets...)
	}
	if len(targets) < 4 {
		t.Errorf("Prometheus scrapes only %v", targets)
	}
	var sources struct{ Datasources []struct{ URL string } }
	if err := yaml.Unmarshal(read(t, "grafana/provisioning/datasources/prometheus.yaml"), &sources); err != nil || len(sources.Datasources) != 1 {
		t.Fatalf("%d data sources, %v", len(sources.Datasources), err)
	}
	source, err := url.Parse(sources.Datasources[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range append(targets, source.Host) {
		host, _, _ := strings.Cut(target, ":")
		if _, found := project.Services[host]; !found {
			t.Errorf("compose.yaml has no service %s", host)
		}
	}
}

// Every password has a default of its own and a variable that overrides it, and no
// service knows one of others.
func TestComposePasswords(t *testing.T) {
	t.Parallel()
	defaults := map[string]string{}
	for _, found := range regexp.MustCompile(`\$\{(\w+):-([^}]*)\}`).FindAllStringSubmatch(string(read(t, "compose.yaml")), -1) {
		variable, value := found[1], found[2]
		if before, twice := defaults[variable]; twice && before != value {
			t.Errorf("%s is %q and %q", variable, before, value)
		}
		defaults[variable] = value
	}
	var environment []string
	for variable := range defaults {
		environment = append(environment, variable+"=mine-of-"+variable+".")
	}
	if values := slices.Sorted(maps.Values(defaults)); len(slices.Compact(values)) != len(defaults) {
		t.Errorf("some passwords are the same: %v", values)
	}
	known := map[string][]string{}
	for name, s := range composed(t, environment...).Services {
		text, err := yaml.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		all := string(text)
		if strings.Contains(all, "only-for-trying") {
			t.Errorf("%s has a password that no variable overrides: %s", name, all)
		}
		for variable := range defaults {
			if strings.Contains(all, "mine-of-"+variable+".") {
				known[name] = append(known[name], variable)
			}
		}
	}
	for _, variables := range known {
		slices.Sort(variables)
	}
	if want := map[string][]string{
		"consumer":    {"NATS_CONSUMER_PASSWORD", "POSTGRES_FRESHET_PASSWORD"},
		"invalidator": {"NATS_INVALIDATOR_PASSWORD", "POSTGRES_READER_PASSWORD", "REDIS_FRESHET_PASSWORD"},
		"warmer":      {"NATS_WARMER_PASSWORD", "POSTGRES_READER_PASSWORD", "REDIS_FRESHET_PASSWORD"},
		"check":       {"NATS_FRESHET_PASSWORD", "POSTGRES_FRESHET_PASSWORD", "REDIS_FRESHET_PASSWORD"},
		"operator":    {"NATS_OPERATOR_PASSWORD"},
		"shop":        {"POSTGRES_SHOP_PASSWORD", "REDIS_LIBRARY_PASSWORD"},
		"postgres":    {"POSTGRES_FRESHET_PASSWORD", "POSTGRES_PASSWORD", "POSTGRES_READER_PASSWORD", "POSTGRES_SHOP_PASSWORD"},
		"nats": {
			"NATS_CONSUMER_PASSWORD", "NATS_FRESHET_PASSWORD", "NATS_INVALIDATOR_PASSWORD", "NATS_LIBRARY_PASSWORD",
			"NATS_MONITOR_PASSWORD", "NATS_OPERATOR_PASSWORD", "NATS_WARMER_PASSWORD",
		},
		"redis": {"REDIS_FRESHET_PASSWORD", "REDIS_LIBRARY_PASSWORD"},
	}; !maps.EqualFunc(known, want, slices.Equal[[]string]) {
		t.Errorf("services know\n%v, want\n%v", known, want)
	}
}
