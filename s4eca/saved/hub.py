"""Adapter folders on the Hugging Face hub: push one, fetch or pull one, look into one.

Only the files of an adapter folder travel, either way. Nothing falls back silently: a hub that cannot be reached is an
error unless ``HF_HUB_OFFLINE=1`` asks for the copy in the cache, and then a copy that is not whole is one.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import cast

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, constants, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from yaml import YAMLError

from s4eca._version import __version__
from s4eca.errors import AdapterFolderError
from s4eca.files import staged
from s4eca.saved.card import LICENCES, write_card
from s4eca.saved.folder import CARD, CONFIG, WEIGHTS, Attached, Card, read_config, save, sha256, tensor_table

# All that an adapter folder may hold; `vision` and `text` are plain peft folders of a method that wraps the encoders.
FILES = (
    WEIGHTS,
    CONFIG,
    CARD,
    *(f"{part}/{name}" for part in ("vision", "text") for name in ("*.safetensors", "*.json", "*.md")),
)
# The root of what the library's HTTP package raises; which package that is has changed and is the library's affair.
TRANSPORT = cast(type[Exception], HfHubHTTPError.__bases__[0])
_FAILURES = (TRANSPORT, OSError, ValueError, RuntimeError, EntryNotFoundError, SafetensorsParsingError)


@dataclass(frozen=True)
class Glance:
    """What can be said of an adapter on the hub without its weights.

    Attributes:
        folder: cached folder with its config and card.
        commit: hash of the commit.
        tensors: names and sizes, from the header of the weights file.
        sha256: identity of the saved adapter; None where the weights are not in the cache.
    """

    folder: Path
    commit: str
    tensors: dict[str, int]
    sha256: str | None


def push(
    folder: Path | str,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
    message: str | None = None,
) -> str:
    """Upload an adapter folder in one commit; the repository is made if need be.

    Args:
        folder: the adapter folder; files in it that are not the adapter's stay behind.
        repo_id: ``user/name``.
        private: make a private repository; an existing public one is refused.
        revision: branch, made if need be; None is the main one.
        token: of the hub; None takes the one of the environment or of its login.
        message: first line of the commit.

    Returns:
        The address of the commit.

    Raises:
        AdapterFolderError: no adapter folder, a card whose head the hub refuses, or anything the hub answers with.
    """
    files = _files_to_push(Path(folder))
    repo_id = _checked(repo_id)
    api = _api(token)
    with _sentences("push to", repo_id, revision), _quiet():
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if private and not api.model_info(repo_id).private:
            raise AdapterFolderError(f"{repo_id} exists on the hub and is public; it cannot be pushed to as private.")
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        there = [entry.rfilename for entry in api.model_info(repo_id, revision=revision).siblings or ()]
        stale = [name for name in there if _is_ours(name) and name not in files]
        commit = api.create_commit(
            repo_id,
            [
                *(CommitOperationAdd(name, content) for name, content in files.items()),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message or f"Adapter {read_config(folder)['card']['name']}",
            revision=revision,
        )
    return str(commit.commit_url)


def push_model(
    model: Attached,
    repo_id: str,
    card: Card | None = None,
    *,
    private: bool = False,
    dtype: str = "float32",
    revision: str | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
) -> str:
    """Save a model to a temporary folder and `push` that.

    Raises:
        AdapterFolderError: as `push` and `s4eca.saved.folder.save`.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = save(model, Path(place) / "adapter", card, dtype=dtype)
        return push(folder, repo_id, private=private, revision=revision, token=token, message=commit_message)


def fetch(
    repo_id: str, revision: str | None = None, token: str | bool | None = None, *, files: tuple[str, ...] = FILES
) -> Path:
    """The folder in the hub's cache that holds an adapter, downloaded as far as it is not there.

    Args:
        repo_id: ``user/name``.
        revision: branch, tag or commit; None takes the newest of the main branch.
        token: of the hub; None takes the one of the environment or of its login.
        files: patterns of what is wanted.

    Raises:
        AdapterFolderError: no such repository or revision, no right to read it, no adapter in it, no network, or with
            ``HF_HUB_OFFLINE=1`` no whole copy in the cache.
    """
    repo_id = _checked(repo_id)
    needed = [name for name in (CONFIG, WEIGHTS) if name in files]
    patterns = list(files)
    with _sentences("read", repo_id, revision), _quiet():
        if constants.HF_HUB_OFFLINE:
            kept = Path(snapshot_download(repo_id, revision=revision, allow_patterns=patterns, local_files_only=True))
            lacking = [name for name in needed if not (kept / name).exists()]
            if lacking:
                raise AdapterFolderError(_offline(repo_id, revision))
            return kept
        api = _api(token)
        # Asked first: the download by itself would take an old copy where the hub says no.
        info = api.model_info(repo_id, revision=revision)
        there = {entry.rfilename for entry in info.siblings or ()}
        for name in needed:
            if name not in there:
                raise AdapterFolderError(f"{_at(repo_id, revision)} is no s4eca adapter: it has no {name}.")
        found = Path(snapshot_download(repo_id, revision=revision, allow_patterns=patterns, token=token))
    if found.name != info.sha or not all((found / name).exists() for name in needed):
        raise AdapterFolderError(f"{_at(repo_id, revision)} changed, or went away, while it was read; try again.")
    return found


def pull(repo_id: str, folder: Path | str, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Copy an adapter from the hub into a folder of its own, which appears whole or not at all.

    Args:
        repo_id: ``user/name``.
        folder: where it goes; must not exist.
        revision: branch, tag or commit; None takes the newest of the main branch.
        token: of the hub; None takes the one of the environment or of its login.

    Raises:
        AdapterFolderError: the folder exists or cannot be written, what was downloaded is no adapter folder, or
            anything that `fetch` refuses.
    """
    folder = Path(folder)
    if folder.exists() or folder.is_symlink():
        raise AdapterFolderError(f"{folder} exists; name a folder that does not.")
    source = fetch(repo_id, revision, token)
    read_config(source)
    tensor_table(source / WEIGHTS)
    names = (path.relative_to(source).as_posix() for path in source.rglob("*"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staged(folder) as partial:
            for name in filter(_is_ours, names):
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, partial / name)
    except OSError as error:
        raise AdapterFolderError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return folder


def look(repo_id: str, revision: str | None = None, token: str | bool | None = None) -> Glance:
    """Config, card and tensor names of an adapter on the hub; of the weights only the header is read.

    Raises:
        AdapterFolderError: as `fetch`.
    """
    folder = fetch(repo_id, revision, token, files=(CONFIG, CARD))
    weights = folder / WEIGHTS
    if weights.exists():
        return Glance(folder, folder.name, tensor_table(weights), sha256(folder))
    with _sentences("read", repo_id, revision):
        header = _api(token).parse_safetensors_file_metadata(repo_id, WEIGHTS, revision=folder.name)
    return Glance(folder, folder.name, {k: math.prod(t.shape) for k, t in header.tensors.items()}, None)


def _files_to_push(folder: Path) -> dict[str, bytes | str]:
    """Names on the hub -> paths (or the bytes of a card that is not there), checked before anything leaves."""
    note = read_config(folder)
    tensors = tensor_table(folder / WEIGHTS)
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found: dict[str, bytes | str] = {
        name: str(path) for path in paths if _is_ours(name := path.relative_to(folder).as_posix())
    }
    if CARD in found:
        _check_head(folder / CARD)
    else:
        found[CARD] = write_card(note, sum(tensors.values()), "dtype as in the file").encode()
    return found


def _check_head(path: Path) -> None:
    """Refuse a card that the hub would refuse, before a repository is made for it."""
    again = "; s4eca adapter convert writes the card anew."
    try:
        licence = ModelCard(path.read_text(encoding="utf-8")).data.get("license")
    except (ValueError, OSError, YAMLError) as error:
        raise AdapterFolderError(f"{path} has a head that cannot be read: {_first(error)}{again}") from error
    if not isinstance(licence, str) or licence not in LICENCES:
        raise AdapterFolderError(f"{path} has license {licence!r}, which is no identifier that the hub knows{again}")


def _is_ours(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in FILES)


def _checked(repo_id: str) -> str:
    if repo_id.count("/") != 1:
        raise AdapterFolderError(f"{repo_id!r} is no id of an adapter on the hub; it must be user/name.")
    return repo_id


def _api(token: str | bool | None) -> HfApi:
    return HfApi(token=token, library_name="s4eca", library_version=__version__)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars where nobody watches: what a log or a pipe gets stays one sentence."""
    if are_progress_bars_disabled() or sys.stderr.isatty() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None:
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextlib.contextmanager
def _sentences(task: str, repo_id: str, revision: str | None) -> Iterator[None]:
    """Turn what the hub's library raises into one sentence."""
    try:
        yield
    except AdapterFolderError:
        raise
    except _FAILURES as error:
        raise AdapterFolderError(_sentence(error, task, repo_id, revision)) from error


def _sentence(error: BaseException, task: str, repo_id: str, revision: str | None) -> str:
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} is no id of an adapter on the hub; it must be user/name: {_clean(str(error))}."
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated on the hub; ask for access at {constants.ENDPOINT}/{repo_id} and set HF_TOKEN."
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} on the hub has no revision {revision or constants.DEFAULT_REVISION!r}."
    if isinstance(error, RepositoryNotFoundError):
        return f"The hub has no model {repo_id}, or it is private and the token in use may not see it."
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, task, repo_id)
    if isinstance(error, OfflineModeIsEnabled | EntryNotFoundError):
        if task == "push to":
            return f"HF_HUB_OFFLINE is set, so that {repo_id} cannot be pushed."
        return _offline(repo_id, revision)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or constants.HF_HUB_CACHE} cannot be written: {error.strerror}."
    if isinstance(error, TRANSPORT):
        return (
            f"The hub at {constants.ENDPOINT} cannot be reached to {task} {repo_id}: {_first(error)}; "
            "HF_HUB_OFFLINE=1 takes the copy in the cache, if there is one."
        )
    return f"The hub's library could not {task} {repo_id}: {_first(error)}."


def _refusal(error: HfHubHTTPError, task: str, repo_id: str) -> str:
    status = error.response.status_code
    said = _clean(error.server_message or _first(error))
    if status == 401:
        return f"The hub does not know the token in use, so it does not let us {task} {repo_id}: {said}."
    if status == 403:
        return f"The hub does not let the owner of this token {task} {repo_id}: {said}."
    return f"The hub answered {status} when asked to {task} {repo_id}: {said}."


def _offline(repo_id: str, revision: str | None) -> str:
    return f"HF_HUB_OFFLINE is set and {constants.HF_HUB_CACHE} holds no whole copy of {_at(repo_id, revision)}."


def _at(repo_id: str, revision: str | None) -> str:
    return f"{repo_id} at revision {revision}" if revision else repo_id


def _first(error: BaseException) -> str:
    return _clean(str(error).strip() or type(error).__name__)


def _clean(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
