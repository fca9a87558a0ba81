package awsiot

import (
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/internal/coveragetest"
)

const coveragePage = "../docs/coverage/aws-iot.md"

// TestCoverage checks the SDK's tables in docs/coverage: what they say is ours exists, and so do the tests that they name; each row names
// one.
func TestCoverage(t *testing.T) {
	coveragetest.Check(t, coveragetest.Section(t, coveragePage), map[string]string{"engine": "../internal/engine"}, []string{"Detail"}, 90)
}

// TestCoverageIsComplete looks for the members of the official SDK that no table names.
func TestCoverageIsComplete(t *testing.T) {
	tables := coveragetest.Section(t, coveragePage)
	for name := range strings.FieldsSeq(official) {
		if !strings.Contains(tables, "`"+name) && !strings.Contains(tables, " "+name) {
			t.Errorf("no row for %s", name)
		}
	}
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
