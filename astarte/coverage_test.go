package astarte

import (
	"testing"

	"github.com/fairlead-iot/fairlead/internal/coveragetest"
)

// TestCoverage checks the SDK's tables in docs/coverage: what they say is ours exists, and so do the tests that they name, here or in
// conformance/astartego; each row names one.
func TestCoverage(t *testing.T) {
	coveragetest.Check(t, coveragetest.Section(t, "../docs/coverage/astarte.md"), map[string]string{"": "../conformance/astartego"}, []string{"Detail", "REALM"}, 60)
}
