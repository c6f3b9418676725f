"""Talk to a Label Studio server, ours or another, with one clear message per failure.

LabelStudioError
├── UnreachableError    nothing answers, or it broke off: asking again may help
├── ServerFaultError    the server answered with a fault of its own (5xx)
├── UnauthorizedError   the token is wrong, revoked or lacks a right
└── NotFoundError       no such project, view or task

The SDK tells legacy tokens from personal access tokens and exchanges the latter. Its methods are used
where something is created or changed, with retries off: a lost reply would double it. Reads go over
its authenticated transport as plain JSON, for its models mistype the task list (2.0.5 declares
`annotations` a string and warns). Nothing here ever prints an SDK error as it is: its text holds
the session cookie and the token's place.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from al_loop.errors import LabelStudioError

START_COMMAND = "al-loop label-studio start"
NEW_PROJECT_COMMAND = "al-loop label-studio new-project"

# An import of 250 tasks takes under a second; a slow disk or a busy server may need far more.
_TIMEOUT_S = 60.0
_IMPORT_TIMEOUT_S = 300.0
_PAGE_SIZE = 500
_NO_RETRY = {"max_retries": 0}

Json = dict[str, Any]


class UnreachableError(LabelStudioError):
    """Nothing answered, or the answer was cut off: what was asked may or may not have happened."""


class ServerFaultError(LabelStudioError):
    """The server answered that it failed: what was asked may or may not have happened."""


class UnauthorizedError(LabelStudioError):
    """The token is wrong, was revoked, or lacks a right."""


class NotFoundError(LabelStudioError):
    """The server has no such thing."""


@dataclass(frozen=True)
class Connection:
    """How to reach a server: its address and an access token, legacy or personal."""

    url: str
    token: str = field(repr=False)
    timeout_s: float = _TIMEOUT_S

    @property
    def base_url(self) -> str:
        """The address without a trailing slash."""
        return self.url.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine: no proxy may stand between."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")

    @contextmanager
    def open(self) -> Iterator[Api]:
        """Yield the server's functions; every failure inside them is a LabelStudioError."""
        import httpx

        if urlsplit(self.url).scheme not in ("http", "https"):
            raise LabelStudioError(f"expected an address like https://labels.example.org, got {self.url!r}")
        # Redirects are not followed: the token must not travel to another host.
        with httpx.Client(
            timeout=self.timeout_s, follow_redirects=False, trust_env=not self.is_local, verify=_trusted()
        ) as http:
            with self.explain("open the connection"):
                # The SDK does not ask the client how long to wait, and would take a minute of its own.
                client = _sdk().LabelStudio(
                    base_url=self.base_url, api_key=self.token, httpx_client=http, timeout=self.timeout_s
                )
            yield Api(self, client)

    def check(self) -> str:
        """Return the server's version; raises when it does not answer or refuses the token."""
        with self.open() as api:
            api.whoami()
            return api.version()

    @contextmanager
    def explain(self, doing: str) -> Iterator[None]:
        """Turn every failure of a request into a LabelStudioError that says what to do."""
        import httpx

        try:
            with sdk_warnings_off():
                yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            kind = type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UnreachableError(
                    f"the certificate of {self.url} is not trusted here, and nothing was sent to it. Where your plant "
                    "signs its own, name the file of its authority: export SSL_CERT_FILE=..."
                ) from None
            raise UnreachableError(
                f"Label Studio does not answer at {self.url} ({kind} while trying to {doing}). "
                f"Start the embedded server with: {START_COMMAND}; "
                "or correct the address of your own in al-loop.toml"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise self._stranger(doing) from None
        except _sdk().core.ApiError as error:
            raise self._explained(error.status_code, error.body, doing) from None

    def _explained(self, status: int | None, body: object, doing: str) -> LabelStudioError:
        detail = _detail(body)
        if status in (401, 403):
            return UnauthorizedError(
                f"Label Studio at {self.url} refuses the token ({status}: {detail}) while trying to {doing}. "
                "Make a new one in Label Studio under Account & Settings, Access token; "
                f"the embedded server's own is set up again by: {START_COMMAND}"
            )
        if status == 404 and isinstance(body, Mapping):
            return NotFoundError(
                f"Label Studio at {self.url} has no such thing (404: {detail}) while trying to {doing}"
            )
        if status is not None and 300 <= status < 400:
            return LabelStudioError(
                f"{self.url} redirects elsewhere, and the token is not sent there; "
                "put the address it finally has into al-loop.toml"
            )
        if status is not None and status >= 500:
            return ServerFaultError(
                f"Label Studio at {self.url} failed ({status}: {detail}) while trying to {doing}. "
                "Its log says why; nothing is lost, run the command again"
            )
        if not isinstance(body, Mapping):
            return self._stranger(doing)
        return LabelStudioError(f"Label Studio at {self.url} refused to {doing} ({status}: {detail})")

    def _stranger(self, doing: str) -> LabelStudioError:
        return LabelStudioError(
            f"what answers at {self.url} does not speak as Label Studio does (while trying to {doing}); "
            "check the address and any proxy before it"
        )


class Api:
    """The functions of one server that the bridge uses; plain JSON in and out."""

    def __init__(self, connection: Connection, client: Any) -> None:
        """Use the SDK's client; made by `Connection.open`."""
        self._connection = connection
        self._client = client

    @property
    def base_url(self) -> str:
        """The server's address without a trailing slash."""
        return self._connection.base_url

    def whoami(self) -> Json:
        """Return the user the token belongs to."""
        return dict(self._get("ask who we are", "api/current-user/whoami"))

    def version(self) -> str:
        """Return the server's version, such as 1.23.2."""
        return str(self._get("ask for the version", "api/version").get("release", "unknown"))

    def date(self) -> str:
        """Return the server's time, as it writes it into the header of an answer."""
        return str(self._answer("ask for the time", "GET", "api/version").headers.get("date", ""))

    def project(self, project_id: int) -> Json:
        """Return a project's settings; raises NotFoundError, with what to do about it."""
        try:
            return dict(self._get(f"read project {project_id}", f"api/projects/{project_id}/"))
        except NotFoundError:
            raise NotFoundError(
                f"project {project_id} is not on {self.base_url} (any more). If it was deleted on purpose, "
                f"begin another with: {NEW_PROJECT_COMMAND}; if not, restore the server's backup"
            ) from None

    def projects(self, title: str) -> list[Json]:
        """Return projects whose title is (or contains) `title`."""
        answer = self._get("look for the project", "api/projects/", title=title, page_size=100)
        return list(answer["results"])

    def create_project(self, **settings: Any) -> int:
        """Create a project and return its id."""
        with self._connection.explain("create a project"):
            return int(self._client.projects.create(**settings, request_options=_NO_RETRY).id)

    def update_project(self, project_id: int, **settings: Any) -> None:
        """Change settings of a project."""
        with self._connection.explain(f"change project {project_id}"):
            self._client.projects.update(project_id, **settings, request_options=_NO_RETRY)

    def delete_project(self, project_id: int) -> None:
        """Delete a project with everything in it."""
        with self._connection.explain(f"delete project {project_id}"):
            self._client.projects.delete(project_id, request_options=_NO_RETRY)

    def tasks(self, project_id: int, filters: Json, *, whole: bool) -> list[Json]:
        """Return the project's tasks that match: id and data, or `whole` with annotations and predictions."""
        params = {"project": project_id, "page_size": _PAGE_SIZE, "resolve_uri": "false"}
        params["query"] = json.dumps({"filters": filters})
        params |= {"fields": "all"} if whole else {"fields": "task_only", "include": "id,data"}
        found: list[Json] = []
        for page in range(1, 1_000_000):
            answer = self._get(f"list the tasks of project {project_id}", "api/tasks/", page=page, **params)
            found += answer["tasks"]
            if len(answer["tasks"]) < _PAGE_SIZE or len(found) >= answer["total"]:
                break
        return found

    def import_tasks(self, project_id: int, tasks: Sequence[Json]) -> None:
        """Create tasks, all of them or none; after an error, list before sending again."""
        options = _NO_RETRY | {"timeout_in_seconds": int(_IMPORT_TIMEOUT_S)}
        with self._connection.explain(f"import {len(tasks)} tasks into project {project_id}"):
            self._client.projects.import_tasks(project_id, request=list(tasks), request_options=options)

    def delete_task(self, task_id: int) -> None:
        """Delete one task."""
        with self._connection.explain(f"delete task {task_id}"):
            self._client.tasks.delete(str(task_id), request_options=_NO_RETRY)

    def views(self, project_id: int) -> list[Json]:
        """Return the project's data manager tabs."""
        return list(self._get("list the views", "api/dm/views/", project=project_id))

    def create_view(self, project_id: int, data: Json) -> int:
        """Create a tab and return its id."""
        with self._connection.explain("create a view"):
            return int(self._client.views.create(project=project_id, data=data, request_options=_NO_RETRY).id)

    def users(self) -> dict[int, str]:
        """Return the e-mail address of every user by id."""
        return {int(user["id"]): str(user["email"]) for user in self._get("list the users", "api/users/")}

    def local_storages(self, project_id: int) -> list[Json]:
        """Return the project's local-files storages."""
        return list(self._get("list the storages", "api/storages/localfiles/", project=project_id))

    def create_local_storage(self, project_id: int, path: Path) -> None:
        """Allow the server to show the files below `path` (on the server's machine) in a project."""
        with self._connection.explain(f"allow the images in {path}"):
            self._client.import_storage.local.create(
                project=project_id,
                path=str(path),
                title="al-loop images",
                use_blob_urls=True,
                regex_filter="(?!)",  # matches no file: "Sync" must not make tasks of its own
                request_options=_NO_RETRY,
            )

    def image_type(self, url: str) -> str:
        """Return what kind of content the server answers with for a task's image; LabelStudioError where it does not."""
        path, _, query = url.lstrip("/").partition("?")  # the transport drops what follows a question mark
        answer = self._answer(
            f"show {url}", "GET", path, params=dict(parse_qsl(query)), request_options={"max_retries": 2}
        )
        return str(answer.headers.get("content-type", ""))

    def s3_storages(self, project_id: int) -> list[Json]:
        """Return the project's S3 storages; the server keeps their keys to itself."""
        return list(self._get("list the storages", "api/storages/s3/", project=project_id))

    def save_s3_storage(self, storage_id: int | None, settings: Json) -> None:
        """Make a storage, or change the one with that id; the server looks into the bucket first."""
        method, path = (
            ("PATCH", f"api/storages/s3/{storage_id}") if storage_id else ("POST", "api/storages/s3/")
        )
        doing = f"let the server read s3://{settings['bucket']}/{settings['prefix']}"
        self._request(doing, method, path, json=settings, request_options=_NO_RETRY)

    def resolve(self, project_id: int, uri: str) -> str:
        """Return the address that a browser is sent to for an object of the project's storages."""
        path = f"projects/{project_id}/resolve/"
        coded = base64.urlsafe_b64encode(uri.encode()).decode()
        doing = f"resolve {uri}"
        with self._connection.explain(doing):
            found = self._send("GET", path, params={"fileuri": coded}, request_options={"max_retries": 2})
            if found.status_code == 404:
                raise NotFoundError(f"no storage of project {project_id} gives {uri}")
            if "location" not in found.headers:
                raise _sdk().core.ApiError(status_code=found.status_code, body=_json_or_none(found))
            return str(found.headers["location"])

    def uploads(self, project_id: int) -> list[str]:
        """Return the paths, below /data/, of the files uploaded to a project."""
        found = self._get("list the uploaded files", f"api/projects/{project_id}/file-uploads", all="true")
        return [str(item["file"]) for item in found]

    def upload(self, project_id: int, files: Mapping[str, Path]) -> None:
        """Upload files under the given names; creates no tasks."""
        contents = {name: (name, path.read_bytes()) for name, path in files.items()}
        self._request(
            f"upload {len(files)} images",
            "POST",
            f"api/projects/{project_id}/import",
            params={"commit_to_project": "false"},
            files=contents,
            request_options=_NO_RETRY | {"timeout_in_seconds": int(_IMPORT_TIMEOUT_S)},
        )

    def _get(self, doing: str, path: str, **params: Any) -> Any:
        return self._request(doing, "GET", path, params=params, request_options={"max_retries": 2})

    def _request(self, doing: str, method: str, path: str, **arguments: Any) -> Any:
        with self._connection.explain(doing):
            return self._answer(doing, method, path, **arguments).json()

    def _answer(self, doing: str, method: str, path: str, **arguments: Any) -> Any:
        with self._connection.explain(doing):
            response = self._send(method, path, **arguments)
            if not 200 <= response.status_code < 300:
                raise _sdk().core.ApiError(status_code=response.status_code, body=_json_or_none(response))
            return response

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request with the SDK's authentication; the answer as it is, whatever its status."""
        return self._client._client_wrapper.httpx_client.request(path, method=method, **arguments)


def _trusted() -> ssl.SSLContext | bool:
    """Whose certificates count: the usual authorities', or those of the plant's own file, also for a server on this machine."""
    own = os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=own) if own else True
    except OSError as error:  # as ssl says of a file that is missing, or no certificate
        raise LabelStudioError(f"SSL_CERT_FILE={own} cannot be read as certificates: {error}") from None


def _sdk() -> Any:
    """Return the SDK; imported late, for it takes more than a second."""
    with sdk_warnings_off():
        import label_studio_sdk
    return label_studio_sdk


@contextmanager
def sdk_warnings_off() -> Iterator[None]:
    """Silence what the SDK makes Python say at its import and in use."""
    # The SDK uses what pydantic has deprecated, at its import and at every token exchange.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="label_studio_sdk")
        yield


def _json_or_none(response: Any) -> object:
    try:
        return response.json()
    except ValueError:
        return None


def _detail(body: object) -> str:
    """Return what the server says about a failure, and nothing else of its answer."""
    if not isinstance(body, Mapping):
        return "no detail"
    parts = [str(body.get("detail", "no detail"))]
    errors = body.get("validation_errors")
    if isinstance(errors, Mapping):
        parts += [
            f"{name}: {' '.join(map(str, says))}" for name, says in errors.items() if isinstance(says, list)
        ]
    return "; ".join(parts)[:500]
