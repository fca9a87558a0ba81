package awsiot

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCoverage checks the SDK's tables in docs/coverage: what they say is ours exists, and so do the tests that they name; each row names one.
func TestCoverage(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "coverage", "aws-iot.md"))
	if err != nil {
		t.Fatal(err)
	}
	tables := sdkSection(t, string(doc))
	names := declarations(t)
	code := regexp.MustCompile("`[A-Z][A-Za-z0-9.]*`")
	test := regexp.MustCompile("`(?:Test|Fuzz)[A-Za-z]*`")
	rows := 0
	for line := range strings.Lines(tables) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[3]) == "Test" {
			continue
		}
		rows++
		tests := test.FindAllString(cells[3], -1)
		if len(tests) == 0 {
			t.Errorf("no test: %s", line)
		}
		ours := code.FindAllString(cells[2], -1)
		for _, name := range append(tests, ours...) {
			name = strings.Trim(name, "`")
			if name != "Detail" && !names[name] { // no name of ours
				t.Errorf("there is no %s: %s", name, line)
			}
		}
	}
	if rows < 90 {
		t.Errorf("only %d rows", rows)
	}
}

// TestCoverageIsComplete looks for the members of the official SDK that no table names.
func TestCoverageIsComplete(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "coverage", "aws-iot.md"))
	if err != nil {
		t.Fatal(err)
	}
	tables := sdkSection(t, string(doc))
	for name := range strings.FieldsSeq(official) {
		if !strings.Contains(tables, "`"+name) && !strings.Contains(tables, " "+name) {
			t.Errorf("no row for %s", name)
		}
	}
}

// sdkSection returns what the document says of the SDK. The sections around it are of the hub.
func sdkSection(t *testing.T, doc string) string {
	t.Helper()
	_, tables, ok := strings.Cut(doc, "\n## The device SDK for Go\n")
	if !ok {
		t.Fatal("no section about the SDK")
	}
	tables, _, _ = strings.Cut(tables, "\n## ")
	return tables
}

// official is what the documentation of AWS IoT Device SDK v1 for Python has: classes, methods, attributes, enumerations and exceptions.
const official = `
	AWSIoTMQTTClient configureLastWill clearLastWill configureEndpoint configureIAMCredentials configureCredentials configureAutoReconnectBackoffTime
	configureOfflinePublishQueueing configureDrainingFrequency configureConnectDisconnectTimeout configureMQTTOperationTimeout configureUsernamePassword
	configureSocketFactory enableMetricsCollection disableMetricsCollection connect connectAsync disconnect disconnectAsync publish publishAsync subscribe
	subscribeAsync unsubscribe unsubscribeAsync onOnline onOffline onMessage
	MQTTv3_1 MQTTv3_1_1 DROP_OLDEST DROP_NEWEST DropBehaviorTypes
	_AWSIoTMQTTDelegatingClient getMQTTConnection AWSIoTMQTTShadowClient createShadowHandlerWithName
	AWSIoTMQTTThingJobsClient createJobSubscription createJobSubscriptionAsync sendJobsQuery sendJobsStartNext sendJobsUpdate sendJobsDescribe
	jobExecutionTopicType jobExecutionTopicReplyType jobExecutionStatus
	shadowGet shadowDelete shadowUpdate shadowRegisterDeltaCallback shadowUnregisterDeltaCallback
	DiscoveryInfoProvider HOST_PREFIX HOST_SUFFIX configureTimeout discover
	ConnectivityInfo id host port metadata CoreConnectivityInfo coreThingArn groupId connectivityInfoList getConnectivityInfo appendConnectivityInfo
	GroupConnectivityInfo coreConnectivityInfoList caList getCoreConnectivityInfo appendCoreConnectivityInfo appendCa
	DiscoveryInfo rawJson getAllCores getAllCas getAllGroups toObjectAtGroupLevel
	operationError operationTimeoutException acceptTimeoutException connectTimeoutException disconnectTimeoutException publishTimeoutException
	subscribeTimeoutException unsubscribeTimeoutException connectError disconnectError publishError subscribeError unsubscribeError
	publishQueueFullException subscribeQueueFullException unsubscribeQueueFullException
	publishQueueDisabledException subscribeQueueDisabledException unsubscribeQueueDisabledException
	subackError wssNoKeyInEnvironmentError wssHandShakeError
	DiscoveryDataNotFoundException DiscoveryTimeoutException DiscoveryInvalidRequestException DiscoveryUnauthorizedException DiscoveryThrottlingException
	DiscoveryFailure ClientError`

// declarations returns the names of the package and its tests: Name, Type.Method, Type.Field.
func declarations(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	outside, err := filepath.Glob("../conformance/astartego/*_test.go")
	if err != nil || len(outside) == 0 {
		t.Fatalf("conformance/astartego: %d files, %v", len(outside), err)
	}
	files = append(files, outside...)
	names := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					receiver := d.Recv.List[0].Type
					if star, ok := receiver.(*ast.StarExpr); ok {
						receiver = star.X
					}
					if id, ok := receiver.(*ast.Ident); ok {
						name = id.Name + "." + name
					}
				}
				names[name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						for _, n := range s.Names {
							names[n.Name] = true
						}
					case *ast.TypeSpec:
						names[s.Name.Name] = true
						for _, m := range members(s.Type) {
							names[s.Name.Name+"."+m] = true
						}
					}
				}
			}
		}
	}
	return names
}

func members(t ast.Expr) (names []string) {
	var list *ast.FieldList
	switch t := t.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return nil
	}
	for _, f := range list.List {
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
	}
	return names
}
