package fairlead_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
)

func TestPlatformError(t *testing.T) {
	for _, c := range []struct {
		err  fairlead.PlatformError
		want string
	}{
		{fairlead.PlatformError{}, `refused by the platform`},
		{fairlead.PlatformError{Op: "connect", Code: "5"}, `connect: refused by the platform with code "5"`},
		{
			fairlead.PlatformError{
				Op: `update shadow "pump-7"`, Code: "429", Detail: "slow\ndown", RetryAfter: 5 * time.Second, Kind: fairlead.ErrThrottled,
			},
			`update shadow "pump-7": refused by the platform with code "429": throttled: "slow\ndown" (try again after 5s)`,
		},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestPlatformErrorUnwrap(t *testing.T) {
	err := fmt.Errorf("report: %w", &fairlead.PlatformError{Kind: fairlead.ErrDenied})
	if !errors.Is(err, fairlead.ErrDenied) || errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("%v: the kind is not found, or another one", err)
	}
	if errors.Is(&fairlead.PlatformError{}, fairlead.ErrDenied) {
		t.Error("an error without kind has one")
	}
}

func ExamplePlatformError() {
	var err error = &fairlead.PlatformError{Op: "register", Code: "403", Detail: "quota exceeded", Kind: fairlead.ErrDenied}

	var refusal *fairlead.PlatformError
	if errors.As(err, &refusal) && errors.Is(err, fairlead.ErrDenied) {
		fmt.Println(refusal.Code, refusal.Detail)
	}
	// Output: 403 quota exceeded
}
