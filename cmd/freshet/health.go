package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/freshet-dev/freshet/internal/config"
)

// healthTime is how long the process may take to answer.
const healthTime = 3 * time.Second

func newHealthCommand() *cobra.Command {
	var path string
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the process on this machine whether it is alive",
		Long: `Asks the process on this machine, at http.listen of the configuration, whether it
is alive, or with --ready whether it does its work within ready_lag or stands by.
Prints the answer. It is for health checks in images that hold no other program.

Of the configuration only name and http are read. Exit status 0 when it is well,
1 when it is not or does not answer.`,
		Example: "  freshet health\n  freshet health --ready -c /etc/freshet/freshet.yaml",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := config.LoadHTTP(path, os.LookupEnv)
			if err != nil {
				return err
			}
			if file.HTTP.Listen == "" {
				return usageErrorf("%s: http.listen is empty: nothing answers; set it to an address", path)
			}
			page := "/healthz"
			if ready {
				page = "/readyz"
			}
			answer, err := askHealth(cmd.Context(), file.HTTP.Listen, page)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
			return err
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it is ready, not only alive")
	return cmd
}

// askHealth returns what the process at an address that it listens on says.
func askHealth(ctx context.Context, listen, page string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("http.listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // it listens on every address
	}
	url := "http://" + net.JoinHostPort(host, port) + page
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	// Not the default transport: a proxy from the environment is not for this machine.
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return "", fmt.Errorf("ask %s: %w; is the service running, with this http.listen?", url, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("ask %s: %w", url, err)
	}
	answer := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", response.Status, answer)
	}
	return answer, nil
}
