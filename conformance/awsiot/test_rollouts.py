"""Jobs that are held back: maintenance windows, rollouts, and what is refused because it could never work. Tags."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from clients import until
from test_jobs import DOCUMENT, refused, thing_arn


def test_maintenance_windows_hold_a_rollout(account, middle):
    iot, group, things = account.iot, account.name("group"), [account.name("thing") for _ in range(2)]
    arn = iot.create_thing_group(thingGroupName=group)["thingGroupArn"]
    for name in things:
        iot.create_thing(thingName=name)
    iot.add_thing_to_thing_group(thingGroupName=group, thingName=things[0])
    now = datetime.now(timezone.utc)
    later = now + timedelta(hours=3)  # and for an hour: not now, however long this takes

    def make(cron, minutes):
        one = account.name("job")
        iot.create_job(jobId=one, targets=[arn], document=json.dumps(DOCUMENT), targetSelection="CONTINUOUS",
                       schedulingConfig={"maintenanceWindows": [{"startTime": cron, "durationInMinutes": minutes}]})
        return one

    def pending(name):
        return [e["jobId"] for e in account.jobs.get_pending_job_executions(thingName=name)["queuedJobs"]]

    held, always = make(f"cron({later.minute} {later.hour} * * ? *)", 60), make("cron(0 * * * ? *)", 120)
    until(lambda: pending(things[0]) == [always], "the execution of the job whose window is open")
    middle()
    iot.add_thing_to_thing_group(thingGroupName=group, thingName=things[1])
    until(lambda: pending(things[1]) == [always], "the same for a thing that joins")
    described = iot.describe_job(jobId=held)["job"]
    assert described["status"] == "SCHEDULED" and described["jobProcessDetails"]["numberOfQueuedThings"] == 0
    starts = [r["startTime"] for r in described["scheduledJobRollouts"]]
    assert len(starts) == 7 and starts[0] == later.strftime("%Y-%m-%dT%H:%M:00Z")
    assert iot.describe_job(jobId=always)["job"]["status"] == "IN_PROGRESS"
    assert refused(make, cron="tomorrow", minutes=60) == "InvalidRequestException"


def test_leaving_the_group_before_ones_turn(account, middle):
    iot, group, things = account.iot, account.name("group"), [account.name("thing") for _ in range(3)]
    arn = iot.create_thing_group(thingGroupName=group)["thingGroupArn"]
    for name in things:
        iot.create_thing(thingName=name)
        iot.add_thing_to_thing_group(thingGroupName=group, thingName=name)
    one = account.name("job")
    iot.create_job(jobId=one, targets=[arn], document=json.dumps(DOCUMENT), targetSelection="CONTINUOUS",
                   jobExecutionsRolloutConfig={"maximumPerMinute": 1})
    assert "processingTargets" in iot.describe_job(jobId=one)["job"]["jobProcessDetails"]
    middle()
    got = [name for name in things if account.jobs.get_pending_job_executions(thingName=name)["queuedJobs"]]
    for name in set(things) - set(got):
        iot.remove_thing_from_thing_group(thingGroupName=group, thingName=name)
    described = iot.describe_job(jobId=one)["job"]
    assert "processingTargets" not in described["jobProcessDetails"] and not described["isConcurrent"]


def test_tags_and_what_is_refused(account):
    iot, thing, one = account.iot, account.name("thing"), account.name("job")
    iot.create_thing(thingName=thing)
    tags = [{"Key": "team", "Value": "pumps"}]
    made = iot.create_job(jobId=one, targets=[thing_arn(account, thing)], document="{}", tags=tags)["jobArn"]
    template = iot.create_job_template(jobTemplateId=one, description="d", document="{}", tags=tags)["jobTemplateArn"]
    for arn in (made, template):
        assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == tags
        iot.tag_resource(resourceArn=arn, tags=[{"Key": "stage", "Value": "test"}])
        iot.untag_resource(resourceArn=arn, tagKeys=["team"])
        assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "stage", "Value": "test"}]
    with pytest.raises(iot.exceptions.InvalidRequestException, match="Give the job document itself"):
        iot.create_job(jobId=account.name("job"), targets=[thing_arn(account, thing)], documentSource="https://b.s3.amazonaws.com/job.json")
    with pytest.raises(iot.exceptions.InvalidRequestException, match="presigned URL"):
        iot.create_job(jobId=account.name("job"), targets=[thing_arn(account, thing)],
                       document=json.dumps({"url": "${aws:iot:s3-presigned-url:https://b.s3.amazonaws.com/f}"}))
