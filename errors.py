"""Exceptions that a person may see.

Each one is a class with a stable `code`, an HTTP `status` and named parameters; it holds no sentence. The sentence stands
in the catalogues under `error.<code>` and is chosen at the edge (web pages, JSON, command line), in the person's language.

    >>> error = ModelNotFound(name="poet", field="model")
    >>> error.code, error.status, error.parameters
    ('model_not_found', 404, {'name': 'poet'})

Not covered: bugs. Those are assertions and stay tracebacks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import ClassVar

Parameter = str | int | float


class AZRError(ValueError):
    """An error that a person can cause or must know about. `field` names the input it is about."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400

    def __init__(self, *, field: str | None = None, **parameters: Parameter) -> None:
        super().__init__(self.code, parameters)
        self.field = field
        self.parameters = parameters

    def __str__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self.parameters.items())
        return f"{self.code}({values})"


# ---- what was asked for does not make sense: 422 ---------------------------------------------------------------------


class InvalidInput(AZRError):
    """A value outside its bounds; `reason` is the key of a sentence in the catalogues, `value` what was given."""

    code = "invalid_input"
    status = 422


class InvalidName(InvalidInput):
    """A name that cannot be a folder on every system; `reason` is one of `workspace.NAME_RULES`."""

    code = "invalid_name"


class HeadsDoNotDivide(InvalidInput):
    """`d_model` must be a multiple of `num_heads`, and each head even in size for rotary positions."""

    code = "heads_do_not_divide"


class DoesNotFit(InvalidInput):
    """The training needs `needed_bytes` of memory, and `available_bytes` are available."""

    code = "does_not_fit"


class DiskBudgetTooSmall(InvalidInput):
    """One checkpoint takes `needed_bytes`, and `budget_bytes` may be used."""

    code = "disk_budget_too_small"


class WeightsDoNotFit(InvalidInput):
    """There are `weights` weights for `books` books."""

    code = "weights_do_not_fit"


class BookTooSmall(InvalidInput):
    """The chosen books have `tokens` tokens and at least `needed` are needed; with the reason "held_out", in their held-out part."""

    code = "book_too_small"


class NoBooks(InvalidInput):
    code = "no_books"


class UnsupportedFormat(AZRError):
    """An unknown file or export format; `supported` lists the known ones."""

    code = "unsupported_format"
    status = 415


class BookUnreadable(InvalidInput):
    """The bytes are not text in `encoding` (the first wrong byte stands at `position`)."""

    code = "book_unreadable"


class NotText(InvalidInput):
    """The bytes are not text in any known encoding."""

    code = "not_text"


class TwoEncodings(InvalidInput):
    """A book changes its encoding at `line`."""

    code = "two_encodings"


class EmptyBook(InvalidInput):
    code = "empty_book"


class BookRefused(InvalidInput):
    """A file cannot be read as a book; `reason` is one of BOOK_REASONS."""

    code = "book_refused"


BOOK_REASONS = (
    "damaged", "mislabelled", "encrypted", "entities", "bomb", "many", "nested", "no_books", "slow", "memory", "scanned", "glyphs",
    "old_word", "not_a_chat", "package", "a_model",
)  # fmt: skip


class ModelRefused(InvalidInput):
    """A file that is not a model this program can hold.

    `reason` is one of: other_file, not_a_model, damaged, unsafe, pickle, code, too_large, architecture, setting, size, names, shape,
    numbers, tokenizer. `found` is what stands there.
    """

    code = "model_refused"


# ---- not there, or in the way ----------------------------------------------------------------------------------------


class NotFound(AZRError):
    code = "not_found"
    status = 404


class ModelNotFound(NotFound):
    code = "model_not_found"


class BookNotFound(NotFound):
    code = "book_not_found"


class CheckpointNotKept(NotFound):
    """The model `name` has no whole checkpoint of `iteration`; `kept` lists those that there are."""

    code = "checkpoint_not_kept"


class DocumentNotFound(NotFound):
    code = "document_not_found"


class QueueEntryNotFound(NotFound):
    """No training with this `id` waits in the queue: it has begun, or was removed."""

    code = "queue_entry_not_found"


class FileMissing(NotFound):
    """There is no file at `path`; with the reason "no_books" it is a folder without files that can be read."""

    code = "file_missing"


class MethodNotAllowed(AZRError):
    code = "method_not_allowed"
    status = 405


class Conflict(AZRError):
    code = "conflict"
    status = 409


class NameTaken(Conflict):
    """The name `name` is taken, ignoring case and Unicode form."""

    code = "name_taken"


class TrainingRuns(Conflict):
    """Another training is running: that of `model`."""

    code = "training_runs"


class NothingToStop(Conflict):
    code = "nothing_to_stop"


class InUse(Conflict):
    """`name` cannot be deleted or changed while the training of `model` uses it."""

    code = "in_use"


class NoTokenizer(Conflict):
    """The model `name` was never trained, so it has no tokenizer and cannot write yet."""

    code = "no_tokenizer"


class NoCheckpoint(Conflict):
    """The model `name` has no checkpoint, or none that is whole."""

    code = "no_checkpoint"


class FileInTheWay(Conflict):
    """There is a file at `path` already, and nobody asked to replace it."""

    code = "file_in_the_way"


class WorkspaceLocked(Conflict):
    """Another server or command (`holder`) uses this folder."""

    code = "workspace_locked"


class BodyTooLarge(AZRError):
    """A request body over `limit_bytes`."""

    code = "body_too_large"
    status = 413


class BookTooLarge(BodyTooLarge):
    code = "book_too_large"


class BodyTooSlow(AZRError):
    """Nothing of a request body arrived for `seconds`."""

    code = "body_too_slow"
    status = 408


# ---- refused for safety ----------------------------------------------------------------------------------------------


class HostRefused(AZRError):
    """The Host header is not one of the server's own names."""

    code = "host_refused"
    status = 421


class OriginRefused(AZRError):
    """A request that changes something, sent by a page of another origin."""

    code = "origin_refused"
    status = 403


class NetworkClosed(AZRError):
    """A caller from the local network, while the server serves this machine only."""

    code = "network_closed"
    status = 403


class TokenMissing(AZRError):
    """A caller from the local network that gave no token."""

    code = "token_missing"
    status = 401


class TokenWrong(TokenMissing):
    """A caller from the local network whose token is not, or no longer, the one that counts."""

    code = "token_wrong"


class TooManyTokens(AZRError):
    """A caller from the local network that tried several wrong tokens; it is heard again after `seconds`."""

    code = "too_many_tokens"
    status = 429


class OnlyHere(AZRError):
    """Something that only a browser or program on this machine may do."""

    code = "only_here"
    status = 403


class NoLocalNetwork(Conflict):
    """This machine has no address in a local network."""

    code = "no_local_network"


class NotThisMachine(InvalidInput):
    """`address` is none of this machine's addresses, so the server cannot listen there."""

    code = "not_this_machine"


class NoFreePort(Conflict):
    """Every port from `first` to `last` is in use."""

    code = "no_free_port"


# ---- what went wrong while working -----------------------------------------------------------------------------------


class Overloaded(AZRError):
    """More generations are waiting than the server will queue, or it is being closed; try again after `seconds`."""

    code = "overloaded"
    status = 503


class ReaderStalled(AZRError):
    """Nobody took the text for `seconds`; the generation was stopped so that others can run."""

    code = "reader_stalled"
    status = 408


class DiskFull(AZRError):
    """The disk that holds `path` has no room left, or reports an error."""

    code = "disk_full"
    status = 507


class AccessDenied(AZRError):
    """The server's user may not read or write `path`; `reason` is "read", "write" or "read_only" (the whole disk)."""

    code = "access_denied"
    status = 403


class FileUnwritable(AZRError):
    """The file `path` cannot be written, and `detail` is what the system said."""

    code = "file_unwritable"


class OutputUnwritable(AZRError):
    """Standard output cannot be written; `reason` is "closed" or "full", else `detail` is what the system said."""

    code = "output_unwritable"
    status = 500


class FolderUnusable(AZRError):
    """`path` must be a folder; `reason` is "file", "link", "missing" or "system", and `detail` what the system said."""

    code = "folder_unusable"
    status = 500


class Diverged(AZRError):
    """The loss diverged at `iteration`, `times` in a row, even with a halved learning rate; nothing of it was saved."""

    code = "diverged"
    status = 500


class NumbersOutOfRange(Diverged):
    """The loss or its gradient was not finite at `iteration`, `times` in a row: the weights or the number format are to blame."""

    code = "numbers_out_of_range"


class OutOfMemory(AZRError):
    """The device ran out of memory even with a micro-batch of one; with the reason "generation", while it wrote a text."""

    code = "out_of_memory"
    status = 507


class DeviceMissing(InvalidInput):
    """This machine has no `device`."""

    code = "device_missing"


class TooManyDevices(InvalidInput):
    """`devices` processes were asked for; this machine, the batch or self-play's prompts have work for `most`."""

    code = "too_many_devices"


class ProcessLost(AZRError):
    """One of the `devices` processes of a training ended before its time (exit status `status_code`, or killed)."""

    code = "process_lost"
    status = 500


class BookDamaged(Conflict):
    """The text of book `name` is damaged on disk and cannot be restored; with the reason "folder", a folder stands in its place."""

    code = "book_damaged"


class ModelDamaged(Conflict):
    """A file of model `name` does not match what was written; `file` names it.

    The reason is "beyond_checkpoints" where training on cannot mend it, as it can mend the weights.
    """

    code = "model_damaged"


class ExportFailed(AZRError):
    """The export of `name` as `format` did not pass its test, so it is not handed out; `check` is what failed."""

    code = "export_failed"
    status = 500


class InternalError(AZRError):
    """A bug. The log holds the traceback under `reference`."""

    code = "internal_error"
    status = 500


# ---- from one process to another -------------------------------------------------------------------------------------


def from_code(code: str, field: str | None, parameters: dict[str, Parameter]) -> AZRError:
    """Return the error that another process reported by its code.

    >>> from_code("no_books", "books", {})
    NoBooks('no_books', {})
    """
    kind = next((kind for kind in _kinds(AZRError) if kind.code == code), InternalError)
    return kind(field=field, **parameters)


@functools.cache
def codes() -> frozenset[str]:
    """Return the codes of all errors."""
    return frozenset(kind.code for kind in _kinds(AZRError))


def _kinds(of: type[AZRError]) -> Iterator[type[AZRError]]:
    yield of
    for kind in of.__subclasses__():
        yield from _kinds(kind)
