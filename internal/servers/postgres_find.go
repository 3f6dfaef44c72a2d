package servers

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// postgresFolders are where packages put the server's programs, outside PATH.
func postgresFolders() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                   // PGDG on Red Hat
		"/opt/homebrew/opt/postgresql@*/bin", // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin",    // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
	}
}

// FindPostgres returns the folder of the Postgres programs to use: bin if it is
// not empty, else $FRESHET_PG_BIN, else that of initdb in PATH, else the newest
// version in the folders of the well-known packages. The error is a
// *MissingError.
func FindPostgres(bin string) (string, error) {
	searched := "$FRESHET_PG_BIN, PATH, " + strings.Join(postgresFolders(), ", ")
	if bin == "" {
		bin = os.Getenv("FRESHET_PG_BIN")
	}
	if bin != "" {
		if isPostgres(bin) {
			return bin, nil
		}
		searched = bin
	} else {
		// Through links, as a server finds its libraries beside the program itself.
		if initdb, err := exec.LookPath("initdb"); err == nil {
			if program, err := filepath.EvalSymlinks(initdb); err == nil && isPostgres(filepath.Dir(program)) {
				return filepath.Dir(program), nil
			}
		}
		if versions := packagedPostgres(); len(versions) > 0 {
			return versions[0].Bin, nil
		}
	}
	return "", &MissingError{
		Program:  "the Postgres server (programs initdb and postgres)",
		Searched: searched,
		Remedy:   installRemedy("postgresql", "postgresql@17"),
	}
}

// PostgresVersion is one Postgres installation.
type PostgresVersion struct {
	// Bin is the folder of its programs, for PostgresOptions.Bin.
	Bin string
	// Version is what `postgres --version` says, for example "15.14".
	Version string
	// Major is the first number of Version.
	Major int
}

// PostgresVersions lists the Postgres installations of this machine, newest
// first: those of the well-known packages, and whatever the colon-separated
// list of folders $FRESHET_PG_BINS names (`make test-postgres` names the version
// under test).
func PostgresVersions() []PostgresVersion {
	versions := packagedPostgres()
	for _, bin := range filepath.SplitList(os.Getenv("FRESHET_PG_BINS")) {
		if v, ok := postgresVersion(bin); ok {
			versions = append(versions, v)
		}
	}
	sortVersions(versions)
	return versions
}

func packagedPostgres() []PostgresVersion {
	var versions []PostgresVersion
	for _, pattern := range postgresFolders() {
		// The patterns are well-formed, the only error there is.
		folders, _ := filepath.Glob(pattern)
		for _, bin := range folders {
			if v, ok := postgresVersion(bin); ok {
				versions = append(versions, v)
			}
		}
	}
	sortVersions(versions)
	return versions
}

func sortVersions(versions []PostgresVersion) {
	slices.SortStableFunc(versions, func(a, b PostgresVersion) int { return cmp.Compare(b.Major, a.Major) })
}

func isPostgres(bin string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(bin, program)); err != nil {
			return false
		}
	}
	return true
}

func postgresVersion(bin string) (PostgresVersion, bool) {
	if !isPostgres(bin) {
		return PostgresVersion{}, false
	}
	out, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output() //nolint:noctx // prints one line
	if err != nil {
		return PostgresVersion{}, false
	}
	// "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
	fields := strings.Fields(string(out))
	if len(fields) < 3 {
		return PostgresVersion{}, false
	}
	digits := strings.IndexFunc(fields[2], func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(fields[2])
	}
	major, err := strconv.Atoi(fields[2][:digits])
	return PostgresVersion{Bin: bin, Version: fields[2], Major: major}, err == nil
}

// installRemedy names the command that installs a server on this system.
func installRemedy(debian, brew string) string {
	if runtime.GOOS == "darwin" {
		return "brew install " + brew
	}
	return fmt.Sprintf("`apt-get install %s` on Debian and Ubuntu, `brew install %s` on macOS, or `make install-servers` for either", debian, brew)
}
