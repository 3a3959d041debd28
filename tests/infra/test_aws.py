"""The sources on AWS: the template, deployed to moto, and the handler, run on a real PostgreSQL."""

import ipaddress
import json
import logging
import os
import re
import subprocess
import sys
import traceback
from ast import literal_eval
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psycopg
import pytest
from cfnlint.api import lint
from moto import mock_aws
from moto.ec2.models.vpcs import VPCEndPoint
from moto.rds.models import DBInstance, rds_backends
from psycopg.conninfo import conninfo_to_dict
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse
from sources import SourceDatabase, new_database

from meshflow.source import lambda_handler
from meshflow.source.aws import connect, install_once
from meshflow.source.server import Server

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS.* supported by moto:UserWarning")

REGION = "eu-west-1"
Resource = dict[str, Any]
"""A resource, as a describe call of AWS returns it."""

FIRST = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-01T10:03:00Z",
    "region": REGION,
    "resources": ["arn:aws:events:eu-west-1:123456789012:rule/meshflow-source-TrafficEveryThreeMinutes"],
    "detail": {},
}
"""A scheduled event in the format of EventBridge."""
SECOND = {**FIRST, "id": "0f9c3e21-5a36-4b0e-a8a5-4a1d3d1f7a52", "time": "2026-11-01T10:06:00Z"}


@dataclass(frozen=True)
class Stack:
    """The deployed template."""

    resources: dict[str, str]
    """Physical ids by logical id."""
    traffic: Resource
    """The Lambda function."""
    database: Resource

    @property
    def environment(self) -> dict[str, str]:
        variables: dict[str, str] = self.traffic["Environment"]["Variables"]
        return variables

    def security_group(self, name: str) -> Resource:
        ec2 = boto3.client("ec2")
        group: Resource = ec2.describe_security_groups(GroupIds=[self.resources[name]])["SecurityGroups"][0]
        return group


@pytest.fixture(scope="module")
def template(project: Path) -> Resource:
    parsed: Resource = yaml_parse((project / "infra/aws/template.yaml").read_text())
    return parsed


@pytest.fixture(scope="module")
def account() -> Iterator[None]:
    """An AWS account of moto, with the default network of every account."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        complete_moto(patch)
        with mock_aws():
            yield


@pytest.fixture(scope="module")
def stack(template: Resource, account: None) -> Stack:
    subnets = boto3.client("ec2").describe_subnets()["Subnets"][:2]
    parameters = {
        "VpcId": subnets[0]["VpcId"],
        "SubnetIds": ",".join(subnet["SubnetId"] for subnet in subnets),
        "LoaderCidr": "10.0.4.0/24",
        "AlarmEmail": "data@example.com",
    }
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName="meshflow-source",
        TemplateBody=json.dumps(transform(packaged(template), parameters, None)),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    assert cloudformation.describe_stacks()["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
    resources = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in cloudformation.list_stack_resources(StackName="meshflow-source")["StackResourceSummaries"]
    }
    return Stack(
        resources=resources,
        traffic=boto3.client("lambda").get_function_configuration(FunctionName=resources["Traffic"]),
        database=boto3.client("rds").describe_db_instances()["DBInstances"][0],
    )


def packaged(template: Resource) -> Resource:
    """`template` as `sam package` returns it: with code and layer in S3 instead of folders."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="packages", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="packages", Key="package", Body=b"")
    copy = deepcopy(template)
    copy["Resources"]["Traffic"]["Properties"]["CodeUri"] = "s3://packages/package"
    copy["Resources"]["RdsCertificates"]["Properties"]["ContentUri"] = "s3://packages/package"
    return copy


def complete_moto(patch: pytest.MonkeyPatch) -> None:
    """Give moto's CloudFormation all properties of moto's RDS, and two attributes that it lacks."""
    get_attribute = DBInstance.get_cfn_attribute

    def create(_name: str, resource: Resource, account: str, region: str, **_options: Any) -> DBInstance:
        properties = dict(resource["Properties"])
        boto3.client("rds").create_db_instance(
            DBInstanceIdentifier="database",
            DBSubnetGroupName=properties.pop("DBSubnetGroupName").name,
            VpcSecurityGroupIds=properties.pop("VPCSecurityGroups"),
            AllocatedStorage=int(properties.pop("AllocatedStorage")),
            **properties,
        )
        (database,) = rds_backends[account][region].describe_db_instances("database")
        return database

    def database_attribute(database: DBInstance, name: str) -> Any:
        if name == "MasterUserSecret.SecretArn":
            return database.master_user_secret.secret_arn
        return get_attribute(database, name)

    def endpoint_attribute(endpoint: VPCEndPoint, name: str) -> list[str]:
        assert name == "DnsEntries"
        return [f"{entry['hosted_zone_id']}:{entry['dns_name']}" for entry in endpoint.dns_entries]

    patch.setattr(DBInstance, "create_from_cloudformation_json", create)
    patch.setattr(DBInstance, "has_cfn_attr", lambda _name: True)
    patch.setattr(DBInstance, "get_cfn_attribute", database_attribute)
    patch.setattr(VPCEndPoint, "get_cfn_attribute", endpoint_attribute, raising=False)


def test_template_passes_cfn_lint(project: Path) -> None:
    findings = lint((project / "infra/aws/template.yaml").read_text(), regions=["us-east-1", REGION])
    assert [str(finding) for finding in findings] == []


def test_package_contains_the_versions_that_the_tests_use(project: Path) -> None:
    package = pins(project / "infra/aws/requirements.txt")
    assert {name for name, _ in package} >= {"click", "numpy", "psycopg", "psycopg-binary"}
    assert package <= pins(project / "requirements/loading.lock")


def pins(lock: Path) -> set[tuple[str, str]]:
    """The names and versions in `lock`."""
    return set(re.findall(r"^([\w.-]+)==([\w.]+)", lock.read_text(), re.MULTILINE))


def test_importing_meshflow_source_imports_no_package_that_only_the_handler_needs() -> None:
    assert not {"numpy", "psycopg", "boto3"} & imported_by("meshflow.source")


def test_handler_imports_only_packages_that_its_package_contains(project: Path) -> None:
    packages_of = packages_distributions()
    imported = {package for module in imported_by("meshflow.source.aws") for package in packages_of.get(module, [])}
    assert {"meshflow", "numpy", "psycopg"} <= imported
    package = {name for name, _ in pins(project / "infra/aws/requirements.txt")}
    assert {name.replace("_", "-") for name in imported - {"meshflow"}} <= package


def imported_by(module: str) -> set[str]:
    """The top-level modules that a new Python process imports with `module`."""
    program = f"import sys; before = {{*sys.modules}}; import {module}; print(*{{*sys.modules}} - before)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stdout.split()}


def test_traffic_is_due_every_three_minutes(stack: Stack) -> None:
    events = boto3.client("events")
    (rule,) = events.list_rules()["Rules"]
    (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(3 minutes)", "ENABLED")
    assert target["Arn"] == stack.traffic["FunctionArn"]


def test_handler_is_the_one_of_the_package(stack: Stack) -> None:
    module, _, function = stack.traffic["Handler"].rpartition(".")
    assert getattr(sys.modules[module], function) is lambda_handler


def test_two_batches_never_run_at_the_same_time(stack: Stack) -> None:
    concurrency = boto3.client("lambda").get_function_concurrency(FunctionName=stack.resources["Traffic"])
    assert concurrency["ReservedConcurrentExecutions"] == 1


def test_batch_is_not_retried_after_the_next_is_due(template: Resource) -> None:
    """Checks the template, because moto's CloudFormation ignores these settings."""
    settings = template["Resources"]["Traffic"]["Properties"]["EventInvokeConfig"]
    assert settings == {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 3 * 60}


def test_traffic_and_database_are_in_the_given_subnets(stack: Stack) -> None:
    subnets = stack.traffic["VpcConfig"]["SubnetIds"]
    assert len(subnets) == 2
    assert [subnet["SubnetIdentifier"] for subnet in stack.database["DBSubnetGroup"]["Subnets"]] == subnets


def test_database_is_private_encrypted_and_protected_against_loss(stack: Stack, template: Resource) -> None:
    assert stack.database["PubliclyAccessible"] is False
    assert stack.database["StorageEncrypted"] is True
    assert stack.database["DeletionProtection"] is True
    assert stack.database["BackupRetentionPeriod"] >= 7
    database = template["Resources"]["Database"]
    assert (database["DeletionPolicy"], database["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")


def test_names_of_database_and_owner_are_no_key_words(template: Resource, stack: Stack, postgres: Server) -> None:
    """RDS rejects SQL key words as names, even those that PostgreSQL doesn't reserve."""
    with psycopg.connect(postgres.url("postgres", "postgres")) as connection:
        key_words = {word for (word,) in connection.execute("SELECT word FROM pg_get_keywords()")}
    database = template["Resources"]["Database"]["Properties"]
    assert not {database["DBName"], database["MasterUsername"]} & key_words
    assert stack.environment["PGDATABASE"] == database["DBName"]


def test_password_is_generated_by_rds_and_not_in_the_template(stack: Stack, template: Resource) -> None:
    assert stack.database["MasterUserSecret"]["SecretArn"] == stack.environment["MESHFLOW_SECRET_ARN"]
    assert "MasterUserPassword" not in template["Resources"]["Database"]["Properties"]


def test_only_the_traffic_and_the_loader_reach_the_database_and_only_its_port(stack: Stack) -> None:
    group = stack.security_group("DatabaseSecurityGroup")
    assert [member["VpcSecurityGroupId"] for member in stack.database["VpcSecurityGroups"]] == [group["GroupId"]]
    assert {(rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) for rule in group["IpPermissions"]} == {
        (5432, 5432, "tcp")
    }
    assert allowed_groups(group) == stack.traffic["VpcConfig"]["SecurityGroupIds"]
    assert [range_["CidrIp"] for rule in group["IpPermissions"] for range_ in rule["IpRanges"]] == ["10.0.4.0/24"]
    assert not any(rule["Ipv6Ranges"] or rule["PrefixListIds"] for rule in group["IpPermissions"])


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "10.0.0.0/8", "8.8.8.0/24", "172.32.0.0/16", "10.0.4.0"])
def test_loader_addresses_must_not_be_public_or_too_many(template: Resource, cidr: str) -> None:
    assert not re.fullmatch(template["Parameters"]["LoaderCidr"]["AllowedPattern"], cidr)


@pytest.mark.parametrize("cidr", ["10.0.4.0/24", "172.31.0.0/16", "192.168.1.7/32"])
def test_loader_addresses_may_be_private(template: Resource, cidr: str) -> None:
    assert ipaddress.ip_network(cidr).is_private
    assert re.fullmatch(template["Parameters"]["LoaderCidr"]["AllowedPattern"], cidr)


def test_only_the_traffic_reaches_secrets_manager_and_only_by_the_name_of_its_endpoint(stack: Stack) -> None:
    (endpoint,) = boto3.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    group = stack.security_group("EndpointSecurityGroup")
    assert [member["GroupId"] for member in endpoint["Groups"]] == [group["GroupId"]]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in group["IpPermissions"]] == [(443, 443)]
    assert allowed_groups(group) == stack.traffic["VpcConfig"]["SecurityGroupIds"]
    assert [range_ for rule in group["IpPermissions"] for range_ in rule["IpRanges"]] == []
    assert endpoint["PrivateDnsEnabled"] is False
    assert stack.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"] == f"https://{endpoint['DnsEntries'][0]['DnsName']}"


def allowed_groups(group: Resource) -> list[str]:
    return [pair["GroupId"] for rule in group["IpPermissions"] for pair in rule["UserIdGroupPairs"]]


def test_role_reads_one_secret_writes_one_log_and_joins_the_network(stack: Stack) -> None:
    (log,) = boto3.client("logs").describe_log_groups()["logGroups"]
    log_streams = log["arn"].removesuffix(":*")  # the template's attribute ends in it only on AWS
    statements = statements_of(stack.resources["TrafficRole"])
    assert [statement["Effect"] for statement in statements] == ["Allow"] * 3
    assert {statement["Resource"]: statement["Action"] for statement in statements} == {
        stack.database["MasterUserSecret"]["SecretArn"]: "secretsmanager:GetSecretValue",
        log_streams: ["logs:CreateLogStream", "logs:PutLogEvents"],
        "*": [
            "ec2:AssignPrivateIpAddresses",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:UnassignPrivateIpAddresses",
        ],
    }
    assert stack.traffic["Role"].endswith(stack.resources["TrafficRole"])


def statements_of(role: str) -> list[Resource]:
    """The statements of all policies of `role`."""
    iam = boto3.client("iam")
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    policies = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [statement for policy in policies for statement in literal_eval(policy)["Statement"]]  # JSON, on AWS


def test_log_is_json_and_kept_for_a_month(stack: Stack, template: Resource) -> None:
    settings = template["Resources"]["Traffic"]["Properties"]["LoggingConfig"]  # unknown to moto's CloudFormation
    assert settings == {"LogGroup": {"Ref": "TrafficLog"}, "LogFormat": "JSON", "ApplicationLogLevel": "INFO"}
    (log,) = boto3.client("logs").describe_log_groups()["logGroups"]
    assert (log["logGroupName"], log["retentionInDays"]) == (stack.resources["TrafficLog"], 30)


def test_alarm_is_raised_by_a_failed_batch_and_by_a_missing_one(template: Resource) -> None:
    """Checks the template, because moto's CloudFormation has no alarms."""
    alarm = template["Resources"]["Alarm"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("AWS/Lambda", "Errors", "Sum")
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "Traffic"}}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]


def test_alarm_reaches_the_given_address(stack: Stack) -> None:
    (subscription,) = boto3.client("sns").list_subscriptions()["Subscriptions"]
    assert subscription["TopicArn"] == stack.resources["AlarmTopic"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "data@example.com")


@pytest.fixture
def new_lambda(stack: Stack, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[], SourceDatabase]:
    """A function that starts a Lambda in the stack's environment, and returns the empty database that replaces RDS."""

    def start() -> SourceDatabase:
        sources = SourceDatabase(postgres, new_database(postgres, "source"))
        secrets_manager = boto3.client("secretsmanager")
        instead_of_rds = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(postgres.port),
            "PGDATABASE": sources.database,
            "PGSSLMODE": "disable",  # the embedded server has no TLS
            "MESHFLOW_SECRET_ARN": secrets_manager.create_secret(
                Name=f"rds!db-{uuid4()}", SecretString=owner_secret(password_of(sources))
            )["ARN"],
        }
        for name, value in {**stack.environment, **instead_of_rds}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.delenv("AWS_ENDPOINT_URL_SECRETS_MANAGER")  # an address that exists only on AWS
        install_once.cache_clear()
        return sources

    return start


@pytest.fixture
def sources(new_lambda: Callable[[], SourceDatabase]) -> SourceDatabase:
    return new_lambda()


def password_of(sources: SourceDatabase) -> str:
    return str(conninfo_to_dict(sources.url)["password"])


def owner_secret(password: str) -> str:
    """A secret in the format of RDS."""
    return json.dumps({"username": "source", "password": password})


def rows(sources: SourceDatabase) -> dict[str, list[tuple[object, ...]]]:
    """The rows of each table that other sessions can read."""
    tables = {"students": "edtech", "courses": "edtech", "enrollments": "edtech", "sales": "retail"}
    return {table: sources.execute(f"SELECT * FROM {schema}.{table} ORDER BY 1, 2") for table, schema in tables.items()}


def counts(sources: SourceDatabase) -> dict[str, int]:
    return {table: len(found) for table, found in rows(sources).items()}


def test_first_event_creates_the_tables_and_writes_the_batch_that_it_reports(sources: SourceDatabase) -> None:
    batch = lambda_handler(FIRST, None)
    assert json.loads(json.dumps(batch)) == batch
    assert batch["time"] == "2026-11-01T10:03:00+00:00"
    assert counts(sources) == {table: batch[table] for table in ("students", "courses", "enrollments", "sales")}
    assert batch["sales"] == 20


def test_orders_are_dated_by_the_event_and_not_by_the_clock(
    sources: SourceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHFLOW_FAULT_RATE", "0")  # faults date orders years ahead
    lambda_handler(FIRST, None)
    ((oldest, newest),) = sources.execute("SELECT min(order_date_at), max(order_date_at) FROM retail.sales")
    assert datetime(2026, 10, 29, tzinfo=UTC) <= oldest <= newest <= datetime(2026, 11, 1, 10, 3, tzinfo=UTC)


def test_next_event_adds_other_rows(sources: SourceDatabase) -> None:
    lambda_handler(FIRST, None)
    before = counts(sources)
    batch = lambda_handler(SECOND, None)
    assert counts(sources) == {table: count + batch[table] for table, count in before.items()}
    assert batch["sales"] == 20
    customers = sources.execute("SELECT customer_id FROM retail.sales ORDER BY order_id, product_id")
    assert customers[:20] != customers[20:]


def test_same_event_writes_the_same_rows_and_another_event_writes_others(
    new_lambda: Callable[[], SourceDatabase],
) -> None:
    def students_after(event: Resource) -> list[tuple[object, ...]]:
        sources = new_lambda()
        lambda_handler(event, None)
        return sources.execute("SELECT first_name, last_name FROM edtech.students ORDER BY student_id")

    assert students_after(FIRST) == students_after(FIRST) != students_after(SECOND)


@pytest.mark.parametrize(
    "event",
    [{}, {"time": None}, {"time": "yesterday"}, {"time": "2026-11-01T10:03:00"}, []],
    ids=["no time", "null", "not a time", "no time zone", "no object"],
)
def test_anything_but_a_scheduled_event_is_rejected(sources: SourceDatabase, event: Any) -> None:
    with pytest.raises(ValueError, match="Not a scheduled event of EventBridge: "):
        lambda_handler(event, None)
    assert not sources.execute("SELECT 1 FROM pg_tables WHERE schemaname IN ('edtech', 'retail')")


def test_batch_that_the_database_rejects_leaves_no_rows_and_its_retry_succeeds(sources: SourceDatabase) -> None:
    lambda_handler(FIRST, None)
    before = rows(sources)
    # The batch writes sales last, after the other tables.
    sources.execute("ALTER TABLE retail.sales ADD CONSTRAINT closed CHECK (false) NOT VALID")
    with pytest.raises(psycopg.errors.CheckViolation):
        lambda_handler(SECOND, None)
    assert rows(sources) == before
    sources.execute("ALTER TABLE retail.sales DROP CONSTRAINT closed")
    assert lambda_handler(SECOND, None)["sales"] == 20


def test_password_is_read_for_every_batch_and_no_error_quotes_it(sources: SourceDatabase) -> None:
    lambda_handler(FIRST, None)
    change_password("no-longer-it")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed") as rejected:
        lambda_handler(SECOND, None)
    assert "no-longer-it" not in "".join(traceback.format_exception(rejected.value))
    change_password(password_of(sources))
    assert lambda_handler(SECOND, None)["sales"] == 20


def change_password(password: str) -> None:
    """Change the password in the secret of the Lambda, as RDS does every week."""
    boto3.client("secretsmanager").put_secret_value(
        SecretId=os.environ["MESHFLOW_SECRET_ARN"], SecretString=owner_secret(password)
    )


def test_batch_is_logged_in_one_record_without_the_password(
    sources: SourceDatabase, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO):
        batch = lambda_handler(FIRST, None)
    (record,) = [record for record in caplog.records if record.name == "meshflow.source.aws"]
    assert vars(record)["batch"] == batch
    logged = str([vars(record) for record in caplog.records])
    assert password_of(sources) not in logged + "".join(capsys.readouterr())


def test_server_without_tls_is_rejected_unless_the_environment_allows_it(
    sources: SourceDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rds.pem").touch()
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "rds.pem"))
    monkeypatch.delenv("PGSSLMODE")
    with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
        lambda_handler(FIRST, None)


def test_transaction_times_out_with_the_lambda(sources: SourceDatabase, stack: Stack) -> None:
    with connect() as connection:
        assert connection.execute("SHOW transaction_timeout").fetchone() == ("1min",)
    assert stack.traffic["Timeout"] == 60


def test_long_transaction_of_another_session_does_not_delay_a_batch(sources: SourceDatabase) -> None:
    lambda_handler(FIRST, None)
    with psycopg.connect(sources.url) as other:
        other.execute("UPDATE edtech.courses SET credits = credits WHERE course_id = 0")
        assert lambda_handler(SECOND, None)["sales"] == 20
