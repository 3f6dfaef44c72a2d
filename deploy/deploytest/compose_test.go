package deploytest

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"

	"github.com/freshet-dev/freshet/internal/service"
)

func composed(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{deployed + "/compose.yaml"}, cli.WithResolvedPaths(true))
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

// Each role has one service, which takes its configuration with exactly the
// environment that it is given.
func TestComposedRoles(t *testing.T) {
	t.Parallel()
	project := composed(t)
	for _, role := range service.Roles() {
		s, found := project.Services[role]
		if !found || !slices.Equal(s.Command, []string{"run", "--roles", role}) {
			t.Errorf("%s runs %v", role, s.Command)
			continue
		}
		var environment []string
		for name, value := range s.Environment {
			environment = append(environment, name+"="+*value)
		}
		accepts(t, s.Volumes[0].Source, environment)
	}
}

// accepts expects that the program takes a configuration with this environment and
// no other.
func accepts(t *testing.T, config string, environment []string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program(t), "explain", "-c", config, "orders", `{"id":1,"client_id":1}`)
	cmd.Env = environment
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "order:1") {
		t.Errorf("%s with %v: %v\n%s", config, environment, err, out)
	}
}
