"""Requests to a Label Studio server, embedded or your own.

The SDK distinguishes legacy tokens from personal access tokens and exchanges the latter. Requests use its
authenticated transport with plain JSON. Its models are not used, since they have wrong types for the task
list (2.0.5 declares `annotations` as a string and warns).
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client import responses
from al_loop.labelling.client.failures import NEW_PROJECT_COMMAND, NotFoundError, explain_failures, sdk
from al_loop.labelling.client.responses import Json, UnexpectedAnswerError, read_answer

#: Title of a storage that al-loop creates for its images.
STORAGE_TITLE = "al-loop images"
_TIMEOUT_S = 60.0
# An import of 250 tasks takes less than a second, but much longer with a slow disk or a busy server.
_IMPORT_TIMEOUT_S = 300.0
_PAGE_SIZE = 500
# Brush strokes are long: 500 painted tasks would not fit into one answer.
_WHOLE_PAGE_SIZE = 100
_MAX_PAGES = 1000
# Attempts to read a list that changes while it is read. A list that stays shorter than its total is an error.
_LISTING_ATTEMPTS = 3


@dataclass(frozen=True)
class Connection:
    """Address of a server and an access token, legacy or personal."""

    url: str
    token: str = field(repr=False)
    timeout_s: float = _TIMEOUT_S

    @property
    def base_url(self) -> str:
        """The address without a trailing slash."""
        return self.url.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, so that no proxy may be used."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")

    @contextmanager
    def open(self) -> Iterator[Api]:
        """Yield an `Api` for the server."""
        from al_loop.labelling.client.http import BoundedClient

        if urlsplit(self.url).scheme not in ("http", "https"):
            raise LabelStudioError(f"expected an address like https://labels.example.org, got {self.url!r}")
        # Redirects are not followed: the token must not travel to another host.
        with BoundedClient(
            timeout=self.timeout_s,
            follow_redirects=False,
            trust_env=not self.is_local,
            verify=_certificates(),
        ) as http:
            with explain_failures(self.url, "open the connection"):
                # The SDK ignores the timeout of the client; by default it uses its own of one minute.
                client = sdk().LabelStudio(
                    base_url=self.base_url, api_key=self.token, httpx_client=http, timeout=self.timeout_s
                )
            yield Api(self.base_url, client)


def _certificates() -> ssl.SSLContext | bool:
    """Return the trusted certificates: those of $SSL_CERT_FILE, or True for the default ones."""
    path = os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=path) if path else True
    except OSError as error:  # also raised for a file without certificates
        raise LabelStudioError(f"SSL_CERT_FILE={path} cannot be read as certificates: {error}") from None


class Api:
    """Functions of one server, with plain JSON. Every failure is a LabelStudioError.

    Only reads are retried: a change whose answer was lost would otherwise be made twice.
    """

    def __init__(self, base_url: str, client: Any) -> None:
        """Use a client of the SDK. `Connection.open` creates the instance."""
        self.base_url = base_url
        self._client = client

    def whoami(self) -> Json:
        """Return the user of the token."""
        return dict(self._get("read the user", Json, "api/current-user/whoami"))

    def version(self) -> str:
        """Return the server's version, such as 1.23.2."""
        return str(self._get("read the version", Json, "api/version").get("release", "unknown"))

    def date(self) -> str:
        """Return the server's time, as written in the header of an answer."""
        return str(self._send("read the time", "GET", "api/version").headers.get("date", ""))

    def project(self, project_id: int) -> Json:
        """Return a project's settings; raise NotFoundError if it does not exist."""
        doing = f"read project {project_id}"
        try:
            return dict(self._get(doing, responses.Project, f"api/projects/{project_id}/"))
        except NotFoundError:
            raise NotFoundError(
                f"project {project_id} is not on {self.base_url}. If it was deleted on purpose, begin a "
                f"new one: {NEW_PROJECT_COMMAND}; otherwise restore the server's backup"
            ) from None

    def projects(self, title: str = "") -> list[Json]:
        """Return the projects whose title contains `title`."""
        projects: list[Json] = []
        params: Json = {"page_size": _PAGE_SIZE} | ({"title": title} if title else {})
        for page in range(1, _MAX_PAGES):
            answer = self._get(
                "list the projects", responses.ProjectPage, "api/projects/", page=page, **params
            )
            projects += answer["results"]
            if not answer["results"] or not answer.get("next"):
                break
        return projects

    def create_project(self, **settings: Any) -> int:
        """Create a project and return its id."""
        answer = self._send("create a project", "POST", "api/projects/", shape=responses.Item, json=settings)
        return int(answer["id"])

    def update_project(self, project_id: int, **settings: Any) -> None:
        """Change settings of a project."""
        self._send(f"change project {project_id}", "PATCH", f"api/projects/{project_id}/", json=settings)

    def delete_project(self, project_id: int) -> None:
        """Delete a project with everything in it."""
        self._send(f"delete project {project_id}", "DELETE", f"api/projects/{project_id}/")

    def tasks(self, project_id: int, *conditions: Json, whole: bool) -> list[Json]:
        """Return all tasks of a project that meet the conditions, ordered by id.

        whole: with annotations and predictions; otherwise id and data only.
        A list that is shorter than its total is read again: tasks may be deleted meanwhile.
        Raises LabelStudioError if the list stays short, since missing tasks would count as deleted.
        """
        for _ in range(_LISTING_ATTEMPTS):
            tasks, total = self._list_tasks(project_id, conditions, whole)
            if len(tasks) >= total:
                return tasks
        raise LabelStudioError(
            f"Label Studio at {self.base_url} counts {total} such tasks in project {project_id} and lists "
            f"{len(tasks)}. Nothing was changed. Run the command again. If this repeats, read its log"
        )

    def _list_tasks(self, project_id: int, conditions: Sequence[Json], whole: bool) -> tuple[list[Json], int]:
        """Return the tasks of one listing, and the total that the server reports.

        Each page starts after the last id: deletions shift nothing. A short page does not end the list.
        """
        params = {"project": project_id, "page": 1, "resolve_uri": "false"}
        if whole:
            params |= {"page_size": _WHOLE_PAGE_SIZE, "fields": "all"}
        else:
            params |= {"page_size": _PAGE_SIZE, "fields": "task_only", "include": "id,data"}
        tasks: dict[int, Json] = {}
        total = last = -1
        while True:
            after = [] if last < 0 else [condition("id", "greater", "Number", last)]
            query = {"filters": all_of(*conditions, *after), "ordering": ["tasks:id"]}
            page = self._get(
                f"list the tasks of project {project_id}", responses.TaskPage, "api/tasks/",
                query=json.dumps(query), **params,
            )  # fmt: skip
            total = page["total"] if total < 0 else total
            new = {task["id"]: task for task in page["tasks"] if task["id"] > last}
            tasks |= new
            last = max(new, default=last)
            if not new or len(new) >= page["total"]:
                return list(tasks.values()), total

    def import_tasks(self, project_id: int, tasks: Sequence[Json]) -> None:
        """Create all tasks or none. After an error, list the tasks before you send them again."""
        doing = f"import {len(tasks)} tasks into project {project_id}"
        path = f"api/projects/{project_id}/import"
        self._send(doing, "POST", path, json=list(tasks), timeout_s=_IMPORT_TIMEOUT_S)

    def change_data(self, task_id: int, data: Json) -> None:
        """Replace the data of a task; its annotations stay."""
        self._send(f"change task {task_id}", "PATCH", f"api/tasks/{task_id}/", json={"data": data})

    def delete_task(self, task_id: int) -> None:
        """Delete a task."""
        self._send(f"delete task {task_id}", "DELETE", f"api/tasks/{task_id}/")

    def views(self, project_id: int) -> list[Json]:
        """Return the project's data manager tabs."""
        return list(self._get("list the views", list[responses.Item], "api/dm/views/", project=project_id))

    def create_view(self, project_id: int, data: Json) -> int:
        """Create a tab and return its id."""
        body = {"project": project_id, "data": data}
        answer = self._send("create a view", "POST", "api/dm/views/", shape=responses.Item, json=body)
        return int(answer["id"])

    def users(self) -> dict[int, str]:
        """Return the e-mail address of every user by id."""
        users = self._get("list the users", list[responses.User], "api/users/")
        return {user["id"]: user["email"] for user in users}

    def storages(self, kind: str, project_id: int) -> list[Json]:
        """Return the project's storages of a kind, "localfiles" or "s3", without their keys."""
        path = f"api/storages/{kind}/"
        return list(self._get("list the storages", list[responses.Storage], path, project=project_id))

    def save_storage(self, kind: str, storage_id: int | None, settings: Json) -> None:
        """Create a storage, or change the one with this id. The server checks that it can read it."""
        method, path = ("PATCH", f"{storage_id}") if storage_id else ("POST", "")
        place = settings.get("path") or f"s3://{settings.get('bucket')}/{settings.get('prefix')}"
        doing = f"give the server access to {place}"
        self._send(doing, method, f"api/storages/{kind}/{path}", json=settings)

    def image_type(self, url: str) -> str:
        """Return the content type of a task's image; raise LabelStudioError if it is not served."""
        # The transport drops a query that is part of the path.
        path, _, query = url.lstrip("/").partition("?")
        answer = self._send(f"show {url}", "GET", path, params=dict(parse_qsl(query)))
        return str(answer.headers.get("content-type", ""))

    def resolve(self, project_id: int, uri: str) -> str:
        """Return the address to which the server redirects a browser for an object of a storage."""
        coded = base64.urlsafe_b64encode(uri.encode()).decode()
        path = f"projects/{project_id}/resolve/"
        with explain_failures(self.base_url, f"resolve {uri}"):
            answer = self._request(path, "GET", params={"fileuri": coded})
            if answer.status_code == 404:
                raise NotFoundError(f"no storage of project {project_id} has {uri}")
            if "location" not in answer.headers:
                raise _failure(answer)
            return str(answer.headers["location"])

    def uploads(self, project_id: int) -> list[str]:
        """Return the paths below /data/ of the files uploaded to a project."""
        path = f"api/projects/{project_id}/file-uploads"
        files = self._get("list the uploaded files", list[responses.UploadedFile], path, all="true")
        return [item["file"] for item in files]

    def upload(self, project_id: int, files: Mapping[str, Path]) -> None:
        """Upload files under the given names, without tasks."""
        contents = {name: (name, path.read_bytes()) for name, path in files.items()}
        self._send(
            f"upload {len(files)} images", "POST", f"api/projects/{project_id}/import",
            params={"commit_to_project": "false"}, files=contents, timeout_s=_IMPORT_TIMEOUT_S,
        )  # fmt: skip

    def _get(self, doing: str, shape: Any, path: str, **params: Any) -> Any:
        return self._send(doing, "GET", path, shape=shape, params=params)

    def _send(self, doing: str, method: str, path: str, *, shape: Any = None, **arguments: Any) -> Any:
        """Send a request; return its answer or, if `shape` is given, the JSON in it, of this type."""
        with explain_failures(self.base_url, doing):
            answer = self._request(path, method, **arguments)
            if not 200 <= answer.status_code < 300:
                raise _failure(answer)
            return answer if shape is None else read_answer(answer.content, shape)

    def _request(self, path: str, method: str, *, timeout_s: float | None = None, **arguments: Any) -> Any:
        """Send a request with the SDK's authentication; return the answer, whatever its status."""
        options: Json = {"max_retries": 2 if method == "GET" else 0}
        if timeout_s is not None:
            options["timeout_in_seconds"] = int(timeout_s)
        http = self._client._client_wrapper.httpx_client
        return http.request(path, method=method, request_options=options, **arguments)


def condition(field: str, operator: str, kind: str, value: object) -> Json:
    """Return a condition on a field of tasks, in the format of the data manager."""
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}


def all_of(*conditions: Json) -> Json:
    """Return the filter for tasks that meet all conditions."""
    return {"conjunction": "and", "items": list(conditions)}


def _failure(answer: Any) -> Exception:
    """Return the SDK's error for an answer; `explain_failures` translates it."""
    try:
        body = read_answer(answer.content)
    except UnexpectedAnswerError:
        body = None
    return sdk().core.ApiError(status_code=answer.status_code, body=body)  # type: ignore[no-any-return]
