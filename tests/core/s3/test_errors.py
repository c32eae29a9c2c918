import errno

import pytest

from forebay import errors
from forebay.s3.errors import ERRORS, S3Error, to_s3_error


def all_children(kind):
    return {kind} | {deep for child in kind.__subclasses__() for deep in all_children(child)}


CONDITIONS = sorted(
    all_children(errors.S3Condition) - {errors.S3Condition, errors.BodyError},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", CONDITIONS, ids=lambda kind: kind.__name__)
def test_every_condition_has_its_own_code(kind):
    answer = to_s3_error(kind("why", BucketName="b"))
    expected = "PreconditionFailed" if kind is errors.ConditionFailed else kind.__name__
    assert expected == answer.code
    assert answer.status == ERRORS[expected].status
    assert answer.message == "why"
    assert answer.fields == {"BucketName": "b"}


def test_every_storage_error_is_known():
    kinds = [
        kind for kind in all_children(errors.StorageError) if kind.__module__ == "forebay.errors"
    ]
    answers = {kind.__name__: to_s3_error(kind("x")) for kind in kinds}
    assert {name: answer.code for name, answer in answers.items()} == {
        "StorageError": "ServiceUnavailable",
        "NotFound": "NoSuchKey",
        "PreconditionFailed": "PreconditionFailed",
        "NotSupported": "NotImplemented",
        "InvalidKey": "InvalidArgument",
        "KeyTooLong": "KeyTooLongError",
        "PermissionDenied": "AccessDenied",
        "Unavailable": "ServiceUnavailable",
        "NoSpace": "SlowDown",
        "Corrupt": "InternalError",
        "SourceChanged": "ServiceUnavailable",
        "CatalogTooNew": "InternalError",
    }


def test_a_child_of_a_storage_error_is_answered_as_its_parent():
    class Full(errors.NoSpace):
        pass

    assert to_s3_error(Full()).code == "SlowDown"


def test_what_a_store_says_stays_inside():
    answer = to_s3_error(errors.Unavailable("cannot reach http://secret@10.0.0.1/"))
    assert "secret" not in str(answer)


def test_a_name_too_long_for_the_store_is_a_key_too_long():
    fault = errors.InvalidKey("a/b")
    fault.__cause__ = OSError(errno.ENAMETOOLONG, "File name too long")
    assert to_s3_error(fault).code == "KeyTooLongError"
    assert to_s3_error(errors.InvalidKey("a/b")).code == "InvalidArgument"


def test_a_client_is_told_why_a_store_does_not_take_its_key():
    for kind, code in (
        (errors.InvalidKey, "InvalidArgument"),
        (errors.KeyTooLong, "KeyTooLongError"),
    ):
        answer = to_s3_error(kind("'a//b': this store has no empty names"))
        assert (answer.code, answer.status) == (code, 400)
        assert answer.message == "'a//b': this store has no empty names"


def test_what_a_library_said_of_a_key_stays_inside():
    fault = errors.InvalidKey("'/srv/secret/a': Invalid argument")
    fault.__cause__ = OSError(errno.EILSEQ, "Illegal byte sequence")
    assert to_s3_error(fault).message == "Invalid Argument"


@pytest.mark.parametrize("code", ["BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"])
def test_a_body_error_keeps_its_code(code):
    answer = to_s3_error(errors.BodyError(code, ExpectedDigest="x"))
    assert code == answer.code
    assert answer.message == ERRORS[code].message
    assert answer.fields == {"ExpectedDigest": "x"}


@pytest.mark.parametrize("fault", [ValueError("x"), errors.BodyError("Nonsense"), KeyError("k")])
def test_anything_else_is_an_internal_error(fault):
    answer = to_s3_error(fault)
    assert (answer.code, answer.status) == ("InternalError", 500)


def test_an_s3_error_is_itself():
    fault = S3Error("NoSuchTagSet")
    assert to_s3_error(fault) is fault


@pytest.mark.parametrize("code", ["SlowDown", "ServiceUnavailable"])
def test_a_503_says_when_to_come_back(code):
    assert S3Error(code).headers == {"Retry-After": "1"}
    assert S3Error(code, headers={"Retry-After": "9"}).headers == {"Retry-After": "9"}


def test_an_unknown_code_is_a_mistake_of_ours():
    with pytest.raises(KeyError):
        S3Error("NoSuchCode")


@pytest.mark.parametrize("code", ERRORS)
def test_every_code_has_a_status_of_an_error_and_a_sentence(code):
    status, message = ERRORS[code]
    assert status == 304 or 400 <= status <= 507
    assert message.strip()


def test_statuses_that_clients_rely_on():
    expected = {
        "NotModified": 304,
        "AccessDenied": 403,
        "NoSuchTagSet": 404,
        "MethodNotAllowed": 405,
        "ConditionalRequestConflict": 409,
        "MissingContentLength": 411,
        "PreconditionFailed": 412,
        "InvalidRange": 416,
        "NotImplemented": 501,
        "SlowDown": 503,
        "InsufficientStorage": 507,
    }
    assert expected == {code: ERRORS[code].status for code in expected}
