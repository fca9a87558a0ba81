module github.com/fairlead-iot/fairlead/bench

go 1.26.0

require (
	github.com/fairlead-iot/fairlead v0.0.0
	github.com/fairlead-iot/fairlead/conformance v0.0.0-00010101000000-000000000000
)

replace (
	github.com/fairlead-iot/fairlead => ..
	github.com/fairlead-iot/fairlead/conformance => ../conformance
)
