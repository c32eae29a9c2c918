"""The page of S3 operations against S3's own model, which the AWS SDKs are made from."""

import re
from http import HTTPStatus
from pathlib import Path

import botocore.session
import pytest

from forebay.s3.errors import ERRORS, S3Error
from forebay.s3.operations import OPERATIONS, UNSUPPORTED, level_of, select

PAGE = (Path(__file__).parents[2] / "docs" / "s3-operations.md").read_text()
S3 = botocore.session.get_session().get_service_model("s3")

# Operations of S3's model that are requests of another name, or of another service.
ALIASES = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "ListBucketAnalyticsConfigurations": "GetBucketAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "GetBucketIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "GetBucketInventoryConfiguration",
    "ListBucketMetricsConfigurations": "GetBucketMetricsConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
    "ListObjectAnnotations": "GetObjectAnnotation",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
NOT_FOR_A_BUCKET = {"WriteGetObjectResponse"}  # goes to the endpoint of S3 Object Lambda


def section(name):
    return re.search(rf"<!-- generated: {name} -->(.*)<!-- end: {name} -->", PAGE, re.DOTALL)[1]


def requested(name):
    """The method, level, query and headers of the least request for an operation of S3's."""
    model = S3.operation_model(name)
    path, _, asked = model.http["requestUri"].partition("?")
    query = dict(one.partition("=")[::2] for one in asked.split("&") if one)
    headers = {}
    members = model.input_shape.members if model.input_shape else {}
    for member in model.input_shape.required_members if model.input_shape else ():
        told = members[member].serialization
        if told.get("location") == "querystring":
            query[told["name"]] = "1"
        if told.get("location") == "header":
            headers[told["name"].lower()] = "x"
    bucket, key = ("{Bucket}" in path or None), ("{Key+}" in path or None)
    return model.http["method"], level_of(bucket, key), query, headers


def chosen(*request):
    """The name of the operation that a request is for, and the table that it has to be in."""
    try:
        row = select(*request)
    except S3Error as error:
        return error.fields.get("Operation", error.code), "unsupported"
    return row.name, "probes" if row.probe else "operations"


@pytest.mark.parametrize("name", [one for one in S3.operation_names if one not in NOT_FOR_A_BUCKET])
def test_an_operation_of_s3_is_made_or_refused_and_documented(name):
    documented = ALIASES.get(name, name)
    found, table = chosen(*requested(name))
    assert found == documented
    assert f"| `{documented}` |" in section(table)


def test_only_what_s3_has_is_documented():
    preflight_and_form = {"PreflightRequest", "PostObject"}  # for browsers; no SDK has them
    ours = {row.name for row in (*OPERATIONS, *UNSUPPORTED)}
    assert ours - set(S3.operation_names) == preflight_and_form


def test_every_error_is_documented_with_a_status_that_http_has():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", section("errors"), re.MULTILINE)
    assert [code for code, _, _ in rows] == list(ERRORS)
    for code, status, message in rows:
        assert HTTPStatus(int(status)) >= 400 or code == "NotModified"
        assert message == ERRORS[code].message
