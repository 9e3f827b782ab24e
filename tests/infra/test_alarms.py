"""With somebody to tell (`-c alarm_email=…`): every alarm reaches them."""

from typing import Any

import pytest

from cdk.catalog import read_fleet
from tests.infra.projects import FLEET, write_project
from tests.infra.templates import Templates, as_list, synthesize_project


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """A fleet like `tiny` with an address for its alarms."""
    root = write_project(tmp_path_factory.mktemp("heard"), FLEET + "concurrency = 1\nmax_concurrency = 20\n")
    return synthesize_project(read_fleet(root), tmp_path_factory.mktemp("heard-out"), alarm_email="ops@example.test")


def test_every_alarm_tells_the_topic(heard: Templates) -> None:
    """All of them the same one, which sends an e-mail."""
    (topic,) = heard.of_type("AWS::SNS::Topic")
    (mail,) = heard.of_type("AWS::SNS::Subscription")

    told = {
        topic_of(heard, alarm.stack, action)
        for alarm in heard.of_type("AWS::CloudWatch::Alarm")
        for action in alarm.properties.get("AlarmActions", [None])
    }

    assert told == {str(topic)}
    assert (mail.properties["Protocol"], mail.properties["Endpoint"]) == ("email", "ops@example.test")


def test_alarms_may_publish_to_the_topic(heard: Templates) -> None:
    """A topic's own policy takes the place of the one that SNS gives it: who isn't named there is refused."""
    (policy,) = heard.of_type("AWS::SNS::TopicPolicy")

    allowed = [one for one in policy.properties["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]

    assert [(one["Principal"], one["Action"], one["Condition"]) for one in allowed] == [
        (
            {"Service": "cloudwatch.amazonaws.com"},
            "sns:Publish",
            {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
        )
    ]


def test_alarms_may_use_the_key_of_the_topic(heard: Templates) -> None:
    """Publishing to an encrypted topic takes a data key, which is asked for in the publisher's name."""
    (key,) = heard.of_type("AWS::KMS::Key")
    (topic,) = heard.of_type("AWS::SNS::Topic")
    allowed = {
        action
        for one in key.properties["KeyPolicy"]["Statement"]
        if one["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
        for action in as_list(one["Action"])
    }

    assert topic.properties["KmsMasterKeyId"]
    assert {"kms:Decrypt", "kms:GenerateDataKey"} <= allowed


def topic_of(templates: Templates, stack: str, action: Any) -> str:
    """The topic that an alarm's action names, whichever stack it is in."""
    if action is None:
        return "nobody"
    if "Ref" in action:
        return f"{stack}/{action['Ref']}"
    exports = {
        output["Export"]["Name"]: f"{other}/{output['Value']['Ref']}"
        for other, body in templates.bodies.items()
        for output in body.get("Outputs", {}).values()
        if "Export" in output and "Ref" in output["Value"]
    }
    return exports[action["Fn::ImportValue"]]
