"""Every error that Forebay's own code and its plugins raise.

Two families. `StorageError` and its children are what a plugin raises (the
original exception as ``__cause__``). `S3Condition` and its children are what
the object layer says of a request; their names are S3's error codes, and
`forebay.s3.errors` maps both families to codes, statuses and messages.
"""


class ForebayError(Exception):
    """The root of everything Forebay raises on purpose."""


class ConfigurationError(ForebayError):
    """What the operator wrote cannot be used; `faults` lists every reason, one line each."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class PluginError(ForebayError):
    """A plugin could not be loaded, found or told apart from another."""


class MountBusy(ForebayError):
    """A mount cannot come or go, because of what lies below its path; nothing changed."""


# --- what a store says -------------------------------------------------------------


class StorageError(ForebayError):
    """A store failed in a way it can name no better; the operation may be tried again."""


class NotFound(StorageError):
    """The store holds no object of that key."""


class PreconditionFailed(StorageError):
    """The condition handed to the store did not hold; nothing changed."""


class NotSupported(StorageError):
    """The store cannot honour an argument it was given; nothing changed."""


class InvalidKey(StorageError):
    """The store can never hold this key; trying again is useless.

    Clients are told the text of one that has no cause: it speaks of the key, and of no place.
    """


class KeyTooLong(InvalidKey):
    """The key is longer than the store can hold."""


class PermissionDenied(StorageError):
    """The store refuses us; trying again is useless until an operator acts."""


class Unavailable(StorageError):
    """The store cannot be reached now; trying again later may help."""


class NoSpace(StorageError):
    """There is no room, and none could be made."""


class Corrupt(StorageError):
    """Bytes on a shelf are not the bytes that were put there."""


class SourceChanged(StorageError):
    """The object changed while it was being read; what was read so far must not be used."""


class CatalogTooNew(StorageError):
    """The catalog was written by a newer Forebay; this one must not touch it."""


# --- what the object layer says of a request ---------------------------------------


class S3Condition(ForebayError):
    """A request cannot be done as asked; the class name is S3's error code.

    `message` is for people. `fields` go into the error document as they are.
    """

    def __init__(self, message: str = "", **fields: str) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields


class BodyError(S3Condition):
    """The request body is not what it was announced to be; raised by `read` at its end.

    `code` is the S3 error code (BadDigest, IncompleteBody, XAmzContentSHA256Mismatch, ...).
    """

    def __init__(self, code: str, message: str = "", **fields: str) -> None:
        super().__init__(message, **fields)
        self.code = code


class AccessDenied(S3Condition):
    """The identity may not do this."""


class BucketAlreadyExists(S3Condition):
    """The bucket belongs to somebody else."""


class BucketAlreadyOwnedByYou(S3Condition):
    """The bucket is already the caller's."""


class BucketNotEmpty(S3Condition):
    """The bucket still holds objects."""


class ConditionalRequestConflict(S3Condition):
    """A conditional write met another write of the same key under way."""


class ConditionFailed(S3Condition):
    """A precondition of the request does not hold (S3 code PreconditionFailed)."""


class EntityTooLarge(S3Condition):
    """A body is larger than all the room that there can be for it."""


class EntityTooSmall(S3Condition):
    """A part that is not the last is under 5 MiB."""


class InvalidArgument(S3Condition):
    """An argument has a value that cannot be."""


class InvalidPart(S3Condition):
    """A part named in a completion is missing or has another ETag."""


class InvalidPartOrder(S3Condition):
    """The parts of a completion are not in ascending order."""


class InvalidRequest(S3Condition):
    """The request contradicts itself."""


class KeyTooLongError(S3Condition):
    """The key, prefix of the bucket name included, is over 1,024 bytes."""


class NoSuchBucket(S3Condition):
    """There is no bucket of that name."""


class NoSuchKey(S3Condition):
    """There is no object of that key."""


class NoSuchUpload(S3Condition):
    """There is no multipart upload of that id for that key."""


class ServiceUnavailable(S3Condition):
    """What stands behind cannot be reached; the client should come back later."""


class SlowDown(S3Condition):
    """There is no room or no turn now; the client should come back later."""
