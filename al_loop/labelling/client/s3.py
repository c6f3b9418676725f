"""Images in an S3 bucket: the server gives each browser an address that is valid for a while.

Two keys, neither of which is written down by al-loop: this machine's own (the usual AWS variables, files or role) writes
the images; one that may only read is given to the server, or the server has its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from al_loop.core.errors import ConfigError, LabelStudioError
from al_loop.labelling.client.api import STORAGE_TITLE, Api
from al_loop.labelling.client.client import Json, UnreachableError
from al_loop.labelling.client.image_serving import stored_name
from al_loop.labelling.client.task import OutgoingTask

_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class S3Objects:
    """Put images into a bucket and let the server sign addresses of them.

    url: s3://bucket/folder.  endpoint: of an S3 that is not Amazon's.  minutes: how long an address is valid.
    key_id, secret: what the server reads with; None where it has its own.
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    minutes: int = 60
    key_id: str | None = None
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no bucket."""
        if not self.url.startswith("s3://") or not self.bucket:
            raise ConfigError(
                f"label_studio.s3.url: expected a bucket and a folder like s3://labels/al-loop, got {self.url!r}"
            )

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.url.removeprefix("s3://").split("/")[0]

    @property
    def prefix(self) -> str:
        """The folder in it, without slashes at its ends."""
        return self.url.removeprefix("s3://").partition("/")[2].strip("/")

    def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
        """Write what is missing, and allow the server to read the folder."""
        folder = "/".join(filter(None, (self.bucket, self.prefix)))
        wanted = {f"{folder}/{stored_name(task)}": task for task in tasks}
        self._write(folder, wanted)
        if tasks:
            self._let_in(api, project_id)
        return {task.key: f"s3://{path}" for path, task in wanted.items()}

    def kind(self, api: Api, project_id: int, url: str) -> str:
        """Follow the address that the server signs, as a page of the server would."""
        import httpx

        signed = api.resolve(project_id, url)
        place = signed.partition("?")[0]  # what follows is the signature
        try:
            with httpx.stream("GET", signed, headers={"Origin": api.base_url}, timeout=_TIMEOUT_S) as answer:
                status, allowed = answer.status_code, answer.headers.get("access-control-allow-origin")
                kind = str(answer.headers.get("content-type", ""))
        except httpx.HTTPError as error:
            raise LabelStudioError(f"{place} does not answer ({type(error).__name__})") from None
        if status != 200:
            raise LabelStudioError(f"{place} answers {status}: may the server's key read the bucket?")
        if allowed not in ("*", api.base_url):
            raise LabelStudioError(
                f"the bucket {self.bucket} does not allow pages of {api.base_url} to read it: add that origin, with GET, to "
                "the bucket's CORS rules"
            )
        return kind

    def _write(self, folder: str, wanted: dict[str, OutgoingTask]) -> None:
        store = self._store()
        from botocore.exceptions import BotoCoreError

        try:
            there = {item["name"]: item["size"] for item in _listed(store, folder)}
            missing = {
                path: task.image_path
                for path, task in wanted.items()
                if there.get(path) != task.image_path.stat().st_size
            }
            if missing:
                store.put([str(path) for path in missing.values()], list(missing))
        except (OSError, BotoCoreError) as error:
            raise LabelStudioError(
                f"images cannot be written to {self.url}: {error}. Give this machine AWS credentials that may list and write "
                "there (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile), then run: al-loop label-studio check"
            ) from None

    def _store(self) -> Any:
        """s3fs, because fsspec is how al-loop reaches every other store."""
        try:
            import s3fs
        except ModuleNotFoundError:
            raise ConfigError(
                "label_studio.images = \"s3\" needs the package s3fs: pip install 'al-loop[s3]'"
            ) from None
        client = {"region_name": self.region} if self.region else {}
        return s3fs.S3FileSystem(endpoint_url=self.endpoint, client_kwargs=client, skip_instance_cache=True)

    def _let_in(self, api: Api, project_id: int) -> None:
        """Make the storage, or bring it up to date: a key may have been replaced."""
        settings: Json = {
            "project": project_id,
            "title": STORAGE_TITLE,
            "bucket": self.bucket,
            "prefix": self.prefix,
            "region_name": self.region,
            "s3_endpoint": self.endpoint,
            "presign": True,
            "presign_ttl": self.minutes,
            "use_blob_urls": True,
            "regex_filter": "(?!)",  # matches no object: "Sync" must not make tasks of its own
        }
        if self.key_id:
            settings |= {"aws_access_key_id": self.key_id, "aws_secret_access_key": self.secret}
        ours = [
            s for s in api.s3_storages(project_id) if (s["bucket"], s["prefix"]) == (self.bucket, self.prefix)
        ]
        if not ours or self.key_id or any(ours[0].get(name) != value for name, value in settings.items()):
            try:
                api.save_s3_storage(int(ours[0]["id"]) if ours else None, settings)
            except UnreachableError:
                raise
            except LabelStudioError as error:  # the server keeps S3's own answer to itself
                raise LabelStudioError(
                    f"the server cannot read {self.url} ({error}). Its key, from the variables of label_studio.s3.key_env and "
                    f"secret_env (AL_LOOP_S3_KEY_ID, AL_LOOP_S3_SECRET_KEY), must be allowed to list and read there, and "
                    f"{self.endpoint or 'S3'} be reachable from the server: one inside the plant only where the server was "
                    "started with SSRF_PROTECTION_ENABLED=false"
                ) from None


def server_key(key_env: str, secret_env: str) -> tuple[str | None, str | None]:
    """Return the key that the server reads with, from those variables; ConfigError where one of the two is missing."""
    key_id, secret = (os.environ.get(name, "").strip() or None for name in (key_env, secret_env))
    if (key_id is None) != (secret is None):
        set_, missing = (key_env, secret_env) if key_id else (secret_env, key_env)
        raise ConfigError(f"the variable {set_} is set and {missing} is not: set both, or none")
    return key_id, secret


def _listed(store: Any, folder: str) -> list[Json]:
    try:
        return list(store.ls(folder, detail=True, refresh=True))
    except FileNotFoundError:  # nothing is there yet
        return []
