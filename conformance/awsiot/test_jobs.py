"""Jobs through their whole life: made with boto3, worked on by the v1 and the v2 clients and by boto3's data plane."""

from __future__ import annotations

import json

import pytest
from AWSIoTPythonSDK.core.jobs.thingJobManager import jobExecutionStatus, jobExecutionTopicReplyType, jobExecutionTopicType
from awscrt.mqtt_request_response import ClientOptions
from awsiot import iotjobs
from botocore.exceptions import ClientError

from clients import PATIENCE, V3, V5, Inbox, rejected, until, v1_jobs, watch

DOCUMENT = {"action": "reboot", "delay": 5}


def thing_arn(account, name):
    return account.iot.describe_thing(thingName=name)["thingArn"]


def job(account, *names, **options):
    one = account.name("job")
    account.iot.create_job(jobId=one, targets=[thing_arn(account, name) for name in names], document=json.dumps(DOCUMENT), **options)
    return one


def test_v1_life(account, thing, closing, middle):
    client, inbox = v1_jobs(thing), Inbox()
    assert client.connect(60)
    closing(client.disconnect)
    topics, replies = jobExecutionTopicType, jobExecutionTopicReplyType
    take = lambda _, __, message: inbox.put(message.topic, json.loads(message.payload))  # noqa: E731
    base = f"$aws/things/{thing.name}/jobs/"
    for kind in (topics.JOB_GET_PENDING_TOPIC, topics.JOB_START_NEXT_TOPIC):
        assert client.createJobSubscription(take, kind, replies.JOB_ACCEPTED_REPLY_TYPE)
    for kind in (topics.JOB_DESCRIBE_TOPIC, topics.JOB_UPDATE_TOPIC):
        assert client.createJobSubscription(take, kind, replies.JOB_WILDCARD_REPLY_TYPE, "+")
    assert client.createJobSubscription(take, topics.JOB_NOTIFY_NEXT_TOPIC)
    one = job(account, thing.name)
    topic, told = inbox.get()
    assert topic == base + "notify-next"
    assert told["execution"]["jobId"] == one and told["execution"]["jobDocument"] == DOCUMENT and told["execution"]["status"] == "QUEUED"
    assert client.sendJobsQuery(topics.JOB_GET_PENDING_TOPIC)
    topic, told = inbox.get()
    assert topic == base + "get/accepted" and [e["jobId"] for e in told["queuedJobs"]] == [one] and told["inProgressJobs"] == []
    assert client.sendJobsStartNext({"step": "begin"}, 10)
    topic, told = inbox.get()
    assert topic == base + "start-next/accepted"
    execution = told["execution"]
    assert (execution["status"], execution["versionNumber"], execution["statusDetails"]) == ("IN_PROGRESS", 2, {"step": "begin"})
    assert 0 < execution["approximateSecondsBeforeTimedOut"] <= 600
    middle(client)
    assert client.sendJobsDescribe(one, executionNumber=1)
    topic, told = inbox.get()
    assert topic == base + f"{one}/get/accepted" and told["execution"]["jobDocument"] == DOCUMENT
    assert client.sendJobsUpdate(one, jobExecutionStatus.JOB_EXECUTION_SUCCEEDED, {"done": "100"}, expectedVersion=99)
    topic, told = inbox.get()
    assert topic == base + f"{one}/update/rejected" and told["code"] == "VersionMismatch"
    assert told["executionState"]["versionNumber"] == 2
    assert client.sendJobsUpdate(one, jobExecutionStatus.JOB_EXECUTION_SUCCEEDED, {"done": "100"}, expectedVersion=2,
                                 includeJobExecutionState=True, includeJobDocument=True)
    topic, told = inbox.get()
    assert topic == base + f"{one}/update/accepted"
    assert told["executionState"] == {"status": "SUCCEEDED", "statusDetails": {"done": "100"}, "versionNumber": 3}
    assert told["jobDocument"] == DOCUMENT
    topic, told = inbox.get()
    assert topic == base + "notify-next" and "execution" not in told
    until(lambda: account.iot.describe_job(jobId=one)["job"]["status"] == "COMPLETED", "the job to complete")
    assert account.iot.describe_job(jobId=one)["job"]["jobProcessDetails"]["numberOfSucceededThings"] == 1


# The second generation

@pytest.fixture(params=[V3, V5], ids=["3.1.1", "5"])
def device(request, thing, closing):
    one = request.param(thing)
    one.connect()
    closing(one.close)
    one.thing = thing
    one.jobs = iotjobs.IotJobsClientV2(one.connection if request.param is V3 else one.client, ClientOptions(2, 4, 30))
    return one


def test_v2_life(device, account, middle):
    name, jobs = device.thing.name, device.jobs
    changed = watch(jobs.create_job_executions_changed_stream, iotjobs.JobExecutionsChangedSubscriptionRequest(thing_name=name))
    upcoming = watch(jobs.create_next_job_execution_changed_stream, iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=name))
    first = job(account, name)
    assert upcoming.get().execution.job_id == first
    assert [e.job_id for e in changed.get().jobs["QUEUED"]] == [first]
    second = job(account, name)
    assert [e.job_id for e in changed.get().jobs["QUEUED"]] == [first, second]
    pending = jobs.get_pending_job_executions(iotjobs.GetPendingJobExecutionsRequest(thing_name=name)).result(PATIENCE)
    assert [e.job_id for e in pending.queued_jobs] == [first, second]
    started = jobs.start_next_pending_job_execution(iotjobs.StartNextPendingJobExecutionRequest(thing_name=name)).result(PATIENCE)
    assert started.execution.job_id == first and started.execution.job_document == DOCUMENT
    assert upcoming.all() == [], "the head was started, it is still the same"
    middle(device, changed, upcoming)
    described = jobs.describe_job_execution(iotjobs.DescribeJobExecutionRequest(thing_name=name, job_id="$next")).result(PATIENCE)
    assert described.execution.job_id == first and described.execution.status == "IN_PROGRESS"
    jobs.update_job_execution(iotjobs.UpdateJobExecutionRequest(
        thing_name=name, job_id=first, status="IN_PROGRESS", status_details={"percent": "50"}, expected_version=2)).result(PATIENCE)
    error = rejected(jobs.update_job_execution, iotjobs.UpdateJobExecutionRequest(
        thing_name=name, job_id=first, status="SUCCEEDED", expected_version=2))
    assert error.code == "VersionMismatch" and error.execution_state.version_number == 3
    jobs.update_job_execution(iotjobs.UpdateJobExecutionRequest(thing_name=name, job_id=first, status="SUCCEEDED")).result(PATIENCE)
    assert upcoming.get().execution.job_id == second
    error = rejected(jobs.update_job_execution, iotjobs.UpdateJobExecutionRequest(thing_name=name, job_id=first, status="IN_PROGRESS"))
    assert error.code == "InvalidStateTransition"
    jobs.update_job_execution(iotjobs.UpdateJobExecutionRequest(thing_name=name, job_id=second, status="REJECTED")).result(PATIENCE)
    assert upcoming.get().execution is None
    empty = jobs.start_next_pending_job_execution(iotjobs.StartNextPendingJobExecutionRequest(thing_name=name)).result(PATIENCE)
    assert empty.execution is None


def test_v2_refusals(device, account, middle):
    name, jobs = device.thing.name, device.jobs
    assert rejected(jobs.describe_job_execution, iotjobs.DescribeJobExecutionRequest(
        thing_name=name, job_id="no-such-job")).code == "ResourceNotFound"
    one = job(account, name)
    middle(device)
    assert rejected(jobs.update_job_execution, iotjobs.UpdateJobExecutionRequest(
        thing_name=name, job_id=one, status="CANCELED")).code == "InvalidRequest"
    assert rejected(jobs.update_job_execution, iotjobs.UpdateJobExecutionRequest(
        thing_name=name, job_id=one, status="QUEUED")).code == "InvalidStateTransition"
    got = jobs.describe_job_execution(iotjobs.DescribeJobExecutionRequest(thing_name=name, job_id=one)).result(PATIENCE)
    assert got.execution.status == "QUEUED" and got.execution.version_number == 1


# The control plane, and the data plane over HTTPS

def refused(call, **named):
    with pytest.raises(ClientError) as error:
        call(**named)
    return error.value.response["Error"]["Code"]


def test_data_plane(account, thing, middle):
    data, name = account.jobs, thing.name
    assert data.start_next_pending_job_execution(thingName=name).get("execution") is None
    one = job(account, name)
    assert [e["jobId"] for e in data.get_pending_job_executions(thingName=name)["queuedJobs"]] == [one]
    assert data.describe_job_execution(thingName=name, jobId="$next")["execution"]["jobId"] == one
    started = data.start_next_pending_job_execution(thingName=name, statusDetails={"a": "b"})["execution"]
    middle()
    assert started["status"] == "IN_PROGRESS" and json.loads(started["jobDocument"]) == DOCUMENT
    assert refused(data.update_job_execution, thingName=name, jobId=one, status="SUCCEEDED", expectedVersion=77) == "InvalidStateTransitionException"
    told = data.update_job_execution(thingName=name, jobId=one, status="FAILED", statusDetails={"why": "no"}, includeJobExecutionState=True)
    assert told["executionState"]["status"] == "FAILED"
    assert refused(data.describe_job_execution, thingName=name, jobId="no-such") == "ResourceNotFoundException"


def test_control_plane(account, middle):
    iot, things = account.iot, [account.name("thing") for _ in range(3)]
    for name in things:
        iot.create_thing(thingName=name)
    one = job(account, *things, description="three of them")
    assert refused(iot.create_job, jobId=one, targets=[thing_arn(account, things[0])], document="{}") == "ResourceAlreadyExistsException"
    assert refused(iot.create_job, jobId=account.name("job"), targets=[thing_arn(account, things[0]) + "x"], document="{}") == "ResourceNotFoundException"
    described = iot.describe_job(jobId=one)["job"]
    assert described["description"] == "three of them" and described["status"] == "IN_PROGRESS"
    assert json.loads(iot.get_job_document(jobId=one)["document"]) == DOCUMENT
    assert one in [j["jobId"] for page in iot.get_paginator("list_jobs").paginate() for j in page["jobs"]]
    summaries = iot.list_job_executions_for_job(jobId=one)["executionSummaries"]
    assert sorted(s["thingArn"].rpartition("/")[2] for s in summaries) == sorted(things)
    assert {s["jobExecutionSummary"]["status"] for s in summaries} == {"QUEUED"}
    assert [s["jobId"] for s in iot.list_job_executions_for_thing(thingName=things[0])["executionSummaries"]] == [one]
    account.jobs.start_next_pending_job_execution(thingName=things[0])
    middle()
    assert refused(iot.cancel_job_execution, thingName=things[0], jobId=one) == "InvalidStateTransitionException"
    iot.cancel_job_execution(thingName=things[1], jobId=one)
    assert iot.describe_job_execution(thingName=things[1], jobId=one)["execution"]["status"] == "CANCELED"
    assert refused(iot.delete_job, jobId=one) == "InvalidStateTransitionException"
    iot.cancel_job(jobId=one, reasonCode="TEST", comment="enough")
    assert iot.describe_job(jobId=one)["job"]["status"] == "CANCELED"
    assert iot.describe_job_execution(thingName=things[0], jobId=one)["execution"]["status"] == "IN_PROGRESS", "without force it goes on"
    assert iot.describe_job_execution(thingName=things[2], jobId=one)["execution"]["status"] == "CANCELED"
    iot.delete_job(jobId=one, force=True)
    until(lambda: refused_or(iot.describe_job, jobId=one) == "ResourceNotFoundException", "the job to be gone")


def refused_or(call, **named):
    try:
        return call(**named)
    except ClientError as error:
        return error.response["Error"]["Code"]


def test_continuous_job_follows_the_group(account, middle):
    iot, group, thing = account.iot, account.name("group"), account.name("thing")
    arn = iot.create_thing_group(thingGroupName=group)["thingGroupArn"]
    iot.create_thing(thingName=thing)
    one = account.name("job")
    iot.create_job(jobId=one, targets=[arn], document=json.dumps(DOCUMENT), targetSelection="CONTINUOUS")
    assert account.jobs.get_pending_job_executions(thingName=thing)["queuedJobs"] == []
    middle()
    iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
    until(lambda: [e["jobId"] for e in account.jobs.get_pending_job_executions(thingName=thing)["queuedJobs"]] == [one], "the execution")
    iot.remove_thing_from_thing_group(thingGroupName=group, thingName=thing)
    until(lambda: account.jobs.get_pending_job_executions(thingName=thing)["queuedJobs"] == [], "the execution to go")


def test_retry(account, middle):
    thing = account.name("thing")
    account.iot.create_thing(thingName=thing)
    one = job(account, thing, jobExecutionsRetryConfig={"criteriaList": [{"failureType": "FAILED", "numberOfRetries": 1}]})
    for number in (1, 2):
        execution = account.jobs.start_next_pending_job_execution(thingName=thing)["execution"]
        assert (execution["jobId"], execution["executionNumber"]) == (one, number)
        account.jobs.update_job_execution(thingName=thing, jobId=one, status="FAILED")
        if number == 1:
            middle()
    assert account.jobs.start_next_pending_job_execution(thingName=thing).get("execution") is None


def test_abort(account, middle):
    iot, things = account.iot, [account.name("thing") for _ in range(4)]
    for name in things:
        iot.create_thing(thingName=name)
    one = job(account, *things, abortConfig={"criteriaList": [
        {"failureType": "FAILED", "action": "CANCEL", "thresholdPercentage": 50, "minNumberOfExecutedThings": 2}]})
    middle()
    for name in things[:2]:
        account.jobs.update_job_execution(thingName=name, jobId=one, status="FAILED")
    until(lambda: iot.describe_job(jobId=one)["job"]["status"] == "CANCELED", "the job to be aborted")
    assert iot.describe_job_execution(thingName=things[3], jobId=one)["execution"]["status"] == "CANCELED"
