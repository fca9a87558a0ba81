package awsiot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

// Credentials are an AWS access key.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey identity.Secret
	// SessionToken comes with temporary credentials.
	SessionToken identity.Secret
	// Expires is when they end. The zero time: never. The connection is replaced before.
	Expires time.Time
}

// A CredentialsProvider gives the access key that a WebSocket's URL is signed with. It is asked before each connection; it may use the
// network, and should keep what is still valid. See [FromSDK] for those of the AWS SDK for Go.
type CredentialsProvider interface {
	Retrieve(ctx context.Context) (Credentials, error)
}

// CredentialsFunc is a function that is a [CredentialsProvider].
type CredentialsFunc func(ctx context.Context) (Credentials, error)

// Retrieve calls f.
func (f CredentialsFunc) Retrieve(ctx context.Context) (Credentials, error) { return f(ctx) }

// FromSDK makes a provider of one that returns another type: in particular of an aws.CredentialsProvider of the AWS SDK for Go, which
// this package does not link. convert copies the fields; see the example.
func FromSDK[C any](p interface {
	Retrieve(ctx context.Context) (C, error)
}, convert func(C) Credentials,
) CredentialsProvider {
	return CredentialsFunc(func(ctx context.Context) (Credentials, error) {
		c, err := p.Retrieve(ctx)
		if err != nil {
			return Credentials{}, err
		}
		return convert(c), nil
	})
}

// StaticCredentials returns a provider that always gives the same. sessionToken is empty unless the credentials are temporary.
func StaticCredentials(accessKeyID string, secretAccessKey, sessionToken identity.Secret) CredentialsProvider {
	return CredentialsFunc(func(context.Context) (Credentials, error) {
		if accessKeyID == "" || secretAccessKey.IsZero() {
			return Credentials{}, fmt.Errorf("static credentials: %w", ErrNoCredentials)
		}
		return Credentials{AccessKeyID: accessKeyID, SecretAccessKey: secretAccessKey, SessionToken: sessionToken}, nil
	})
}

// EnvironmentCredentials returns a provider that looks into the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
func EnvironmentCredentials() CredentialsProvider {
	return CredentialsFunc(func(context.Context) (Credentials, error) {
		c := Credentials{
			AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: identity.NewSecret(os.Getenv("AWS_SECRET_ACCESS_KEY")),
			SessionToken: identity.NewSecret(os.Getenv("AWS_SESSION_TOKEN")),
		}
		if c.AccessKeyID == "" || c.SecretAccessKey.IsZero() {
			return Credentials{}, fmt.Errorf("no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY detected in the environment: %w", ErrNoCredentials)
		}
		return c, nil
	})
}

// SharedCredentials returns a provider that reads a profile of the file that the AWS tools share. An empty path is ~/.aws/credentials, an
// empty profile "default", or "DEFAULT" if there is none of that name. The file is read anew each time.
func SharedCredentials(path, profile string) CredentialsProvider {
	return CredentialsFunc(func(context.Context) (Credentials, error) {
		c, err := readShared(path, profile)
		if err != nil {
			return Credentials{}, fmt.Errorf("shared credentials: %w", err)
		}
		return c, nil
	})
}

// DefaultCredentials returns a provider that looks where the official SDK for Python looks when it was given none: in the environment,
// then in the shared file.
func DefaultCredentials() CredentialsProvider {
	return ChainCredentials(EnvironmentCredentials(), SharedCredentials("", ""))
}

// ChainCredentials returns a provider that asks others in turn, until one has credentials or fails otherwise than with [ErrNoCredentials].
func ChainCredentials(providers ...CredentialsProvider) CredentialsProvider {
	return CredentialsFunc(func(ctx context.Context) (Credentials, error) {
		err := ErrNoCredentials
		for _, p := range providers {
			c, e := p.Retrieve(ctx)
			if e == nil || !errors.Is(e, ErrNoCredentials) {
				return c, e
			}
			err = e
		}
		return Credentials{}, err
	})
}

// maxSharedBytes is more than a file of credentials has.
const maxSharedBytes = 1 << 20

func readShared(path, profile string) (Credentials, error) {
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Credentials{}, fmt.Errorf("%w: %w", ErrNoCredentials, err)
		}
		path = filepath.Join(home, ".aws", "credentials")
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Credentials{}, fmt.Errorf("%s: %w", path, ErrNoCredentials)
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	if info.Size() > maxSharedBytes {
		return Credentials{}, fmt.Errorf("%s has %d bytes, want up to %d: %w", path, info.Size(), maxSharedBytes, fairlead.ErrTooLarge)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	profiles := []string{profile}
	if profile == "" {
		profiles = []string{"default", "DEFAULT"}
	}
	for _, name := range profiles {
		if c, ok := parseShared(string(text), name); ok {
			return c, nil
		}
	}
	return Credentials{}, fmt.Errorf("%s has no profile %q with a key: %w", path, profiles[0], ErrNoCredentials)
}

// parseShared finds a section of a file in the form of INI.
func parseShared(text, profile string) (c Credentials, ok bool) {
	inside := false
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if section, ok := strings.CutPrefix(line, "["); ok {
			section, _, _ = strings.Cut(section, "]")
			inside = strings.TrimSpace(section) == profile
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !inside || !found || line[0] == '#' || line[0] == ';' {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "aws_access_key_id":
			c.AccessKeyID = value
		case "aws_secret_access_key":
			c.SecretAccessKey = identity.NewSecret(value)
		case "aws_session_token":
			c.SessionToken = identity.NewSecret(value)
		}
	}
	return c, c.AccessKeyID != "" && !c.SecretAccessKey.IsZero()
}
