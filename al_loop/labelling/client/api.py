"""The functions of one server that al-loop uses; plain JSON in and out, every answer checked for its shape.

Whatever creates or changes something is never sent twice by itself: a lost reply would double it. Answers are read as plain
JSON and not as the SDK's models, which mistype the task list (2.0.5 declares `annotations` a string and warns).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client import responses
from al_loop.labelling.client.failures import NEW_PROJECT_COMMAND, NotFoundError, decoded, sdk
from al_loop.labelling.client.responses import Json, StrangeAnswerError, checked

_NO_RETRY = {"max_retries": 0}
_RETRY = {"max_retries": 2}
_PAGE_SIZE = 500
# What people have painted is long: 500 of such tasks would not fit into one answer.
_WHOLE_PAGE_SIZE = 100
#: What a storage that al-loop makes for its images is called.
STORAGE_TITLE = "al-loop images"
_MOST_PAGES = 1000
# A list that changes while it is read is read again; one that never fits its own total is a fault.
_LISTINGS = 3


class Server(Protocol):
    """What a request needs to know of its server; `client.Connection` is one."""

    @property
    def base_url(self) -> str:
        """The address without a trailing slash."""

    @property
    def import_timeout_s(self) -> float:
        """How long an import or an upload may take."""

    def explain(self, doing: str) -> AbstractContextManager[None]:
        """Turn every failure of a request into a LabelStudioError."""


class Api:
    """The functions of one server; every failure is a LabelStudioError."""

    def __init__(self, server: Server, client: Any) -> None:
        """Use the SDK's client; made by `Connection.open`."""
        self._server = server
        self._client = client

    @property
    def base_url(self) -> str:
        """The server's address without a trailing slash."""
        return self._server.base_url

    def whoami(self) -> Json:
        """Return the user the token belongs to."""
        return dict(self._get("ask who we are", Json, "api/current-user/whoami"))

    def version(self) -> str:
        """Return the server's version, such as 1.23.2."""
        return str(self._get("ask for the version", Json, "api/version").get("release", "unknown"))

    def date(self) -> str:
        """Return the server's time, as it writes it into the header of an answer."""
        return str(self._answer("ask for the time", "GET", "api/version").headers.get("date", ""))

    def project(self, project_id: int) -> Json:
        """Return a project's settings; raises NotFoundError, with what to do about it."""
        try:
            return dict(
                self._get(f"read project {project_id}", responses.Project, f"api/projects/{project_id}/")
            )
        except NotFoundError:
            raise NotFoundError(
                f"project {project_id} is not on {self.base_url} (any more). If it was deleted on purpose, "
                f"begin another with: {NEW_PROJECT_COMMAND}; if not, restore the server's backup"
            ) from None

    def projects(self, title: str) -> list[Json]:
        """Return projects whose title is (or contains) `title`."""
        answer = self._get(
            "look for the project", responses.Projects, "api/projects/", title=title, page_size=100
        )
        return list(answer["results"])

    def project_ids(self) -> list[int]:
        """Return the numbers of all projects."""
        found: list[int] = []
        for page in range(1, _MOST_PAGES):
            answer = self._get(
                "list the projects", responses.Projects, "api/projects/", page=page, page_size=_PAGE_SIZE
            )
            found += [project["id"] for project in answer["results"]]
            if not answer["results"] or not answer.get("next"):
                break
        return found

    def create_project(self, **settings: Any) -> int:
        """Create a project and return its id."""
        return self._make("create a project", "api/projects/", settings)

    def update_project(self, project_id: int, **settings: Any) -> None:
        """Change settings of a project."""
        self._change(f"change project {project_id}", "PATCH", f"api/projects/{project_id}/", json=settings)

    def delete_project(self, project_id: int) -> None:
        """Delete a project with everything in it."""
        self._change(f"delete project {project_id}", "DELETE", f"api/projects/{project_id}/")

    def tasks(self, project_id: int, filters: Json, *, whole: bool) -> list[Json]:
        """Return the project's tasks that match, by id: id and data, or `whole` with annotations and predictions.

        All of them: a list that is shorter than the server says, as where tasks are deleted meanwhile, is read again.
        Raises LabelStudioError where it stays short; what is not in it would count as deleted.
        """
        for _ in range(_LISTINGS):
            found, total = self._listed(project_id, filters, whole)
            if len(found) >= total:
                return found
        raise LabelStudioError(
            f"Label Studio at {self.base_url} says that project {project_id} has {total} such tasks, and lists {len(found)} of "
            "them. Nothing was changed: run the command again, and if it stays so look at the server's log"
        )

    def _listed(self, project_id: int, filters: Json, whole: bool) -> tuple[list[Json], int]:
        """Return what one reading of the list gives, and how many tasks the server said there are.

        Paged by id: a page that is shorter than asked does not end it, and a task that is deleted meanwhile moves no other.
        """
        size = _WHOLE_PAGE_SIZE if whole else _PAGE_SIZE
        params = {"project": project_id, "page": 1, "page_size": size, "resolve_uri": "false"}
        params |= {"fields": "all"} if whole else {"fields": "task_only", "include": "id,data"}
        found: dict[int, Json] = {}
        total, last = -1, -1
        while True:
            query = {"filters": _after(filters, last), "ordering": ["tasks:id"]}
            page = self._get(
                f"list the tasks of project {project_id}", responses.Page, "api/tasks/",
                query=json.dumps(query), **params,
            )  # fmt: skip
            total = page["total"] if total < 0 else total
            new = {task["id"]: task for task in page["tasks"] if task["id"] > last}
            found |= new
            last = max(new, default=last)
            if not new or len(new) >= page["total"]:
                return list(found.values()), total

    def import_tasks(self, project_id: int, tasks: Sequence[Json]) -> None:
        """Create tasks, all of them or none; after an error, list before sending again."""
        doing = f"import {len(tasks)} tasks into project {project_id}"
        path = f"api/projects/{project_id}/import"
        self._change(doing, "POST", path, json=list(tasks), timeout_s=self._server.import_timeout_s)

    def change_data(self, task_id: int, data: Json) -> None:
        """Replace the data of one task; what people have drawn on it stays."""
        self._change(f"change task {task_id}", "PATCH", f"api/tasks/{task_id}/", json={"data": data})

    def delete_task(self, task_id: int) -> None:
        """Delete one task."""
        self._change(f"delete task {task_id}", "DELETE", f"api/tasks/{task_id}/")

    def views(self, project_id: int) -> list[Json]:
        """Return the project's data manager tabs."""
        return list(self._get("list the views", list[responses.Made], "api/dm/views/", project=project_id))

    def create_view(self, project_id: int, data: Json) -> int:
        """Create a tab and return its id."""
        return self._make("create a view", "api/dm/views/", {"project": project_id, "data": data})

    def users(self) -> dict[int, str]:
        """Return the e-mail address of every user by id."""
        found = self._get("list the users", list[responses.User], "api/users/")
        return {user["id"]: user["email"] for user in found}

    def local_storages(self, project_id: int) -> list[Json]:
        """Return the project's local-files storages."""
        path = "api/storages/localfiles/"
        return list(self._get("list the storages", list[responses.Folder], path, project=project_id))

    def save_local_storage(self, storage_id: int | None, project_id: int, path: Path) -> None:
        """Allow the server to show the files below `path` (on its machine) in a project: by a new storage, or by that one."""
        settings: Json = {"project": project_id, "path": str(path)}
        if storage_id is None:
            settings |= {
                "title": STORAGE_TITLE,
                "use_blob_urls": True,
                "regex_filter": "(?!)",  # matches no file: "Sync" must not make tasks of its own
            }
        method, where = (
            ("PATCH", f"api/storages/localfiles/{storage_id}")
            if storage_id
            else ("POST", "api/storages/localfiles/")
        )
        self._change(f"allow the images in {path}", method, where, json=settings)

    def image_type(self, url: str) -> str:
        """Return what kind of content the server answers with for a task's image; LabelStudioError where it does not."""
        path, _, query = url.lstrip("/").partition("?")  # the transport drops what follows a question mark
        answer = self._answer(
            f"show {url}", "GET", path, params=dict(parse_qsl(query)), request_options=_RETRY
        )
        return str(answer.headers.get("content-type", ""))

    def s3_storages(self, project_id: int) -> list[Json]:
        """Return the project's S3 storages; the server keeps their keys to itself."""
        return list(
            self._get("list the storages", list[responses.Bucket], "api/storages/s3/", project=project_id)
        )

    def save_s3_storage(self, storage_id: int | None, settings: Json) -> None:
        """Make a storage, or change the one with that id; the server looks into the bucket first."""
        method, path = (
            ("PATCH", f"api/storages/s3/{storage_id}") if storage_id else ("POST", "api/storages/s3/")
        )
        doing = f"let the server read s3://{settings['bucket']}/{settings['prefix']}"
        self._change(doing, method, path, json=settings)

    def resolve(self, project_id: int, uri: str) -> str:
        """Return the address that a browser is sent to for an object of the project's storages."""
        path = f"projects/{project_id}/resolve/"
        coded = base64.urlsafe_b64encode(uri.encode()).decode()
        doing = f"resolve {uri}"
        with self._server.explain(doing):
            found = self._send("GET", path, params={"fileuri": coded}, request_options=_RETRY)
            if found.status_code == 404:
                raise NotFoundError(f"no storage of project {project_id} gives {uri}")
            if "location" not in found.headers:
                raise sdk().core.ApiError(status_code=found.status_code, body=_json_or_none(found))
            return str(found.headers["location"])

    def uploads(self, project_id: int) -> list[str]:
        """Return the paths, below /data/, of the files uploaded to a project."""
        path = f"api/projects/{project_id}/file-uploads"
        found = self._get("list the uploaded files", list[responses.File], path, all="true")
        return [item["file"] for item in found]

    def upload(self, project_id: int, files: Mapping[str, Path]) -> None:
        """Upload files under the given names; creates no tasks."""
        contents = {name: (name, path.read_bytes()) for name, path in files.items()}
        self._change(
            f"upload {len(files)} images",
            "POST",
            f"api/projects/{project_id}/import",
            params={"commit_to_project": "false"},
            files=contents,
            timeout_s=self._server.import_timeout_s,
        )

    def _get(self, doing: str, shape: Any, path: str, **params: Any) -> Any:
        """Ask for something of that shape, a type of answers.py."""
        answer = self._answer(doing, "GET", path, params=params, request_options=_RETRY)
        with self._server.explain(doing):
            return checked(decoded(answer.content), shape)

    def _make(self, doing: str, path: str, settings: Json) -> int:
        """Create something, once, and return its number."""
        answer = self._change(doing, "POST", path, json=settings)
        with self._server.explain(doing):
            return int(checked(decoded(answer.content), responses.Made)["id"])

    def _change(
        self, doing: str, method: str, path: str, *, timeout_s: float | None = None, **arguments: Any
    ) -> Any:
        """Send what creates or changes something, once."""
        options = _NO_RETRY | ({} if timeout_s is None else {"timeout_in_seconds": int(timeout_s)})
        return self._answer(doing, method, path, request_options=options, **arguments)

    def _answer(self, doing: str, method: str, path: str, **arguments: Any) -> Any:
        with self._server.explain(doing):
            response = self._send(method, path, **arguments)
            if not 200 <= response.status_code < 300:
                raise sdk().core.ApiError(status_code=response.status_code, body=_json_or_none(response))
            return response

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request with the SDK's authentication; the answer as it is, whatever its status."""
        return self._client._client_wrapper.httpx_client.request(path, method=method, **arguments)


def _after(filters: Json, last: int) -> Json:
    """Return filters that also leave out tasks up to an id."""
    if last < 0:
        return filters
    item = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last}
    return {**filters, "items": [*filters["items"], item]}


def _json_or_none(response: Any) -> object:
    try:
        return decoded(response.content)
    except StrangeAnswerError:
        return None
