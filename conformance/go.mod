module github.com/fairlead-iot/fairlead/conformance

go 1.26.0

require github.com/fairlead-iot/fairlead v0.0.0

replace github.com/fairlead-iot/fairlead => ..
