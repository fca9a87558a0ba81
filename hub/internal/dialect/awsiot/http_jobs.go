package awsiot

import "errors"

// jobsDataOperations are those of the jobs data plane, service "iot-jobs-data". Two of them have the paths of operations of the
// control plane, which other requests are signed for.
func jobsDataOperations() []operation {
	thingOf := func(c *call) string { return keyThing + c.labels["thingName"] }
	return []operation{
		{service: jobsData, name: "GetPendingJobExecutions", method: get, path: "/things/{thingName}/jobs", do: (*call).pendingExecutions, action: "iot:GetPendingJobExecutions", resource: thingOf},
		{service: jobsData, name: "StartNextPendingJobExecution", method: put, path: "/things/{thingName}/jobs/$next", do: (*call).startNextExecution, action: "iot:StartNextPendingJobExecution", resource: thingOf},
		{service: jobsData, name: "DescribeJobExecution", method: get, path: "/things/{thingName}/jobs/{jobId}", do: (*call).executionForDevice, action: "iot:DescribeJobExecution", resource: thingOf},
		{service: jobsData, name: "UpdateJobExecution", method: post, path: "/things/{thingName}/jobs/{jobId}", do: (*call).updateExecution, action: "iot:UpdateJobExecution", resource: thingOf},
	}
}

func (c *call) pendingExecutions() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	if err != nil {
		return nil, err
	}
	body, err := c.d.getPendingJobExecutions(c.ctx(), c.tenant(), name)
	return rawReply(body), err
}

func (c *call) startNextExecution() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	if err != nil {
		return nil, err
	}
	body, err := c.d.startNextPendingJobExecution(c.ctx(), c.tenant(), name, c.body)
	return rawReply(body), err
}

func (c *call) executionForDevice() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	document, derr := c.flag("includeJobDocument", true)
	n, nerr := c.number("executionNumber", 0, executionNumberLast, 0)
	if err := errors.Join(err, derr, nerr); err != nil {
		return nil, err
	}
	body, err := c.d.describeJobExecutionForDevice(c.ctx(), c.tenant(), name, c.labels["jobId"], document, n)
	return rawReply(body), err
}

func (c *call) updateExecution() (any, error) {
	name, id, err := c.executionLabels()
	if err != nil {
		return nil, err
	}
	body, err := c.d.updateJobExecution(c.ctx(), c.tenant(), name, id, c.body)
	return rawReply(body), err
}
