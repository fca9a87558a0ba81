package awsiot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	get := func(p CredentialsProvider, wantKey, wantSecret, wantToken string) {
		t.Helper()
		c, err := p.Retrieve(t.Context())
		if err != nil || c.AccessKeyID != wantKey || c.SecretAccessKey.Reveal() != wantSecret || c.SessionToken.Reveal() != wantToken {
			t.Errorf("got %q %q %q, %v", c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal(), err)
		}
	}
	none := func(p CredentialsProvider) {
		t.Helper()
		if _, err := p.Retrieve(t.Context()); !errors.Is(err, ErrNoCredentials) || !errors.Is(err, fairlead.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("HOME", dir)
	t.Setenv("USERPROFILE", dir)

	get(StaticCredentials("A", identity.NewSecret("s"), identity.NewSecret("t")), "A", "s", "t")
	none(StaticCredentials("", identity.NewSecret("s"), identity.Secret{}))
	none(EnvironmentCredentials())
	none(SharedCredentials(file, ""))
	none(DefaultCredentials())
	none(ChainCredentials())

	write("# comment\n[other]\naws_access_key_id = O\naws_secret_access_key=os\n\n[DEFAULT]\naws_access_key_id=D\naws_secret_access_key = ds\n")
	get(SharedCredentials(file, ""), "D", "ds", "")
	get(SharedCredentials(file, "other"), "O", "os", "")
	none(SharedCredentials(file, "third"))
	write("[default]\n AWS_ACCESS_KEY_ID = d \n;x=y\n#aws_session_token=no\naws_secret_access_key = a=b/+ \naws_session_token = t==\n=\n[DEFAULT]\naws_access_key_id=D\naws_secret_access_key=ds\n")
	get(SharedCredentials(file, ""), "d", "a=b/+", "t==")
	write("[default]\naws_access_key_id = d\n")
	none(SharedCredentials(file, ""))
	write(strings.Repeat("x", maxSharedBytes+1))
	if _, err := SharedCredentials(file, "").Retrieve(t.Context()); !errors.Is(err, fairlead.ErrTooLarge) {
		t.Errorf("huge file: %v", err)
	}

	if err := os.Mkdir(filepath.Join(dir, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("[default]\naws_access_key_id = d\naws_secret_access_key = s\n")
	if err := os.Rename(file, filepath.Join(dir, ".aws", "credentials")); err != nil {
		t.Fatal(err)
	}
	get(DefaultCredentials(), "d", "s", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "E")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "es")
	t.Setenv("AWS_SESSION_TOKEN", "et")
	get(DefaultCredentials(), "E", "es", "et")

	broken := errors.New("broken")
	failing := CredentialsFunc(func(context.Context) (Credentials, error) { return Credentials{}, broken })
	if _, err := ChainCredentials(failing, EnvironmentCredentials()).Retrieve(t.Context()); !errors.Is(err, broken) {
		t.Errorf("a provider that fails: %v", err)
	}
}

// sdkCredentials and sdkProvider have the form of aws.Credentials and aws.CredentialsProvider of the AWS SDK for Go v2.
type sdkCredentials struct {
	AccessKeyID, SecretAccessKey, SessionToken, Source string
	CanExpire                                          bool
	Expires                                            time.Time
}

type sdkProvider struct{ err error }

func (p sdkProvider) Retrieve(context.Context) (sdkCredentials, error) {
	return sdkCredentials{AccessKeyID: "A", SecretAccessKey: "s", SessionToken: "t", CanExpire: true, Expires: time.Unix(1, 0)}, p.err
}

func TestFromSDK(t *testing.T) {
	convert := func(c sdkCredentials) Credentials {
		return Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: identity.NewSecret(c.SecretAccessKey), SessionToken: identity.NewSecret(c.SessionToken), Expires: c.Expires}
	}
	c, err := FromSDK(sdkProvider{}, convert).Retrieve(t.Context())
	if err != nil || c.AccessKeyID != "A" || c.SecretAccessKey.Reveal() != "s" || c.SessionToken.Reveal() != "t" || !c.Expires.Equal(time.Unix(1, 0)) {
		t.Errorf("got %+v, %v", c, err)
	}
	broken := errors.New("broken")
	if _, err := FromSDK(sdkProvider{broken}, convert).Retrieve(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func FuzzShared(f *testing.F) {
	f.Add("[default]\naws_access_key_id=a\naws_secret_access_key=b\n", "default")
	f.Add("[", "")
	f.Fuzz(func(t *testing.T, text, profile string) {
		c, ok := parseShared(text, profile)
		if ok != (c.AccessKeyID != "" && !c.SecretAccessKey.IsZero()) {
			t.Error("credentials that are none")
		}
	})
}
